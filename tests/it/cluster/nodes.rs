//! Primaries that are added, and that are gone for good.

use larder::pb::v1::{Outcome, SetResult};

use super::{
    model::{Model, STRICT},
    setup::{Replicas, SHARDS, await_primaries},
};
use crate::support::{
    client::{as_text, batch_get, delete, get, key_ref, set, text},
    cluster::{AGREED, RedisCluster},
    targets,
    wait::eventually,
};

const CONFIG: &str = "[namespaces.near.near_cache]\nmax_bytes = '1MiB'\nmax_staleness = '1s'\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_added_takes_slots_under_load() {
    let mut replicas = Replicas::start(RedisCluster::start().await, CONFIG).await;
    let model = Model::start(&replicas.caches[0], &replicas.caches[1], 24, STRICT);
    model.await_progress(5).await;
    let new = replicas.cluster.add_node().await;
    for shard in 0..SHARDS / 2 {
        let (from, slot) = replicas.shard(shard).await;
        replicas.cluster.begin_move(slot, from, new).await;
        // The new primary has no slot yet when the first keys are asked for there.
        replicas.cluster.move_keys(slot, from, new, 3).await;
        model.await_progress(1).await;
        while replicas.cluster.move_keys(slot, from, new, 10).await > 0 {}
        replicas.cluster.end_move(slot, from, new).await;
    }
    model.await_progress(5).await;
    for server in &replicas.servers {
        await_primaries(server, 4).await;
    }
    assert!(replicas.metric("larder_store_breaker_open").await == 0.0);
    model.finish("a new primary").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_keys_of_a_primary_that_is_gone_are_degraded() {
    let mut replicas = Replicas::start(RedisCluster::start().await, "").await;
    let cache = replicas.caches[0].clone();
    // The primary of the bans of the namespace, whose loss concerns all of its keys.
    let gone = replicas.cluster.owner_of_key("larder:h:{ns:bans}").await;
    let mut gone_shards = Vec::new();
    for shard in 0..SHARDS {
        if replicas.shard(shard).await.0 == gone {
            gone_shards.push(shard);
        }
    }
    assert!(!gone_shards.is_empty() && gone_shards.len() < SHARDS, "{gone_shards:?}");
    let keys: Vec<String> = (0..60).map(|number| format!("key-{number}")).collect();
    let mut is_gone = Vec::new();
    for key in &keys {
        cache.put(key, "v").await;
        let mut owner = None;
        for shard in 0..SHARDS {
            let name = format!("larder:{{ns:{shard}}}:k:{key}");
            let number = replicas.shard(shard).await.0;
            if replicas.cluster.ask_redirected(number, &["EXISTS", &name]).await == Some(1) {
                owner = Some(number);
            }
        }
        is_gone.push(owner.expect("the entry is somewhere") == gone);
    }
    targets::invalidate(&cache, &[targets::tags(&["other"])]).await;
    assert!(is_gone.contains(&true) && is_gone.contains(&false));
    for cache in &replicas.caches {
        for key in &keys {
            assert_eq!(cache.read(key).await.as_deref(), Some("v"));
        }
    }
    replicas.cluster.server(gone).kill();
    for cache in &replicas.caches {
        eventually(
            "the keys of the others are there, and those of this one are not",
            AGREED,
            async || {
                let request = batch_get(keys.iter().map(|key| key_ref(key)).collect());
                let chunks = cache.batch_get(request).await.unwrap();
                assert!(chunks.iter().any(|chunk| chunk.degraded));
                let results: Vec<_> = chunks.iter().flat_map(|chunk| &chunk.results).collect();
                let are_right = results.iter().zip(&is_gone).all(|(result, is_gone)| {
                    result.outcome() == if *is_gone { Outcome::Miss } else { Outcome::Hit }
                });
                are_right.then_some(())
            },
        )
        .await;
    }
    for _ in 0..20 {
        for (key, is_gone) in keys.iter().zip(&is_gone) {
            let read = replicas.caches[1].get(get(key)).await.unwrap();
            assert_eq!(read.degraded, *is_gone, "{key}");
            assert_eq!(as_text(read.value).is_some(), !is_gone, "{key}");
        }
    }
    for (key, is_gone) in keys.iter().zip(&is_gone) {
        let stored = cache.set(set(key, text("w"))).await.unwrap();
        assert_eq!(stored.result() == SetResult::Stored, !is_gone, "{key}: {stored:?}");
        let deleted = cache.delete(delete(key)).await;
        assert_eq!(deleted.is_ok(), !is_gone, "{key}: {deleted:?}");
    }
    let refused = cache.invalidate_namespace(crate::support::client::invalidate("ns")).await;
    assert_eq!(refused.unwrap_err().code(), tonic::Code::Unavailable);
    assert_eq!(replicas.metric("larder_store_breaker_open").await, 0.0);
    for server in &replicas.servers {
        await_primaries(server, 2).await;
    }

    // It is back, without its data.
    replicas.cluster.server(gone).restart().await;
    for (cache, server) in replicas.caches.iter().zip(&replicas.servers) {
        await_primaries(server, 3).await;
        for key in &keys {
            // The markers of the other primaries have the position of a ban that the log has lost:
            // the generations of their shards end at their first read.
            eventually("a key is stored and read", AGREED, async || {
                let stored = cache.set(set(key, text("x"))).await.unwrap();
                let read = cache.get(get(key)).await.unwrap();
                let is_stored = stored.result() == SetResult::Stored;
                (is_stored && as_text(read.value).as_deref() == Some("x")).then_some(())
            })
            .await;
        }
    }
}
