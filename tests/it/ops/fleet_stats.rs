//! Statistics of all replicas together.

use std::time::{Duration, Instant};

use larder::pb::v1::{BatchSetRequest, Counters, SetRequest, StatsRequest, StatsResponse};

use crate::support::{
    client::{Cache, delete, fetch, get, invalidate, set, text},
    redis::RedisServer,
    server::Larder,
    wait::{SOON, eventually},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_report_the_same_stats() {
    let redis = RedisServer::start().await;
    let server = async || {
        Larder::redis(&redis.url()).env("LARDER_STATS__FLUSH_INTERVAL", "100ms").start().await
    };
    let mut servers = [server().await, server().await];
    let caches = [servers[0].client().await, servers[1].client().await];
    for (cache, rounds) in caches.iter().zip([30, 12]) {
        for _ in 0..rounds {
            cache.put("k", "v").await;
            cache.read("k").await.unwrap();
            cache.read("missing").await;
        }
    }
    caches[0].lease("leased").await;
    caches[1].get_or_fetch(fetch("leased", 0)).await.unwrap();
    caches[0].delete(delete("k")).await.unwrap();
    caches[1].invalidate_namespace(invalidate("other")).await.unwrap();

    let writes = Counters { sets: 42, deletes: 1, invalidations: 1, ..Default::default() };
    let expected =
        Counters { hits: 42, misses: 44, leases_granted: 1, leases_refused: 1, ..writes };
    for cache in &caches {
        let total = wait_for_total(cache, &expected).await;
        assert_eq!(total.hit_rate, Some(42.0 / 86.0));
    }
    let [one, two] = [stats(&caches[0]).await, stats(&caches[1]).await];
    assert_eq!(one.totals, two.totals);
    assert!(one.counting_since.is_some() && one.counting_since == two.counting_since);
    let counted = |stats: &StatsResponse| {
        let each = stats
            .namespaces
            .iter()
            .map(|namespace| (namespace.namespace.clone(), namespace.counted));
        each.collect::<Vec<_>>()
    };
    assert_eq!(counted(&one), counted(&two));

    // Counts remain after their replica has stopped.
    servers[0].kill();
    wait_for_total(&caches[1], &expected).await;
    let third = server().await;
    wait_for_total(&third.client().await, &expected).await;
    let since = stats(&third.client().await).await.counting_since;
    assert_eq!(since, one.counting_since, "the start of a replica changes it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_in_redis_do_not_grow_with_restarts() {
    let redis = RedisServer::start().await;
    let mut connection = redis.connection().await;
    let mut fields = Vec::new();
    for round in 1..=4 {
        let larder =
            Larder::redis(&redis.url()).env("LARDER_STATS__FLUSH_INTERVAL", "50ms").start().await;
        let cache = larder.client().await;
        cache.put("k", "v").await;
        wait_for_total(&cache, &Counters { sets: round, ..Default::default() }).await;
        let counter_names: Vec<String> = redis::cmd("HKEYS")
            .arg("larder:{stats}:total")
            .query_async(&mut connection)
            .await
            .unwrap();
        fields.push(counter_names);
    }
    fields.iter_mut().for_each(|names| names.sort());
    assert!(fields.windows(2).all(|pair| pair[0] == pair[1]), "{fields:?}");
    // The keys that a replica leaves behind expire.
    let names: Vec<String> =
        redis::cmd("KEYS").arg("larder:{stats}:*").query_async(&mut connection).await.unwrap();
    assert!(names.iter().filter(|name| name.contains("replica")).count() == 4, "{names:?}");
    for name in names {
        let left: i64 = redis::cmd("TTL").arg(&name).query_async(&mut connection).await.unwrap();
        assert!(left > 0, "{name} never expires");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stats_survive_an_outage() {
    let mut redis =
        RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let larder = Larder::redis(&redis.url())
        .default_timeouts()
        .env("LARDER_STATS__FLUSH_INTERVAL", "100ms")
        .start()
        .await;
    let cache = larder.client().await;
    for _ in 0..10 {
        cache.get(get("k")).await.unwrap();
    }
    wait_for_total(&cache, &Counters { misses: 10, ..Default::default() }).await;
    redis.kill();
    for _ in 0..10 {
        cache.get(get("k")).await.unwrap();
    }
    redis.restart().await;
    // Counted once, although each flush was retried until it succeeded.
    let total = wait_for_total(&cache, &Counters { misses: 20, ..Default::default() }).await;
    assert_eq!(total.degraded, 10, "{total:?}");
    crate::support::wait::throughout(std::time::Duration::from_millis(500), async || {
        assert_eq!(stats(&cache).await.totals.unwrap().total.unwrap().misses, 20);
    })
    .await;
}

async fn stats(cache: &Cache) -> StatsResponse {
    cache.stats(StatsRequest::default()).await.unwrap()
}

/// Waits until the flushes of all replicas have arrived, and returns the total.
async fn wait_for_total(cache: &Cache, expected: &Counters) -> Counters {
    let counted = |total: &Counters| {
        let reads = (total.hits, total.misses, total.leases_granted, total.leases_refused);
        (reads, (total.sets, total.deletes, total.invalidations))
    };
    let what = format!("{expected:?}");
    eventually(&what, SOON, async || {
        let answer = stats(cache).await;
        let total = answer.totals?.total?;
        (!answer.degraded && counted(&total) == counted(expected)).then_some(total)
    })
    .await
}

/// Fields of a hash of counters in Redis, at most.
const MAX_FIELDS: usize = 20_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_looks_for_fields_only_when_the_counters_may_be_full() {
    let redis = RedisServer::start().await;
    let larder =
        Larder::redis(&redis.url()).env("LARDER_STATS__FLUSH_INTERVAL", "50ms").start().await;
    let cache = larder.client().await;
    cache.put("k", "v").await;
    wait_for_total(&cache, &Counters { sets: 1, ..Default::default() }).await;
    assert_eq!(redis.counts().await.get("hexists"), None);

    let mut connection = redis.connection().await;
    let mut fill = redis::cmd("HSET");
    fill.arg("larder:{stats}:total");
    for number in 0..MAX_FIELDS {
        fill.arg(format!("filler{number}|hits")).arg(1);
    }
    let _: usize = fill.query_async(&mut connection).await.unwrap();
    cache.put("k", "v").await;
    let set = SetRequest { namespace: "late".to_owned(), ..set("k", text("v")) };
    cache.set(set).await.unwrap();
    eventually("further namespaces are counted together", SOON, async || {
        let mut get = redis::cmd("HMGET");
        get.arg("larder:{stats}:total").arg(&["ns|sets", "_other|sets", "late|sets"]);
        let found: [Option<u64>; 3] = get.query_async(&mut connection).await.unwrap();
        (found == [Some(2), Some(1), None]).then_some(())
    })
    .await;
    assert!(redis.counts().await.contains_key("hexists"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stats_of_many_namespaces_do_not_hold_up_other_calls() {
    const NAMESPACES: usize = 20_000;
    let larder = Larder::memory().start().await;
    let (cache, other) = (larder.client().await, larder.client().await);
    for first in (0..NAMESPACES).step_by(1000) {
        let items = (first..first + 1000)
            .map(|number| SetRequest { namespace: format!("n{number:05}"), ..set("k", text("v")) })
            .collect();
        cache.batch_set(BatchSetRequest { items }).await.unwrap();
    }
    let all_pages = async {
        let (mut request, mut namespaces) = (StatsRequest::default(), 0);
        loop {
            let page = cache.stats(request.clone()).await.unwrap();
            assert!(page.namespaces.len() <= 1000);
            namespaces += page.namespaces.iter().filter(|stats| stats.size.is_some()).count();
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                return namespaces;
            }
        }
    };
    let mut all_pages = std::pin::pin!(all_pages);
    let (mut calls, mut slowest) = (0, Duration::ZERO);
    let namespaces = loop {
        let started = Instant::now();
        tokio::select! {
            namespaces = &mut all_pages => break namespaces,
            answer = other.get(get("absent")) => drop(answer.unwrap()),
        }
        slowest = slowest.max(started.elapsed());
        calls += 1;
    };
    eprintln!("{calls} calls during the statistics of {NAMESPACES} namespaces: {slowest:?}");
    assert_eq!(namespaces, NAMESPACES);
    assert!(calls > 20 && slowest < Duration::from_secs(1), "{calls} calls, {slowest:?}");
}

/// Totals are not kept of a fleet that is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_key_in_redis_expires() {
    let redis = RedisServer::start().await;
    let larder = Larder::redis(&redis.url()).start().await;
    let cache = larder.client().await;
    cache.put("k", "v").await;
    cache.put("large", &"v".repeat(10_000)).await;
    cache.increment(crate::support::client::increment("n", 1)).await.unwrap();
    cache.lease("leased").await;
    let mut connection = redis.connection().await;
    eventually("the totals are written", SOON, async || {
        let count: u64 = redis::cmd("EXISTS")
            .arg("larder:{stats}:total")
            .query_async(&mut connection)
            .await
            .unwrap();
        (count == 1).then_some(())
    })
    .await;
    let names: Vec<Vec<u8>> =
        redis::cmd("KEYS").arg("*").query_async(&mut connection).await.unwrap();
    for name in names {
        let ttl: i64 = redis::cmd("PTTL").arg(&name).query_async(&mut connection).await.unwrap();
        assert_ne!(ttl, -1, "{} has no expiry", String::from_utf8_lossy(&name));
    }
}
