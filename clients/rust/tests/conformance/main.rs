//! The conformance cases of all client libraries, on the real server and on the fake.
//!
//! `LARDER_BIN` and `LARDER_CLIENT_CONTROL` name the programs, and `LARDER_CONFORMANCE_STORE` the
//! store, `memory` or `redis`. Arguments select the cases whose name contains one of them.
#![allow(clippy::expect_used, clippy::wildcard_enum_match_arm, unreachable_pub)]

mod case_run;
mod clients;
mod control;
mod data;
mod fake_server;
mod functions;
mod grammar;
mod loaders;
mod ops;
mod place;
mod spans;
mod value;

use std::{collections::HashMap, process::ExitCode, sync::Arc, time::Duration};

use case_run::CaseRun;
use control::{Control, conformance, missing_programs};
use fake_server::FAKE;
use place::{Place, REAL};
use value::Value;

/// Time for a case.
const LIMIT: Duration = Duration::from_secs(60);
const CLIENT: [&str; 7] =
    ["threads", "two_clients", "cancel", "big_integers", "tracing", "call_keys", "more_types"];

/// Reasons by the name of a test, such as `client/ttl/zero`; `*` is every kind of server.
type Skips = HashMap<String, String>;

#[derive(Default)]
struct Counts {
    passed: usize,
    failed: usize,
    skipped: usize,
}

fn needs(case: &Value) -> Vec<String> {
    loaders::texts(case.field("needs"))
}

fn read_skips() -> Skips {
    let text = std::fs::read_to_string(conformance().join("skips/rust.txt"));
    let text = text.expect("the list of skips");
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines
        .map(|line| line.split_once(' ').expect("a skip has a reason"))
        .map(|(name, reason)| (name.to_owned(), reason.trim().to_owned()))
        .collect()
}

fn check_skips(skips: &Skips, cases: &[Value]) {
    for name in skips.keys() {
        let id = name.split_once('/').map_or("", |(_, id)| id);
        let has = cases.iter().any(|case| case.field("id").and_then(Value::as_text) == Some(id));
        assert!(has, "no case of the skip {name}");
    }
}

/// A case passes, or is in the list of skips and fails.
async fn report(kind: &str, case: &Value, place: &Place, skips: &Skips, counts: &mut Counts) {
    let id = case.field("id").and_then(Value::as_text).unwrap_or_default();
    let name = format!("{kind}/{id}");
    let run = tokio::time::timeout(LIMIT, CaseRun::new(case, place).run());
    let ended = run.await.unwrap_or_else(|_| Err(format!("not within {LIMIT:?}")));
    let reason = skips.get(&name).or_else(|| skips.get(&format!("*/{id}")));
    match (ended, reason) {
        (Ok(()), None) => {
            counts.passed += 1;
            println!("test {name} ... ok");
        }
        (Err(error), None) => {
            counts.failed += 1;
            println!("test {name} ... FAILED\n  {error}");
        }
        (Ok(()), Some(reason)) => {
            counts.failed += 1;
            println!("test {name} ... FAILED\n  it passes: remove it from the skips ({reason})");
        }
        (Err(_), Some(reason)) => {
            counts.skipped += 1;
            println!("test {name} ... ignored, {reason}");
        }
    }
}

async fn run_all(filters: &[String]) -> Counts {
    let text = std::fs::read_to_string(conformance().join("suite.json")).expect("the suite");
    let suite = Value::from_json(serde_json::from_str(&text).expect("JSON"));
    let cases = suite.field("cases").and_then(Value::as_list).unwrap_or_default();
    let skips = read_skips();
    check_skips(&skips, cases);
    let mut counts = Counts::default();
    let chosen = |kind: &str, case: &Value, features: &[&str]| {
        let id = case.field("id").and_then(Value::as_text).unwrap_or_default();
        let name = format!("{kind}/{id}");
        let applies =
            needs(case).iter().all(|need| CLIENT.contains(&&**need) || features.contains(&&**need));
        applies && (filters.is_empty() || filters.iter().any(|filter| name.contains(filter)))
    };
    let configuration = suite.field("configuration").and_then(Value::as_map);
    let configuration = configuration.expect("the configuration");
    for case in cases.iter().filter(|case| chosen("fake", case, &FAKE)) {
        let place = Place::Fake(fake_server::configured(configuration));
        report("fake", case, &place, &skips, &mut counts).await;
    }
    let missing = missing_programs();
    if missing.is_empty() {
        let control = Arc::new(Control::start().await);
        for case in cases.iter().filter(|case| chosen("client", case, &REAL)) {
            let place = Place::real(&control, &needs(case)).await;
            report("client", case, &place, &skips, &mut counts).await;
        }
        if let Ok(control) = Arc::try_unwrap(control) {
            control.close().await;
        }
    } else {
        println!("not built: {}", missing.join(", "));
        counts.failed += usize::from(std::env::var("CI").as_deref() == Ok("true"));
    }
    counts
}

fn main() -> ExitCode {
    let filters: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let counts = runtime.expect("a runtime").block_on(run_all(&filters));
    let Counts { passed, failed, skipped } = counts;
    println!("conformance: {passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
