//! Stale values during refreshes, after errors, and with slow origins.

use std::time::Duration;

use larder::pb::v1::{FetchStatus, FillResult, GetOrFetchRequest, GetOrFetchResponse, Outcome};

use crate::support::{
    client::{Cache, Fetched as _, as_text, fetch, get, ms},
    observe::{becomes, becomes_text},
    origin::{Origin, OriginRequest, Reply, after, ok, send, status},
    status::reason,
    wait::{SOON, eventually},
};

/// A numbered value. The first expires soon.
fn numbered(request: &OriginRequest) -> Reply {
    let cache_control = if request.before == 0 { "max-age=1" } else { "max-age=100" };
    ok(format!("#{}", request.before + 1), &[("cache-control", cache_control)])
}

/// Fetches the key for the first time, and waits until a Get answers `outcome`.
async fn fetch_and_expire(cache: &Cache, origin: &Origin, key: &str, outcome: Outcome) {
    origin.answer(numbered);
    let (value, answer) = cache.fetched(key).await;
    assert_eq!((value.as_deref(), answer.fill()), (Some("#1"), FillResult::Stored));
    becomes(cache, key, outcome).await;
}

fn with_max_stale(key: &str, max_stale: i64) -> GetOrFetchRequest {
    GetOrFetchRequest { max_stale: ms(max_stale), ..fetch(key, 20_000) }
}

fn expect_stale(answer: GetOrFetchResponse, status: FetchStatus) {
    assert_eq!(answer.fetch_status(), status, "{answer:?}");
    let found = answer.expect_found();
    assert_eq!(found.outcome(), Outcome::Stale);
    assert_eq!(found.entry.unwrap().ttl_remaining, ms(0));
    assert_eq!(as_text(found.value).as_deref(), Some("#1"));
}

with_origin!(
    stale_value_is_served_at_once_and_refreshed_once,
    namespace: "stale_while_revalidate = '1m'",
    origin: "early_refresh = 0\ntimeout = '1m'",
    |env, origin| {
        fetch_and_expire(&env.cache, &origin, "k", Outcome::Stale).await;
        // No call waits: the origin answers only after all calls.
        origin.hold();
        for _ in 0..20 {
            let (_, answer) = env.cache.fetched("k").await;
            expect_stale(answer, FetchStatus::Refreshing);
        }
        eventually("the value is being refreshed", SOON, async || {
            (origin.in_flight() == 1).then_some(())
        })
        .await;
        origin.release();
        becomes_text(&env.cache, "k", "#2").await;
        assert_eq!(env.cache.fetched("k").await.1.fetch_status(), FetchStatus::Unspecified);
        assert_eq!(origin.calls(), 2);
    }
);

with_origin!(
    failed_refresh_keeps_the_stale_value,
    namespace: "stale_while_revalidate = '1m'",
    origin: "early_refresh = 0\nretries = 0\nerror_backoff = '200ms'\nbreaker_threshold = 0",
    |env, origin| {
        fetch_and_expire(&env.cache, &origin, "k", Outcome::Stale).await;
        origin.always(status(500));
        eventually("the refresh is retried", SOON, async || {
            let (_, answer) = env.cache.fetched("k").await;
            expect_stale(answer, FetchStatus::Refreshing);
            (origin.calls() >= 4).then_some(())
        })
        .await;
        origin.answer(numbered);
        eventually("the value is fresh again", SOON, async || {
            let (_, answer) = env.cache.fetched("k").await;
            (answer.expect_found().outcome() == Outcome::Hit).then_some(())
        })
        .await;
    }
);

with_origin!(
    stale_value_is_served_when_the_origin_fails,
    namespace: "stale_if_error = '1m'",
    origin: "early_refresh = 0\nretries = 0\ntimeout = '2s'\nerror_backoff = '1m'\n\
        breaker_threshold = 0",
    |env, origin| {
        for (key, reply, cause) in [
            ("failed", status(500), "status 500"),
            ("hangs", Reply::Hang, "in time"),
            ("closed", Reply::Close, "the connection was closed"),
        ] {
            fetch_and_expire(&env.cache, &origin, key, Outcome::Miss).await;
            origin.always(reply);
            let calls = origin.calls();
            // The second call is answered during the back-off.
            for _ in 0..2 {
                let (_, answer) = env.cache.fetched(key).await;
                assert!(answer.cause.contains(cause), "{key}: {:?}", answer.cause);
                expect_stale(answer, FetchStatus::Failed);
            }
            assert_eq!(origin.calls(), calls + 1, "{key}");
        }
        fetch_and_expire(&env.cache, &origin, "gone", Outcome::Miss).await;
        drop(origin);
        let (_, answer) = env.cache.fetched("gone").await;
        assert!(answer.cause.contains("cannot be reached"), "{:?}", answer.cause);
        expect_stale(answer, FetchStatus::Failed);
    }
);

with_origin!(
    refusals_end_the_stale_value,
    namespace: "stale_if_error = '1m'",
    origin: "early_refresh = 0\nretries = 0\nerror_backoff = '1s'\nbreaker_threshold = 0",
    |env, origin| {
        for (key, reply, expected) in [
            ("unauthorized", status(401), "ORIGIN_REFUSED"),
            ("forbidden", status(403), "ORIGIN_REFUSED"),
            ("illegal", status(451), "ORIGIN_REFUSED"),
            ("moved", status(302), "ORIGIN_REFUSED"),
            ("invalid", ok("{", &[("content-type", "application/json")]), "ORIGIN_INVALID"),
        ] {
            fetch_and_expire(&env.cache, &origin, key, Outcome::Miss).await;
            origin.always(reply);
            let calls = origin.calls();
            let refused = env.cache.get_or_fetch(fetch(key, 20_000)).await.unwrap_err();
            assert_eq!(reason(&refused), expected, "{key}");
            // The back-off is still shared, and bars the old value too.
            let during = env.cache.get_or_fetch(fetch(key, 20_000)).await.unwrap_err();
            assert_eq!(reason(&during), "ORIGIN_BACKED_OFF", "{key}");
            assert_eq!(origin.calls(), calls + 1, "{key}");
            // The old value is gone: a later outage does not bring it back.
            origin.always(status(503));
            let later = eventually("the back-off has ended", SOON, async || {
                let error = env.cache.get_or_fetch(fetch(key, 20_000)).await.unwrap_err();
                (reason(&error) != "ORIGIN_BACKED_OFF").then_some(error)
            });
            assert_eq!(reason(&later.await), "ORIGIN_FAILED", "{key}");
        }
    }
);

with_origin!(
    other_failures_do_not_allow_the_stale_value,
    namespace: "stale_if_error = '1m'",
    origin: "early_refresh = 0\nretries = 0\nerror_backoff = '1s'\nbreaker_threshold = 0",
    |env, origin| {
        for code in [429, 501] {
            let key = code.to_string();
            fetch_and_expire(&env.cache, &origin, &key, Outcome::Miss).await;
            origin.always(status(code));
            for expected in ["ORIGIN_FAILED", "ORIGIN_BACKED_OFF"] {
                let error = env.cache.get_or_fetch(fetch(&key, 20_000)).await.unwrap_err();
                assert_eq!(reason(&error), expected, "{code}");
            }
            // The old value is kept for failures that allow it.
            origin.always(status(503));
            let answer = eventually("the back-off has ended", SOON, async || {
                env.cache.get_or_fetch(fetch(&key, 20_000)).await.ok()
            });
            expect_stale(answer.await, FetchStatus::Failed);
        }
    }
);

with_origin!(
    configured_statuses_allow_the_stale_value,
    namespace: "stale_if_error = '1m'",
    origin: "early_refresh = 0\nretries = 0\nbreaker_threshold = 0\n\
        stale_if_error_statuses = [429]",
    |env, origin| {
        fetch_and_expire(&env.cache, &origin, "k", Outcome::Miss).await;
        origin.always(status(429));
        for _ in 0..2 {
            expect_stale(env.cache.fetched("k").await.1, FetchStatus::Failed);
        }
    }
);

with_origin!(
    refused_refresh_ends_the_stale_value,
    namespace: "stale_while_revalidate = '1h'",
    origin: "early_refresh = 0\nretries = 0",
    |env, origin| {
        fetch_and_expire(&env.cache, &origin, "k", Outcome::Stale).await;
        origin.always(status(403));
        expect_stale(env.cache.fetched("k").await.1, FetchStatus::Refreshing);
        becomes(&env.cache, "k", Outcome::Miss).await;
        env.cache.get_or_fetch(fetch("k", 20_000)).await.unwrap_err();
    }
);

with_origin!(
    stale_if_error_starts_after_stale_while_revalidate,
    namespace: "stale_while_revalidate = '3s'\nstale_if_error = '3s'",
    origin: "early_refresh = 0\nretries = 0\nerror_backoff = '1ms'\nbreaker_threshold = 0",
    |env, origin| {
        fetch_and_expire(&env.cache, &origin, "k", Outcome::Stale).await;
        // If both windows had started together, both would have ended by now.
        becomes(&env.cache, "k", Outcome::Miss).await;
        origin.always(status(500));
        let (_, answer) = env.cache.fetched("k").await;
        expect_stale(answer, FetchStatus::Failed);
        let error = eventually("the second window has ended", SOON, async || {
            env.cache.get_or_fetch(fetch("k", 20_000)).await.err()
        });
        assert_eq!(reason(&error.await), "ORIGIN_FAILED");
    }
);

with_origin!(
    soft_timeout_serves_the_stale_value,
    namespace: "stale_if_error = '1m'",
    origin: "early_refresh = 0\nsoft_timeout = '100ms'\ntimeout = '1m'",
    |env, origin| {
        // Without a stale value, the call waits for the origin.
        origin.answer(|request| after(Duration::from_millis(400), numbered(request)));
        assert_eq!(env.cache.fetched("slow").await.1.fetch_status(), FetchStatus::Fetched);
        fetch_and_expire(&env.cache, &origin, "k", Outcome::Miss).await;
        origin.hold();
        for _ in 0..2 {
            let (_, answer) = env.cache.fetched("k").await;
            expect_stale(answer, FetchStatus::SoftTimeout);
        }
        // The fetch continues, and is the only one.
        origin.release();
        becomes_text(&env.cache, "k", "#2").await;
        assert_eq!(origin.requests().iter().filter(|request| request.target == "/v/k").count(), 2);
    }
);

with_origin!(
    short_wait_serves_the_stale_value,
    namespace: "stale_if_error = '1m'",
    origin: "early_refresh = 0\ntimeout = '1m'",
    |env, origin| {
        fetch_and_expire(&env.cache, &origin, "k", Outcome::Miss).await;
        origin.hold();
        for wait in [100, 0] {
            let answer = env.cache.get_or_fetch(fetch("k", wait)).await.unwrap();
            expect_stale(answer, FetchStatus::SoftTimeout);
        }
        origin.release();
        becomes_text(&env.cache, "k", "#2").await;
    }
);

with_origin!(
    max_stale_can_tighten_the_windows,
    namespace: "stale_while_revalidate = '1m'\nstale_if_error = '1m'",
    origin: "early_refresh = 0\nretries = 0\nsoft_timeout = '100ms'\ntimeout = '1m'\n\
        error_backoff = '1ms'",
    |env, origin| {
        // Neither a refresh nor a slow origin allows a stale value.
        fetch_and_expire(&env.cache, &origin, "refreshed", Outcome::Stale).await;
        origin.answer(|request| after(Duration::from_millis(500), numbered(request)));
        let answer = env.cache.get_or_fetch(with_max_stale("refreshed", 0)).await.unwrap();
        assert_eq!(answer.fetch_status(), FetchStatus::Fetched);
        assert_eq!(as_text(answer.expect_found().value).as_deref(), Some("#2"));
        // Nor does a failure.
        fetch_and_expire(&env.cache, &origin, "failed", Outcome::Stale).await;
        origin.always(status(500));
        let error = env.cache.get_or_fetch(with_max_stale("failed", 0)).await.unwrap_err();
        assert_eq!(reason(&error), "ORIGIN_FAILED");
        // max_stale is compared with the value's actual staleness.
        expect_stale(
            env.cache.get_or_fetch(with_max_stale("failed", 50_000)).await.unwrap(),
            FetchStatus::Refreshing,
        );
        eventually("the value is stale for more than a second", SOON, async || {
            let answer = env.cache.get_or_fetch(with_max_stale("failed", 1_000)).await;
            answer.err().map(|error| assert!(reason(&error).starts_with("ORIGIN_"), "{error:?}"))
        })
        .await;
    }
);

with_origin!(
    max_stale_cannot_extend_the_windows,
    origin: "early_refresh = 0\nretries = 0\nsoft_timeout = '100ms'",
    |env, origin| {
        fetch_and_expire(&env.cache, &origin, "k", Outcome::Miss).await;
        origin.always(status(500));
        let error = env.cache.get_or_fetch(with_max_stale("k", 3_600_000)).await.unwrap_err();
        assert_eq!(reason(&error), "ORIGIN_FAILED");
    }
);

with_origin!(
    uncacheable_not_found_removes_the_stale_value,
    namespace: "stale_while_revalidate = '1h'",
    |env, origin| {
        origin.always(ok("old", &[("cache-control", "max-age=1")]));
        assert_eq!(env.cache.fetched("k").await.0.as_deref(), Some("old"));
        // The 404 must not be stored, but the old value must not be served any longer.
        origin.always(send(404, "", &[("cache-control", "no-store")]));
        eventually("the old value is stale", SOON, async || {
            let answer = env.cache.get_or_fetch(fetch("k", 20_000)).await.unwrap();
            (answer.fetch_status() == FetchStatus::Refreshing).then_some(())
        })
        .await;
        eventually("the old value is removed", SOON, async || {
            (env.cache.get(get("k")).await.unwrap().outcome() == Outcome::Miss).then_some(())
        })
        .await;
        let found = env.cache.get_or_fetch(fetch("k", 20_000)).await.unwrap().expect_found();
        assert_eq!(found.outcome(), Outcome::Negative);
    }
);
