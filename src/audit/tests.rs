#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

use super::{
    key_names::KeyNames,
    record::{MAX_LINE_BYTES, lost_line},
    ring::Ring,
    sink::Sink,
    *,
};
use crate::{
    config::{AuditConfig, AuditTarget, KeyForm},
    model::{AuditEvent, Namespace, TargetKind},
};

const LIMIT: Duration = Duration::from_secs(10);

fn config(path: &Path) -> AuditConfig {
    AuditConfig { to: Some(AuditTarget::File(path.to_owned())), ..AuditConfig::default() }
}

fn plain() -> KeyNames {
    KeyNames::new(&AuditConfig { keys: KeyForm::Plain, ..AuditConfig::default() })
}

fn hashed() -> KeyNames {
    KeyNames::new(&AuditConfig::default())
}

fn namespace(name: &str) -> Namespace {
    Namespace::new(name).unwrap()
}

fn delete_of(keys: impl IntoIterator<Item = String>) -> Record {
    let mut record = Record::new(AuditEvent::Delete, "delete");
    for key in keys {
        record.touched().target(TargetKind::Key, &namespace("ns"), Some(&key));
    }
    record
}

fn parsed(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}

fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap_or_default().lines().map(parsed).collect()
}

/// A path in a directory that is removed with it.
fn path() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    (directory, path)
}

fn open(config: &AuditConfig) -> AuditLog {
    AuditLog::open(config, &SdkMeterProvider::default().meter("test")).unwrap()
}

/// Polls, as the thread is not paused with a test.
async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LIMIT, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn a_key_is_a_hash_that_is_equal_for_equal_keys() {
    let names = hashed();
    let line = delete_of(["secret".to_owned(), "secret".to_owned(), "b".to_owned()]).line(&names);
    assert!(!line.contains("secret"), "{line}");
    let targets = parsed(&line)["targets"].clone();
    let hash = |index: usize| targets[index]["hash"].as_str().unwrap().to_owned();
    assert_eq!((hash(0).len(), hash(0) == hash(1), hash(0) == hash(2)), (32, true, false));
    assert_ne!(names.hash("secret"), hashed().hash("secret"), "the key of the hash is random");
    let line = delete_of(["secret".to_owned()]).line(&plain());
    assert_eq!(parsed(&line)["targets"][0]["name"], "secret");
}

#[test]
fn targets_and_texts_are_bounded_and_counted() {
    let mut record = delete_of((0..1000).map(|number| format!("{number}-{}", "k".repeat(1000))));
    record.text("error", &"e".repeat(1000));
    record.list("changed", &vec!["c".repeat(1000); 40]);
    let line = parsed(&record.line(&hashed()));
    assert_eq!(line["targets"].as_array().map(Vec::len), None, "too long for one line");
    assert_eq!((&line["target_count"], &line["cut"]), (&1000.into(), &true.into()));
    assert_eq!(line["error"].as_str().unwrap().len(), 256);
    let few = parsed(&delete_of(["a".repeat(1000)]).line(&plain()));
    assert_eq!(few["targets"][0]["name"].as_str().unwrap().len(), 256);
    assert_eq!(few["cut"], true);
    let whole = parsed(&delete_of(["a".to_owned()]).line(&plain()));
    assert_eq!(whole.get("cut"), None);
}

#[test]
fn no_line_is_longer_than_the_limit_or_more_than_a_line() {
    // Each character takes six in JSON.
    let mut record = delete_of((0..16).map(|_| "\n\u{1}".repeat(500)));
    for number in 0..40 {
        record.touched().namespace(&namespace(&format!("{number:0>60}")));
    }
    let line = record.line(&plain());
    assert!(line.len() <= MAX_LINE_BYTES && !line.contains('\n'), "{}", line.len());
    assert_eq!(parsed(&line)["namespaces"].as_array().unwrap().len(), 16);
}

#[test]
fn a_write_goes_on_in_the_middle_of_a_line_and_a_new_file_has_whole_lines() {
    let (_directory, path) = path();
    fs::write(&path, "torn").unwrap();
    let mut sink = Sink::new(AuditTarget::File(path.clone()));
    let (mut pending, mut written) = (b"one\ntw".to_vec(), 0);
    sink.write(&mut pending, &mut written).unwrap_or_default();
    pending.extend_from_slice(b"o\n");
    assert_eq!((written, &*pending), (1, &b"two\n"[..]));
    sink.write(&mut pending, &mut written).unwrap();
    assert_eq!((written, pending.len()), (2, 0));
    assert_eq!(fs::read_to_string(&path).unwrap(), "torn\none\ntwo\n");
}

#[tokio::test]
async fn records_are_written_in_order_and_the_last_before_the_end() {
    let (_directory, path) = path();
    let log = open(&config(&path));
    for number in 0..500_u64 {
        let mut record = Record::new(AuditEvent::Admin, "call");
        record.number("number", number);
        log.record(record);
    }
    log.close(LIMIT).await;
    let numbers: Vec<_> = lines(&path).iter().map(|line| line["number"].as_u64()).collect();
    assert_eq!(numbers, (0..500).map(Some).collect::<Vec<_>>());
}

#[tokio::test]
async fn kinds_that_are_not_configured_are_not_recorded() {
    let (_directory, path) = path();
    let events = vec!["admin".to_owned()];
    let log = open(&AuditConfig { events, ..config(&path) });
    assert!(log.records(AuditEvent::Admin) && !log.records(AuditEvent::Delete));
    log.record(delete_of([]));
    log.record(Record::new(AuditEvent::Admin, "call"));
    log.close(LIMIT).await;
    assert_eq!(lines(&path).len(), 1);
    assert!(!open(&AuditConfig { to: None, ..config(&path) }).records(AuditEvent::Admin));
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_is_written_once_it_can() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("missing").join("audit.jsonl");
    let log = open(&config(&path));
    log.record(Record::new(AuditEvent::Admin, "early"));
    fs::create_dir(path.parent().unwrap()).unwrap();
    eventually("it is tried again", || lines(&path).len() == 1).await;
    log.record(Record::new(AuditEvent::Admin, "late"));
    log.close(LIMIT).await;
    assert_eq!(lines(&path)[1]["action"], "late");
}

#[tokio::test]
async fn a_tail_has_the_last_records_and_follows() {
    let (_directory, path) = path();
    let log = open(&config(&path));
    for action in ["a", "b", "c"] {
        log.record(Record::new(AuditEvent::Admin, action));
    }
    eventually("they are written", || lines(&path).len() == 3).await;
    let actions = |part: TailPart| -> Vec<String> {
        let action = |line| parsed(line)["action"].as_str().unwrap().to_owned();
        part.records.iter().map(|line| action(line)).collect()
    };
    let mut tail = log.tail(2, false).unwrap();
    assert_eq!(actions(tail.next().await.unwrap()), ["b", "c"]);
    assert_eq!(tail.next().await, None);
    let mut tail = log.tail(0, true).unwrap();
    log.record(Record::new(AuditEvent::Admin, "d"));
    assert_eq!(actions(tail.next().await.unwrap()), ["d"]);
    log.end_tails();
    assert_eq!(tail.next().await, None);
}

#[tokio::test]
async fn records_before_a_position_are_read() {
    let ring = std::sync::Arc::new(Ring::new(1000));
    let read = async |before, count| {
        let mut tail = Tail::before(ring.clone(), before, count);
        let first = tail.position();
        let part = tail.next().await;
        assert!(tail.next().await.is_none() && !tail.follows());
        (first, part.map_or(0, |part| part.records.len()), tail.position())
    };
    assert_eq!(read(u64::MAX, 5).await, (0, 0, 0));
    // The last five are kept: those from position 15 on.
    (0..20).for_each(|_| ring.push(&"x".repeat(136)));
    assert_eq!(read(u64::MAX, 2).await, (18, 2, 20));
    assert_eq!(read(18, 2).await, (16, 2, 18));
    assert_eq!(read(16, 2).await, (15, 1, 16));
    assert_eq!(read(15, 2).await, (15, 0, 15));
    assert_eq!(read(3, 2).await, (15, 0, 15));
}

#[tokio::test]
async fn a_tail_that_is_read_slowly_has_the_number_of_missing_records() {
    let ring = std::sync::Arc::new(Ring::new(1000));
    let mut tail = Tail::new(ring.clone(), 0, true);
    let line = "x".repeat(136);
    for _ in 0..20 {
        ring.push(&line);
    }
    // Five records of 200 bytes each, with their overhead.
    let part = tail.next().await.unwrap();
    assert_eq!((part.records.len(), part.missed), (5, 15));
    ring.push(&line);
    let part = tail.next().await.unwrap();
    assert_eq!((part.records.len(), part.missed), (1, 0));
}

#[test]
fn lost_records_have_a_line() {
    let line = parsed(&lost_line(7));
    assert_eq!((&line["event"], &line["count"]), (&"lost".into(), &7.into()));
}

#[tokio::test]
async fn refused_calls_without_credentials_are_recorded_up_to_a_rate() {
    let (_directory, path) = path();
    let log = open(&config(&path));
    let refused = |is_identified| {
        let mut record = Record::new(AuditEvent::Refused, "call");
        record.caller(AuditedCaller { is_identified, ..AuditedCaller::default() });
        log.record(record);
    };
    (0..3000).for_each(|_| refused(false));
    (0..1500).for_each(|_| refused(true));
    log.close(LIMIT).await;
    let lines = lines(&path);
    let recorded = lines.iter().filter(|line| line["event"] == "refused").count();
    let lost: u64 = lines.iter().filter_map(|line| line["count"].as_u64()).sum();
    assert!((2500..4000).contains(&recorded) && lost > 0, "{recorded} recorded, {lost} lost");
}

#[tokio::test]
async fn a_tail_does_not_repeat_what_an_unwritable_file_loses() {
    let log = open(&config(Path::new("/dev/full")));
    // More than the bytes that wait for the file.
    for number in 0..2000 {
        log.record(delete_of((0..20).map(|key| format!("{number}:{key}"))));
    }
    log.close(LIMIT).await;
    let mut tail = log.tail(100_000, false).unwrap();
    let (mut records, mut losses) = (0, 0);
    while let Some(part) = tail.next().await {
        let is_lost = |line: &Arc<str>| parsed(line)["event"] == "lost";
        losses += part.records.iter().filter(|line| is_lost(line)).count();
        records += part.records.len();
    }
    assert!(records > 100 && losses == 0, "{losses} of {records}");
}
