//! Slots that are moved, under load.

use std::time::Duration;

use super::{
    model::{Model, STRICT},
    setup::{Replicas, SHARDS, await_primaries},
};
use crate::support::{
    client::{Cache, invalidate},
    cluster::RedisCluster,
    targets,
    wait::throughout,
    watch::{Watch, WatchEvent},
};

const CONFIG: &str = "[watch]\nmax_delay = '2s'\n";
const NEAR: &str = "[namespaces.ns.near_cache]\nmax_bytes = '1MiB'\nmax_staleness = '500ms'\n";
/// Time for which a slot stays half moved.
const HALF_MOVED: Duration = Duration::from_millis(300);

/// Moves the slot of a shard to another primary, and stops half way for a while.
async fn move_shard(replicas: &Replicas, shard: usize) {
    let (from, slot) = replicas.shard(shard).await;
    let to = (from + 1) % 3;
    let cluster = &replicas.cluster;
    cluster.begin_move(slot, from, to).await;
    cluster.move_keys(slot, from, to, 2).await;
    throughout(HALF_MOVED, async || ()).await;
    while cluster.move_keys(slot, from, to, 3).await > 0 {}
    throughout(HALF_MOVED, async || ()).await;
    while cluster.move_keys(slot, from, to, 100).await > 0 {}
    cluster.end_move(slot, from, to).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_is_wrong_while_slots_are_moved() {
    let replicas = Replicas::start(RedisCluster::start().await, CONFIG).await;
    let [writer, reader] = [&replicas.caches[0], &replicas.caches[1]];
    let model = Model::start(writer, reader, 24, STRICT);
    model.await_progress(5).await;
    let mut watch = Watch::of_ns(reader, true).await;
    for shard in 0..SHARDS {
        move_shard(&replicas, shard).await;
        invalidate_in_between(writer).await;
    }
    model.await_progress(5).await;
    for answer in ["moved", "ask", "try_again"] {
        let name = format!("larder_store_cluster_redirects_total{{answer=\"{answer}\"");
        let mut count = 0.0;
        for server in &replicas.servers {
            let metrics = server.admin("/metrics").await.body;
            let line = metrics.lines().find(|line| line.starts_with(&name));
            count += line.and_then(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).unwrap();
        }
        assert!(count > 0.0, "{answer}");
    }
    assert_eq!(replicas.metric("larder_store_breaker_open").await, 0.0);

    // The same primaries have the keys: the watch was not reset.
    model.finish("resharding").await;
    writer.invalidate_namespace(invalidate("ns")).await.unwrap();
    loop {
        match watch.news().await {
            WatchEvent::Namespace(_) => break,
            WatchEvent::Reset(reason) => panic!("{reason:?}"),
            _ => {}
        }
    }
    await_primaries(&replicas.servers[0], 3).await;
}

/// The near cache keeps its bound while slots are moved, and goes on without a pause.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn near_copies_are_not_outdated_while_slots_are_moved() {
    let replicas = Replicas::start(RedisCluster::start().await, NEAR).await;
    let [writer, reader] = [&replicas.caches[0], &replicas.caches[1]];
    let max_staleness = Duration::from_millis(500);
    let model = Model::start(writer, reader, 24, max_staleness);
    model.await_progress(5).await;
    let flushes = replicas.metric("larder_near_flushes_total").await;
    for shard in 0..SHARDS {
        move_shard(&replicas, shard).await;
    }
    model.await_progress(5).await;
    let near_hits = replicas.metric("larder_near_hits_total").await;
    assert!(near_hits > 0.0, "the near cache is used");
    assert_eq!(replicas.metric("larder_near_flushes_total").await, flushes);
    model.finish("resharding with a near cache").await;
}

/// Invalidations of other kinds, which may be refused while slots are moved.
async fn invalidate_in_between(cache: &Cache) {
    let targets = [targets::pattern("other:*"), targets::tags(&["none"])];
    let _ = cache.invalidate(targets::request(&targets)).await;
}
