//! Redis fails only briefly, or only for some commands.

use std::time::Duration;

use larder::pb::v1::{Outcome, SetResult};

use crate::support::{
    client::{Fetched as _, as_text, delete, fetch, fill, get, set, set_for, text},
    proxy::Proxy,
    redis::RedisServer,
    server::Larder,
    wait::{SOON, eventually, throughout},
};

/// A set applied before a delete must not be retried after it, even if its reply was lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_with_a_lost_reply_is_not_retried() {
    let redis = RedisServer::start().await;
    let mut proxy = Proxy::start(redis.upstream()).await;
    let writer = Larder::redis(&proxy.redis_url()).start().await;
    let other = Larder::redis(&redis.url()).start().await;
    let (writer, other) = (writer.client().await, other.client().await);
    writer.put("warm", "v").await;
    proxy.hold_replies();
    let setting = tokio::spawn(async move { writer.set(set("k", text("v"))).await });
    eventually("the value is stored", SOON, async || other.read("k").await).await;
    assert!(other.delete(delete("k")).await.unwrap().existed);
    proxy.cut().await;
    proxy.restore().await;
    let answer = setting.await.unwrap().unwrap();
    assert_eq!((answer.result(), answer.degraded), (SetResult::NotStored, true));
    assert_eq!(other.read("k").await, None);
}

/// A short pause of Redis must not make all waiters compute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiters_survive_a_short_pause() {
    let redis = RedisServer::start().await;
    let larder = Larder::redis(&redis.url())
        .default_timeouts()
        .env("LARDER_STORE__BREAKER_THRESHOLD", 1000)
        .start()
        .await;
    let cache = larder.client().await;
    let lease = cache.lease("k").await;
    let waiters: Vec<_> = (0..30)
        .map(|_| {
            let cache = cache.clone();
            tokio::spawn(async move { cache.get_or_fetch(fetch("k", 20_000)).await })
        })
        .collect();
    throughout(Duration::from_millis(200), async || {}).await;
    redis.pause();
    throughout(Duration::from_millis(400), async || {}).await;
    redis.resume();
    eventually("the lease is filled", SOON, async || {
        let filled = cache.set(fill("k", text("v"), &lease)).await.unwrap();
        (filled.result() == SetResult::Stored).then_some(())
    })
    .await;
    for waiter in waiters {
        let found = waiter.await.unwrap().unwrap().expect_found();
        assert_eq!(as_text(found.value).as_deref(), Some("v"));
    }
}

/// A stale value within its window is served even if no lease can be granted to refresh it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_redis_serves_stale_values() {
    let redis = RedisServer::start().await;
    let larder = Larder::redis(&redis.url())
        .env("LARDER_DEFAULTS__STALE_WHILE_REVALIDATE", "10m")
        .start()
        .await;
    let cache = larder.client().await;
    cache.set(set_for("k", text("v"), 50)).await.unwrap();
    eventually("the value is stale", SOON, async || {
        (cache.get(get("k")).await.unwrap().outcome() == Outcome::Stale).then_some(())
    })
    .await;
    let mut admin = redis.connection().await;
    redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("1").exec_async(&mut admin).await.unwrap();
    let found = cache.get_or_fetch(fetch("k", 0)).await.unwrap().expect_found();
    assert_eq!((found.outcome(), as_text(found.value).as_deref()), (Outcome::Stale, Some("v")));
    let refused = cache.set(set("other", text("v"))).await.unwrap();
    assert_eq!((refused.result(), refused.degraded), (SetResult::NotStored, false));
    // Commands that free memory still work.
    assert!(cache.delete(delete("k")).await.unwrap().existed);
    cache.invalidate_namespace(crate::support::client::invalidate("ns")).await.unwrap();
}

/// A demoted primary refuses only writes: reads continue, and the circuit breaker stays closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demoted_primary_is_still_read() {
    let (redis, unreachable) = (RedisServer::start().await, RedisServer::start_tcp().await);
    let larder = Larder::redis(&redis.url()).start().await;
    let cache = larder.client().await;
    cache.put("k", "v").await;
    let mut admin = redis.connection().await;
    let address = unreachable.url();
    let port = address
        .rsplit(':')
        .next()
        .unwrap()
        .trim_end_matches('/')
        .split('/')
        .next()
        .unwrap()
        .to_owned();
    drop(unreachable);
    redis::cmd("REPLICAOF").arg("127.0.0.1").arg(port).exec_async(&mut admin).await.unwrap();
    for _ in 0..20 {
        let refused = cache.set(set("other", text("v"))).await.unwrap();
        assert_eq!(refused.result(), SetResult::NotStored);
        let read = cache.get(get("k")).await.unwrap();
        assert_eq!((read.outcome(), read.degraded), (Outcome::Hit, false));
    }
}
