//! Bearers of tokens.

use std::fs;

use nix::sys::signal::Signal;

use super::{Http, OTHER, TOKEN, WRONG, builder, digest, server};
use crate::support::{
    server::Larder,
    wait::{SOON, eventually},
};

const EVENT: &str = r#"{"specversion":"1.0","type":"sale","id":"1","source":"/s"}"#;

fn event_headers() -> Vec<(&'static str, String)> {
    vec![("content-type", "application/cloudevents+json".to_owned())]
}

#[tokio::test]
async fn all_but_the_probes_needs_the_token() {
    let larder = server("").await;
    let http = Http::to(&larder);
    for path in ["/livez", "/readyz"] {
        let answer = http.get(path).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"), "{path}");
    }
    for (method, path) in [
        ("GET", "/metrics"),
        ("HEAD", "/metrics"),
        ("OPTIONS", "/metrics"),
        ("GET", "/"),
        ("GET", "/nothing"),
        ("GET", "/livez/"),
        ("GET", "//livez"),
        ("GET", "/metrics?token=test-token-of-the-admin-port-0123456789"),
        ("POST", "/events"),
        ("POST", "/logout"),
    ] {
        let answer = http.send(method, path, &[], "").await;
        assert_eq!(answer.status, 401, "{method} {path}");
        assert_eq!(answer.header("www-authenticate"), "Bearer", "{method} {path}");
        let advises = answer.body.contains("Authorization: Bearer <token>");
        assert!(advises || method == "HEAD", "{answer:?}");
    }
    for (authorization, expected) in [
        (format!("Bearer {TOKEN}"), 200),
        (format!("bearer  {TOKEN}"), 200),
        (format!("Bearer {TOKEN}x"), 401),
        (format!("Bearer {}", &TOKEN[1..]), 401),
        (format!("Bearer {}", digest(TOKEN)), 401),
        (format!("Basic {TOKEN}"), 401),
        (TOKEN.to_owned(), 401),
        ("Bearer ".to_owned(), 401),
    ] {
        let header = [("authorization", authorization)];
        let answer = http.send("GET", "/metrics", &header, "").await;
        assert_eq!(answer.status, expected, "{header:?}");
        assert_eq!(answer.header("www-authenticate") == "Bearer", expected == 401);
    }
    assert_eq!(http.bearer("/nothing", TOKEN).await.status, 404);
    let mut headers = event_headers();
    assert_eq!(http.send("POST", "/events", &headers, EVENT).await.status, 401);
    headers.push(("authorization", format!("Bearer {TOKEN}")));
    let answer = http.send("POST", "/events", &headers, EVENT).await;
    assert_eq!(answer.status, 200, "a bearer needs no token against forged requests: {answer:?}");
    let metrics = http.bearer("/metrics", TOKEN).await.body;
    for (reason, count) in [("no_credentials", 11), ("unknown_token", 3), ("malformed", 3)] {
        let line = format!("larder_admin_refusals_total{{reason=\"{reason}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
    let logs = larder.logs();
    assert!(!logs.contains(TOKEN) && !logs.contains(&TOKEN[1..]), "{logs}");
    let lines = logs.matches("requests to the admin port are refused").count();
    assert_eq!(lines, 3, "one line for each reason: {logs}");
}

#[tokio::test]
async fn without_a_token_the_port_is_open_and_has_no_login() {
    let larder = Larder::memory().start().await;
    let http = Http::to(&larder);
    let metrics = http.get("/metrics").await;
    assert_eq!((metrics.status, metrics.header("content-security-policy")), (200, ""));
    assert_eq!(http.bearer("/metrics", WRONG).await.status, 200);
    assert_eq!(http.send("POST", "/events", &event_headers(), EVENT).await.status, 200);
    for (method, path) in [("GET", "/login"), ("POST", "/login"), ("POST", "/logout")] {
        assert_eq!(http.send(method, path, &[], "").await.status, 404, "{method} {path}");
    }
}

/// Replaces the tokens, and waits until the log has the outcome.
async fn reload(larder: &Larder, token: &str, line: &str) {
    let lines = |larder: &Larder| larder.logs().matches(line).count();
    let before = lines(larder);
    larder.rewrite_config(&format!("[admin]\ntoken = {token}\n"));
    larder.signal(Signal::SIGHUP);
    eventually("the outcome is logged", SOON, async || (lines(larder) > before).then_some(()))
        .await;
}

#[tokio::test]
async fn tokens_are_rotated_by_a_reload() {
    const APPLIED: &str = "was read again";
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let of_file = format!("'${{file:{}}}'", file.display());
    let larder = builder().config("[admin]\n").start().await;
    let http = Http::to(&larder);
    let answers = async |expected: [(&str, u16); 3]| {
        for (token, status) in expected {
            assert_eq!(http.bearer("/metrics", token).await.status, status, "{token}");
        }
    };
    answers([(TOKEN, 200), (OTHER, 200), ("", 200)]).await;

    reload(&larder, &of_file, APPLIED).await;
    answers([(TOKEN, 200), (OTHER, 401), ("", 401)]).await;
    reload(&larder, &format!("[{of_file}, '{}']", digest(OTHER)), APPLIED).await;
    answers([(TOKEN, 200), (OTHER, 200), (WRONG, 401)]).await;
    // A mistake changes nothing.
    reload(&larder, "'in plain text'", "admin.token: expected sha256").await;
    answers([(TOKEN, 200), (OTHER, 200), (WRONG, 401)]).await;
    // The same reference with another content.
    fs::write(&file, WRONG).unwrap();
    reload(&larder, &format!("[{of_file}, '{}']", digest(OTHER)), APPLIED).await;
    answers([(WRONG, 200), (OTHER, 200), (TOKEN, 401)]).await;
    reload(&larder, "[]", APPLIED).await;
    answers([(TOKEN, 200), (OTHER, 200), ("", 200)]).await;
}
