//! Permissions of visitors to see keys and to change things.

use serde_json::Value;

use super::{Http, PAGES, act, address, own_headers};
use crate::support::{
    client::{set, text},
    server::Larder,
    targets::{hold_off, tags},
    wait::{SOON, eventually},
};

const TOKEN: &str = "test-token-of-the-admin-port-0123456789";
/// Callers have roles, and those of the gRPC port without credentials may do everything.
const AUTH: &str = "[auth]\nmode = 'enforce'\nanonymous = ['all']\n\
                    [auth.roles.all]\nallow = [{ verbs = ['*'], namespaces = ['*'] }]\n";

fn delete() -> [(&'static str, &'static str); 3] {
    [("action", "delete"), ("namespace", "ns"), ("key", "secret-key")]
}

#[tokio::test]
async fn with_auth_and_without_a_token_the_pages_show_no_keys_and_change_nothing() {
    let larder = Larder::memory().config(AUTH).start().await;
    let (http, cache) = (Http::to(&larder), larder.client().await);
    cache.set(set("secret-key", text("v"))).await.unwrap();
    for _ in 0..2000 {
        cache.read("secret-key").await;
    }
    hold_off(&cache, &[tags(&["secret-key"])], 60_000).await;
    let open =
        ["/", "/?span=24h", "/?span=7d", "/namespaces", "/origins", "/replicas", "/analysis"];
    let entry = address("/entry", &[("namespace", "ns"), ("key", "secret-key")]);
    let confirm = address("/confirm", &delete());
    for path in PAGES.into_iter().chain(["/namespaces/ns", &entry, &confirm]) {
        let answer = http.get(path).await;
        let is_open = open.contains(&path) || path == "/namespaces/ns";
        assert_eq!(answer.status, if is_open { 200 } else { 403 }, "{path}: {answer:?}");
        assert!(!answer.body.contains("secret-key"), "{path}: {answer:?}");
        assert!(answer.body.contains("href=\"/login\""), "{path}: {answer:?}");
    }
    let live = "/live?page=hot-keys&namespace=ns";
    assert_eq!(http.get(live).await.status, 403);
    let namespace = http.get("/namespaces/ns").await.body;
    assert!(namespace.contains("<b>1</b> tags and keys"), "{namespace}");
    // Not even with the token of a page.
    let csrf = "x";
    let mut fields = delete().to_vec();
    fields.push(("csrf", csrf));
    assert_eq!(http.form("/actions", &own_headers(&http), &fields).await.status, 403);
    assert!(cache.read("secret-key").await.is_some());
}

#[tokio::test]
async fn keys_of_the_warm_list_are_not_shown_without_a_login() {
    let warm = "[namespaces.ns.origin]\nurl = 'http://127.0.0.1:1/{key}'\n\
                [namespaces.ns.origin.warm]\nkeys = ['secret-key']\n";
    for (config, is_shown) in [(warm.to_owned(), true), (format!("{AUTH}{warm}"), false)] {
        let larder = Larder::memory().config(&config).start().await;
        let body = Http::to(&larder).get("/namespaces/ns").await.body;
        assert!(body.contains("origin.warm.keys"), "{body}");
        assert_eq!(body.contains("secret-key"), is_shown, "{body}");
    }
}

#[tokio::test]
async fn views_of_keys_and_unknown_actions_are_in_the_audit_log() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let event = "[[events.user_changed]]\nnamespace = 'ns'\nkey = 'user:{id}'\n";
    let audit = format!(
        "[audit]\nto = '{}'\nkeys = 'plain'\nevents = ['inspect', 'admin']\n",
        path.display()
    );
    let written = async |action: &str, event: &str| {
        eventually(action, SOON, async || {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            let mut found = records.filter(|it| it["action"] == action && it["event"] == event);
            found.next()
        })
        .await
    };
    let larder = Larder::memory().config(&format!("{event}{audit}")).start().await;
    let http = Http::to(&larder);
    let event = [("action", "event"), ("name", "user_changed"), ("attributes", "id=7")];
    act(&http, &event).await;
    http.get("/invalidations").await;
    http.get("/origins").await;
    http.get("/namespaces/ns").await;
    let viewed = ["GET /invalidations", "GET /origins", "GET /namespaces", "GET /jobs"];
    for action in viewed {
        written(action, "inspect").await;
    }
    let confirmed = written("GET /confirm", "inspect").await;
    assert_eq!(confirmed["targets"][0]["name"], "user:7", "{confirmed}");
    let csrf = http.get(&address("/confirm", &event)).await.field("csrf");
    let unknown = [("action", "nothing"), ("csrf", csrf.as_str())];
    assert_eq!(http.form("/actions", &own_headers(&http), &unknown).await.status, 404);
    assert_eq!(written("POST /actions", "admin").await["code"], "NOT_FOUND");
}

#[tokio::test]
async fn with_auth_and_a_token_a_bearer_may_do_everything() {
    let config = format!("{AUTH}[admin]\ntoken = '${{env:TOKEN}}'\n");
    let larder = Larder::memory().env("TOKEN", TOKEN).config(&config).start().await;
    let (http, cache) = (Http::to(&larder), larder.client().await);
    cache.set(set("secret-key", text("v"))).await.unwrap();
    for path in PAGES {
        assert_eq!(http.get(path).await.status, 401, "{path}");
        assert_eq!(http.bearer(path, TOKEN).await.status, 200, "{path}");
    }
    let keys = address("/keys", &[("namespace", "ns")]);
    assert!(http.bearer(&keys, TOKEN).await.body.contains("secret-key"));
    let bearer = [("authorization", format!("Bearer {TOKEN}"))];
    let answer = http.form("/actions", &bearer, &delete()).await;
    assert_eq!(answer.status, 303, "{answer:?}");
    assert!(cache.read("secret-key").await.is_none());
    assert_eq!(http.form("/actions", &own_headers(&http), &delete()).await.status, 401);
}

/// A site whose name leads to the port would have its origin (DNS rebinding).
#[tokio::test]
async fn without_a_token_the_pages_are_for_names_that_no_site_has() {
    let larder = Larder::memory().start().await;
    let http = Http::to(&larder);
    for (host, expected) in
        [("evil.example", 403), ("localhost:1", 200), ("larder", 200), ("127.0.0.1.nip.io", 403)]
    {
        for path in ["/", "/keys", "/live?page=nothing", "/assets/dashboard.js"] {
            let answer = http.with_host(host).get(path).await;
            let found = if path.starts_with("/live") { 404 } else { 200 };
            let expected = if expected == 200 { found } else { 403 };
            assert_eq!(answer.status, expected, "{host} {path}: {answer:?}");
        }
        let named = http.with_host(host);
        assert_eq!(named.get("/metrics").await.status, 200, "for programs");
        let kind = ("content-type", "application/cloudevents+json".to_owned());
        let event = r#"{"specversion":"1.0","type":"sale","id":"1","source":"/s"}"#;
        for (name, value) in [
            ("origin", format!("http://{host}")),
            ("sec-fetch-site", "same-origin".to_owned()),
            ("accept-language", "en".to_owned()),
        ] {
            let headers = [kind.clone(), (name, value)];
            let read = named.send("GET", "/metrics", &headers, "").await;
            let sent = named.send("POST", "/events", &headers, event).await;
            assert_eq!([read.status, sent.status], [expected; 2], "{host} {headers:?}: {sent:?}");
            assert_eq!(named.send("GET", "/livez", &headers, "").await.status, 200);
        }
    }
    let metrics = http.get("/metrics").await.body;
    assert!(metrics.contains("reason=\"foreign_host\"} 20\n"), "{metrics}");
}
