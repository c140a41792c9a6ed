//! Redis killed, stopped, cut off, slow, under load; and how soon it is used again.

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

/// The contract says `store.timeout` (250 ms) and a small constant. Twice that is left to the machine.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// The contract says a second. Twice that is left to the machine.
const RETURN_LIMIT: Duration = Duration::from_secs(3);
/// How long every outage lasts: long enough for the breaker to open and to be asked several times.
const OUTAGE: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_killed_and_restarted() {
    let mut redis = RedisServer::start().await;
    let larder = Larder::redis(&redis.url()).start().await;
    let cache = larder.client().await;
    for round in 0..2 {
        let load = begin(&cache).await;
        redis.kill();
        outage(&cache).await;
        redis.restart().await;
        back(&cache, "restarted", round).await;
        end(load, "killed and restarted").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_killed_and_restarted_on_tcp() {
    let mut redis = RedisServer::start_tcp().await;
    let larder = Larder::redis(&redis.url()).start().await;
    let cache = larder.client().await;
    let load = begin(&cache).await;
    redis.kill();
    outage(&cache).await;
    redis.restart().await;
    back(&cache, "restarted on TCP", 0).await;
    end(load, "killed and restarted on TCP").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_restarted_quickly() {
    let mut redis =
        RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let larder = Larder::redis(&redis.url()).start().await;
    let cache = larder.client().await;
    cache.put("durable", "v").await;
    let load = begin(&cache).await;
    redis.restart().await;
    back(&cache, "restarted at once", 0).await;
    // What was acknowledged as stored is what Redis kept.
    assert_eq!(cache.read("durable").await.as_deref(), Some("v"));
    end(load, "restarted at once").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_stopped_and_goes_on() {
    let redis = RedisServer::start().await;
    let larder = Larder::redis(&redis.url()).start().await;
    let cache = larder.client().await;
    for round in 0..2 {
        cache.put("kept", "v").await;
        let load = begin(&cache).await;
        redis.pause();
        outage(&cache).await;
        redis.resume();
        back(&cache, "resumed", round).await;
        assert_eq!(cache.read("kept").await.as_deref(), Some("v"));
        end(load, "stopped and resumed").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_network_is_cut() {
    let redis = RedisServer::start().await;
    let mut proxy = Proxy::start(redis.upstream()).await;
    let larder = Larder::redis(&proxy.redis_url()).start().await;
    let cache = larder.client().await;
    for round in 0..2 {
        cache.put("kept", "v").await;
        let load = begin(&cache).await;
        proxy.cut().await;
        outage(&cache).await;
        proxy.restore().await;
        back(&cache, "reconnected", round).await;
        assert_eq!(cache.read("kept").await.as_deref(), Some("v"));
        end(load, "cut off").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_network_swallows_everything() {
    let redis = RedisServer::start().await;
    let mut proxy = Proxy::start(redis.upstream()).await;
    let larder = Larder::redis(&proxy.redis_url()).start().await;
    let cache = larder.client().await;
    cache.put("kept", "v").await;
    let load = begin(&cache).await;
    proxy.blackhole();
    outage(&cache).await;
    proxy.restore().await;
    back(&cache, "the network healed", 0).await;
    assert_eq!(cache.read("kept").await.as_deref(), Some("v"));
    end(load, "blackholed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_network_swallows_one_direction() {
    let redis = RedisServer::start().await;
    let mut proxy = Proxy::start(redis.upstream()).await;
    let larder = Larder::redis(&proxy.redis_url()).start().await;
    let cache = larder.client().await;
    for what in ["requests", "replies"] {
        let load = begin(&cache).await;
        if what == "requests" {
            proxy.hold_requests()
        } else {
            proxy.hold_replies()
        }
        outage(&cache).await;
        proxy.restore().await;
        back(&cache, what, 0).await;
        end(load, what).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_network_is_not_an_outage() {
    let redis = RedisServer::start().await;
    let mut proxy = Proxy::start(redis.upstream()).await;
    let larder = Larder::redis(&proxy.redis_url()).start().await;
    let cache = larder.client().await;
    cache.put("kept", "v").await;
    proxy.slow_down(Duration::from_millis(20));
    for _ in 0..20 {
        assert_eq!(cache.read("kept").await.as_deref(), Some("v"));
    }
    proxy.restore().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_slower_than_the_limit_is_one() {
    let redis = RedisServer::start().await;
    let mut proxy = Proxy::start(redis.upstream()).await;
    let larder = Larder::redis(&proxy.redis_url()).start().await;
    let cache = larder.client().await;
    let load = begin(&cache).await;
    proxy.slow_down(Duration::from_millis(600));
    outage(&cache).await;
    proxy.restore().await;
    back(&cache, "fast again", 0).await;
    end(load, "slow network").await;
}

/// Starts load and waits until it is answered from the store.
async fn begin(cache: &Cache) -> Load {
    let load = Load::start(cache);
    throughout(Duration::from_millis(300), async || {
        assert!(!cache.get(get("k")).await.unwrap().degraded);
    })
    .await;
    load
}

/// What must hold while the store is away.
async fn outage(cache: &Cache) {
    let start = Instant::now();
    eventually("the outage shows", ANSWER_LIMIT * 2, async || {
        cache.get(get("k")).await.unwrap().degraded.then_some(())
    })
    .await;
    while start.elapsed() < OUTAGE {
        for limited in [
            cache.delete(delete("k")).await.map(drop),
            // Not of the namespace that is looked at later: what was not answered may still be carried out.
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

/// Waits until entries are served again, and says how long it took.
async fn back(cache: &Cache, how: &str, round: usize) {
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
    eventually("deletes are obeyed again", RETURN_LIMIT, async || {
        cache.delete(delete(&key)).await.ok()
    })
    .await;
    assert_eq!(cache.read(&key).await, None);
}

async fn end(load: Load, what: &str) {
    let record = load.finish(what, ANSWER_LIMIT).await;
    assert!(record.degraded > 0 || what.contains("at once"), "{what}: nothing was degraded");
    assert!(record.degraded < record.calls, "{what}: everything was degraded");
}
