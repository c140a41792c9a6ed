//! The embedded store keeps to its memory limit.

use std::fs;

use larder::pb::v1::{BatchSetRequest, StatsRequest, StoreStats};

use crate::support::{
    client::{Cache, data, get, set, set_for},
    server::Larder,
    wait::{SOON, eventually},
};

const MIB: u64 = 1024 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_values_stay_within_the_limit() {
    overfill(20_000, 100, 30).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_values_stay_within_the_limit() {
    // Most of an entry is overhead around its value.
    overfill(40, 1000, 300).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_larger_than_the_store_is_not_stored() {
    let variables =
        [("LARDER_MEMORY__MAX_BYTES", "1MiB"), ("LARDER_DEFAULTS__MAX_VALUE_BYTES", "2MiB")];
    let larder = Larder::memory().envs(&variables).start().await;
    let cache = larder.client().await;
    let answer = cache.set(set("k", data(vec![0; 1_900_000]))).await.unwrap();
    assert_eq!(answer.result(), larder::pb::v1::SetResult::NotStored);
    assert!(!answer.degraded);
    assert_eq!(cache.get(get("k")).await.unwrap().value, None);
    cache.put("small", "v").await;
    assert_eq!(cache.read("small").await.as_deref(), Some("v"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_values_free_their_memory() {
    let larder = Larder::memory().start().await;
    let cache = larder.client().await;
    let empty = store(&cache).await.used_bytes;
    for batch in 0..10 {
        let items = (0..100)
            .map(|number| set_for(&format!("k{batch}-{number}"), data(vec![1; 10_000]), 200))
            .collect();
        cache.batch_set(BatchSetRequest { items }).await.unwrap();
    }
    // No call reads the values again.
    let after = eventually("the memory is freed", SOON * 3, async || {
        // Not a snapshot: the statistics are read one by one while the sweeper runs.
        let store = store(&cache).await;
        (store.keys == 0 && store.expired_keys >= 1000 && store.used_bytes <= empty + MIB)
            .then_some(store)
    })
    .await;
    assert!(after.peak_bytes >= 10 * MIB / 2, "{after:?}");
}

/// Writes more than fits, and compares the store's size with the growth of the process.
async fn overfill(size: usize, per_batch: usize, batches: usize) {
    let larder = Larder::memory().env("LARDER_MEMORY__MAX_BYTES", "16MiB").start().await;
    let cache = larder.client().await;
    // Lets the process allocate the memory of such calls, while it stores only one key.
    for _ in 0..5 {
        let items = (0..per_batch).map(|_| set("same", data(vec![1; size]))).collect();
        cache.batch_set(BatchSetRequest { items }).await.unwrap();
    }
    let before = resident(&larder);
    for batch in 0..batches {
        let items = (0..per_batch)
            .map(|number| set(&format!("k{batch}-{number}"), data(vec![2; size])))
            .collect();
        cache.batch_set(BatchSetRequest { items }).await.unwrap();
        let newest = format!("k{batch}-{}", per_batch - 1);
        let answer = cache.get(get(&newest)).await.unwrap();
        assert!(answer.value == Some(data(vec![2; size])), "{newest} was just written");
    }
    let store = store(&cache).await;
    let grown = resident(&larder).saturating_sub(before);
    eprintln!("{} keys of {size} bytes: {} used, {grown} resident", store.keys, store.used_bytes);
    assert_eq!(store.max_bytes, 16 * MIB);
    assert!(store.used_bytes <= 16 * MIB, "{store:?}");
    assert!(store.used_bytes >= 8 * MIB, "the memory is not used: {store:?}");
    assert!(store.evicted_keys > 0, "{store:?}");
    assert!(store.keys * size as u64 <= store.used_bytes, "{store:?}");
    assert!(
        grown <= store.used_bytes * 3 / 2 + 8 * MIB,
        "the process grew by {grown} bytes for {store:?}"
    );
}

async fn store(cache: &Cache) -> StoreStats {
    cache.stats(StatsRequest::default()).await.unwrap().store.unwrap()
}

/// Resident memory of the process, in bytes.
fn resident(larder: &Larder) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", larder.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
