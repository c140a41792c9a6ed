//! Origins that a reload adds, changes, removes and keeps.

use std::time::Duration;

use larder::pb::v1::{FetchStatus, FillResult, SetRequest, SetResult, WarmKey, WarmRequest};
use nix::sys::signal::Signal;
use tonic::Code;

use super::warming::{LONG_LEASE, open, warmed};
use crate::support::{
    client::{Fetched as _, NS, as_text, duration, fetch, fill, set, text},
    env::{Env, read_through},
    observe::waiting,
    origin::{Origin, ok, send, status},
    status::{expect_error, reason},
    wait::{SOON, eventually, throughout},
};

const SENSITIVE_BREAKER: &str = "min_lease = '10s'\nretries = 0\nerror_backoff = '1ms'\n\
    breaker_threshold = 2\nbreaker_cooldown = '1h'";
const OTHER_NAMESPACE: &str = "\n[namespaces.other]\nttl = '1m'\n";

on_both_stores!(added_origin_is_used, |env| {
    env.cache.lease("before").await;
    let origin = Origin::start().await;
    reload(&env, &with_settings(&origin, "warm.keys = ['w']")).await;
    eventually("the warm list is fetched", SOON, async || env.cache.read("w").await).await;
    assert_eq!(env.cache.fetched("k").await.0.as_deref(), Some("/v/k#1"));
    let warm = WarmKey { key: "k2".to_owned(), ..WarmKey::default() };
    let request =
        WarmRequest { namespace: NS.to_owned(), keys: vec![warm], ..WarmRequest::default() };
    assert_eq!(warmed(&env.cache, request).await.stored, 1);
    assert_eq!(origin.calls(), 3);
});

on_both_stores!(lease_from_before_the_origin_was_added_stays_valid, |env| {
    let lease = env.cache.lease("k").await;
    let origin = Origin::start().await;
    reload(&env, &with_settings(&origin, "")).await;
    let cache = env.cache.clone();
    let waiting = tokio::spawn(async move { cache.fetched("k").await.0 });
    let filled = env.cache.set(fill("k", text("mine"), &lease)).await.unwrap();
    assert_eq!(filled.result(), SetResult::Stored);
    assert_eq!(waiting.await.unwrap().as_deref(), Some("mine"));
    assert_eq!(origin.calls(), 0);
});

with_origin!(url_of_an_origin_can_be_changed, origin: LONG_LEASE, |env, origin| {
    assert_eq!(env.cache.fetched("a").await.0.as_deref(), Some("/v/a#1"));
    let other = Origin::start().await;
    reload(&env, &read_through(&other.url("/other/{key}"), "", "")).await;
    assert_eq!(env.cache.fetched("b").await.0.as_deref(), Some("/other/b#1"));
    // Values of the earlier URL are not served.
    assert_eq!(env.cache.read("a").await, None);
    assert_eq!(env.cache.fetched("a").await.0.as_deref(), Some("/other/a#1"));
    assert_eq!(env.cache.fetched("a").await.0.as_deref(), Some("/other/a#1"));
    assert_eq!((origin.calls(), other.calls()), (1, 2));
});

with_origin!(values_fetched_with_other_headers_are_revalidated, origin: LONG_LEASE, |env, origin| {
    origin.answer(|request| {
        let headers = [("etag", "\"1\""), ("cache-control", "max-age=600"), ("vary", "x-tenant")];
        match request.header("if-none-match") {
            Some(_) => send(304, "", &headers),
            None => ok(request.header("x-tenant").unwrap_or("none"), &headers),
        }
    });
    assert_eq!(env.cache.fetched("k").await.0.as_deref(), Some("none"));
    reload(&env, &with_settings(&origin, "headers = { X-Tenant = 'one' }")).await;
    assert_eq!(env.cache.read("k").await, None);
    // The origin declares the value unchanged for these headers.
    let (value, answer) = env.cache.fetched("k").await;
    assert_eq!((value.as_deref(), answer.fetch_status()), (Some("none"), FetchStatus::Revalidated));
    assert_eq!(env.cache.read("k").await.as_deref(), Some("none"));

    origin.answer(|request| ok(request.header("x-tenant").unwrap_or("none"), &[]));
    reload(&env, &with_settings(&origin, "headers = { X-Tenant = 'two' }")).await;
    assert_eq!(env.cache.fetched("k").await.0.as_deref(), Some("two"));
    // The same headers again: nothing is fetched.
    let unchanged = "headers = { x-tenant = 'two' }\ntimeout = '9s'";
    reload(&env, &with_settings(&origin, unchanged)).await;
    assert_eq!(env.cache.read("k").await.as_deref(), Some("two"));
    assert_eq!(origin.calls(), 3);
});

with_origin!(
    namespace_grants_leases_after_its_origin_is_removed,
    origin: "min_lease = '10s'\nwarm.keys = ['w']",
    |env, origin| {
        eventually("the warm list is fetched", SOON, async || env.cache.read("w").await).await;
        reload(&env, "[namespaces.ns]\nttl = '1m'\n").await;
        let lease = env.cache.lease("k").await;
        let filled = env.cache.set(fill("k", text("mine"), &lease)).await.unwrap();
        assert_eq!(duration(filled.ttl).as_secs(), 60);
        assert_eq!(env.cache.fetched("w").await.0.as_deref(), Some("/v/w#1"));
        let list = WarmRequest { namespace: NS.to_owned(), ..WarmRequest::default() };
        expect_error(open(&env.cache, list).await, Code::FailedPrecondition, "NO_ORIGIN");
        assert_eq!(origin.calls(), 1);
    }
);

with_origin!(invalid_origin_rejects_the_whole_reload, |env, origin| {
    let other = Origin::start().await;
    let unreadable =
        read_through(&other.url("/{key}"), "ttl = '1m'", "ca_file = '/nowhere/ca.pem'");
    env.larder.rewrite_config(&format!("{unreadable}{OTHER_NAMESPACE}[log]\nlevel = 'debug'\n"));
    env.larder.signal(Signal::SIGHUP);
    eventually("the error is logged", SOON, async || {
        env.larder.logs().contains("/nowhere/ca.pem").then_some(())
    })
    .await;
    let logs = env.larder.logs();
    assert!(
        logs.contains("namespaces.ns.origin") && logs.contains("the configuration stays as it was"),
        "{logs}"
    );

    assert_eq!(env.cache.fetched("k").await.0.as_deref(), Some("/v/k#1"));
    assert_eq!(default_ttl(&env, NS).await, 1800);
    assert_eq!(default_ttl(&env, "other").await, 1800);
    assert!(!env.larder.logs().contains("\"DEBUG\""), "the log level is unchanged");
    assert_eq!((origin.calls(), other.calls()), (1, 0));

    reload(&env, &format!("{}{OTHER_NAMESPACE}", with_settings(&other, ""))).await;
    assert_eq!(default_ttl(&env, "other").await, 60);
    assert_eq!(env.cache.fetched("k2").await.0.as_deref(), Some("/v/k2#1"));
    assert_eq!((origin.calls(), other.calls()), (1, 1));
});

with_origin!(unchanged_origin_keeps_its_breaker_open, origin: SENSITIVE_BREAKER, |env, origin| {
    origin.always(status(500));
    let refused = eventually("the breaker opens", SOON, async || {
        let error = env.cache.get_or_fetch(fetch("k", 20_000)).await.unwrap_err();
        (reason(&error) != "ORIGIN_FAILED").then_some(error)
    })
    .await;
    let calls = origin.calls();
    reload(
        &env,
        &format!(
            "{}{OTHER_NAMESPACE}",
            read_through(&origin.url("/v/{key}"), "", &with_defaults(SENSITIVE_BREAKER))
        ),
    )
    .await;
    assert_eq!(default_ttl(&env, "other").await, 60);
    let error = env.cache.get_or_fetch(fetch("k2", 20_000)).await.unwrap_err();
    assert_eq!((error.code(), reason(&error)), (refused.code(), reason(&refused)), "{error:?}");
    assert_eq!(origin.calls(), calls);

    // A changed configuration resets the breaker.
    origin.always(ok("recovered", &[]));
    reload(
        &env,
        &read_through(&origin.url("/v/{key}"), "", &format!("{SENSITIVE_BREAKER}\nmax_queue = 7")),
    )
    .await;
    assert_eq!(env.cache.fetched("k3").await.0.as_deref(), Some("recovered"));
});

with_origin!(
    replaced_warm_list_is_no_longer_warmed,
    origin: "min_lease = '10s'\nwarm.rate = 20\nwarm.keys = ['a0', 'a1', 'a2', 'a3', 'a4', 'a5', \
        'a6', 'a7', 'a8', 'a9', 'b0', 'b1', 'b2', 'b3', 'b4', 'b5', 'b6', 'b7', 'b8', 'b9', 'c0', \
        'c1', 'c2', 'c3', 'c4', 'c5', 'c6', 'c7', 'c8']",
    |env, origin| {
        eventually("the list is being warmed", SOON, async || (origin.calls() > 0).then_some(()))
            .await;
        reload(&env, &with_settings(&origin, "warm.keys = ['new']")).await;
        eventually("the new list is warmed", SOON, async || env.cache.read("new").await).await;
        let calls = origin.calls();
        throughout(Duration::from_millis(500), async || assert_eq!(origin.calls(), calls)).await;
        assert!(calls < 30, "{calls}");

        // Nor is the list of a removed origin.
        let keys = "warm.keys = ['d0', 'd1', 'd2', 'd3', 'd4', 'd5', 'd6', 'd7', 'd8', 'd9']\n\
            warm.rate = 2";
        reload(&env, &with_settings(&origin, keys)).await;
        eventually("the list is being warmed", SOON, async || {
            (origin.calls() > calls).then_some(())
        })
        .await;
        reload(&env, "[namespaces.ns]\nttl = '1m'\n").await;
        eventually("no fetch is running", SOON, async || (origin.in_flight() == 0).then_some(()))
            .await;
        let calls = origin.calls();
        throughout(Duration::from_millis(1_100), async || assert_eq!(origin.calls(), calls)).await;
    }
);

with_origin!(fetch_continues_after_its_origin_is_changed, origin: LONG_LEASE, |env, origin| {
    origin.hold();
    let call = |key: &'static str| {
        let cache = env.cache.clone();
        tokio::spawn(async move { cache.fetched(key).await })
    };
    let first = call("k");
    eventually("the value is being fetched", SOON, async || {
        (origin.in_flight() == 1).then_some(())
    })
    .await;
    let other = Origin::start().await;
    reload(&env, &read_through(&other.url("/other/{key}"), "", "")).await;
    // Calls for the same key join the fetch; other keys are fetched from the new origin.
    let second = call("k");
    assert_eq!(env.cache.fetched("k2").await.0.as_deref(), Some("/other/k2#1"));
    waiting(&env.larder, 2).await;
    origin.release();
    let (value, answer) = first.await.unwrap();
    assert_eq!(value.as_deref(), Some("/v/k#1"));
    assert_eq!((answer.fetch_status(), answer.fill()), (FetchStatus::Fetched, FillResult::Stored));
    assert_eq!(second.await.unwrap().0.as_deref(), Some("/v/k#1"));
    assert_eq!((origin.calls(), other.calls()), (1, 1));
});

with_origin!(fetch_continues_after_its_origin_is_removed, origin: LONG_LEASE, |env, origin| {
    origin.hold();
    let cache = env.cache.clone();
    let first = tokio::spawn(async move { cache.fetched("k").await });
    eventually("the value is being fetched", SOON, async || {
        (origin.in_flight() == 1).then_some(())
    })
    .await;
    reload(&env, "[namespaces.ns]\nttl = '1m'\n").await;
    let cache = env.cache.clone();
    let second = tokio::spawn(async move { cache.get_or_fetch(fetch("k", 20_000)).await });
    env.cache.lease("k2").await;
    waiting(&env.larder, 2).await;
    origin.release();
    assert_eq!(first.await.unwrap().0.as_deref(), Some("/v/k#1"));
    let second = second.await.unwrap().unwrap().expect_found();
    assert_eq!(as_text(second.value).as_deref(), Some("/v/k#1"));
    assert_eq!(env.cache.read("k").await.as_deref(), Some("/v/k#1"));
    assert_eq!(origin.calls(), 1);
});

fn with_settings(origin: &Origin, settings: &str) -> String {
    read_through(&origin.url("/v/{key}"), "", &format!("{LONG_LEASE}\n{settings}"))
}

/// Reloads the server with this configuration and waits until it is applied.
async fn reload(env: &Env, config: &str) {
    let count = || env.larder.logs().matches("the configuration was read again").count();
    let before = count();
    env.larder.rewrite_config(config);
    env.larder.signal(Signal::SIGHUP);
    eventually("the configuration is reloaded", SOON, async || (count() > before).then_some(()))
        .await;
}

/// Default TTL of a namespace in seconds.
async fn default_ttl(env: &Env, namespace: &str) -> u64 {
    let request = SetRequest { namespace: namespace.to_owned(), ..set("ttl", text("v")) };
    duration(env.cache.set(request).await.unwrap().ttl).as_secs()
}
