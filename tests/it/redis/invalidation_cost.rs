//! Cost of InvalidateNamespace, counted in Redis commands.

use std::collections::BTreeMap;

use futures::{StreamExt as _, stream};
use larder::pb::v1::{BatchSetRequest, SetResult};

use crate::support::{
    client::{Cache, batch_get, delete, fetch, fill, get, invalidate, key_ref, set, text},
    redis::RedisServer,
    server::Larder,
};

const MANY: usize = 100_000;
/// Commands that iterate over keys or drop a whole database.
const FORBIDDEN: [&str; 5] = ["keys", "scan", "hscan", "randomkey", "flushdb"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cost_is_independent_of_the_number_of_keys() {
    let redis = RedisServer::start().await;
    let larder = start(&redis).await;
    let cache = larder.client().await;

    write(&cache, 100).await;
    // The first call loads the scripts.
    cache.invalidate_namespace(invalidate("ns")).await.unwrap();
    write(&cache, 100).await;
    let few = cost(&redis, &cache).await;
    write(&cache, MANY).await;
    let many = cost(&redis, &cache).await;
    eprintln!("InvalidateNamespace of {MANY} keys: {many:?}");

    assert_eq!(few, many);
    // One marker for each of the 64 shards, and at most four commands for each marker.
    assert!((1..=64 * 4).contains(&many.values().sum::<u64>()), "{many:?}");
    let sample =
        (0..MANY).step_by(MANY / 1000).map(|number| key_ref(&format!("k{number}"))).collect();
    let chunks = cache.batch_get(batch_get(sample)).await.unwrap();
    assert!(chunks.iter().flat_map(|chunk| &chunk.results).all(|result| result.value.is_none()));
    write(&cache, 100).await;
    assert_eq!(cache.read("k1").await.as_deref(), Some("v"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_scans_all_keys() {
    let redis = RedisServer::start().await;
    let larder = start(&redis).await;
    let cache = larder.client().await;
    redis.reset_counts().await;
    write(&cache, 10).await;
    let lease = cache.lease("leased").await;
    cache.get_or_fetch(fetch("leased", 0)).await.unwrap();
    cache.set(fill("leased", text("v"), &lease)).await.unwrap();
    cache.get(get("k1")).await.unwrap();
    cache.delete(delete("k1")).await.unwrap();
    cache.invalidate_namespace(invalidate("ns")).await.unwrap();
    let counts = redis.counts().await;
    assert!(!counts.is_empty());
    for command in FORBIDDEN {
        assert_eq!(counts.get(command), None, "{counts:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hit_costs_one_command() {
    let redis = RedisServer::start().await;
    let larder = start(&redis).await;
    let cache = larder.client().await;
    cache.put("k", "v").await;
    cache.read("k").await.unwrap();
    redis.reset_counts().await;
    for _ in 0..50 {
        cache.read("k").await.unwrap();
    }
    assert_eq!(redis.counts().await, BTreeMap::from([("mget".to_owned(), 50)]));
}

async fn start(redis: &RedisServer) -> Larder {
    // Flushing statistics also sends commands. Thousands of concurrent writes can be slow on a busy
    // machine.
    let larder = Larder::redis(&redis.url()).env("LARDER_STATS__FLUSH_INTERVAL", "1h");
    larder.start().await
}

async fn write(cache: &Cache, number: usize) {
    let numbers: Vec<usize> = (0..number).collect();
    let batches = numbers.chunks(1000).map(|numbers| {
        let items = numbers.iter().map(|number| set(&format!("k{number}"), text("v"))).collect();
        async move {
            let results = cache.batch_set(BatchSetRequest { items }).await.unwrap().results;
            assert!(results.iter().all(|result| result.result() == SetResult::Stored));
        }
    });
    stream::iter(batches).buffer_unordered(2).collect::<Vec<()>>().await;
}

async fn cost(redis: &RedisServer, cache: &Cache) -> BTreeMap<String, u64> {
    redis.reset_counts().await;
    cache.invalidate_namespace(invalidate("ns")).await.unwrap();
    let mut counts = redis.counts().await;
    // The shared clock is written every ten seconds.
    counts.remove("pexpire");
    counts
}
