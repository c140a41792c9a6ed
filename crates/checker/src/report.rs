//! The table at the end of a run, and a broken promise with its shortest history.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::PathBuf};

use crate::{
    history::{History, Micros, Record, Violation},
    print,
    shared::Shared,
};

/// Faults this long before a violation are printed with it.
const NEAR: Micros = 5_000_000;

/// Text of a violation. Writes the whole history to a file.
pub(crate) fn failure(
    history: &History,
    violation: &Violation,
    reduced: &[Record],
    seed: u64,
) -> String {
    let mut text = format!("BROKEN: {}\n  {}\n", violation.promise, violation.text);
    let _ = writeln!(text, "seed {seed}, at {:.6} s", violation.at as f64 / 1e6);
    if !reduced.is_empty() {
        let _ = writeln!(text, "The calls that show it (began to ended, in seconds):");
        for record in reduced {
            let _ = writeln!(text, "  {record}");
        }
    }
    let _ = writeln!(text, "The faults near it:");
    let until = reduced.iter().map(|record| record.ended).max().unwrap_or(violation.at);
    for fault in history.faults.iter() {
        if fault.overlaps(violation.at.saturating_sub(NEAR), until.saturating_add(NEAR / 5)) {
            let _ = writeln!(text, "  {}", print::fault(fault));
        }
    }
    match write_history(history, &text, seed) {
        Ok(path) => {
            let _ = writeln!(text, "All calls of the round: {}", path.display());
        }
        Err(error) => {
            let _ = writeln!(text, "The history could not be written: {error}");
        }
    }
    text
}

fn write_history(history: &History, head: &str, seed: u64) -> std::io::Result<PathBuf> {
    let directory = PathBuf::from("target/checker");
    fs::create_dir_all(&directory)?;
    let path = directory.join(format!("history-{seed}.txt"));
    let mut text = head.to_owned();
    text.push_str("\nAll faults:\n");
    for fault in history.faults.iter() {
        let _ = writeln!(text, "  {}", print::fault(fault));
    }
    text.push_str("\nAll calls:\n");
    for record in &history.records {
        let _ = writeln!(text, "  {record}");
    }
    fs::write(&path, text)?;
    Ok(path)
}

/// The table of a run.
pub(crate) fn summary(shared: &Shared, topology: &str, took: f64) -> String {
    let totals = shared.totals.lock().unwrap();
    let mut text = format!("\n{topology}: seed {}\n", shared.seed);
    let mut calls: BTreeMap<&str, Vec<(&str, u64)>> = BTreeMap::new();
    for ((call, outcome), count) in &totals.calls {
        calls.entry(call).or_default().push((outcome, *count));
    }
    for (call, outcomes) in calls {
        let sum: u64 = outcomes.iter().map(|(_, count)| count).sum();
        let outcomes: Vec<String> =
            outcomes.iter().map(|(outcome, count)| format!("{outcome} {count}")).collect();
        let _ = writeln!(text, "  {call:<22} {sum:>9}  {}", outcomes.join(", "));
    }
    let operations: u64 = totals.calls.values().sum();
    let faults = shared.faults.counts();
    let names: Vec<String> = faults.iter().map(|(name, count)| format!("{name} {count}")).collect();
    let _ = writeln!(text, "  faults: {}", names.join(", "));
    let _ = writeln!(
        text,
        "  {operations} operations in {took:.1} s ({:.0}/s), {} rounds, {} checks of entries, \
         {} of events",
        operations as f64 / took,
        totals.rounds,
        totals.checks,
        totals.watched
    );
    text
}
