//! Answers of each call without a store.

use std::time::{Duration, Instant};

use larder::pb::v1::{
    BatchDeleteRequest, BatchSetRequest, DeleteRequest, Outcome, PatchRequest, SetResult,
    StatsRequest, get_or_fetch_response::Outcome as Answer, patch_request::Patch,
};
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::support::{
    client::{
        Cache, Fetched as _, abandon, batch_get, delete, fetch, fill, get, increment, invalidate,
        key_ref, set, text, touch,
    },
    redis::RedisServer,
    server::Larder,
    status::{expect_retry, expect_violation},
    targets,
    wait::{SOON, eventually},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_and_sets_are_degraded() {
    let (larder, redis) = without_store().await;
    let cache = larder.client().await;
    let read = cache.get(get("k")).await.unwrap();
    assert_eq!(
        (read.outcome(), read.value, read.entry, read.degraded),
        (Outcome::Miss, None, None, true)
    );
    let written = cache.set(set("k", text("v"))).await.unwrap();
    assert_eq!((written.result(), written.degraded), (SetResult::NotStored, true));
    assert_eq!((written.version.as_str(), written.ttl), ("", None));
    let touched = cache.touch(touch("k", 1_000)).await.unwrap();
    assert_eq!((touched.found, touched.ttl, touched.degraded), (false, None, true));

    let chunks = cache.batch_get(batch_get(vec![key_ref("k"); 3])).await.unwrap();
    assert!(chunks.iter().all(|chunk| chunk.degraded));
    let results: Vec<_> = chunks.into_iter().flat_map(|chunk| chunk.results).collect();
    assert_eq!(results.len(), 3);
    assert!(
        results.iter().all(|result| result.outcome() == Outcome::Miss && result.value.is_none())
    );
    let items = vec![set("a", text("v")), set("b", text("v"))];
    let results = cache.batch_set(BatchSetRequest { items }).await.unwrap().results;
    assert_eq!(results.len(), 2);
    assert!(
        results.iter().all(|result| result.result() == SetResult::NotStored && result.degraded)
    );
    drop(redis);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletes_and_increments_fail() {
    let (larder, redis) = without_store().await;
    let cache = larder.client().await;
    let keys = vec![key_ref("k"), key_ref("l")];
    let patch = PatchRequest {
        namespace: "ns".to_owned(),
        key: "k".to_owned(),
        patch: Some(Patch::MergePatch("{}".to_owned())),
        ..Default::default()
    };
    for refused in [
        cache.delete(delete("k")).await.map(drop),
        cache
            .batch_delete(BatchDeleteRequest { keys, ..BatchDeleteRequest::default() })
            .await
            .map(drop),
        cache.delete(DeleteRequest { return_value: true, ..delete("k") }).await.map(drop),
        cache.invalidate_namespace(invalidate("ns")).await.map(drop),
        cache.invalidate(targets::request(&[targets::tags(&["t"])])).await.map(drop),
        cache.invalidate(targets::request(&[targets::key("k")])).await.map(drop),
        cache.increment(increment("k", 1)).await.map(drop),
        cache.patch(patch).await.map(drop),
    ] {
        expect_retry(refused, Code::Unavailable, "STORE_UNAVAILABLE");
    }
    // Invalid requests are still reported as such.
    expect_violation(cache.delete(delete("")).await, "key");
    expect_violation(cache.get(get("")).await, "key");
    drop(redis);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_caller_gets_its_own_lease() {
    let (larder, mut redis) = without_store().await;
    let cache = larder.client().await;
    let start = Instant::now();
    let calls = (0..20).map(|_| cache.get_or_fetch(fetch("k", 50_000)));
    let mut leases = Vec::new();
    for answer in futures::future::join_all(calls).await {
        let answer = answer.unwrap();
        assert!(answer.degraded);
        leases.push(answer.expect_lease());
    }
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    let filled = cache.set(fill("k", text("v"), &leases[0])).await.unwrap();
    assert_eq!((filled.result(), filled.degraded), (SetResult::NotStored, true));
    cache.abandon(abandon("k", &leases[1])).await.unwrap();

    // Such a lease fills nothing, not even after the store has recovered.
    redis.restart().await;
    eventually("the store has recovered", SOON, async || {
        (!cache.get(get("k")).await.unwrap().degraded).then_some(())
    })
    .await;
    for lease in &leases[2..] {
        assert_ne!(
            cache.set(fill("k", text("v"), lease)).await.unwrap().result(),
            SetResult::Stored
        );
        cache.abandon(abandon("k", lease)).await.unwrap();
    }
    assert_eq!(cache.read("k").await, None);
    let lease = cache.lease("k").await;
    assert_eq!(cache.set(fill("k", text("v"), &lease)).await.unwrap().result(), SetResult::Stored);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn abandon_succeeds() {
    let mut redis = RedisServer::start().await;
    let larder = Larder::redis(&redis.url()).default_timeouts().start().await;
    let cache = larder.client().await;
    let lease = cache.lease("k").await;
    redis.kill();
    cache.abandon(abandon("k", &lease)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiters_are_answered_when_the_store_fails() {
    let mut redis = RedisServer::start().await;
    let larder = Larder::redis(&redis.url()).default_timeouts().start().await;
    let cache = larder.client().await;
    cache.lease("k").await;
    let waiters: Vec<_> = (0..5)
        .map(|_| {
            let cache = cache.clone();
            tokio::spawn(async move { cache.get_or_fetch(fetch("k", 5_000)).await })
        })
        .collect();
    cache.get_or_fetch(fetch("k", 0)).await.unwrap().expect_contended();
    redis.kill();
    let killed = Instant::now();
    for waiter in waiters {
        let answer = waiter.await.unwrap().unwrap();
        match answer.outcome {
            Some(Answer::Lease(_)) => {
                assert!(answer.degraded, "no store can have granted this lease")
            }
            Some(Answer::Contended(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    eprintln!("waiters were answered after {:?}", killed.elapsed());
    assert!(killed.elapsed() < Duration::from_secs(7), "{:?}", killed.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stats_cover_only_this_replica() {
    let (larder, redis) = without_store().await;
    let cache = larder.client().await;
    for _ in 0..5 {
        cache.get(get("k")).await.unwrap();
    }
    let stats = cache.stats(StatsRequest::default()).await.unwrap();
    assert!(stats.degraded);
    assert!(!stats.store.as_ref().unwrap().reachable, "{stats:?}");
    let total = stats.totals.unwrap().total.unwrap();
    assert!(total.misses >= 5 && total.degraded >= 5, "{total:?}");
    drop(redis);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_keeps_the_replica_ready() {
    let mut redis = RedisServer::start().await;
    let larder = Larder::redis(&redis.url()).default_timeouts().start().await;
    let cache = larder.client().await;
    assert_store_health(&cache, ServingStatus::Serving).await;
    redis.kill();
    cache.get(get("k")).await.unwrap();
    assert_store_health(&cache, ServingStatus::NotServing).await;
    for service in ["", "larder.v1.CacheService", "liveness"] {
        assert_eq!(health(&cache, service).await, ServingStatus::Serving, "{service}");
    }
    assert_eq!(larder.admin("/livez").await.status, 200);
    assert_eq!(larder.admin("/readyz").await.status, 200);
    redis.restart().await;
    assert_store_health(&cache, ServingStatus::Serving).await;
}

/// A server with a store that has just failed, after the server has noticed the outage.
async fn without_store() -> (Larder, RedisServer) {
    let mut redis = RedisServer::start().await;
    let larder = Larder::redis(&redis.url()).default_timeouts().start().await;
    let cache = larder.client().await;
    cache.put("k", "v").await;
    redis.kill();
    eventually("the outage is noticed", SOON, async || {
        cache.get(get("k")).await.unwrap().degraded.then_some(())
    })
    .await;
    (larder, redis)
}

async fn assert_store_health(cache: &Cache, expected: ServingStatus) {
    let what = format!("the store is {expected:?}");
    eventually(&what, SOON, async || (health(cache, "store").await == expected).then_some(()))
        .await;
}

async fn health(cache: &Cache, service: &str) -> ServingStatus {
    let check = HealthCheckRequest { service: service.to_owned() };
    HealthClient::new(cache.channel()).check(check).await.unwrap().into_inner().status()
}
