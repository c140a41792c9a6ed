//! Outages of the store, of the origin, and of both.

use larder::pb::v1::{
    FetchStatus, FillResult, GetOrFetchRequest, Outcome, get_or_fetch_response::Outcome as Answer,
};
use tonic::Code;

use crate::support::{
    client::{Cache, Fetched as _, as_text, fetch, get, set_for, text},
    env::{read_through, with_defaults},
    observe::{becomes_text, metric, waiting},
    origin::{Origin, numbered, status},
    redis::RedisServer,
    server::Larder,
    status::expect_error,
    wait::{SOON, eventually},
};

/// An origin and a replica. The replica's Redis can be killed.
async fn start() -> (RedisServer, Larder, Cache, Origin) {
    let origin = Origin::start().await;
    let redis = RedisServer::start().await;
    let config = "retries = 0\nerror_backoff = '1ms'\nbreaker_threshold = 0\ntimeout = '1m'";
    let config = read_through(&origin.url("/v/{key}"), "", &with_defaults(config));
    let larder = Larder::redis(&redis.url()).default_timeouts().config(&config).start().await;
    let cache = larder.client().await;
    (redis, larder, cache, origin)
}

with_origin!(cached_value_is_served_during_an_origin_outage, |env, origin| {
    assert_eq!(env.cache.fetched("k").await.1.fill(), FillResult::Stored);
    drop(origin);
    for _ in 0..10 {
        let (value, answer) = env.cache.fetched("k").await;
        assert_eq!(
            (value.as_deref(), answer.fetch_status()),
            (Some("/v/k#1"), FetchStatus::Unspecified)
        );
    }
    let answer = env.cache.get_or_fetch(fetch("other", 20_000)).await;
    expect_error(answer, Code::Unavailable, "ORIGIN_UNREACHABLE");
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_outage_falls_back_to_the_origin() {
    let (mut redis, larder, cache, origin) = start().await;
    redis.kill();
    for number in 1..4 {
        let (value, answer) = cache.fetched("k").await;
        assert_eq!(value, Some(format!("/v/k#{number}")));
        assert!(answer.degraded);
        assert_eq!(
            (answer.fetch_status(), answer.fill()),
            (FetchStatus::Fetched, FillResult::NotStored)
        );
        let found = answer.expect_found();
        assert_eq!((found.outcome(), found.entry.unwrap().version.as_str()), (Outcome::Hit, ""));
    }
    assert_eq!(metric(&larder, "larder_fills_not_stored_total").await, 3.0);
    origin.always(status(404));
    let answer = cache.get_or_fetch(fetch("none", 20_000)).await.unwrap();
    assert!(answer.degraded);
    assert_eq!(answer.expect_found().outcome(), Outcome::Negative);
    let only_if_cached = GetOrFetchRequest { only_if_cached: true, ..fetch("k", 0) };
    let answer = cache.get_or_fetch(only_if_cached).await.unwrap();
    assert!(answer.degraded && matches!(answer.outcome, Some(Answer::NotCached(_))), "{answer:?}");

    // Values are cached again when the store is reachable.
    origin.answer(numbered);
    redis.restart().await;
    eventually("values are stored again", SOON, async || {
        let (_, answer) = cache.fetched("again").await;
        (answer.fill() == FillResult::Stored || answer.fetch_status() == FetchStatus::Unspecified)
            .then_some(())
    })
    .await;
    assert_eq!(cache.get(get("again")).await.unwrap().outcome(), Outcome::Hit);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_outage_coalesces_fetches_per_replica() {
    let (mut redis, larder, cache, origin) = start().await;
    redis.kill();
    eventually("the store outage is detected", SOON, async || {
        cache.get(get("x")).await.unwrap().degraded.then_some(())
    })
    .await;
    origin.hold();
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let cache = cache.clone();
            tokio::spawn(async move { cache.fetched("k").await })
        })
        .collect();
    waiting(&larder, 100).await;
    eventually("the origin is called", SOON, async || (origin.calls() == 1).then_some(())).await;
    origin.release();
    let mut coalesced = 0;
    for call in calls {
        let (value, answer) = call.await.unwrap();
        assert!(value.unwrap().starts_with("/v/k#") && answer.degraded, "{:?}", answer.outcome);
        coalesced += usize::from(answer.fetch_status() == FetchStatus::Coalesced);
    }
    // Callers that arrive after a fetch has started may wait for the next one.
    let rounds = origin.calls();
    assert!(rounds <= 2, "{rounds} rounds");
    assert_eq!(coalesced, 100 - rounds);
    assert_eq!(origin.max_in_flight(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outage_of_store_and_origin_is_an_error() {
    let (mut redis, _larder, cache, origin) = start().await;
    redis.kill();
    origin.always(status(500));
    for _ in 0..3 {
        let answer = cache.get_or_fetch(fetch("k", 20_000)).await;
        let details = expect_error(answer, Code::Unavailable, "ORIGIN_FAILED");
        assert!(details.retry_info().is_some());
    }
    drop(origin);
    let answer = cache.get_or_fetch(fetch("k", 20_000)).await;
    expect_error(answer, Code::Unavailable, "ORIGIN_UNREACHABLE");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_outage_during_a_fetch_does_not_fail_it() {
    let (mut redis, _larder, cache, origin) = start().await;
    origin.hold();
    let call = tokio::spawn({
        let cache = cache.clone();
        async move { cache.fetched("k").await }
    });
    eventually("the origin is called", SOON, async || (origin.calls() == 1).then_some(())).await;
    redis.kill();
    origin.release();
    let (value, answer) = call.await.unwrap();
    assert_eq!((value.as_deref(), answer.fetch_status()), (Some("/v/k#1"), FetchStatus::Fetched));
    assert_eq!((answer.fill(), answer.degraded), (FillResult::NotStored, true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fetch_from_before_the_store_recovered_does_not_overwrite_a_set() {
    let (mut redis, _larder, cache, origin) = start().await;
    redis.kill();
    origin.hold();
    let call = tokio::spawn({
        let cache = cache.clone();
        async move { cache.fetched("k").await }
    });
    eventually("the origin is called", SOON, async || (origin.calls() == 1).then_some(())).await;
    redis.restart().await;
    eventually("the store accepts values", SOON, async || {
        let answer = cache.set(set_for("k", text("mine"), 600_000)).await.ok()?;
        (answer.result() == larder::pb::v1::SetResult::Stored).then_some(())
    })
    .await;
    origin.release();
    let (value, answer) = call.await.unwrap();
    assert_eq!((value.as_deref(), answer.fill()), (Some("/v/k#1"), FillResult::NotStored));
    becomes_text(&cache, "k", "mine").await;
    let again = cache.get_or_fetch(fetch("k", 20_000)).await.unwrap().expect_found().value;
    assert_eq!(as_text(again).as_deref(), Some("mine"));
}
