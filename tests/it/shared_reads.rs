//! Reads of the same moment go to Redis together, and nobody can tell.

use std::{collections::BTreeSet, time::Duration};

use futures::future::join_all;
use larder::pb::v1::Outcome;
use redis::AsyncCommands as _;

use crate::support::{
    client::{Cache, as_text, get},
    redis::RedisServer,
    server::Larder,
    wait::{SOON, eventually},
};

const READS: usize = 300;

struct Env {
    redis: RedisServer,
    /// Ends when dropped.
    _larder: Larder,
    cache: Cache,
}

async fn start() -> Env {
    let redis = RedisServer::start().await;
    let larder = Larder::redis(&redis.url()).env("LARDER_STATS__FLUSH_INTERVAL", "1h");
    let larder =
        larder.env("LARDER_STORE__TIMEOUT", "10s").env("LARDER_STORE__SHARDS", "1").start().await;
    let cache = larder.client().await;
    Env { redis, _larder: larder, cache }
}

fn value(number: usize) -> String {
    // Small ones and a few that are not.
    format!("{number} ").repeat(if number.is_multiple_of(50) { 100_000 } else { 5 })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_caller_gets_the_answer_to_his_own_question() {
    let env = start().await;
    let exists = |number: usize| !number.is_multiple_of(3);
    for number in (0..READS).filter(|number| exists(*number)) {
        env.cache.put(&format!("k{number}"), &value(number)).await;
    }
    // Nothing of Larder's has this form.
    let _: () =
        env.redis.connection().await.hset("larder:{ns:0}:k:k3", "not", "ours").await.unwrap();
    env.redis.reset_counts().await;
    for round in 0..3 {
        let reads = (0..READS).map(async |number| {
            let read = env.cache.get(get(&format!("k{number}"))).await.unwrap();
            assert!(!read.degraded);
            (number, read.value)
        });
        for (number, read) in join_all(reads).await {
            let expected = exists(number).then(|| value(number));
            assert!(as_text(read) == expected, "k{number} in round {round}");
        }
    }
    let commands = env.redis.counts().await;
    assert_eq!(
        commands.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        BTreeSet::from(["mget"])
    );
    assert!(commands["mget"] < 3 * READS as u64 / 2, "{commands:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_fails_for_all_of_them_and_for_nobody_after() {
    let mut env = start().await;
    env.cache.put("k", "v").await;
    env.redis.kill();
    let reads = join_all((0..READS).map(|_| env.cache.get(get("k")))).await;
    for read in reads {
        let read = read.unwrap();
        assert_eq!((read.outcome(), read.degraded), (Outcome::Miss, true));
    }
    env.redis.restart().await;
    eventually("reads reach Redis", SOON, async || {
        (!env.cache.get(get("k")).await.unwrap().degraded).then_some(())
    })
    .await;
    let reads = join_all((0..READS).map(|_| env.cache.get(get("k")))).await;
    assert!(reads.into_iter().all(|read| !read.unwrap().degraded));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_who_leave_take_nothing_from_the_others() {
    let env = start().await;
    env.cache.put("k", "v").await;
    for _ in 0..5 {
        let reads = (0..READS).map(async |number| {
            let read = env.cache.get(get("k"));
            // Few enough not to look like an attack by resets.
            if number.is_multiple_of(10) {
                // Some leave before they have asked, some while they wait, some with the answer.
                let patience = Duration::from_micros(20 * number as u64);
                return tokio::time::timeout(patience, read).await.ok();
            }
            Some(read.await)
        });
        for read in join_all(reads).await.into_iter().flatten() {
            assert_eq!(read.unwrap().outcome(), Outcome::Hit);
        }
    }
}
