//! `bench`: the load, its report, and what it leaves.

use std::{
    io::Read as _,
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{DONE, MISS, REFUSED, USAGE, cli};
use crate::support::{
    client::get,
    server::Larder,
    wait::{SOON, eventually},
};

on_both_stores!(bench_loads_a_server_and_leaves_nothing, |env| {
    let larder = &env.larder;
    let line = "bench --duration 500ms --connections 2 --in-flight 4 --keys 100 --json";
    let printed = cli(larder, line);
    assert_eq!(printed.code, DONE, "{printed:?}");
    let report = printed.json().remove(0);
    let number = |field: &str| report.pointer(field).and_then(|it| it.as_f64()).unwrap();
    assert!(number("/reads/count") > number("/writes/count"), "{report}");
    assert!(number("/writes/count") > 0.0 && number("/hit_rate") > 0.99, "{report}");
    assert!(number("/all/p50") > 0.0 && number("/all/p50") <= number("/all/max"), "{report}");
    assert!(number("/seconds") >= 0.5 && report["errors"] == serde_json::json!({}), "{report}");
    assert_eq!(cli(larder, "keys bench").code, MISS, "nothing is left");

    // By a schedule: half a second of it.
    let printed = cli(larder, "bench --duration 500ms --rate 100 --reads 0.5 --keys 3");
    assert_eq!(printed.code, DONE, "{printed:?}");
    let text = printed.result().1;
    assert!(text.starts_with("bench: 0.5 s, 100/s, 1 x 32 in flight, 3 keys of 1.0 KiB"), "{text}");
    let all = text.lines().find(|line| line.starts_with(" all")).unwrap_or_default();
    assert_eq!(all.split_whitespace().nth(1), Some("50"), "{text}");
});

on_both_stores!(bench_does_not_touch_entries_of_others, |env| {
    let larder = &env.larder;
    env.cache.put("mine", "v").await;
    let refused = cli(larder, "bench --namespace ns --duration 100ms");
    refused.expect_failure(USAGE, &["the namespace ns has entries", "--force"]);
    let forced = cli(larder, "bench --namespace ns --duration 100ms --keys 5 --force");
    assert_eq!(forced.code, DONE, "{forced:?}");
    assert_eq!(cli(larder, "keys ns").result(), (DONE, "mine\n"));
    assert!(env.cache.get(get("mine")).await.is_ok());
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bench_ends_if_its_entries_cannot_be_written() {
    let larder =
        Larder::memory().config("[namespaces.bench]\nmax_value_bytes = '1KiB'\n").start().await;
    let refused = cli(&larder, "bench --duration 100ms --value-bytes 4096");
    refused.expect_failure(REFUSED, &["VALUE_TOO_LARGE"]);
    assert_eq!(cli(&larder, "keys bench").code, MISS);
}

/// Starts a load, and waits for its first reads.
async fn start(larder: &Larder, arguments: &[&str]) -> Child {
    let address = larder.address().to_string();
    let bench = Command::new(env!("CARGO_BIN_EXE_larder"))
        .arg("bench")
        .args(arguments)
        .args(["--address", &address])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("there are reads", SOON, async || {
        let stats = cli(larder, "stats --json --namespace bench");
        let stats = serde_json::from_slice::<serde_json::Value>(&stats.stdout).ok()?;
        let hits = stats.pointer("/namespaces/0/counted/total/hits")?.as_u64()?;
        (hits > 100).then_some(())
    })
    .await;
    bench
}

/// Waits for the end. Returns the exit code and the report.
fn end(mut bench: Child) -> (i32, String) {
    let mut text = String::new();
    bench.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    (bench.wait().unwrap().code().unwrap(), text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interrupted_bench_prints_its_figures_so_far() {
    let larder = Larder::memory().start().await;
    let bench = start(&larder, &["--duration", "1h"]).await;
    kill(Pid::from_raw(bench.id().cast_signed()), Signal::SIGINT).unwrap();
    let (code, text) = end(bench);
    assert_eq!(code, DONE, "{text}");
    assert!(text.starts_with("bench: ") && text.contains("hit rate 100.0 %"), "{text}");
    assert!(text.ends_with("errors 0\n"), "{text}");
    assert_eq!(cli(&larder, "keys bench").code, MISS, "nothing is left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bench_counts_the_errors_of_a_server_that_stops() {
    let mut larder = Larder::memory().start().await;
    let bench = start(&larder, &["--duration", "2s", "--timeout", "500ms"]).await;
    larder.kill();
    let (code, text) = end(bench);
    assert_eq!(code, REFUSED, "its entries cannot be deleted: {text}");
    let errors = text.lines().last().unwrap_or_default();
    assert!(errors.starts_with("errors ") && errors != "errors 0", "{text}");
}
