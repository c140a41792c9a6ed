//! The table of log lines in docs/operations.md, against the targets in the code.

use std::{collections::BTreeSet, fs};

use crate::sources::Source;

/// The macros whose lines an operator sees.
const MACROS: [&str; 3] = ["tracing::warn!(", "tracing::info!(", "tracing::error!("];

/// The target of lines in a file: the path of its module.
fn target(path: &str) -> String {
    let (root, file) = match path.strip_prefix("src/") {
        Some(file) => ("larder", file),
        None => ("transport", path.rsplit("src/").next().unwrap()),
    };
    format!("{root}::{}", file.trim_end_matches(".rs").replace('/', "::"))
}

/// The targets of a file, without those of its tests.
fn targets_of(Source { path, text, .. }: &Source) -> Vec<String> {
    let is_test = path.contains("/tests/") || path.ends_with("tests.rs");
    // Tests are last, unless they are in a file of their own.
    let tests = text.find("mod tests {").unwrap_or(text.len());
    let text = if is_test { "" } else { &text[..tests] };
    let calls = MACROS.iter().flat_map(|name| text.split(name).skip(1));
    let named = calls.map(|call| match call.trim_start().strip_prefix("target: ") {
        // A macro of its own has the targets in its table.
        Some(named) if named.starts_with('$') => None,
        Some(named) => Some(named.split('"').nth(1).unwrap().to_owned()),
        None => Some(target(path)),
    });
    named.flatten().collect()
}

#[test]
fn the_log_table_has_the_targets_of_the_code() {
    let mut sources = Source::read_all("src");
    sources.extend(Source::read_all("crates/transport/src"));
    let mut in_code: BTreeSet<String> = sources.iter().flat_map(targets_of).collect();
    let outages = sources.iter().find(|source| source.path.ends_with("outage_log.rs")).unwrap();
    let quoted = outages.text.split('"').filter(|text| text.starts_with("larder::store::redis::"));
    in_code.extend(quoted.map(str::to_owned));

    let document = fs::read_to_string("docs/operations.md").unwrap();
    let table = document.split("| target | states and events | fields |").nth(1).unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let first = rows.map(|row| row.split('|').nth(1).unwrap());
    let documented: BTreeSet<String> =
        first.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect();

    let missing: Vec<_> = in_code.difference(&documented).collect();
    let stale: Vec<_> = documented.difference(&in_code).collect();
    assert!(missing.is_empty() && stale.is_empty(), "missing: {missing:?}, stale: {stale:?}");
}
