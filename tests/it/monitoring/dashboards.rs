//! The dashboards in `deploy/grafana/dashboards`, which are generated from the list of metrics.
//!
//! `make dashboards` writes the files.

mod fleet;
mod namespace;
mod origins;
mod store;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use larder::metric_list;
use serde_json::Value;

use super::{
    dashboard::Dashboard,
    prometheus_queries::Used,
    rules::{recorded, rules},
};
use crate::sources::read_text;

const FILES: &str = "deploy/grafana/dashboards";
/// Set by `make dashboards`.
const UPDATE: &str = "UPDATE_DASHBOARDS";
/// Metrics in no panel, with the reason.
const LEFT_OUT: [(&str, &str); 0] = [];

/// All dashboards.
pub(crate) fn dashboards() -> [Dashboard; 4] {
    [fleet::dashboard(), namespace::dashboard(), origins::dashboard(), store::dashboard()]
}

#[test]
fn the_files_are_generated() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILES);
    let expected: BTreeMap<String, String> = dashboards()
        .iter()
        .map(|dashboard| {
            let name = dashboard.uid.trim_start_matches("larder-");
            (format!("{name}.json"), dashboard.to_text())
        })
        .collect();
    if std::env::var_os(UPDATE).is_some() {
        fs::create_dir_all(&root).unwrap();
        for (name, text) in &expected {
            fs::write(root.join(name), text).unwrap();
        }
    }
    let found = crate::sources::paths(FILES);
    let found: BTreeSet<&str> = found.iter().map(|path| &path[FILES.len() + 1..]).collect();
    assert_eq!(found, expected.keys().map(String::as_str).collect());
    for (name, text) in &expected {
        let file = read_text(&format!("{FILES}/{name}"));
        assert!(file == *text, "{FILES}/{name} is not what `make dashboards` writes");
    }
}

#[test]
fn panels_use_metrics_and_labels_of_the_list() {
    let recorded = recorded();
    for dashboard in dashboards() {
        for panel in dashboard.panels() {
            let place = format!("{}: {}", dashboard.title, panel.title);
            assert!(!panel.queries.is_empty(), "{place}: no query");
            for query in &panel.queries {
                let used = Used::of(&query.expression);
                let unknown = used.unknown(&recorded);
                assert!(unknown.is_empty(), "{place}: {unknown:?} in {}", query.expression);
                let shown =
                    query.legend.split("{{").skip(1).filter_map(|rest| rest.split('}').next());
                for label in shown {
                    let has = used.groups().contains(label);
                    assert!(has, "{place}: the legend has {label}, {} lacks it", query.expression);
                }
            }
        }
    }
}

#[test]
fn every_metric_is_in_a_panel() {
    let all = dashboards();
    let queries = all.iter().flat_map(Dashboard::panels).flat_map(|panel| &panel.queries);
    let used: Vec<Used> = queries.map(|query| Used::of(&query.expression)).collect();
    let shown: BTreeSet<&str> =
        used.iter().flat_map(Used::metrics).map(|metric| metric.name).collect();
    let left_out: BTreeSet<&str> = LEFT_OUT.iter().map(|(name, _)| *name).collect();
    let listed: BTreeSet<&str> = metric_list::all().map(|metric| metric.name).collect();
    let expected: BTreeSet<&str> = listed.difference(&left_out).copied().collect();
    assert_eq!(shown, expected);
}

#[test]
fn panels_have_titles_descriptions_and_runbooks_of_alerts() {
    let alerts: BTreeSet<String> = rules().into_iter().map(|rule| rule.name).collect();
    let mut linked = BTreeSet::new();
    for dashboard in dashboards() {
        let mut titles = BTreeSet::new();
        for row in &dashboard.rows {
            for panel in &row.panels {
                let place = format!("{}: {}", dashboard.title, panel.title);
                assert!(titles.insert((row.title, panel.title)), "{place}: twice");
                assert!(panel.description.ends_with('.'), "{place}: no description");
                for alert in &panel.runbooks {
                    assert!(alerts.contains(*alert), "{place}: no alert {alert}");
                    linked.insert((*alert).to_owned());
                }
            }
        }
    }
    let missing: Vec<String> = rules()
        .into_iter()
        .filter(|rule| rule.is_alert && !linked.contains(&rule.name))
        .map(|rule| rule.name)
        .collect();
    assert!(missing.is_empty(), "no panel leads to the runbook of {missing:?}");
}

#[test]
fn identifiers_of_panels_are_unique_and_panels_do_not_overlap() {
    for dashboard in dashboards() {
        let document: Value = serde_json::from_str(&dashboard.to_text()).unwrap();
        let panels = document["panels"].as_array().unwrap();
        let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
        assert_eq!(ids.len(), panels.len(), "{}", dashboard.title);
        let mut cells = BTreeSet::new();
        for panel in panels {
            let size = |name: &str| panel["gridPos"][name].as_u64().unwrap();
            assert!(size("x") + size("w") <= 24, "{}: {panel}", dashboard.title);
            for x in size("x")..size("x") + size("w") {
                for y in size("y")..size("y") + size("h") {
                    assert!(cells.insert((x, y)), "{}: overlap at {x}, {y}", dashboard.title);
                }
            }
        }
    }
}
