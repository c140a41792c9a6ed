//! Logins of principals, without `admin.token`.

use serde_json::Value;

use super::{Http, address};
use crate::{
    admin_access::{Browser, principal, send_login, token_of},
    support::{
        client::{set, text},
        server::{Builder, Larder},
        wait::{SOON, eventually},
    },
};

/// Callers of the gRPC port without credentials may do everything.
const ROLES: &str = "[auth.roles.all]\nallow = [{ verbs = ['*'], namespaces = ['*'] }]\n\
    [auth.roles.operator]\nallow = [{ verbs = ['admin'], namespaces = ['*'] }]\n\
    [auth.roles.viewer]\nallow = [{ verbs = ['stats'], namespaces = ['*'] }]\n";

fn builder(settings: &str) -> Builder {
    let principals = ["operator", "viewer"].map(|name| principal(name, name)).concat();
    Larder::memory().config(&format!("[auth]\nanonymous = ['all']\n{principals}{ROLES}{settings}"))
}

fn fields(csrf: &str) -> [(&'static str, &str); 4] {
    [("action", "delete"), ("namespace", "ns"), ("key", "secret-key"), ("csrf", csrf)]
}

#[tokio::test]
async fn keys_are_shown_and_changed_after_the_login_of_an_operator() {
    let larder = builder("").start().await;
    let (http, cache) = (Http::to(&larder), larder.client().await);
    cache.set(set("secret-key", text("v"))).await.unwrap();
    let keys = address("/keys", &[("namespace", "ns")]);
    let form = http.get("/login").await;
    assert!(form.body.contains(">Token of a principal with the verb admin<"), "{form:?}");
    let before = http.get(&keys).await;
    assert!(before.status == 403 && before.body.contains("href=\"/login\""), "{before:?}");

    let viewer = send_login(&http, &token_of("viewer")).await;
    assert!(viewer.status == 403 && viewer.cookie("larder_session").is_none(), "{viewer:?}");
    let browser = Browser::log_in_with(&http, &token_of("operator")).await;
    let shown = browser.get(&keys).await;
    assert!(shown.status == 200 && shown.body.contains("secret-key"), "{shown:?}");
    assert!(!shown.body.contains("href=\"/login\""), "{shown:?}");
    let login = browser.get("/login").await;
    assert_eq!((login.status, login.header("location")), (303, "/"));

    let mut own = browser.headers();
    own.push(("origin", http.origin()));
    for (headers, csrf) in [(browser.headers(), &*browser.csrf), (own.clone(), ""), (own, "x")] {
        let forged = http.form("/actions", &headers, &fields(csrf)).await;
        assert_eq!(forged.status, 403, "{forged:?}");
    }
    assert!(cache.read("secret-key").await.is_some());
    let headers = browser.headers_of_change();
    let done = http.form("/actions", &headers, &fields("")).await;
    assert_eq!(done.status, 303, "{done:?}");
    assert!(cache.read("secret-key").await.is_none());

    assert_eq!(browser.log_out().await.status, 303);
    assert_eq!(browser.get(&keys).await.status, 403);
    assert_eq!(browser.get("/").await.status, 200, "as without a login");
    assert_eq!(browser.log_out().await.status, 401);
}

#[tokio::test]
async fn bearers_are_judged_by_pages_and_by_routes_for_programs() {
    let larder = builder("").start().await;
    let http = Http::to(&larder);
    let operator = token_of("operator");
    for (authorization, open, keys) in [
        (format!("Bearer {operator}"), 200, 200),
        (format!("Bearer {}", token_of("viewer")), 403, 403),
        (format!("Bearer {operator}x"), 401, 401),
        // Such as a proxy sends.
        ("Basic dXNlcjpwYXNz".to_owned(), 200, 403),
    ] {
        let header = [("authorization", authorization)];
        for (path, expected) in
            [("/replicas", open), ("/keys", keys), ("/metrics", open), ("/livez", 200)]
        {
            let answer = http.send("GET", path, &header, "").await;
            assert_eq!(answer.status, expected, "{header:?} {path}: {answer:?}");
        }
    }
    // Any name will do with credentials, and leads to the login without them.
    let other = http.with_host("larder.example");
    assert_eq!(other.get("/").await.status, 403);
    let browser = [("accept", "text/html".to_owned())];
    let led = other.send("GET", "/", &browser, "").await;
    assert_eq!((led.status, led.header("location")), (303, "/login"));
    assert_eq!(other.get("/login").await.status, 200);
    assert_eq!(other.bearer("/keys", &operator).await.status, 200);
}

#[tokio::test]
async fn the_audit_log_names_the_principal() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let events = "['refused', 'admin', 'delete', 'inspect']";
    let audit = format!("[audit]\nto = '{}'\nevents = {events}\n", path.display());
    let larder = builder(&audit).start().await;
    let http = Http::to(&larder);
    send_login(&http, &token_of("viewer")).await;
    let browser = Browser::log_in_with(&http, &token_of("operator")).await;
    browser.get("/invalidations").await;
    http.form("/actions", &browser.headers_of_change(), &fields("")).await;
    http.bearer("/invalidations", &token_of("operator")).await;
    browser.log_out().await;
    let expected = [
        ("refused", "POST /login", "viewer", "", "PERMISSION_DENIED"),
        ("admin", "POST /login", "operator", "token", "OK"),
        ("inspect", "GET /invalidations", "operator", "session", "OK"),
        ("delete", "POST /actions", "operator", "session", "OK"),
        ("inspect", "GET /invalidations", "operator", "token", "OK"),
        ("admin", "POST /logout", "operator", "session", "OK"),
    ];
    let text = eventually("all of them are written", SOON, async || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        (text.matches('\n').count() >= expected.len()).then_some(text)
    })
    .await;
    let records: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let found = records.iter().map(|record| {
        ["event", "action", "principal", "identity", "code"]
            .map(|name| record[name].as_str().unwrap_or_default())
    });
    assert_eq!(found.collect::<Vec<_>>(), expected.map(<[&str; 5]>::from), "{text}");
    let [reason, verb] = ["reason", "verb"].map(|name| records[0][name].as_str());
    assert_eq!((reason, verb), (Some("no_permission"), Some("admin")), "{text}");
}
