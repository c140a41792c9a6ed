//! The list of metrics, against the instruments in the code and the table in `docs/operations.md`.

use std::collections::{BTreeMap, BTreeSet};

use larder::metric_list::{self, Metric};

use crate::sources::{Source, read_text, without_tests};

/// Labels that a paragraph below the table has.
const COMMON_LABELS: [&str; 2] = ["rpc_system_name", "db_system_name"];
/// Makers of instruments, which only the list calls.
const MAKERS: [&str; 6] = [
    ".u64_counter(",
    ".f64_counter(",
    ".f64_histogram(",
    ".u64_observable_",
    ".f64_observable_",
    ".i64_observable_",
];

fn by_name() -> BTreeMap<String, Metric> {
    metric_list::all().map(|metric| (metric.prometheus_name(), metric)).collect()
}

#[test]
fn names_are_unique_and_instruments_come_from_the_list() {
    assert_eq!(by_name().len(), metric_list::all().count());
    assert!(by_name().len() > 140);
    for source in Source::read_all("src") {
        if source.path == "src/metric_list.rs" {
            continue;
        }
        let (code, _) = without_tests(&source.code);
        for maker in MAKERS {
            assert!(!code.contains(maker), "{}: {maker} outside of the list", source.path);
        }
    }
}

#[test]
fn every_metric_is_measured() {
    let sources = Source::read_all("src");
    let used: String = sources
        .iter()
        .filter(|source| !source.path.starts_with("src/metric_list"))
        .map(|source| source.code.as_str())
        .collect();
    for source in Source::read_all("src/metric_list") {
        let constants = source.text.lines().filter_map(|line| line.strip_prefix("    "));
        let constants = constants.filter_map(|line| Some(line.split_once(" = ")?.0));
        for constant in constants {
            let is_used = used.contains(&format!("metric_list::{constant}"));
            assert!(is_used, "{constant} is measured nowhere");
        }
    }
}

#[test]
fn the_table_in_the_documents_has_the_list() {
    let listed = by_name();
    let document = read_text("docs/operations.md");
    let section = document.split("## Metrics\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut documented = BTreeSet::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').skip(1).collect();
        let mut last: Option<String> = None;
        for name in names(cells[0]) {
            let name = full_name(&name, last.as_deref(), &listed);
            let metric = listed.get(&name).unwrap_or_else(|| panic!("{name} is not in the list"));
            let labels = format!("{} {}", cells[0], cells[1]);
            let shown = |label: &String| labels.contains(&format!("`{label}`"));
            let missing: Vec<String> = metric
                .prometheus_labels()
                .filter(|label| !shown(label) && !COMMON_LABELS.contains(&label.as_str()))
                .collect();
            assert!(missing.is_empty(), "{name}: the table lacks {missing:?}");
            documented.insert(name.clone());
            last = Some(name);
        }
    }
    let listed: BTreeSet<String> = listed.into_keys().collect();
    let missing: Vec<&String> = listed.difference(&documented).collect();
    assert!(missing.is_empty(), "not in the table: {missing:?}");
}

/// Names in backquotes of a cell, without labels in parentheses.
fn names(cell: &str) -> Vec<String> {
    let outside = cell.split('(').enumerate().map(|(index, part)| match index {
        0 => part,
        _ => part.split_once(')').map_or("", |(_, rest)| rest),
    });
    let outside: String = outside.collect();
    outside.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// A name that is shortened to its end, as `_stale_total` after `larder_hits_total`.
fn full_name(name: &str, last: Option<&str>, listed: &BTreeMap<String, Metric>) -> String {
    let (true, Some(last)) = (name.starts_with('_'), last) else { return name.to_owned() };
    let beginnings = last.match_indices('_').map(|(at, _)| &last[..at]).rev();
    let mut names = beginnings.map(|beginning| format!("{beginning}{name}"));
    names.find(|name| listed.contains_key(name)).unwrap_or_else(|| name.to_owned())
}
