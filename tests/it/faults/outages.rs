//! Redis killed, paused, cut off or slow under load, and the time until it is used again.

use std::time::{Duration, Instant};

use larder::pb::v1::SetResult;
use tonic::Code;

use crate::support::{
    client::{Cache, delete, get, increment, invalidate, set, text},
    load::Load,
    proxy::Proxy,
    redis::RedisServer,
    server::Larder,
    status::expect_retry,
    wait::{eventually, throughout},
};

/// The contract allows `store.timeout` (250 ms) and a small constant. The rest is tolerance for a
/// slow machine.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// The contract allows one second. The other two are tolerance for a slow machine.
const RETURN_LIMIT: Duration = Duration::from_secs(3);
/// Length of each outage: long enough for the circuit breaker to open and to probe several times.
const OUTAGE: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recovers_after_redis_is_killed() {
    let mut redis = RedisServer::start().await;
    let larder = Larder::redis(&redis.url()).default_timeouts().start().await;
    let cache = larder.client().await;
    for round in 0..2 {
        let load = start_load(&cache).await;
        redis.kill();
        assert_outage(&cache).await;
        redis.restart().await;
        assert_recovery(&cache, "restarted", round).await;
        finish_load(load, "killed and restarted").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recovers_after_redis_is_killed_on_tcp() {
    let mut redis = RedisServer::start_tcp().await;
    let larder = Larder::redis(&redis.url()).default_timeouts().start().await;
    let cache = larder.client().await;
    let load = start_load(&cache).await;
    redis.kill();
    assert_outage(&cache).await;
    redis.restart().await;
    assert_recovery(&cache, "restarted on TCP", 0).await;
    finish_load(load, "killed and restarted on TCP").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recovers_after_a_quick_restart() {
    let mut redis =
        RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let larder = Larder::redis(&redis.url()).default_timeouts().start().await;
    let cache = larder.client().await;
    cache.put("durable", "v").await;
    let load = start_load(&cache).await;
    redis.restart().await;
    assert_recovery(&cache, "restarted at once", 0).await;
    // Redis has kept what it acknowledged.
    assert_eq!(cache.read("durable").await.as_deref(), Some("v"));
    finish_load(load, "restarted at once").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recovers_after_redis_is_paused() {
    let redis = RedisServer::start().await;
    let larder = Larder::redis(&redis.url()).default_timeouts().start().await;
    let cache = larder.client().await;
    for round in 0..2 {
        cache.put("kept", "v").await;
        let load = start_load(&cache).await;
        redis.pause();
        assert_outage(&cache).await;
        redis.resume();
        assert_recovery(&cache, "resumed", round).await;
        assert_eq!(cache.read("kept").await.as_deref(), Some("v"));
        finish_load(load, "stopped and resumed").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recovers_after_the_network_is_cut() {
    let redis = RedisServer::start().await;
    let mut proxy = Proxy::start(redis.upstream()).await;
    let larder = Larder::redis(&proxy.redis_url()).default_timeouts().start().await;
    let cache = larder.client().await;
    for round in 0..2 {
        cache.put("kept", "v").await;
        let load = start_load(&cache).await;
        proxy.cut().await;
        assert_outage(&cache).await;
        proxy.restore().await;
        assert_recovery(&cache, "reconnected", round).await;
        assert_eq!(cache.read("kept").await.as_deref(), Some("v"));
        finish_load(load, "cut off").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recovers_after_the_network_drops_everything() {
    let redis = RedisServer::start().await;
    let mut proxy = Proxy::start(redis.upstream()).await;
    let larder = Larder::redis(&proxy.redis_url()).default_timeouts().start().await;
    let cache = larder.client().await;
    cache.put("kept", "v").await;
    let load = start_load(&cache).await;
    proxy.blackhole();
    assert_outage(&cache).await;
    proxy.restore().await;
    assert_recovery(&cache, "the network healed", 0).await;
    assert_eq!(cache.read("kept").await.as_deref(), Some("v"));
    finish_load(load, "blackholed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recovers_after_the_network_drops_one_direction() {
    let redis = RedisServer::start().await;
    let mut proxy = Proxy::start(redis.upstream()).await;
    let larder = Larder::redis(&proxy.redis_url()).default_timeouts().start().await;
    let cache = larder.client().await;
    for what in ["requests", "replies"] {
        let load = start_load(&cache).await;
        if what == "requests" {
            proxy.hold_requests()
        } else {
            proxy.hold_replies()
        }
        assert_outage(&cache).await;
        proxy.restore().await;
        assert_recovery(&cache, what, 0).await;
        finish_load(load, what).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_network_is_not_an_outage() {
    let redis = RedisServer::start().await;
    let mut proxy = Proxy::start(redis.upstream()).await;
    let larder = Larder::redis(&proxy.redis_url()).default_timeouts().start().await;
    let cache = larder.client().await;
    cache.put("kept", "v").await;
    proxy.slow_down(Duration::from_millis(20));
    for _ in 0..20 {
        assert_eq!(cache.read("kept").await.as_deref(), Some("v"));
    }
    proxy.restore().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn latency_above_the_timeout_is_an_outage() {
    let redis = RedisServer::start().await;
    let mut proxy = Proxy::start(redis.upstream()).await;
    let larder = Larder::redis(&proxy.redis_url()).default_timeouts().start().await;
    let cache = larder.client().await;
    let load = start_load(&cache).await;
    proxy.slow_down(Duration::from_millis(600));
    assert_outage(&cache).await;
    proxy.restore().await;
    assert_recovery(&cache, "fast again", 0).await;
    finish_load(load, "slow network").await;
}

/// Starts load and waits until it is answered from the store.
async fn start_load(cache: &Cache) -> Load {
    let load = Load::start(cache);
    throughout(Duration::from_millis(300), async || {
        assert!(!cache.get(get("k")).await.unwrap().degraded);
    })
    .await;
    load
}

/// Asserts the answers while the store is unavailable.
async fn assert_outage(cache: &Cache) {
    let start = Instant::now();
    eventually("the outage is noticed", ANSWER_LIMIT * 2, async || {
        cache.get(get("k")).await.unwrap().degraded.then_some(())
    })
    .await;
    while start.elapsed() < OUTAGE {
        for limited in [
            cache.delete(delete("k")).await.map(drop),
            // Not the namespace that is read later: an unanswered command may still be applied.
            cache.invalidate_namespace(invalidate("elsewhere")).await.map(drop),
            cache.increment(increment("n", 1)).await.map(drop),
        ] {
            expect_retry(limited, Code::Unavailable, "STORE_UNAVAILABLE");
        }
        let refused = cache.set(set("k", text("v"))).await.unwrap();
        assert_eq!((refused.result(), refused.degraded), (SetResult::NotStored, true));
        assert!(cache.get(get("k")).await.unwrap().degraded);
    }
}

/// Waits until entries are served again, and prints how long it took.
async fn assert_recovery(cache: &Cache, how: &str, round: usize) {
    let start = Instant::now();
    let key = format!("back-{round}");
    eventually("entries are served again", RETURN_LIMIT, async || {
        let stored = cache.set(set(&key, text(how))).await.unwrap();
        if stored.result() != SetResult::Stored {
            return None;
        }
        let answer = cache.get(get(&key)).await.unwrap();
        (answer.value == Some(text(how)) && !answer.degraded).then_some(())
    })
    .await;
    eprintln!("{how}: entries are served again after {:?}", start.elapsed());
    eventually("deletes succeed again", RETURN_LIMIT, async || {
        cache.delete(delete(&key)).await.ok()
    })
    .await;
    assert_eq!(cache.read(&key).await, None);
}

async fn finish_load(load: Load, what: &str) {
    let record = load.finish(what, ANSWER_LIMIT).await;
    assert!(record.degraded > 0 || what.contains("at once"), "{what}: nothing was degraded");
    assert!(record.degraded < record.calls, "{what}: everything was degraded");
}
