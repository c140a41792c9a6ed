//! Leases and hold-offs of the embedded store have a limit of their own.

use larder::pb::v1::{
    BatchDeleteRequest, GetOrFetchRequest, KeyRef, Lease, SetRequest, SetResult, StatsRequest,
    StoreStats,
};

use crate::support::{
    client::{Cache, Fetched as _, fetch, fill, invalidate, key_ref, ms, text},
    server::Larder,
    wait::{SOON, eventually},
};

/// More than the memory of a namespace without entries, in bytes.
const NAMESPACE: u64 = 1024;
const MIB: u64 = 1024 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hold_offs_of_absent_keys_evict_nothing() {
    let larder = Larder::memory().env("LARDER_MEMORY__MAX_BYTES", "16MiB").start().await;
    let cache = larder.client().await;
    cache.put("other", "v").await;
    for batch in 0..55 {
        let keys = (0..1000).map(|number| in_victims(&format!("{batch}-{number}")));
        let request = BatchDeleteRequest {
            keys: keys.collect(),
            hold_off: ms(3_600_000),
            ..BatchDeleteRequest::default()
        };
        cache.batch_delete(request).await.unwrap();
    }
    let after = store(&cache).await;
    assert_eq!(after.evicted_keys, 0);
    assert!(after.used_bytes <= 2 * MIB, "{after:?}");
    assert_eq!(cache.read("other").await.as_deref(), Some("v"));
    let metrics = larder.admin("/metrics").await.body;
    let metric = |name: &str| metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    assert_ne!(metric("larder_memory_hold_offs_widened_total "), "0");
    assert_eq!(metric("larder_memory_leases_limit_bytes "), "2097152");
    // The value of the fill may be the one from before a Delete whose record is lost.
    let lease = acquire(&cache, "victims", "54-999").await;
    let answer = cache
        .set(SetRequest { namespace: "victims".to_owned(), ..fill("54-999", text("old"), &lease) });
    assert_ne!(answer.await.unwrap().result(), SetResult::Stored);
    let other = acquire(&cache, "ns", "k").await;
    let answer = cache.set(fill("k", text("new"), &other)).await.unwrap();
    assert_eq!(answer.result(), SetResult::Stored, "other namespaces are not held off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_that_are_never_filled_evict_nothing_and_are_freed_by_an_invalidation() {
    let variables = [("LARDER_MEMORY__MAX_BYTES", "2MiB"), ("LARDER_DEFAULTS__LEASE_TTL", "1m")];
    let larder = Larder::memory().envs(&variables).start().await;
    let cache = larder.client().await;
    cache.put("other", "v").await;
    let before = store(&cache).await;
    let mut leases = Vec::new();
    for number in 0..1_000 {
        leases.push(acquire(&cache, "victims", &number.to_string()).await);
    }
    let after = store(&cache).await;
    assert_eq!((after.evicted_keys, after.keys), (0, 1));
    assert!(after.used_bytes <= MIB / 8 + before.used_bytes + NAMESPACE, "{after:?}");
    assert_eq!(cache.read("other").await.as_deref(), Some("v"));
    cache.invalidate_namespace(invalidate("victims")).await.unwrap();
    eventually("the leases are freed", SOON, async || {
        (store(&cache).await.used_bytes <= before.used_bytes + NAMESPACE).then_some(())
    })
    .await;
    let fill = SetRequest { namespace: "victims".to_owned(), ..fill("0", text("v"), &leases[0]) };
    assert_eq!(cache.set(fill).await.unwrap().result(), SetResult::Invalidated);
}

async fn acquire(cache: &Cache, namespace: &str, key: &str) -> Lease {
    let request = GetOrFetchRequest { namespace: namespace.to_owned(), ..fetch(key, 0) };
    cache.get_or_fetch(request).await.unwrap().expect_lease()
}

async fn store(cache: &Cache) -> StoreStats {
    cache.stats(StatsRequest::default()).await.unwrap().store.unwrap()
}

fn in_victims(key: &str) -> KeyRef {
    KeyRef { namespace: "victims".to_owned(), ..key_ref(key) }
}
