//! The file: rotation, faults, a full queue, the end.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    thread,
};

use larder::pb::v1::{DeleteRequest, SetRequest};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{Audited, records};
use crate::support::{
    client::text,
    fleet::metric,
    server::Larder,
    wait::{SOON, eventually},
};

fn delete(key: &str) -> DeleteRequest {
    DeleteRequest { namespace: "shop".into(), key: key.into(), ..Default::default() }
}

/// Number of records by what became of them.
async fn outcomes(larder: &Larder, outcome: &str) -> f64 {
    let metrics = larder.admin("/metrics").await.body;
    let label = format!("outcome=\"{outcome}\"");
    let is_it = |line: &&str| line.starts_with("larder_audit_records") && line.contains(&label);
    let line = metrics.lines().find(is_it);
    line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

fn deletes(path: &Path) -> usize {
    records(path).iter().filter(|record| record["event"] == "delete").count()
}

#[tokio::test]
async fn a_renamed_file_is_opened_again_by_sighup() {
    let audited = Audited::memory("").await;
    audited.cache().delete(delete("a")).await.unwrap();
    audited.record("the first delete", |record| record["event"] == "delete").await;
    assert_eq!(fs::metadata(&audited.path).unwrap().permissions().mode() & 0o777, 0o600);
    let old = audited.path.with_extension("1");
    fs::rename(&audited.path, &old).unwrap();
    audited.cache().delete(delete("b")).await.unwrap();
    eventually("the renamed file goes on", SOON, async || (deletes(&old) == 2).then_some(())).await;
    // A configuration that is refused does not hinder it.
    audited.larder.rewrite_config("no_such_key = 1\n");
    audited.larder.signal(Signal::SIGHUP);
    audited.record("the reload is in the new file", |record| record["event"] == "reload").await;
    audited.cache().delete(delete("c")).await.unwrap();
    audited.record("the third delete", |record| record["event"] == "delete").await;
    assert_eq!((deletes(&old), deletes(&audited.path)), (2, 1));
}

#[tokio::test]
async fn records_wait_while_the_file_cannot_be_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("missing").join("audit.jsonl");
    let config = format!("[audit]\nto = \"{}\"\n", path.display());
    let larder = Larder::memory().config(&config).start().await;
    let cache = larder.client().await;
    for number in 0..20 {
        cache.delete(delete(&number.to_string())).await.unwrap();
    }
    eventually("the failure is reported", SOON, async || {
        (metric(&larder, "larder_audit_failing").await == 1.0).then_some(())
    })
    .await;
    let failures = |larder: &Larder| larder.logs().matches("audit log cannot be written").count();
    assert_eq!(failures(&larder), 1, "{}", larder.logs());
    fs::create_dir(path.parent().unwrap()).unwrap();
    eventually("the records are written", SOON, async || (deletes(&path) == 20).then_some(()))
        .await;
    eventually("the end of the failure is reported", SOON, async || {
        let is_over = metric(&larder, "larder_audit_failing").await == 0.0;
        (is_over && larder.logs().contains("the audit log is written again")).then_some(())
    })
    .await;
    assert_eq!(failures(&larder), 1);
    assert_eq!(outcomes(&larder, "not_written").await, 0.0);
}

#[tokio::test]
async fn a_full_disk_is_reported_and_calls_succeed() {
    // Every write to it fails with ENOSPC.
    let config = "[audit]\nto = \"/dev/full\"\n";
    let larder = Larder::memory().config(config).start().await;
    larder.client().await.delete(delete("a")).await.unwrap();
    eventually("the failure is reported", SOON, async || {
        let is_failing = metric(&larder, "larder_audit_failing").await == 1.0;
        (is_failing && larder.logs().contains("No space left")).then_some(())
    })
    .await;
    larder.client().await.delete(delete("b")).await.unwrap();
}

#[tokio::test]
async fn records_beyond_the_queue_are_counted_and_calls_succeed() {
    const CALLS: usize = 200;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let config = format!("[audit]\nto = \"{}\"\nqueue = 16\n", path.display());
    // Nothing reads the pipe, so that the writer waits.
    let mut larder = Larder::memory().config(&config).start().await;
    let cache = larder.client().await;
    for number in 0..CALLS {
        cache.delete(delete(&number.to_string())).await.unwrap();
    }
    let set = SetRequest {
        namespace: "shop".into(),
        key: "k".into(),
        value: Some(text("v")),
        ..Default::default()
    };
    cache.set(set).await.unwrap();
    // The start is a record as well.
    assert_eq!(outcomes(&larder, "queue_full").await, (CALLS + 1 - 16) as f64);
    assert_eq!(metric(&larder, "larder_audit_queued").await, 16.0);
    assert_eq!(larder.logs().matches("its queue is full").count(), 1, "once a minute");

    let reader = thread::spawn(move || {
        let mut lines = BufReader::new(fs::File::open(path).unwrap()).lines();
        let mut read = Vec::new();
        while let Some(Ok(line)) = lines.next() {
            read.push(serde_json::from_str::<Value>(&line).unwrap());
        }
        read
    });
    eventually("the queue is written", SOON, async || {
        (metric(&larder, "larder_audit_queued").await == 0.0).then_some(())
    })
    .await;
    cache.delete(delete("late")).await.unwrap();
    larder.signal(Signal::SIGTERM);
    assert!(larder.wait_exit(3 * SOON).await.success());
    let read = reader.join().unwrap();
    let lost: Vec<_> = read.iter().filter(|record| record["event"] == "lost").collect();
    assert_eq!(lost.len(), 1, "{read:?}");
    assert_eq!(lost[0]["count"], CALLS + 1 - 16);
    assert_eq!(read.last().unwrap()["action"], "stop");
}

#[tokio::test]
async fn the_last_records_are_written_before_the_end() {
    let mut audited = Audited::memory("").await;
    for number in 0..300 {
        audited.cache().delete(delete(&number.to_string())).await.unwrap();
    }
    audited.larder.signal(Signal::SIGTERM);
    assert!(audited.larder.wait_exit(3 * SOON).await.success());
    let records = audited.records();
    assert_eq!(records.len(), 302);
    assert_eq!((&records[0]["action"], &records[301]["action"]), (&"start".into(), &"stop".into()));
    assert_eq!(records[301]["drained"], true);
}

#[tokio::test]
async fn records_go_to_standard_streams() {
    let larder = Larder::memory().config("[audit]\nto = \"stderr\"\n").start().await;
    larder.client().await.delete(delete("a")).await.unwrap();
    eventually("the record is on standard error", SOON, async || {
        let logs = larder.logs();
        let is_it = |line: &str| line.contains("\"event\":\"delete\"");
        logs.lines().find(|line| is_it(line)).map(|line| {
            serde_json::from_str::<Value>(line).unwrap();
        })
    })
    .await;
    let mut process = Command::new(crate::larder_binary())
        .envs([("LARDER_LISTEN", "127.0.0.1:0"), ("LARDER_ADMIN_LISTEN", "127.0.0.1:0")])
        .env("LARDER_AUDIT__TO", "stdout")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(process.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let record: Value = serde_json::from_str(&line).unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    assert_eq!((&record["event"], &record["action"]), (&"server".into(), &"start".into()));
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "", "nothing else is on standard output");
}
