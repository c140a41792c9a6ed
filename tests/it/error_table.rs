//! The tables of docs/errors.md, against the reasons in the code.

use std::collections::BTreeSet;

use crate::sources::{Source, read_text, without_tests};

/// Code that makes statuses, and the reasons of credentials.
const SOURCES: [&str; 6] = [
    "src/health/service.rs",
    "src/rpc/status.rs",
    "src/rpc/status/access.rs",
    "src/rpc/status/quota.rs",
    "src/rpc/status/store.rs",
    "src/auth/error.rs",
];

/// The string literals of a file that have the form of a reason.
fn reasons(path: &str) -> Vec<String> {
    let text = read_text(path);
    let program = text.split("#[cfg(test)]").next().unwrap();
    let strings = program.split('"').skip(1).step_by(2);
    let is_reason = |text: &&str| {
        text.len() > 2 && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
    };
    strings.filter(is_reason).map(str::to_owned).collect()
}

#[test]
fn no_other_code_makes_reasons() {
    let makers = ["ErrorDetails::with_error_info(", ".set_error_info("];
    let is_test = |path: &str| path.ends_with("tests.rs") || path.contains("/tests/");
    let sources = Source::read_all("src").into_iter().filter(|source| !is_test(&source.path));
    let makes = |source: &Source| {
        let (code, _) = without_tests(&source.code);
        makers.iter().any(|maker| code.contains(maker))
    };
    let found: Vec<String> = sources.filter(makes).map(|source| source.path).collect();
    assert!(found.len() > 3, "{found:?}");
    let missing: Vec<_> = found.iter().filter(|path| !SOURCES.contains(&path.as_str())).collect();
    assert!(missing.is_empty(), "reasons of {missing:?} are not compared with docs/errors.md");
}

#[test]
fn the_error_tables_have_the_reasons_of_the_code() {
    let in_code: BTreeSet<String> = SOURCES.iter().flat_map(|path| reasons(path)).collect();
    assert!(in_code.len() > 40, "only {in_code:?} were found");

    let document = read_text("docs/errors.md");
    let rows: Vec<Vec<&str>> = document
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    for row in &rows {
        assert!(row.len() == 4 && row.iter().all(|cell| !cell.is_empty()), "{row:?}");
    }
    let documented: Vec<String> =
        rows.iter().map(|row| row[0].trim_matches('`').to_owned()).collect();
    let set: BTreeSet<String> = documented.iter().cloned().collect();
    assert_eq!(set.len(), documented.len(), "a reason is there twice");

    let missing: Vec<_> = in_code.difference(&set).collect();
    let stale: Vec<_> = set.difference(&in_code).collect();
    assert!(missing.is_empty() && stale.is_empty(), "missing: {missing:?}, stale: {stale:?}");
}
