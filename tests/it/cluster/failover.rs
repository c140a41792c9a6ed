//! A primary that fails, under load.

use larder::pb::v1::{ResetReason, Tier};

use super::{
    model::{Model, STRICT},
    setup::Replicas,
};
use crate::support::{
    client::{as_text, delete, get, set, text},
    cluster::{AGREED, RedisCluster},
    fleet::metric,
    wait::eventually,
    watch::Watch,
};

const CONFIG: &str = "[watch]\nmax_delay = '2s'\n\
    [namespaces.ns.near_cache]\nmax_bytes = '1MiB'\nmax_staleness = '1s'\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_takes_over_and_no_answer_is_wrong() {
    let cluster = RedisCluster::start_replicated().await;
    let mut replicas = Replicas::start(cluster, "").await;
    let model = Model::start(&replicas.caches[0], &replicas.caches[1], 24, STRICT);
    model.await_progress(5).await;
    for round in 0..2 {
        let (primary, slot) = replicas.shard(round).await;
        // A write that its replica lacks would be lost, which is not tested here.
        model.hold_writes().await;
        replicas.cluster.await_replicated(primary).await;
        // A primary that hangs takes itself for one when it goes on.
        let hangs = round == 0;
        if hangs {
            replicas.cluster.server(primary).pause();
        } else {
            replicas.cluster.server(primary).kill();
        }
        model.release_writes();
        let successor = replicas.cluster.await_failover(slot, primary).await;
        assert_ne!(primary, successor);
        // Within two seconds of the promotion, and on a busy machine somewhat later.
        model.await_progress(3).await;
        if hangs {
            replicas.cluster.server(primary).resume();
            model.await_progress(3).await;
        } else {
            replicas.cluster.server(primary).restart().await;
        }
        eventually("the former primary follows", AGREED, async || {
            let info: String = replicas.cluster.ask(primary, &["INFO", "replication"]).await;
            info.contains("master_link_status:up").then_some(())
        })
        .await;
    }
    // By hand, while writes go on: none of them is lost.
    let (primary, slot) = replicas.shard(2).await;
    replicas.cluster.fail_over_by_hand(primary).await;
    replicas.cluster.await_failover(slot, primary).await;
    model.await_progress(5).await;
    assert_eq!(replicas.metric("larder_store_breaker_open").await, 0.0);
    model.finish("failover").await;
}

/// A replica's copies in memory, and its watches, do not outlive the primary that they come from.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn near_cache_and_watches_survive_a_failover() {
    let cluster = RedisCluster::start_replicated().await;
    let mut replicas = Replicas::start(cluster, CONFIG).await;
    let (primary, slot) = replicas.shard(0).await;
    // Keys of all shards.
    let keys: Vec<String> = (0..40).map(|number| format!("key-{number}")).collect();
    for key in &keys {
        replicas.caches[0].put(key, "before").await;
    }
    await_near(&replicas, &keys, "before").await;
    let mut watch = Watch::of_ns(&replicas.caches[1], true).await;
    replicas.cluster.await_replicated(primary).await;
    replicas.cluster.server(primary).kill();
    assert_eq!(watch.reset().await, ResetReason::FeedLost);
    replicas.cluster.await_failover(slot, primary).await;
    watch.ready().await;
    for key in &keys {
        eventually("an entry is deleted", AGREED, async || {
            replicas.caches[0].delete(delete(key)).await.ok()
        })
        .await;
    }
    // The bound of the near cache is over by then.
    for key in &keys {
        eventually("the other replica has not the entry", AGREED, async || {
            let answer = replicas.caches[1].get(get(key)).await.unwrap();
            (!answer.degraded && as_text(answer.value).is_none()).then_some(())
        })
        .await;
        replicas.caches[0].put(key, "after").await;
    }
    watch.expect_keys(&[&keys[39]]).await;
    await_near(&replicas, &keys, "after").await;
    let (from, slot) = replicas.shard(1).await;
    let mut to = replicas.shard(2).await.0;
    for shard in 3..8 {
        if to == from {
            to = replicas.shard(shard).await.0;
        }
    }
    // Its keys are announced as they move, and those of the new primary after.
    replicas.cluster.move_slot(slot, from, to).await;
    for key in &keys {
        eventually("an entry is stored", AGREED, async || {
            let answer = replicas.caches[0].set(set(key, text("moved"))).await.unwrap();
            (!answer.version.is_empty()).then_some(())
        })
        .await;
    }
    await_near(&replicas, &keys, "moved").await;
    assert_eq!(metric(&replicas.servers[1], "larder_near_coherent").await, 1.0);
}

/// Waits until the other replica answers this text from its memory for all keys.
async fn await_near(replicas: &Replicas, keys: &[String], expected: &str) {
    for key in keys {
        eventually(&format!("the near cache has {key} = {expected}"), AGREED, async || {
            let answer = replicas.caches[1].get(get(key)).await.unwrap();
            let tier = answer.entry.as_ref().map(|entry| entry.tier());
            (tier == Some(Tier::Near) && as_text(answer.value)? == expected).then_some(())
        })
        .await;
    }
}
