//! `scripts/demo.sh`, with the programs of this build.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use serde_json::Value;
use tokio::time::{Instant, sleep};

/// With this, a busy machine starts five programs.
const LIMIT: Duration = Duration::from_secs(60);
/// Redis, the API, three replicas and the callers.
const PROCESSES: usize = 6;
const NAMESPACES: [&str; 9] =
    ["counters", "images", "pages", "prices", "products", "reports", "search", "sessions", "users"];

fn larder() -> PathBuf {
    let demo = Path::new(env!("CARGO_BIN_EXE_larder-demo"));
    let larder = demo.with_file_name("larder");
    assert!(larder.exists(), "{} is missing: build it with `make build-tests`", larder.display());
    larder
}

fn script(folder: &Path, arguments: &[&str]) -> Command {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/demo.sh");
    let mut command = Command::new(path);
    command
        .args(arguments)
        .env("LARDER_DEMO_DIR", folder)
        .env("LARDER_BIN", larder())
        .env("LARDER_DEMO_BIN", env!("CARGO_BIN_EXE_larder-demo"))
        .stdin(Stdio::null());
    command
}

/// A demo that is stopped at the end of the test, whatever happens.
struct Demo {
    folder: PathBuf,
    script: Child,
}

impl Drop for Demo {
    fn drop(&mut self) {
        if self.folder.exists() {
            _ = script(&self.folder, &["stop"]).status();
        }
    }
}

fn start(folder: &Path, arguments: &[&str]) -> Demo {
    let script = script(folder, arguments).stdout(Stdio::piped()).spawn().unwrap();
    Demo { folder: folder.to_owned(), script }
}

async fn until(what: &str, mut is_done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_done() {
        assert!(start.elapsed() < LIMIT, "{what}: not after {LIMIT:?}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Reads and writes of each namespace, by the statistics of the fleet.
fn calls(address: &str) -> Vec<u64> {
    let output =
        Command::new(larder()).args(["stats", "--json", "--address", address]).output().unwrap();
    let Ok(stats) = serde_json::from_slice::<Value>(&output.stdout) else { return vec![0] };
    let of_namespace = |name: &&str| {
        let all = stats["namespaces"].as_array().into_iter().flatten();
        let mut total = all.filter(|one| one["namespace"] == **name);
        let total = total.next().map(|one| one["counted"]["total"].clone()).unwrap_or_default();
        let count = |field: &str| total[field].as_u64().unwrap_or_default();
        ["hits", "misses", "sets"].map(count).iter().sum()
    };
    NAMESPACES.iter().map(of_namespace).collect()
}

fn command(address: &str, arguments: &[&str]) -> Output {
    Command::new(larder()).args(arguments).args(["--address", address]).output().unwrap()
}

#[track_caller]
fn larder_prints(address: &str, arguments: &[&str], expected: &str) {
    let output = command(address, arguments);
    assert!(String::from_utf8_lossy(&output.stdout).contains(expected), "{output:?}");
}

fn is_alive(process: &str) -> bool {
    Command::new("kill").args(["-0", process]).output().unwrap().status.success()
}

#[tokio::test]
async fn all_namespaces_have_traffic_and_stop_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("demo");
    let mut demo = start(&folder, &[]);
    let address = folder.join("replica-2");
    until("the last replica serves", || address.exists()).await;
    let addresses = fs::read_to_string(&address).unwrap();
    let address = addresses.lines().find_map(|line| line.strip_prefix("LARDER_LISTEN=")).unwrap();
    until("all namespaces have calls", || calls(address).iter().all(|calls| *calls > 0)).await;

    // The warm list is there, and what it is fetched by is in the audit log.
    larder_prints(address, &["warm", "users"], "50 of 50");
    until("an invalidation is in the audit log", || {
        let output = command(address, &["audit"]);
        String::from_utf8_lossy(&output.stdout).contains("CacheService/Invalidate")
    })
    .await;
    until("the analysis suggests a TTL", || {
        let output = command(address, &["analyze", "products"]);
        String::from_utf8_lossy(&output.stdout).contains("> [namespaces.products]\n    > ttl = ")
    })
    .await;

    let second = script(&folder, &[]).output().unwrap();
    assert!(!second.status.success() && String::from_utf8_lossy(&second.stderr).contains("runs"));

    let pids = fs::read_to_string(folder.join("pids")).unwrap();
    let pids: Vec<&str> = pids.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(pids.len(), PROCESSES);
    assert!(script(&folder, &["stop"]).status().unwrap().success());
    assert!(demo.script.wait().unwrap().success());
    assert!(pids.iter().all(|pid| !is_alive(pid)), "{pids:?}");
    assert!(!folder.exists());
}

#[test]
fn it_ends_after_the_given_time() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("demo");
    let mut demo = start(&folder, &["--seconds", "2"]);
    let mut printed = String::new();
    demo.script.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    assert!(demo.script.wait().unwrap().success(), "{printed}");
    assert!(printed.contains("replica 2   gRPC 127.0.0.1:"), "{printed}");
    let summary = printed.lines().last().unwrap();
    let calls: u64 = summary.split(['=', ' ']).nth(1).unwrap().parse().unwrap();
    assert!(calls > 0, "{printed}");
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_killed_script_leaves_nothing_after_stop() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("demo");
    let mut demo = start(&folder, &[]);
    let pids = || fs::read_to_string(folder.join("pids")).unwrap_or_default();
    until("the callers run", || pids().lines().count() == PROCESSES).await;
    demo.script.kill().unwrap();
    demo.script.wait().unwrap();
    let pids = pids();
    assert!(script(&folder, &["stop"]).status().unwrap().success());
    let left = pids.lines().filter(|line| is_alive(line.split(' ').next().unwrap()));
    assert_eq!(left.count(), 0, "{pids}");
    assert!(!folder.exists());
}

#[test]
fn wrong_arguments_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("demo");
    let wrong: [(&[&str], &str); 5] = [
        (&["--seconds", "x"], "--seconds needs a number, not 'x'"),
        (&["--port", "70000"], "--port needs a port below 65534"),
        (&["--port"], "usage:"),
        (&["start"], "usage:"),
        (&["stop"], "no demo runs"),
    ];
    for (arguments, message) in wrong {
        let output = script(&folder, arguments).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(message), "{arguments:?}: {error}");
    }
}
