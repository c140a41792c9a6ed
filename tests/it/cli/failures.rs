//! Exit codes and messages of failures.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::Command,
    thread,
};

use super::{DONE, Printed, REFUSED, USAGE, cli};
use crate::support::{
    redis::RedisServer,
    server::{Larder, run},
    wait::{SOON, eventually},
};

on_both_stores!(error_of_the_server_is_one_sentence, |env| {
    let larder = &env.larder;
    let address = larder.address().to_string();
    let invalid = cli(larder, "get NS k");
    invalid
        .expect_failure(USAGE, &[&address, "refused the call: namespace ", "(INVALID_ARGUMENT)"]);
    let long = cli(larder, &format!("delete ns k {}", "k".repeat(1025)));
    long.expect_failure(USAGE, &["keys[1].key is 1025 bytes long, the limit is 1024"]);
    cli(larder, "set ns text x");
    let not_a_number = cli(larder, "incr ns text");
    not_a_number.expect_failure(REFUSED, &["refused the call: ", "(NOT_AN_INTEGER)"]);
    let no_origin = cli(larder, "warm ns k");
    no_origin.expect_failure(REFUSED, &["(NO_ORIGIN)"]);
    let large = cli(larder, &format!("set ns k --file {}", env!("CARGO_BIN_EXE_larder")));
    assert_eq!(large.code, USAGE, "{large:?}");
});

const SMALL_VALUES: [(&str, &str); 1] = [("LARDER_DEFAULTS__MAX_VALUE_BYTES", "4")];

on_both_stores!(value_over_the_limit_is_refused, env: SMALL_VALUES, |env| {
    let large = cli(&env.larder, "set ns k 12345");
    large.expect_failure(REFUSED, &["value", "(VALUE_TOO_LARGE)"]);
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unavailable_store_is_not_a_miss() {
    let mut redis = RedisServer::start().await;
    let larder = Larder::redis(&redis.url()).default_timeouts().start().await;
    redis.kill();
    let degraded = eventually("the store is unavailable", SOON, async || {
        let read = cli(&larder, "get ns k");
        (read.code == REFUSED).then_some(read)
    })
    .await;
    degraded.expect_failure(REFUSED, &["the store is unavailable: nothing was read"]);
    for (line, part) in [
        ("get ns a b", "nothing was read"),
        ("fetch ns k --only-if-cached", "nothing was read"),
        ("set ns k v", "the value is not stored"),
        ("touch ns k", "the TTL is unchanged"),
        ("delete ns k", "(STORE_UNAVAILABLE); it can be repeated after 500ms"),
        ("incr ns k", "(STORE_UNAVAILABLE)"),
        ("invalidate ns", "(STORE_UNAVAILABLE)"),
    ] {
        let failed = cli(&larder, line);
        assert_eq!(failed.code, REFUSED, "{line}: {failed:?}");
        assert!(failed.stderr.contains(part), "{line}: {failed:?}");
    }
}

#[test]
fn unreachable_server_has_an_exit_code_of_its_own() {
    // Nothing listens here any more.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let failed = Printed::new(run(&["get", "ns", "k", "--address", &closed], &[]));
    failed.expect_failure(REFUSED, &["cannot connect to", &closed]);
    let variable = [("LARDER_ADDRESS", &*closed)];
    Printed::new(run(&["get", "ns", "k"], &variable)).expect_failure(REFUSED, &[&closed]);
    // A listener that accepts connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let line = ["warm", "ns", "k", "--timeout", "100ms", "--address", &address];
    Printed::new(run(&line, &[])).expect_failure(REFUSED, &["did not answer within"]);
    let line = ["get", "ns", "k", "--address", "no address"];
    Printed::new(run(&line, &[])).expect_failure(USAGE, &["no address is not an address"]);
}

#[test]
fn a_call_without_an_answer_is_not_refused() {
    let silent = http2_server(|_connection| thread::park());
    let line = ["get", "ns", "k", "--timeout", "300ms", "--address", &silent];
    let failed = Printed::new(run(&line, &[]));
    failed.expect_failure(REFUSED, &[&silent, "did not answer within 300ms"]);
    let closing = http2_server(|mut connection| {
        let (mut received, mut part) = (Vec::new(), [0; 4096]);
        while !has_call(&received) {
            let length = connection.read(&mut part).unwrap();
            assert_ne!(length, 0, "the client has sent no call");
            received.extend_from_slice(&part[..length]);
        }
    });
    let failed = Printed::new(run(&["get", "ns", "k", "--address", &closing], &[]));
    failed.expect_failure(REFUSED, &["the connection to ", &closing, "ended before the answer"]);
}

/// Whether a HEADERS frame has begun after the preface of the client.
fn has_call(received: &[u8]) -> bool {
    const PREFACE: usize = 24;
    const FRAME_HEADER: usize = 9;
    const HEADERS: u8 = 1;
    let mut rest = received.get(PREFACE..).unwrap_or_default();
    while let [high, middle, low, kind, ..] = *rest {
        if kind == HEADERS {
            return true;
        }
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        rest = rest.get(FRAME_HEADER + length..).unwrap_or_default();
    }
    false
}

/// A server that sends the settings of HTTP/2 on each connection, and then does `then`.
fn http2_server(then: fn(TcpStream)) -> String {
    const EMPTY_SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            connection.write_all(&EMPTY_SETTINGS).unwrap();
            thread::spawn(move || then(connection));
        }
    });
    address
}

#[test]
fn wrong_usage_has_an_exit_code_of_its_own() {
    for line in [
        "get",
        "get ns",
        "get ns k --keys-from f",
        "get ns k --info --json",
        "get ns --keys-from /nonexistent/keys",
        "set ns k v --if-absent --lease AAAA",
        "set ns k v --lease =",
        "set ns k v --kind xml",
        "fetch ns k --no-cache --only-if-cached",
        "touch ns k --ttl soon",
        "touch ns k --param view",
        "touch ns k --param view=1 --param view=2",
        "incr ns k many",
        "completions tcsh",
    ] {
        let failed = run(&line.split(' ').collect::<Vec<_>>(), &[]);
        assert_eq!(failed.status.code(), Some(USAGE), "{line}: {failed:?}");
    }
}

#[test]
fn completions_name_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = Printed::new(run(&["completions", shell], &[]));
        let (code, text) = script.result();
        assert_eq!(code, DONE, "{script:?}");
        for word in ["get", "invalidate", "healthcheck", "if-version", "check-config"] {
            assert!(text.contains(word), "{shell}: {word}");
        }
    }
    let script = run(&["completions", "bash"], &[]).stdout;
    let call = "COMP_WORDS=(larder inv) COMP_CWORD=1; _larder larder inv larder";
    let script = String::from_utf8(script).unwrap();
    let line = format!("{script}\n{call}; echo ${{COMPREPLY[*]}}");
    let completed = Command::new("bash").args(["-c", &line]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&completed.stdout).trim(), "invalidate", "{completed:?}");
}
