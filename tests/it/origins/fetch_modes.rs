//! GetOrFetch with no_cache, only_if_cached, a short wait or a deadline.

use std::time::{Duration, Instant};

use larder::pb::v1::{
    FetchStatus, FillResult, GetOrFetchRequest, Outcome, get_or_fetch_response::Outcome as Answer,
};
use tonic::Request;

use crate::support::{
    client::{Fetched as _, as_text, duration, fetch},
    observe::{becomes, becomes_text, waiting},
    origin::{Origin, ok, send, status},
    status::{expect_violation, reason},
    wait::{SOON, eventually},
};

fn no_cache(key: &str) -> GetOrFetchRequest {
    GetOrFetchRequest { no_cache: true, ..fetch(key, 20_000) }
}

fn only_if_cached(key: &str) -> GetOrFetchRequest {
    GetOrFetchRequest { only_if_cached: true, ..fetch(key, 20_000) }
}

async fn await_origin_calls(origin: &Origin, calls: usize) {
    eventually(&format!("the origin receives {calls} calls"), SOON, async || {
        (origin.calls() == calls).then_some(())
    })
    .await;
}

with_origin!(no_cache_refetches_a_fresh_value, |env, origin| {
    env.cache.fetched("k").await;
    for (number, text) in [(2, "/v/k#2"), (3, "/v/k#3")] {
        let answer = env.cache.get_or_fetch(no_cache("k")).await.unwrap();
        assert_eq!(
            (answer.fetch_status(), answer.fill()),
            (FetchStatus::Fetched, FillResult::Stored)
        );
        assert_eq!(as_text(answer.expect_found().value).as_deref(), Some(text));
        assert_eq!(env.cache.read("k").await.as_deref(), Some(text), "the value is stored");
        assert_eq!(origin.calls(), number);
    }
});

with_origin!(no_cache_does_not_join_an_earlier_fetch, origin: "timeout = '1m'", |env, origin| {
    origin.hold();
    let call = |request: GetOrFetchRequest| {
        let cache = env.cache.clone();
        tokio::spawn(async move {
            as_text(cache.get_or_fetch(request).await.unwrap().expect_found().value)
        })
    };
    let first = call(fetch("k", 20_000));
    await_origin_calls(&origin, 1).await;
    let second = call(no_cache("k"));
    // Waits together with a call that accepts the running fetch.
    let third = call(fetch("k", 20_000));
    origin.release();
    assert_eq!(first.await.unwrap().as_deref(), Some("/v/k#1"));
    assert_eq!(second.await.unwrap().as_deref(), Some("/v/k#2"));
    let third = third.await.unwrap();
    assert!(matches!(third.as_deref(), Some("/v/k#1" | "/v/k#2")), "{third:?}");
    assert_eq!(origin.calls(), 2);
});

with_origin!(
    no_cache_returns_the_origins_error,
    namespace: "stale_while_revalidate = '1m'\nstale_if_error = '1m'",
    origin: "retries = 0\nerror_backoff = '1ms'\nsoft_timeout = '50ms'",
    |env, origin| {
        env.cache.fetched("k").await;
        origin.always(status(500));
        let error = env.cache.get_or_fetch(no_cache("k")).await.unwrap_err();
        assert_eq!(reason(&error), "ORIGIN_FAILED");
        // The stored value is kept for other calls.
        assert_eq!(env.cache.fetched("k").await.0.as_deref(), Some("/v/k#1"));
    }
);

with_origin!(no_cache_revalidates_the_stored_value, |env, origin| {
    origin.answer(|request| match request.header("if-none-match") {
        Some("\"1\"") => send(304, "", &[("cache-control", "max-age=100")]),
        _ => ok("v", &[("etag", "\"1\""), ("cache-control", "max-age=100")]),
    });
    env.cache.fetched("k").await;
    let answer = env.cache.get_or_fetch(no_cache("k")).await.unwrap();
    assert_eq!(answer.fetch_status(), FetchStatus::Revalidated);
    assert_eq!(as_text(answer.expect_found().value).as_deref(), Some("v"));
});

with_origin!(
    only_if_cached_never_calls_the_origin,
    namespace: "stale_while_revalidate = '1m'\nttl = '1s'",
    origin: "early_refresh = 0",
    |env, origin| {
        let answer = env.cache.get_or_fetch(only_if_cached("k")).await.unwrap();
        assert!(matches!(answer.outcome, Some(Answer::NotCached(_))), "{answer:?}");
        assert_eq!((answer.fetch_status(), answer.degraded), (FetchStatus::Unspecified, false));
        env.cache.fetched("k").await;
        becomes(&env.cache, "k", Outcome::Stale).await;
        for _ in 0..5 {
            let answer = env.cache.get_or_fetch(only_if_cached("k")).await.unwrap();
            assert_eq!(answer.fetch_status(), FetchStatus::Unspecified);
            assert_eq!(answer.expect_found().outcome(), Outcome::Stale);
        }
        assert_eq!(origin.calls(), 1);
        let both = GetOrFetchRequest { no_cache: true, ..only_if_cached("k") };
        expect_violation(env.cache.get_or_fetch(both).await, "only_if_cached");
    }
);

with_origin!(zero_wait_is_answered_contended, origin: "timeout = '1m'", |env, origin| {
    origin.hold();
    for _ in 0..3 {
        let contended = env.cache.get_or_fetch(fetch("k", 0)).await.unwrap().expect_contended();
        assert!(duration(contended.retry_after) > Duration::ZERO);
    }
    await_origin_calls(&origin, 1).await;
    origin.release();
    becomes_text(&env.cache, "k", "/v/k#1").await;
    assert_eq!(origin.calls(), 1);
});

with_origin!(call_is_answered_before_its_deadline, origin: "timeout = '1m'", |env, origin| {
    origin.hold();
    // The wait exceeds the deadline.
    let mut request = Request::new(fetch("k", 50_000));
    request.set_timeout(Duration::from_secs(3));
    let started = Instant::now();
    let answer = env.cache.get_or_fetch(request).await.expect("an answer in time");
    answer.expect_contended();
    let took = started.elapsed();
    assert!(took > Duration::from_secs(2) && took < Duration::from_secs(3), "{took:?}");
    origin.release();
    becomes_text(&env.cache, "k", "/v/k#1").await;
    assert_eq!(origin.calls(), 1);
});

with_origin!(fetch_continues_after_its_caller_cancels, origin: "timeout = '1m'", |env, origin| {
    origin.hold();
    let cache = env.cache.clone();
    let call = tokio::spawn(async move { cache.get_or_fetch(fetch("k", 20_000)).await });
    await_origin_calls(&origin, 1).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    // The server has noticed the cancellation.
    waiting(&env.larder, 0).await;
    origin.release();
    becomes_text(&env.cache, "k", "/v/k#1").await;
    assert_eq!(origin.calls(), 1);
});
