//! Stats: counters, latencies and sizes.

use larder::pb::v1::{Counters, StatsRequest, StatsResponse};

use crate::support::{
    client::{
        Cache, abandon, delete, duration, fetch, fill, get, increment, invalidate, set, text,
    },
    wait::{SOON, eventually},
};

on_all_stores!(
    every_event_is_counted_once,
    env: [("LARDER_STATS__FLUSH_INTERVAL", "50ms")],
    |env| {
        exercise(&env.cache).await;
        let stats = wait_until_flushed(&env.cache, 1).await;
        assert!(!stats.degraded);
        assert!(stats.collected_at.is_some());
        let names: Vec<&str> =
            stats.namespaces.iter().map(|namespace| namespace.namespace.as_str()).collect();
        assert_eq!(names, ["a", "ns"]);

        let counted = stats.namespaces[1].counted.unwrap();
        for counters in
            [counted.total.unwrap(), counted.last_hour.unwrap(), counted.last_day.unwrap()]
        {
            assert_exercised(&counters);
        }
        let totals = stats.totals.unwrap().total.unwrap();
        assert_eq!((totals.hits, totals.misses), (3, 5));
        let latency = totals.hit_latency.expect("hits have a latency");
        assert!(
            duration(latency.p50) <= duration(latency.p95)
                && duration(latency.p95) <= duration(latency.p99)
        );
        assert!(!duration(latency.p99).is_zero());
    }
);

on_both_stores!(
    stats_can_be_limited_to_namespaces,
    env: [("LARDER_STATS__FLUSH_INTERVAL", "50ms")],
    |env| {
        exercise(&env.cache).await;
        wait_until_flushed(&env.cache, 1).await;
        let request = StatsRequest { namespaces: vec!["ns".to_owned()], ..StatsRequest::default() };
        let stats = env.cache.stats(request).await.unwrap();
        assert_eq!(stats.namespaces.len(), 1);
        assert_exercised(&stats.namespaces[0].counted.unwrap().total.unwrap());
        assert_exercised(&stats.totals.unwrap().total.unwrap());
    }
);

on_both_stores!(
    stats_are_paged,
    env: [("LARDER_STATS__FLUSH_INTERVAL", "50ms")],
    |env| {
        for namespace in ["e", "c", "a", "d", "b"] {
            let namespace = namespace.to_owned();
            let request = larder::pb::v1::SetRequest { namespace, ..set("k", text("v")) };
            env.cache.set(request).await.unwrap();
        }
        let mut request = StatsRequest { page_size: 2, ..StatsRequest::default() };
        let mut pages = Vec::new();
        loop {
            let page = env.cache.stats(request.clone()).await.unwrap();
            let names: Vec<&str> =
                page.namespaces.iter().map(|stats| stats.namespace.as_str()).collect();
            pages.push(names.concat());
            assert_eq!(page.totals.unwrap().total.unwrap().sets, 5, "the totals of all pages");
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        assert_eq!(pages, ["ab", "cd", "e"]);
    }
);

on_both_stores!(the_hit_rate_is_absent_without_reads, |env| {
    let stats = env.cache.stats(StatsRequest::default()).await.unwrap();
    assert_eq!(stats.totals.unwrap().total.unwrap().hit_rate, None);
});

on_both_stores!(
    the_store_reports_keys_and_bytes,
    env: [("LARDER_STATS__FLUSH_INTERVAL", "50ms")],
    |env| {
        for number in 0..300 {
            env.cache.set(set(&format!("k{number}"), text(&"v".repeat(500)))).await.unwrap();
        }
        let stats = eventually("the store has counted", SOON, async || {
            let stats = env.cache.stats(StatsRequest::default()).await.unwrap();
            let size = stats.namespaces.first()?.size.as_ref()?.keys;
            (size > 0).then_some(stats)
        })
        .await;
        let store = stats.store.clone().unwrap();
        assert!(store.reachable);
        assert!(matches!(store.kind.as_str(), "memory" | "redis"), "{}", store.kind);
        assert!(store.used_bytes >= 300 * 500, "{store:?}");
        assert!(store.peak_bytes >= store.used_bytes, "{store:?}");
        assert!(store.keys >= 300, "{store:?}");
        assert_eq!(store.server_version.is_empty(), store.kind == "memory", "{store:?}");

        let size = stats.namespaces[0].size.clone().unwrap();
        let tolerance = if size.sampled { 150 } else { 0 };
        assert!(size.keys.abs_diff(300) <= tolerance, "{size:?}");
        assert!(size.bytes >= size.keys * 500, "{size:?}");
        assert_eq!(size.ttl.iter().map(|bucket| bucket.keys).sum::<u64>(), size.keys, "{size:?}");
        assert!(size.ttl.last().unwrap().up_to.is_none(), "the last bucket has no bound: {size:?}");
        // All entries have the default TTL of half an hour.
        let bucket = size.ttl.iter().find(|bucket| bucket.keys > 0).unwrap();
        assert!(duration(bucket.up_to).as_secs() >= 1790, "{size:?}");
    }
);

/// Makes calls that count, in `ns`: 2 hits, 4 misses, 3 sets of which one is refused, 1 delete,
/// 1 invalidation, 2 leases, 1 abandoned. In `a`: 1 hit, 1 miss.
async fn exercise(cache: &Cache) {
    cache.get(get("k")).await.unwrap();
    cache.put("k", "v").await;
    cache.get(get("k")).await.unwrap();
    cache.get_or_fetch(fetch("k", 0)).await.unwrap();
    let lease = cache.lease("leased").await;
    cache.get_or_fetch(fetch("leased", 0)).await.unwrap();
    cache.set(fill("leased", text("v"), &lease)).await.unwrap();
    cache.set(fill("leased", text("late"), &lease)).await.unwrap();
    let lease = cache.lease("abandoned").await;
    cache.abandon(abandon("abandoned", &lease)).await.unwrap();
    cache.delete(delete("k")).await.unwrap();
    cache.invalidate_namespace(invalidate("ns")).await.unwrap();

    let elsewhere = || larder::pb::v1::GetRequest { namespace: "a".to_owned(), ..get("k") };
    cache.get(elsewhere()).await.unwrap();
    let request =
        larder::pb::v1::IncrementRequest { namespace: "a".to_owned(), ..increment("k", 1) };
    cache.increment(request).await.unwrap();
    cache.get(elsewhere()).await.unwrap();
}

fn assert_exercised(counters: &Counters) {
    assert_eq!(
        (counters.hits, counters.stale, counters.negative, counters.misses),
        (2, 0, 0, 4),
        "{counters:?}"
    );
    assert_eq!(counters.hit_rate, Some(2.0 / 6.0));
    assert_eq!((counters.sets, counters.sets_refused), (2, 1), "{counters:?}");
    assert_eq!((counters.deletes, counters.invalidations), (1, 1), "{counters:?}");
    assert_eq!(
        (counters.leases_granted, counters.leases_refused, counters.leases_abandoned),
        (2, 1, 1),
        "{counters:?}"
    );
    assert_eq!(counters.degraded, 0, "{counters:?}");
}

/// Waits until the last event has been flushed, and returns the statistics.
async fn wait_until_flushed(cache: &Cache, invalidations: u64) -> StatsResponse {
    eventually("the statistics are flushed", SOON, async || {
        let stats = cache.stats(StatsRequest::default()).await.unwrap();
        let total = stats.totals?.total?;
        (total.invalidations == invalidations && total.hits == 3).then_some(stats)
    })
    .await
}
