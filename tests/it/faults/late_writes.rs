//! Writes that reach the store after the call was answered with an error.
//!
//! A command that was sent but not answered in time is still in a socket. When the store resumes,
//! the command must not restore a value that was deleted in the meantime.

use std::time::Duration;

use futures::future::join_all;
use larder::pb::v1::SetResult;

use crate::support::{
    client::{Cache, delete, fill, get, invalidate, set, text},
    proxy::Proxy,
    redis::RedisServer,
    server::Larder,
    wait::{SOON, eventually, throughout},
};

const KEYS: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timed_out_set_is_not_applied_after_a_delete() {
    let redis = RedisServer::start().await;
    let [here, there] = [start(&redis.url()).await, start(&redis.url()).await];
    let (writer, deleter) = (here.client().await, there.client().await);
    for round in 0..3 {
        writer.put("warm", "v").await;
        redis.pause();
        let refused = set_all(&writer, round).await;
        assert!(refused > 0, "the pause came too late");
        redis.resume();
        delete_all(&deleter, round).await;
        assert_all_missing([&writer, &deleter], round).await;
        eventually("the writer reaches the store again", SOON, async || {
            (!writer.get(get("k")).await.unwrap().degraded).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timed_out_set_is_not_applied_after_an_invalidation() {
    let redis = RedisServer::start().await;
    let [here, there] = [start(&redis.url()).await, start(&redis.url()).await];
    let (writer, invalidator) = (here.client().await, there.client().await);
    writer.put("warm", "v").await;
    redis.pause();
    assert!(set_all(&writer, 0).await > 0, "the pause came too late");
    redis.resume();
    eventually("the namespace is invalidated", SOON, async || {
        invalidator.invalidate_namespace(invalidate("ns")).await.ok()
    })
    .await;
    assert_all_missing([&writer, &invalidator], 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_delayed_by_the_network_is_not_applied() {
    let redis = RedisServer::start().await;
    let mut proxy = Proxy::start(redis.upstream()).await;
    let [here, there] = [start(&proxy.redis_url()).await, start(&redis.url()).await];
    let (writer, deleter) = (here.client().await, there.client().await);
    writer.put("warm", "v").await;
    let lease = writer.lease("leased").await;
    proxy.hold_requests();
    assert_eq!(set_all(&writer, 0).await, KEYS);
    let late = writer.set(fill("leased", text("late"), &lease)).await.unwrap();
    assert_eq!(late.result(), SetResult::NotStored);
    // The other replica still reaches the store.
    delete_all(&deleter, 0).await;
    proxy.restore().await;
    assert_all_missing([&writer, &deleter], 0).await;
    assert_eq!(deleter.read("leased").await, None);
    eventually("the writer reaches the store again", SOON, async || {
        (writer.set(set("back", text("v"))).await.unwrap().result() == SetResult::Stored)
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_set_is_never_applied() {
    let redis = RedisServer::start().await;
    let mut proxy = Proxy::start(redis.upstream()).await;
    let [here, there] = [start(&proxy.redis_url()).await, start(&redis.url()).await];
    let (writer, reader) = (here.client().await, there.client().await);
    writer.put("warm", "v").await;
    proxy.hold_requests();
    assert_eq!(set_all(&writer, 0).await, KEYS);
    proxy.restore().await;
    assert_all_missing([&writer, &reader], 0).await;
}

async fn start(url: &str) -> Larder {
    // The circuit breaker never opens, so every write is sent.
    Larder::redis(url).default_timeouts().env("LARDER_STORE__BREAKER_THRESHOLD", 1000).start().await
}

/// Sets all keys at once, and returns how many were refused.
async fn set_all(cache: &Cache, round: usize) -> usize {
    let calls = (0..KEYS).map(async |number| {
        let answer = cache.set(set(&key(round, number), text("late"))).await.unwrap();
        match answer.result() {
            SetResult::Stored => 0,
            SetResult::NotStored => {
                assert!(answer.degraded);
                1
            }
            other => panic!("{other:?}"),
        }
    });
    join_all(calls).await.into_iter().sum()
}

async fn delete_all(cache: &Cache, round: usize) {
    join_all((0..KEYS).map(async |number| {
        eventually("the key is deleted", SOON, async || {
            cache.delete(delete(&key(round, number))).await.ok()
        })
        .await;
    }))
    .await;
}

async fn assert_all_missing(caches: [&Cache; 2], round: usize) {
    throughout(Duration::from_secs(1), async || {
        for cache in caches {
            for number in 0..KEYS {
                let key = key(round, number);
                assert_eq!(cache.read(&key).await, None, "{key} reappeared");
            }
        }
    })
    .await;
}

fn key(round: usize, number: usize) -> String {
    format!("late-{round}-{number}")
}
