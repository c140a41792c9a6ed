//! Calls that concern all primaries, and URLs that do not fit.

use larder::pb::v1::{Outcome, SetRequest, StatsRequest};

use super::setup::{Replicas, read_soon};
use crate::redis::connections::{documented_acl_command, exercise_all_calls};
use crate::support::{
    client::{NS, batch_get, data, delete, get, invalidate, key_ref, set, text},
    cluster::RedisCluster,
    fleet::metric,
    redis::RedisServer,
    server::Larder,
    targets,
    wait::{SOON, eventually},
};

const KEYS: usize = 60;

fn key(number: usize) -> String {
    format!("{}:{number}", if number.is_multiple_of(2) { "even" } else { "odd" })
}

async fn fill(replicas: &Replicas) {
    for number in 0..KEYS {
        let tags = vec![format!("tag-{}", number % 3)];
        let request = SetRequest { tags, ..set(&key(number), text("v")) };
        replicas.caches[0].set(request).await.unwrap();
    }
}

/// The numbers of the keys that the other replica finds.
async fn found(replicas: &Replicas) -> Vec<usize> {
    let keys = (0..KEYS).map(|number| key_ref(&key(number))).collect();
    let chunks = replicas.caches[1].batch_get(batch_get(keys)).await.unwrap();
    assert!(chunks.iter().all(|chunk| !chunk.degraded));
    let results = chunks.iter().flat_map(|chunk| &chunk.results).enumerate();
    let hits = results.filter(|(_, result)| result.outcome() == Outcome::Hit);
    hits.map(|(number, _)| number).collect()
}

fn numbers(selects: impl Fn(usize) -> bool) -> Vec<usize> {
    (0..KEYS).filter(|number| selects(*number)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalidations_are_final_over_all_primaries() {
    let mut cluster = RedisCluster::start_with(3, 0, Some("secret")).await;
    let mut user = documented_acl_command();
    user.extend(["+cluster|slots", "+cluster|info", "+asking"].map(str::to_owned));
    let user: Vec<&str> = user.iter().map(String::as_str).collect();
    cluster.set_user(&user, "larder", "CHANGE-ME").await;
    let sweep = [("LARDER_STORE__SWEEP_INTERVAL", "100ms")];
    let replicas = Replicas::start_with(cluster, "", &sweep).await;
    let mut owners: Vec<usize> = Vec::new();
    for shard in 0..super::setup::SHARDS {
        owners.push(replicas.shard(shard).await.0);
    }
    assert!((0..3).all(|number| owners.contains(&number)), "all primaries take part: {owners:?}");
    let cache = &replicas.caches[0];
    exercise_all_calls(cache).await;
    for round in 0..3 {
        fill(&replicas).await;
        assert_eq!(found(&replicas).await, numbers(|_| true), "round {round}");
        targets::invalidate(cache, &[targets::tags(&["tag-0"])]).await;
        assert_eq!(found(&replicas).await, numbers(|number| number % 3 != 0), "round {round}");
        targets::invalidate(cache, &[targets::pattern("odd:*")]).await;
        let left = numbers(|number| number % 3 != 0 && number % 2 == 0);
        assert_eq!(found(&replicas).await, left, "round {round}");
        cache.invalidate_namespace(invalidate(NS)).await.unwrap();
        assert_eq!(found(&replicas).await, numbers(|_| false), "round {round}");
    }

    // A sweep visits all primaries.
    fill(&replicas).await;
    targets::invalidate(cache, &[targets::tags(&["tag-1"])]).await;
    eventually("the banned entries of all primaries are removed", 3 * SOON, async || {
        let removed = replicas.metric("larder_store_sweep_removed_total").await;
        (removed >= KEYS as f64 / 3.0).then_some(())
    })
    .await;

    // Scripts are loaded into each primary again, and large values are set aside in their slot.
    for number in replicas.cluster.primaries() {
        replicas.cluster.ask::<String>(number, &["SCRIPT", "FLUSH", "SYNC"]).await;
    }
    let large = vec![7; 300_000];
    for number in 0..KEYS {
        cache.set(set(&key(number), data(large.clone()))).await.unwrap();
    }
    assert_eq!(found(&replicas).await, numbers(|_| true));
    for number in replicas.cluster.primaries() {
        replicas.cluster.ask::<String>(number, &["SCRIPT", "FLUSH", "SYNC"]).await;
    }
    for number in 0..KEYS {
        let deleted = cache.delete(delete(&key(number))).await.unwrap();
        assert!(deleted.existed, "{number}");
        let read = replicas.caches[1].get(get(&key(number))).await.unwrap();
        assert_eq!((read.outcome(), read.degraded), (Outcome::Miss, false));
    }

    // Facts of all primaries.
    fill(&replicas).await;
    let stats = cache.stats(StatsRequest::default()).await.unwrap();
    let store = stats.store.unwrap();
    assert!(store.reachable && store.keys >= KEYS as u64, "{store:?}");
    assert_eq!(store.cause, "", "{store:?}");
}

/// The first log line with all of these texts.
async fn await_line(larder: &Larder, texts: &[&str]) {
    eventually(&format!("{texts:?} is logged"), SOON, async || {
        let logs = larder.logs();
        logs.lines().any(|line| texts.iter().all(|text| line.contains(text))).then_some(())
    })
    .await;
}

/// The timeouts of this server are longer than the test waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_probe_of_a_primary_waits_for_nothing() {
    let cluster = RedisCluster::start().await;
    let larder = Larder::redis(&cluster.url()).start().await;
    eventually("all primaries are available", SOON / 2, async || {
        let available = metric(&larder, "larder_store_cluster_primary_available").await;
        (available == 3.0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_url_of_the_other_kind_is_named_at_the_start() {
    let cluster = RedisCluster::start_with(1, 0, None).await;
    let larder = Larder::redis(&cluster.node_url(0)).start().await;
    await_line(&larder, &["store.url names one node", "redis-cluster:// instead of redis://"])
        .await;

    // A cluster may be one node.
    let larder = Larder::redis(&cluster.url()).start().await;
    let cache = larder.client().await;
    read_soon(&cache, "k").await;
    cache.put("k", "v").await;
    targets::invalidate(&cache, &[targets::pattern("*")]).await;
    assert_eq!(cache.read("k").await, None);
    assert!(!larder.logs().contains("store.url names one node"), "{}", larder.logs());

    let plain = RedisServer::start_tcp().await;
    let url = plain.url().replace("redis://", "redis-cluster://");
    let larder = Larder::redis(&url).start().await;
    await_line(&larder, &["cannot connect to Redis", "not_cluster", "write redis://"]).await;
    let refused = larder.client().await.delete(delete("k")).await.unwrap_err();
    assert!(refused.message().contains("cluster support disabled"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_with_tls_names_its_nodes_by_host() {
    let cluster = RedisCluster::start_tls().await;
    let config = "[namespaces.ns.near_cache]\nmax_bytes = '1MiB'\nmax_staleness = '2s'\n";
    let authority = cluster.authority();
    let trusted = [("SSL_CERT_FILE", authority.as_str())];
    let replicas = Replicas::start_with(cluster, config, &trusted).await;
    fill(&replicas).await;
    assert_eq!(found(&replicas).await, numbers(|_| true));
    eventually("the near caches are used", SOON, async || {
        (replicas.metric("larder_near_coherent").await == 2.0).then_some(())
    })
    .await;
    targets::invalidate(&replicas.caches[0], &[targets::pattern("odd:*")]).await;
    eventually("the near cache of the other replica follows", SOON, async || {
        (found(&replicas).await == numbers(|number| number % 2 == 0)).then_some(())
    })
    .await;
}
