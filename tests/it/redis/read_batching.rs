//! Concurrent reads go to Redis in one command, and each caller gets its own answer.

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

struct Setup {
    redis: RedisServer,
    /// Stopped when dropped.
    _larder: Larder,
    cache: Cache,
}

async fn start() -> Setup {
    let redis = RedisServer::start().await;
    let larder = Larder::redis(&redis.url()).env("LARDER_STATS__FLUSH_INTERVAL", "1h");
    let larder = larder.env("LARDER_STORE__SHARDS", "1").start().await;
    let cache = larder.client().await;
    Setup { redis, _larder: larder, cache }
}

fn value(number: usize) -> String {
    // Mostly small values, and a few large ones.
    format!("{number} ").repeat(if number.is_multiple_of(50) { 100_000 } else { 5 })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_caller_gets_its_own_answer() {
    let setup = start().await;
    let exists = |number: usize| !number.is_multiple_of(3);
    for number in (0..READS).filter(|number| exists(*number)) {
        setup.cache.put(&format!("k{number}"), &value(number)).await;
    }
    // A hash, which Larder never stores under the name of an entry.
    let _: () =
        setup.redis.connection().await.hset("larder:{ns:0}:k:k3", "not", "ours").await.unwrap();
    setup.redis.reset_counts().await;
    for round in 0..3 {
        let reads = (0..READS).map(async |number| {
            let read = setup.cache.get(get(&format!("k{number}"))).await.unwrap();
            assert!(!read.degraded);
            (number, read.value)
        });
        for (number, read) in join_all(reads).await {
            let expected = exists(number).then(|| value(number));
            assert!(as_text(read) == expected, "k{number} in round {round}");
        }
    }
    let commands = setup.redis.counts().await;
    assert_eq!(
        commands.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        BTreeSet::from(["mget"])
    );
    assert!(commands["mget"] < 3 * READS as u64 / 2, "{commands:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_batch_does_not_affect_later_reads() {
    let mut setup = start().await;
    setup.cache.put("k", "v").await;
    setup.redis.kill();
    let reads = join_all((0..READS).map(|_| setup.cache.get(get("k")))).await;
    for read in reads {
        let read = read.unwrap();
        assert_eq!((read.outcome(), read.degraded), (Outcome::Miss, true));
    }
    setup.redis.restart().await;
    eventually("reads reach Redis", SOON, async || {
        (!setup.cache.get(get("k")).await.unwrap().degraded).then_some(())
    })
    .await;
    let reads = join_all((0..READS).map(|_| setup.cache.get(get("k")))).await;
    assert!(reads.into_iter().all(|read| !read.unwrap().degraded));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_reads_do_not_affect_others() {
    let setup = start().await;
    setup.cache.put("k", "v").await;
    for _ in 0..5 {
        let reads = (0..READS).map(async |number| {
            let read = setup.cache.get(get("k"));
            // Few enough cancellations not to look like a rapid-reset attack.
            if number.is_multiple_of(10) {
                // Some are cancelled before the request, some while it waits, some with the answer.
                let timeout = Duration::from_micros(20 * number as u64);
                return tokio::time::timeout(timeout, read).await.ok();
            }
            Some(read.await)
        });
        for read in join_all(reads).await.into_iter().flatten() {
            assert_eq!(read.unwrap().outcome(), Outcome::Hit);
        }
    }
}
