use std::{collections::BTreeSet, time::Duration};

use futures::future::join_all;
use larder::pb::v1::Durability;
use nix::sys::signal::Signal;

use super::{await_replayed, await_store, deleted, journaled};
use crate::support::{
    client::{Cache, delete},
    fleet::metric,
    redis::RedisServer,
    server::Larder,
};

const ROUNDS: usize = 6;
const KEYS: usize = 200;

fn key(number: usize) -> String {
    format!("k{number}")
}

/// Deletes keys, eight at a time, until the server is gone. Returns those that are queued; the
/// first [`KEYS`] had a value.
async fn delete_until_killed(cache: &Cache) -> BTreeSet<usize> {
    let deletes = (0..8).map(|first| async move {
        let mut queued = Vec::new();
        for number in (first..).step_by(8) {
            let Ok(answer) = cache.delete(delete(&key(number))).await else { break };
            assert_eq!(answer.durability(), Durability::Queued);
            queued.push(number);
        }
        queued
    });
    join_all(deletes).await.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_loses_nothing_that_it_acknowledged() {
    let mut redis = RedisServer::start_with(&["--appendonly", "yes"]).await;
    let directory = tempfile::tempdir().unwrap();
    let mut larder = journaled(&redis.url(), directory.path()).start().await;
    let mut cache = larder.client().await;
    let mut all_queued = 0;
    for round in 0..ROUNDS {
        await_store(&cache, "other").await;
        for number in 0..KEYS {
            cache.put(&key(number), "old").await;
        }
        redis.kill();
        let deleting = tokio::spawn({
            let cache = cache.clone();
            async move { delete_until_killed(&cache).await }
        });
        // A later moment in each round.
        tokio::time::sleep(Duration::from_millis(20 + 60 * round as u64)).await;
        larder.kill();
        let queued = deleting.await.unwrap();
        all_queued += queued.len();
        redis.restart().await;
        larder = journaled(&redis.url(), directory.path()).start().await;
        cache = larder.client().await;
        await_store(&cache, "other").await;
        for number in queued.iter().filter(|number| **number < KEYS) {
            let value = cache.read(&key(*number)).await;
            assert_eq!(value, None, "round {round}: {number} of {}", queued.len());
        }
        await_replayed(&larder).await;
        for number in queued.iter().filter(|number| **number < KEYS) {
            assert_eq!(cache.read(&key(*number)).await, None, "round {round}: {number}");
        }
    }
    assert!(all_queued > 0, "the server was killed too early each time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_is_replayed_after_a_restart_and_withdrawn_when_it_is_empty() {
    let mut redis = RedisServer::start_with(&["--appendonly", "yes"]).await;
    let directory = tempfile::tempdir().unwrap();
    let start = || journaled(&redis.url(), directory.path()).start();
    let mut larder = start().await;
    let cache = larder.client().await;
    await_store(&cache, "other").await;
    cache.put("k", "old").await;
    redis.kill();
    assert_eq!(deleted(&cache, "k").await, Durability::Queued);
    stop(&mut larder).await;

    let mut larder = journaled(&redis.url(), directory.path()).start().await;
    assert!(larder.logs().contains("the journal has invalidations that Redis has not applied"));
    assert_eq!(metric(&larder, "larder_journal_entries").await, 1.0);
    let cache = larder.client().await;
    redis.restart().await;
    await_store(&cache, "other").await;
    assert_eq!(cache.read("k").await, None);
    await_replayed(&larder).await;
    assert_eq!(registered(&redis).await, 1);
    stop(&mut larder).await;
    assert_eq!(registered(&redis).await, 0);
}

async fn stop(larder: &mut Larder) {
    larder.signal(Signal::SIGTERM);
    let status = larder.wait_exit(Duration::from_secs(20)).await;
    assert!(status.success(), "{status}");
}

/// Journals that are registered in Redis.
async fn registered(redis: &RedisServer) -> usize {
    let mut connection = redis.connection().await;
    redis::cmd("HLEN").arg("larder:{journals}").query_async(&mut connection).await.unwrap()
}
