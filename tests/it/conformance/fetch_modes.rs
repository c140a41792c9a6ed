//! GetOrFetch with `no_cache` and with `only_if_cached`, where callers compute the value.

use std::time::Duration;

use larder::pb::v1::{
    FetchStatus, GetOrFetchRequest, Outcome, SetRequest, SetResult,
    get_or_fetch_response::Outcome as Answer,
};

use crate::support::{
    client::{Fetched as _, abandon, as_text, fetch, fill, ms, text},
    redis::RedisServer,
    server::Larder,
    wait::{SOON, eventually, throughout},
};

// === no_cache ===

on_both_stores!(no_cache_grants_a_lease_for_a_fresh_value, |env| {
    env.cache.put("k", "old").await;
    let lease = env.cache.get_or_fetch(no_cache("k", 0)).await.unwrap().expect_lease();
    assert_eq!(lease.stale, None);
    // Other callers still get the old value.
    assert_eq!(env.cache.read("k").await.as_deref(), Some("old"));
    let found = env.cache.get_or_fetch(fetch("k", 20_000)).await.unwrap().expect_found();
    assert_eq!((found.outcome(), as_text(found.value).as_deref()), (Outcome::Hit, Some("old")));
    env.cache.get_or_fetch(no_cache("k", 0)).await.unwrap().expect_contended();

    assert_eq!(
        env.cache.set(fill("k", text("new"), &lease)).await.unwrap().result(),
        SetResult::Stored
    );
    assert_eq!(env.cache.read("k").await.as_deref(), Some("new"));
});

on_both_stores!(each_no_cache_caller_computes, |env| {
    env.cache.put("k", "old").await;
    let first = env.cache.get_or_fetch(no_cache("k", 0)).await.unwrap().expect_lease();
    let second = {
        let cache = env.cache.clone();
        tokio::spawn(async move { cache.get_or_fetch(no_cache("k", 50_000)).await })
    };
    throughout(Duration::from_millis(100), async || {
        assert!(!second.is_finished(), "the call did not wait")
    })
    .await;
    env.cache.set(fill("k", text("first"), &first)).await.unwrap();
    // The first computation began before the second request, so it cannot answer it.
    let second = second.await.unwrap().unwrap().expect_lease();
    assert_eq!(env.cache.read("k").await.as_deref(), Some("first"));
    assert_eq!(
        env.cache.set(fill("k", text("second"), &second)).await.unwrap().result(),
        SetResult::Stored
    );
    assert_eq!(env.cache.read("k").await.as_deref(), Some("second"));
});

on_both_stores!(a_forced_refresh_can_be_abandoned, |env| {
    env.cache.put("k", "old").await;
    let lease = env.cache.get_or_fetch(no_cache("k", 0)).await.unwrap().expect_lease();
    env.cache.abandon(abandon("k", &lease)).await.unwrap();
    assert_eq!(env.cache.read("k").await.as_deref(), Some("old"));
    env.cache.get_or_fetch(no_cache("k", 0)).await.unwrap().expect_contended();
    env.cache.get_or_fetch(fetch("k", 0)).await.unwrap().expect_found();
});

on_both_stores!(a_write_supersedes_a_forced_refresh, |env| {
    env.cache.put("k", "old").await;
    let lease = env.cache.get_or_fetch(no_cache("k", 0)).await.unwrap().expect_lease();
    env.cache.put("k", "newer").await;
    assert_eq!(
        env.cache.set(fill("k", text("late"), &lease)).await.unwrap().result(),
        SetResult::Superseded
    );
    assert_eq!(env.cache.read("k").await.as_deref(), Some("newer"));
});

// === only_if_cached ===

const STALE: &str = "[namespaces.ns]\nstale_while_revalidate = '60s'\n";

on_both_stores!(only_if_cached_grants_no_lease, config: STALE, |env| {
    let only = |wait| GetOrFetchRequest { only_if_cached: true, ..fetch("k", wait) };
    let is_missing = async || {
        let answer = env.cache.get_or_fetch(only(20_000)).await.unwrap();
        assert_eq!((answer.fetch_status(), answer.degraded), (FetchStatus::Unspecified, false));
        assert!(matches!(answer.outcome, Some(Answer::NotCached(_))), "{answer:?}");
    };
    is_missing().await;
    // The call does not wait for the lease of another caller either.
    let lease = env.cache.lease("k").await;
    is_missing().await;
    env.cache.set(SetRequest { ttl: ms(50), ..fill("k", text("v"), &lease) }).await.unwrap();
    eventually("the value is stale", SOON, async || {
        let answer = env.cache.get_or_fetch(only(0)).await.unwrap();
        assert_eq!(answer.fetch_status(), FetchStatus::Unspecified);
        let found = answer.expect_found();
        assert_eq!(as_text(found.value.clone()).as_deref(), Some("v"));
        (found.outcome() == Outcome::Stale).then_some(())
    })
    .await;
    let fresh = GetOrFetchRequest { max_stale: ms(0), ..only(0) };
    let answer = env.cache.get_or_fetch(fresh).await.unwrap();
    assert!(matches!(answer.outcome, Some(Answer::NotCached(_))), "{answer:?}");
    // The lease for the refresh is still free.
    env.cache.get_or_fetch(fetch("k", 0)).await.unwrap().expect_lease();
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_store_only_if_cached_is_degraded() {
    let mut redis = RedisServer::start().await;
    let larder = Larder::redis(&redis.url()).default_timeouts().start().await;
    let cache = larder.client().await;
    redis.kill();
    let only = GetOrFetchRequest { only_if_cached: true, ..fetch("k", 0) };
    let answer = cache.get_or_fetch(only).await.unwrap();
    assert!(answer.degraded && matches!(answer.outcome, Some(Answer::NotCached(_))), "{answer:?}");
    let answer = cache.get_or_fetch(no_cache("k", 20_000)).await.unwrap();
    assert!(answer.degraded);
    answer.expect_lease();
}

fn no_cache(key: &str, wait: i64) -> GetOrFetchRequest {
    GetOrFetchRequest { no_cache: true, ..fetch(key, wait) }
}
