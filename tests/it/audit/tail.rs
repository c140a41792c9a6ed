//! TailAudit, and `larder audit`.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use larder::pb::v1::{DeleteRequest, TailAuditRequest, TailAuditResponse};
use nix::sys::signal::Signal;
use serde_json::Value;
use tonic::{Code, Streaming};

use super::{Audited, callers, token, with_token};
use crate::support::{
    server::{Larder, run},
    status::expect_error,
    wait::SOON,
};

fn delete(key: &str) -> DeleteRequest {
    DeleteRequest { namespace: "shop".into(), key: key.into(), ..Default::default() }
}

async fn tail(
    audited: &Audited,
    records: Option<u32>,
    follow: bool,
) -> Streaming<TailAuditResponse> {
    audited.admin().tail_audit(TailAuditRequest { records, follow }).await.unwrap().into_inner()
}

/// The next records, at least one.
async fn next(stream: &mut Streaming<TailAuditResponse>) -> Vec<Value> {
    let message = tokio::time::timeout(SOON, stream.message()).await.expect("a message");
    let message = message.unwrap().expect("no end");
    assert_eq!(message.missed, 0);
    message.records.iter().map(|record| serde_json::from_str(record).unwrap()).collect()
}

#[tokio::test]
async fn a_tail_replays_and_ends_or_follows() {
    let audited = Audited::memory("").await;
    for key in ["a", "b", "c"] {
        audited.cache().delete(delete(key)).await.unwrap();
    }
    audited.record("the third delete", |_| audited.records().len() == 4).await;
    let all = audited.records();
    let mut stream = tail(&audited, Some(2), false).await;
    assert_eq!(next(&mut stream).await, all[2..4]);
    assert!(stream.message().await.unwrap().is_none(), "it ends");

    let mut stream = tail(&audited, Some(0), true).await;
    // Its own record comes first.
    assert_eq!(next(&mut stream).await[0]["action"], "larder.v1.AdminService/TailAudit");
    audited.cache().delete(delete("d")).await.unwrap();
    assert_eq!(next(&mut stream).await[0]["event"], "delete");
    audited.larder.signal(Signal::SIGTERM);
    let ended = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            ended => break ended.map(|_| ()),
        }
    };
    expect_error(ended, Code::Unavailable, "SHUTTING_DOWN");
}

#[tokio::test]
async fn a_server_without_an_audit_log_has_no_tail() {
    let larder = Larder::memory().start().await;
    let answer = larder.client().await.admin().tail_audit(TailAuditRequest::default()).await;
    expect_error(answer.map(|_| ()), Code::FailedPrecondition, "NOT_CONFIGURED");
}

#[tokio::test]
async fn a_tail_needs_the_permission_for_the_server() {
    let audited = Audited::memory(&callers()).await;
    let request = TailAuditRequest::default();
    let refused = audited.admin().tail_audit(with_token(request, "reader")).await;
    expect_error(refused.map(|_| ()), Code::PermissionDenied, "PERMISSION_DENIED");
    audited.admin().tail_audit(with_token(request, "owner")).await.unwrap();
}

#[tokio::test]
async fn open_tails_are_limited_with_the_watches() {
    let builder = Larder::memory().env("LARDER_LIMITS__MAX_WATCH_STREAMS", 1);
    let audited = Audited::start(builder, "", None).await;
    let _open = tail(&audited, None, true).await;
    let another = audited.admin().tail_audit(TailAuditRequest::default()).await;
    expect_error(another.map(|_| ()), Code::ResourceExhausted, "OVERLOADED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_prints_records_as_lines_and_follows() {
    let audited = Audited::memory(&callers()).await;
    audited.cache().delete(with_token(delete("a"), "owner")).await.unwrap();
    audited.record("the delete", |record| record["event"] == "delete").await;
    let address = audited.larder.address().to_string();
    let variables = [("LARDER_TOKEN", token("owner"))];
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let printed = run(&["audit", "-n", "1", "--address", &address], &variables);
    assert!(printed.status.success(), "{printed:?}");
    let line: Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!((&line["event"], &line["principal"]), (&"delete".into(), &"owner".into()));

    let mut process = Command::new(crate::larder_binary())
        .args(["audit", "--follow", "-n", "0", "--address", &address])
        .envs(variables)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let own: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(own["action"], "larder.v1.AdminService/TailAudit");
    audited.cache().delete(with_token(delete("b"), "owner")).await.unwrap();
    let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(line["event"], "delete");
    process.kill().unwrap();
    process.wait().unwrap();
    let refused = run(&["audit", "--address", &address], &[]);
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
}
