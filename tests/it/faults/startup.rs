//! Starting without Redis, and running without it on purpose.

use std::time::{Duration, Instant};

use larder::pb::v1::{SetResult, StatsRequest};

use crate::support::{
    client::{get, set, text},
    redis::RedisServer,
    server::{Builder, Larder},
    wait::eventually,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_may_start_after_the_server() {
    let mut redis = RedisServer::stopped();
    let larder = Larder::redis(&redis.url()).default_timeouts().start().await;
    let cache = larder.client().await;
    for _ in 0..10 {
        assert!(cache.get(get("k")).await.unwrap().degraded);
        assert_eq!(cache.set(set("k", text("v"))).await.unwrap().result(), SetResult::NotStored);
    }
    redis.restart().await;
    let appeared = Instant::now();
    eventually("Redis is used", Duration::from_secs(3), async || {
        let stored = cache.set(set("k", text("v"))).await.unwrap();
        (stored.result() == SetResult::Stored).then_some(())
    })
    .await;
    eprintln!("used after {:?}", appeared.elapsed());
    assert_eq!(cache.read("k").await.as_deref(), Some("v"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_redis_does_not_block_startup() {
    let redis = RedisServer::start().await;
    redis.pause();
    let larder = Larder::redis(&redis.url()).default_timeouts().start().await;
    let cache = larder.client().await;
    let asked = Instant::now();
    assert!(cache.get(get("k")).await.unwrap().degraded);
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    redis.resume();
    eventually("Redis is used", Duration::from_secs(3), async || {
        let stored = cache.set(set("k", text("v"))).await.unwrap();
        (stored.result() == SetResult::Stored).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_can_be_disabled() {
    let redis = RedisServer::start().await;
    let larder = Builder::default()
        .env("REDIS_URL", redis.url())
        .env("REDIS_ENABLED", "false")
        .start()
        .await;
    let cache = larder.client().await;
    cache.put("k", "v").await;
    assert_eq!(cache.read("k").await.as_deref(), Some("v"));
    let stats = cache.stats(StatsRequest::default()).await.unwrap();
    assert_eq!(stats.store.unwrap().kind, "memory");
    assert!(redis.counts().await.is_empty(), "{:?}", redis.counts().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn legacy_variables_configure_redis() {
    let redis = RedisServer::start_tcp().await;
    let url = redis.url();
    let port = url.rsplit(':').next().unwrap();
    let by_parts = Builder::default()
        .env("REDIS_HOST", "127.0.0.1")
        .env("REDIS_PORT", port)
        .env("REDIS_DB", "3");
    let by_url =
        Builder::default().env("REDIS_URL", format!("{url}/3")).env("REDIS_ENABLED", "true");
    let [one, two] = [by_parts.start().await, by_url.start().await];
    one.client().await.put("k", "v").await;
    assert_eq!(two.client().await.read("k").await.as_deref(), Some("v"));
    let other_database = Larder::redis(&url).start().await;
    assert_eq!(other_database.client().await.read("k").await, None);
}
