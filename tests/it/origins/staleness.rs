//! Stale values: while they are refreshed, after errors, and when the origin is slow.

use std::time::Duration;

use larder::pb::v1::{FetchStatus, FillResult, GetOrFetchRequest, GetOrFetchResponse, Outcome};

use crate::support::{
    client::{Cache, Fetched as _, as_text, fetch, ms},
    observe::{becomes, becomes_text},
    origin::{Asked, Origin, Reply, after, ok, status},
    status::reason,
    wait::{SOON, eventually},
};

/// The first answer is soon stale, the others are not.
fn numbered(asked: &Asked) -> Reply {
    let cache_control = if asked.before == 0 { "max-age=1" } else { "max-age=100" };
    ok(format!("#{}", asked.before + 1), &[("cache-control", cache_control)])
}

/// Has the key fetched for the first time, and waits until its value has become `outcome`.
async fn grow_stale(cache: &Cache, origin: &Origin, key: &str, outcome: Outcome) {
    origin.answer(numbered);
    let (value, answer) = cache.fetched(key).await;
    assert_eq!((value.as_deref(), answer.fill()), (Some("#1"), FillResult::Stored));
    becomes(cache, key, outcome).await;
}

fn accepting(key: &str, max_stale: i64) -> GetOrFetchRequest {
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
    a_stale_value_is_answered_at_once_and_refreshed_once,
    namespace: "stale_while_revalidate = '1m'",
    origin: "early_refresh = 0\ntimeout = '1m'",
    |env, origin| {
        grow_stale(&env.cache, &origin, "k", Outcome::Stale).await;
        // Nobody is kept waiting, as the origin does not answer for as long as these take.
        origin.hold();
        for _ in 0..20 {
            let (_, answer) = env.cache.fetched("k").await;
            expect_stale(answer, FetchStatus::Refreshing);
        }
        eventually("it is refreshed", SOON, async || (origin.in_flight() == 1).then_some(())).await;
        origin.release();
        becomes_text(&env.cache, "k", "#2").await;
        assert_eq!(env.cache.fetched("k").await.1.fetch_status(), FetchStatus::Unspecified);
        assert_eq!(origin.calls(), 2);
    }
);

with_origin!(
    a_refresh_that_fails_leaves_the_stale_value,
    namespace: "stale_while_revalidate = '1m'",
    origin: "early_refresh = 0\nretries = 0\nerror_backoff = '200ms'\nbreaker_threshold = 0",
    |env, origin| {
        grow_stale(&env.cache, &origin, "k", Outcome::Stale).await;
        origin.always(status(500));
        eventually("it is tried again and again", SOON, async || {
            let (_, answer) = env.cache.fetched("k").await;
            expect_stale(answer, FetchStatus::Refreshing);
            (origin.calls() >= 4).then_some(())
        })
        .await;
        origin.answer(numbered);
        eventually("it is fresh again", SOON, async || {
            let (_, answer) = env.cache.fetched("k").await;
            (answer.expect_found().outcome() == Outcome::Hit).then_some(())
        })
        .await;
    }
);

with_origin!(
    a_stale_value_stands_in_for_an_origin_that_fails,
    namespace: "stale_if_error = '1m'",
    origin: "early_refresh = 0\nretries = 0\ntimeout = '2s'\nerror_backoff = '1m'\nbreaker_threshold = 0",
    |env, origin| {
        for (key, reply, cause) in [
            ("failed", status(500), "status 500"),
            ("refused", status(403), "status 403"),
            ("hangs", Reply::Hang, "in time"),
            ("closed", Reply::Close, "the connection was closed"),
            ("invalid", ok("{", &[("content-type", "application/json")]), "not JSON"),
        ] {
            grow_stale(&env.cache, &origin, key, Outcome::Miss).await;
            origin.always(reply);
            let calls = origin.calls();
            // The second is told by the back-off.
            for _ in 0..2 {
                let (_, answer) = env.cache.fetched(key).await;
                assert!(answer.cause.contains(cause), "{key}: {:?}", answer.cause);
                expect_stale(answer, FetchStatus::Failed);
            }
            assert_eq!(origin.calls(), calls + 1, "{key}");
        }
        grow_stale(&env.cache, &origin, "gone", Outcome::Miss).await;
        drop(origin);
        let (_, answer) = env.cache.fetched("gone").await;
        assert!(answer.cause.contains("cannot be reached"), "{:?}", answer.cause);
        expect_stale(answer, FetchStatus::Failed);
    }
);

with_origin!(
    one_window_follows_the_other,
    namespace: "stale_while_revalidate = '3s'\nstale_if_error = '3s'",
    origin: "early_refresh = 0\nretries = 0\nerror_backoff = '1ms'\nbreaker_threshold = 0",
    |env, origin| {
        grow_stale(&env.cache, &origin, "k", Outcome::Stale).await;
        // Had both windows begun together, both would be over now.
        becomes(&env.cache, "k", Outcome::Miss).await;
        origin.always(status(500));
        let (_, answer) = env.cache.fetched("k").await;
        expect_stale(answer, FetchStatus::Failed);
        let error = eventually("the second window is over", SOON, async || {
            env.cache.get_or_fetch(fetch("k", 20_000)).await.err()
        });
        assert_eq!(reason(&error.await), "ORIGIN_FAILED");
    }
);

with_origin!(
    a_slow_origin_is_not_waited_for_to_the_end,
    namespace: "stale_if_error = '1m'",
    origin: "early_refresh = 0\nsoft_timeout = '100ms'\ntimeout = '1m'",
    |env, origin| {
        // As long as there is nothing stale, there is nothing to answer instead.
        origin.answer(|asked| after(Duration::from_millis(400), numbered(asked)));
        assert_eq!(env.cache.fetched("slow").await.1.fetch_status(), FetchStatus::Fetched);
        grow_stale(&env.cache, &origin, "k", Outcome::Miss).await;
        origin.hold();
        for _ in 0..2 {
            let (_, answer) = env.cache.fetched("k").await;
            expect_stale(answer, FetchStatus::SoftTimeout);
        }
        // The fetch has gone on, and is the only one.
        origin.release();
        becomes_text(&env.cache, "k", "#2").await;
        assert_eq!(origin.asked().iter().filter(|asked| asked.target == "/v/k").count(), 2);
    }
);

with_origin!(
    who_cannot_wait_gets_what_is_stale,
    namespace: "stale_if_error = '1m'",
    origin: "early_refresh = 0\ntimeout = '1m'",
    |env, origin| {
        grow_stale(&env.cache, &origin, "k", Outcome::Miss).await;
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
    the_caller_may_accept_less_than_is_allowed,
    namespace: "stale_while_revalidate = '1m'\nstale_if_error = '1m'",
    origin: "early_refresh = 0\nretries = 0\nsoft_timeout = '100ms'\ntimeout = '1m'\nerror_backoff = '1ms'",
    |env, origin| {
        // Not while it is refreshed, and not because the origin takes its time.
        grow_stale(&env.cache, &origin, "refreshed", Outcome::Stale).await;
        origin.answer(|asked| after(Duration::from_millis(500), numbered(asked)));
        let answer = env.cache.get_or_fetch(accepting("refreshed", 0)).await.unwrap();
        assert_eq!(answer.fetch_status(), FetchStatus::Fetched);
        assert_eq!(as_text(answer.expect_found().value).as_deref(), Some("#2"));
        // And not because it fails.
        grow_stale(&env.cache, &origin, "failed", Outcome::Stale).await;
        origin.always(status(500));
        let error = env.cache.get_or_fetch(accepting("failed", 0)).await.unwrap_err();
        assert_eq!(reason(&error), "ORIGIN_FAILED");
        // What is accepted is compared with how stale it is.
        expect_stale(
            env.cache.get_or_fetch(accepting("failed", 50_000)).await.unwrap(),
            FetchStatus::Refreshing,
        );
        eventually("it is too stale for a second", SOON, async || {
            let answer = env.cache.get_or_fetch(accepting("failed", 1_000)).await;
            answer.err().map(|error| assert!(reason(&error).starts_with("ORIGIN_"), "{error:?}"))
        })
        .await;
    }
);

with_origin!(
    the_caller_cannot_accept_more_than_is_allowed,
    origin: "early_refresh = 0\nretries = 0\nsoft_timeout = '100ms'",
    |env, origin| {
        grow_stale(&env.cache, &origin, "k", Outcome::Miss).await;
        origin.always(status(500));
        let error = env.cache.get_or_fetch(accepting("k", 3_600_000)).await.unwrap_err();
        assert_eq!(reason(&error), "ORIGIN_FAILED");
    }
);

with_origin!(
    what_the_origin_takes_back_is_not_served_any_more,
    namespace: "stale_while_revalidate = '1h'",
    |env, origin| {
        origin.always(ok("old", &[("cache-control", "max-age=1")]));
        assert_eq!(env.cache.fetched("k").await.0.as_deref(), Some("old"));
        // It may not be stored that there is no value; but that there was one must not be believed any longer.
        origin.always(send(404, "", &[("cache-control", "no-store")]));
        eventually("the old value is stale", SOON, async || {
            let answer = env.cache.get_or_fetch(fetch("k", 20_000)).await.unwrap();
            (answer.fetch_status() == FetchStatus::Refreshing).then_some(())
        })
        .await;
        eventually("the old value is gone", SOON, async || {
            (env.cache.get(get("k")).await.unwrap().outcome() == Outcome::Miss).then_some(())
        })
        .await;
        let found = env.cache.get_or_fetch(fetch("k", 20_000)).await.unwrap().expect_found();
        assert_eq!(found.outcome(), Outcome::Negative);
    }
);
