//! The alerts and recording rules in `deploy/prometheus/rules`.

use std::collections::{BTreeMap, BTreeSet};

use super::prometheus_queries::{Recorded, Used};
use crate::sources::{paths, read_text};

pub(crate) const RULES: &str = "deploy/prometheus/rules";

/// An alert or a recording rule.
pub(crate) struct Rule {
    /// Name of the alert, or of the recorded series.
    pub(crate) name: String,
    pub(crate) expression: String,
    pub(crate) is_alert: bool,
    /// All lines of the rule.
    pub(crate) text: String,
}

/// Files with rules, without their tests.
fn rule_files() -> Vec<String> {
    let is_rules = |path: &String| path.ends_with(".yml") && !path.contains("/tests/");
    paths(RULES).into_iter().filter(is_rules).collect()
}

/// All rules, in the order of their files.
pub(crate) fn rules() -> Vec<Rule> {
    let mut rules = Vec::new();
    for path in rule_files() {
        let text = read_text(&path);
        for (start, is_alert) in [("      - alert: ", true), ("      - record: ", false)] {
            rules.extend(text.split(start).skip(1).map(|rule| Rule {
                name: rule.lines().next().unwrap().to_owned(),
                expression: expression_of(rule),
                is_alert,
                text: rule.to_owned(),
            }));
        }
    }
    assert!(rules.len() > 50, "only {} rules were found", rules.len());
    rules
}

/// Names of the recorded series, with the labels that their expressions group by.
pub(crate) fn recorded() -> Recorded {
    let recording = rules().into_iter().filter(|rule| !rule.is_alert);
    recording.map(|rule| (rule.name, Used::of(&rule.expression).groups().clone())).collect()
}

/// The text behind `expr:`, in one line or in the indented lines that follow.
fn expression_of(rule: &str) -> String {
    let (_, rest) = rule.split_once("        expr: ").unwrap_or_else(|| panic!("no expr: {rule}"));
    let (first, following) = rest.split_once('\n').unwrap();
    if first != ">-" {
        return first.to_owned();
    }
    let lines = following.lines().take_while(|line| line.starts_with("          "));
    lines.map(str::trim).collect::<Vec<_>>().join(" ")
}

#[test]
fn rules_use_metrics_of_the_list() {
    let recorded = recorded();
    for rule in rules() {
        let unknown = Used::of(&rule.expression).unknown(&recorded);
        assert!(unknown.is_empty(), "{}: {unknown:?}", rule.name);
    }
}

/// Alerts by name, with the number of expectations in unit tests that have and have no alert.
#[test]
fn every_alert_has_a_unit_test_that_fires_and_one_that_does_not() {
    let alerts = rules().into_iter().filter(|rule| rule.is_alert).map(|rule| rule.name);
    let mut expected: BTreeMap<String, (bool, bool)> =
        alerts.map(|name| (name, (false, false))).collect();
    for path in paths(&format!("{RULES}/tests")) {
        for expectation in read_text(&path).split("alertname: ").skip(1) {
            let name = expectation.split([',', '\n', ' ']).next().unwrap();
            let seen = expected.get_mut(name).unwrap_or_else(|| panic!("{path}: no alert {name}"));
            let list = expectation.split_once("exp_alerts:").unwrap().1;
            if list.trim_start().starts_with("[]") { seen.1 = true } else { seen.0 = true }
        }
    }
    let lacking = |which: fn(&(bool, bool)) -> bool| {
        expected.iter().filter(|(_, seen)| !which(seen)).map(|(name, _)| name).collect::<Vec<_>>()
    };
    assert_eq!(lacking(|seen| seen.0), Vec::<&String>::new(), "no test in which they fire");
    assert_eq!(lacking(|seen| seen.1), Vec::<&String>::new(), "no test in which they do not fire");
}

#[test]
fn alerts_have_a_severity_and_a_summary() {
    for Rule { name, text, .. } in rules().iter().filter(|rule| rule.is_alert) {
        let severities = ["critical", "warning", "info"];
        let has = |severity: &str| text.contains(&format!("labels: {{ severity: {severity} }}"));
        assert_eq!(severities.iter().filter(|severity| has(severity)).count(), 1, "{name}");
        assert!(text.contains("          summary: "), "{name}");
    }
}

#[test]
fn the_scrape_configuration_has_the_rules_and_the_job() {
    let configuration = read_text("deploy/prometheus/prometheus.yml");
    assert!(configuration.contains("rules/*.yml"), "{configuration}");
    assert!(configuration.contains("job_name: larder"), "the alerts select job=\"larder\"");
    let names: BTreeSet<String> = rules().into_iter().map(|rule| rule.name).collect();
    assert!(names.contains("LarderNoReplica"));
}
