//! Revalidation by conditional requests.

use std::time::Duration;

use larder::pb::v1::{FetchStatus, FillResult, Outcome};

use crate::support::{
    client::{Fetched as _, as_text, duration, fetch, get, increment},
    observe::becomes,
    origin::{Origin, OriginRequest, Reply, after, ok, send},
    status::reason,
    wait::{SOON, eventually},
};

const MONDAY: &str = "Mon, 07 Nov 1994 08:49:37 GMT";

/// Sets the version of the origin's value. A request with that version is answered 304.
fn set_version(origin: &Origin, version: &'static str, cache_control: &'static str) {
    origin.answer(move |request| reply(request, version, cache_control));
}

fn reply(request: &OriginRequest, version: &'static str, cache_control: &'static str) -> Reply {
    let headers = [("etag", version), ("cache-control", cache_control)];
    if request.header("if-none-match") == Some(version) {
        send(304, "", &headers)
    } else {
        ok(version, &headers)
    }
}

with_origin!(no_cache_header_revalidates_on_every_call, |env, origin| {
    set_version(&origin, "\"1\"", "no-cache");
    let (value, answer) = env.cache.fetched("k").await;
    assert_eq!((answer.fetch_status(), answer.fill()), (FetchStatus::Fetched, FillResult::Stored));
    assert_eq!(value.as_deref(), Some("\"1\""));
    let version = answer.expect_found().entry.unwrap().version;
    // The value is kept for revalidation, and not served without it.
    assert_eq!(env.cache.get(get("k")).await.unwrap().outcome(), Outcome::Miss);
    for calls in 2..5 {
        let (value, answer) = env.cache.fetched("k").await;
        assert_eq!(value.as_deref(), Some("\"1\""));
        assert_eq!(
            (answer.fetch_status(), answer.fill()),
            (FetchStatus::Revalidated, FillResult::Stored)
        );
        let found = answer.expect_found();
        assert_eq!(
            (found.outcome(), found.entry.unwrap().version),
            (Outcome::Hit, version.clone())
        );
        assert_eq!(origin.calls(), calls);
        assert_eq!(origin.requests().last().unwrap().header("if-none-match"), Some("\"1\""));
    }
    set_version(&origin, "\"2\"", "no-cache");
    let (value, answer) = env.cache.fetched("k").await;
    assert_eq!((value.as_deref(), answer.fetch_status()), (Some("\"2\""), FetchStatus::Fetched));
    assert_ne!(answer.expect_found().entry.unwrap().version, version);
    assert_eq!(env.cache.fetched("k").await.1.fetch_status(), FetchStatus::Revalidated);
});

with_origin!(last_modified_is_a_validator, |env, origin| {
    origin.answer(|request| match request.header("if-modified-since") {
        Some(MONDAY) => send(304, "", &[("cache-control", "no-cache")]),
        _ => ok(
            format!("#{}", request.before + 1),
            &[("last-modified", MONDAY), ("cache-control", "no-cache")],
        ),
    });
    assert_eq!(env.cache.fetched("k").await.0.as_deref(), Some("#1"));
    // The second 304 shows that the date was kept after the first, which did not repeat it.
    for _ in 0..2 {
        let (value, answer) = env.cache.fetched("k").await;
        assert_eq!(
            (value.as_deref(), answer.fetch_status()),
            (Some("#1"), FetchStatus::Revalidated)
        );
    }
});

with_origin!(revalidated_value_is_fresh_again, origin: "early_refresh = 0", |env, origin| {
    set_version(&origin, "\"1\"", "max-age=1");
    let (_, answer) = env.cache.fetched("k").await;
    let version = answer.expect_found().entry.unwrap().version;
    becomes(&env.cache, "k", Outcome::Miss).await;
    set_version(&origin, "\"1\"", "max-age=100");
    let (_, answer) = env.cache.fetched("k").await;
    assert_eq!(
        (answer.fetch_status(), answer.fill()),
        (FetchStatus::Revalidated, FillResult::Stored)
    );
    for entry in [
        answer.expect_found().entry.unwrap(),
        becomes(&env.cache, "k", Outcome::Hit).await.unwrap(),
    ] {
        assert_eq!(entry.version, version);
        let left = duration(entry.ttl_remaining);
        assert!(left > Duration::from_secs(90) && left <= Duration::from_secs(100), "{left:?}");
        assert!(duration(entry.age) < Duration::from_secs(10), "{entry:?}");
    }
    assert_eq!(env.cache.fetched("k").await.1.fetch_status(), FetchStatus::Unspecified);
    assert_eq!(origin.calls(), 2);
});

with_origin!(
    stale_value_is_revalidated_in_the_background,
    namespace: "stale_while_revalidate = '1m'",
    origin: "early_refresh = 0",
    |env, origin| {
        set_version(&origin, "\"1\"", "max-age=1");
        let version = env.cache.fetched("k").await.1.expect_found().entry.unwrap().version;
        becomes(&env.cache, "k", Outcome::Stale).await;
        set_version(&origin, "\"1\"", "max-age=100");
        assert_eq!(env.cache.fetched("k").await.1.fetch_status(), FetchStatus::Refreshing);
        assert_eq!(becomes(&env.cache, "k", Outcome::Hit).await.unwrap().version, version);
        assert_eq!(origin.calls(), 2);
    }
);

with_origin!(
    entry_that_expires_during_revalidation_is_fetched,
    origin: "timeout = '20s'\nkeep = '2s'",
    |env, origin| {
        set_version(&origin, "\"1\"", "no-cache");
        env.cache.fetched("k").await;
        origin.answer(|request| {
            let reply = reply(request, "\"1\"", "no-cache");
            // Longer than `keep`.
            if request.before == 1 { after(Duration::from_secs(3), reply) } else { reply }
        });
        let (value, answer) = env.cache.fetched("k").await;
        assert_eq!(
            (value.as_deref(), answer.fetch_status()),
            (Some("\"1\""), FetchStatus::Fetched)
        );
        assert_eq!(answer.fill(), FillResult::Stored);
        let conditional: Vec<_> = origin
            .requests()
            .iter()
            .map(|request| request.header("if-none-match").is_some())
            .collect();
        assert_eq!(conditional, [false, true, false]);
    }
);

with_origin!(
    keep_zero_disables_revalidation,
    origin: "keep = '0s'\nearly_refresh = 0",
    |env, origin| {
        set_version(&origin, "\"1\"", "max-age=1");
        env.cache.fetched("k").await;
        becomes(&env.cache, "k", Outcome::Miss).await;
        assert_eq!(env.cache.fetched("k").await.1.fetch_status(), FetchStatus::Fetched);
        assert_eq!(origin.requests()[1].header("if-none-match"), None);
        // A value that can be neither served nor revalidated is not stored.
        set_version(&origin, "\"1\"", "no-cache");
        assert_eq!(env.cache.fetched("other").await.1.fill(), FillResult::Uncacheable);
    }
);

with_origin!(revalidation_may_change_the_tags, |env, origin| {
    let answer = |cache_tag: Option<&'static str>| {
        move |request: &OriginRequest| {
            let mut headers = vec![("etag", "\"1\""), ("cache-control", "no-cache")];
            headers.extend(cache_tag.map(|tag| ("cache-tag", tag)));
            if request.before == 0 { ok("v", &headers) } else { send(304, "", &headers) }
        }
    };
    for (cache_tag, tags) in [
        (Some("b,a"), ["a", "b"].as_slice()),
        (None, &["a", "b"]),
        (Some("c"), &["c"]),
        (Some(""), &[]),
    ] {
        origin.answer(answer(cache_tag));
        let (_, answer) = env.cache.fetched("k").await;
        assert_eq!(answer.expect_found().entry.unwrap().tags, tags, "{cache_tag:?}");
    }
});

with_origin!(
    unexpected_304_is_an_error,
    origin: "error_backoff = '1ms'\nretries = 0",
    |env, origin| {
        origin.always(send(304, "", &[]));
        let error = env.cache.get_or_fetch(fetch("unasked", 20_000)).await.unwrap_err();
        assert_eq!(reason(&error), "ORIGIN_INVALID", "{error:?}");
        set_version(&origin, "\"1\"", "no-cache");
        env.cache.fetched("k").await;
        origin.always(send(304, "", &[("etag", "\"2\"")]));
        let error = env.cache.get_or_fetch(fetch("k", 20_000)).await.unwrap_err();
        assert_eq!(reason(&error), "ORIGIN_INVALID", "{error:?}");
    }
);

with_origin!(incremented_value_is_not_revalidated, |env, origin| {
    origin.always(ok("5", &[("etag", "\"five\""), ("cache-control", "max-age=1")]));
    assert_eq!(env.cache.fetched("k").await.0.as_deref(), Some("5"));
    assert_eq!(env.cache.increment(increment("k", 1)).await.unwrap().value, 6);
    let refetched =
        eventually("the counter has expired and the value is fetched again", SOON, async || {
            let answer = env.cache.get_or_fetch(fetch("k", 20_000)).await.unwrap();
            let is_fetched = answer.fetch_status() == FetchStatus::Fetched;
            as_text(answer.expect_found().value).filter(|_| is_fetched)
        });
    assert_eq!(refetched.await, "5");
    assert!(origin.requests().iter().all(|request| request.header("if-none-match").is_none()));
});
