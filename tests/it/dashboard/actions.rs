//! Actions, and the requests that may cause them.

use std::{fs, time::Duration};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::{Http, act, address, own_headers, page};
use crate::support::{
    client::{set, text},
    proxy::Proxy,
    redis::RedisServer,
    server::Larder,
    wait::{SOON, eventually},
};

on_both_stores!(
    every_action_works_after_its_confirmation,
    config: "[[events.user_changed]]\nnamespace = 'ns'\nkey = 'user:{id}'\n",
    |env| {
        let http = Http::to(&env.larder);
        let put = async |key: &str, tag: &str| {
            let mut request = set(key, text("v"));
            request.tags = vec![tag.to_owned()];
            env.cache.set(request).await.unwrap();
        };
        let is_there = async |key: &str| env.cache.read(key).await.is_some();
        for (key, parameters, expected) in [
            ("a", vec![("action", "delete"), ("namespace", "ns"), ("key", "a")], "removed"),
            ("a", vec![("action", "key"), ("namespace", "ns"), ("key", "a")], "done"),
            ("b", vec![("action", "tag"), ("namespace", "ns"), ("tags", "t:b")], "are invalid"),
            ("c:1", vec![("action", "glob"), ("namespace", "ns"), ("glob", "c:*")], "are invalid"),
            (
                "user:7",
                vec![("action", "event"), ("name", "user_changed"), ("attributes", "id=7")],
                "Targets invalidated",
            ),
            ("d", vec![("action", "namespace"), ("namespace", "ns")], "all entries"),
        ] {
            put(key, &format!("t:{key}")).await;
            put("other", "t").await;
            assert!(is_there(key).await, "{key}");
            let done = act(&http, &parameters).await;
            assert!(done.body.contains(expected), "{parameters:?}: {done:?}");
            assert!(!is_there(key).await, "{parameters:?}");
            assert_eq!(is_there("other").await, key != "d", "{parameters:?}");
        }
        let flushed = act(&http, &[("action", "flush")]).await;
        assert!(flushed.body.contains("Copies"), "{flushed:?}");
        let jobs = page(&env, "/invalidations").await;
        assert!(jobs.contains("Invalidate all of ns</a> done"), "{jobs}");
    }
);

on_both_stores!(the_confirmation_shows_what_would_be_hit, |env| {
    for index in 0..25 {
        env.cache.put(&format!("k{index}"), "v").await;
    }
    let glob = [("action", "glob"), ("namespace", "ns"), ("glob", "k1*")];
    let shown = page(&env, &address("/confirm", &glob)).await;
    assert!(shown.contains("<b>11</b> keys match now"), "{shown}");
    assert_eq!(shown.matches("<bdi>k1").count(), 10);
    assert!(env.cache.read("k1").await.is_some(), "nothing is done");
});

#[tokio::test]
async fn a_forged_action_is_refused() {
    let larder = Larder::memory().start().await;
    let (http, cache) = (Http::to(&larder), larder.client().await);
    cache.put("k", "v").await;
    let fields = [("action", "delete"), ("namespace", "ns"), ("key", "k")];
    let confirmation = http.get(&address("/confirm", &fields)).await;
    let csrf = confirmation.field("csrf");
    let own = ("origin", http.origin());
    let text = |text: &str| text.to_owned();
    for (headers, token) in [
        (vec![], csrf.as_str()),
        (vec![own.clone()], ""),
        (vec![own.clone()], "0123456789012345678901234567890123456789abc"),
        (vec![("origin", text("http://evil.example"))], csrf.as_str()),
        (vec![("origin", text("null"))], csrf.as_str()),
        (vec![own.clone(), ("sec-fetch-site", text("cross-site"))], csrf.as_str()),
        (vec![("sec-fetch-site", text("none"))], csrf.as_str()),
    ] {
        let mut sent = fields.to_vec();
        sent.push(("csrf", token));
        let answer = http.form("/actions", &headers, &sent).await;
        assert_eq!(answer.status, 403, "{headers:?} {token}: {answer:?}");
    }
    assert_eq!(
        http.send("POST", "/actions", std::slice::from_ref(&own), "{}").await.status,
        403,
        "no form"
    );
    assert_eq!(http.get("/actions").await.status, 405);
    assert!(cache.read("k").await.is_some());
    let mut sent = fields.to_vec();
    sent.push(("csrf", &csrf));
    assert_eq!(http.form("/actions", &own_headers(&http), &sent).await.status, 303);
    assert!(cache.read("k").await.is_none());
}

/// By a double click, or when a browser goes back.
#[tokio::test]
async fn a_form_that_is_sent_twice_acts_once() {
    let larder = Larder::memory().start().await;
    let http = Http::to(&larder);
    let fields = [("action", "flush"), ("namespace", "ns")];
    let send = async |confirmation: &str| {
        let csrf = http.get(&address("/confirm", &fields)).await.field("csrf");
        let mut sent = fields.to_vec();
        sent.extend([("csrf", &*csrf), ("confirmation", confirmation)]);
        let answer = http.form("/actions", &own_headers(&http), &sent).await;
        (answer.status, answer.header("location").to_owned())
    };
    let [first, second] = [(); 2]
        .map(|()| async { http.get(&address("/confirm", &fields)).await.field("confirmation") });
    let (first, second) = (first.await, second.await);
    let begun = send(&first).await;
    assert!(begun.0 == 303 && begun.1.starts_with("/jobs/"), "{begun:?}");
    assert_eq!(send(&first).await, begun);
    let other = send(&second).await;
    assert!(other.0 == 303 && other != begun, "{other:?}");
    let jobs = http.get("/invalidations").await.body;
    assert_eq!(jobs.matches("href=\"/jobs/").count(), 2, "{jobs}");
    assert_eq!(send(&"0".repeat(17)).await.0, 400);
}

#[tokio::test]
async fn actions_are_in_the_audit_log() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let audit = format!("[audit]\nto = '{}'\nkeys = 'plain'\n", path.display());
    let larder = Larder::memory().config(&audit).start().await;
    let http = Http::to(&larder);
    act(&http, &[("action", "delete"), ("namespace", "ns"), ("key", "k")]).await;
    act(&http, &[("action", "tag"), ("namespace", "ns"), ("tags", "red\nblue")]).await;
    act(&http, &[("action", "flush"), ("namespace", "ns")]).await;
    let expected = [("delete", 1), ("invalidate", 2), ("admin", 0)];
    let records = eventually("all of them are written", SOON, async || {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let of_actions = records.filter(|record| record["action"] == "POST /actions");
        let of_actions: Vec<Value> = of_actions.collect();
        (of_actions.len() == expected.len()).then_some(of_actions)
    })
    .await;
    for (record, (event, targets)) in records.iter().zip(expected) {
        assert_eq!(record["event"], event, "{record}");
        assert_eq!(record["code"], "OK", "{record}");
        assert_eq!(record["target_count"].as_u64().unwrap_or(0), targets, "{record}");
        assert!(record["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{record}");
    }
    let shown = http.get("/invalidations").await.body;
    assert!(shown.contains("<bdi>flush</bdi>"), "{shown}");
    assert!(shown.contains("tag ns <bdi>red</bdi>"), "{shown}");
}

/// Actions that the end of the server cuts are in the audit log, too.
#[tokio::test]
async fn an_action_that_waits_for_the_store_is_recorded_when_the_server_stops() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let redis = RedisServer::start().await;
    let proxy = Proxy::start(redis.upstream()).await;
    let config = format!("shutdown_timeout = '1s'\n[audit]\nto = '{}'\n", path.display());
    let builder = Larder::redis(&proxy.redis_url()).env("LARDER_STORE__TIMEOUT", "30s");
    let mut larder = builder.config(&config).start().await;
    let http = Http::to(&larder);
    let fields = [("action", "delete"), ("namespace", "ns"), ("key", "k")];
    act(&http, &fields).await;
    proxy.blackhole();
    let begun = act(&http, &fields).await;
    assert!(begun.body.contains("running"), "{begun:?}");
    larder.signal(Signal::SIGTERM);
    assert!(larder.wait_exit(Duration::from_secs(20)).await.success());
    let text = fs::read_to_string(&path).unwrap();
    let records: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of_actions = records.iter().filter(|record| record["action"] == "POST /actions");
    let codes: Vec<&str> = of_actions.map(|record| record["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["OK", "UNAVAILABLE"], "{text}");
}
