//! The embedded store keeps to its memory limit.

use std::{fs, time::Duration};

use larder::pb::v1::{BatchSetRequest, SetResult, StatsRequest, StoreStats};

use crate::support::{
    client::{Cache, data, get, set, set_for},
    server::Larder,
    wait::{SOON, eventually},
};

const MIB: u64 = 1024 * 1024;

/// The values of a test, and the memory for them.
struct Load {
    limit: u64,
    /// Sizes of the values, in turn.
    sizes: &'static [usize],
    /// How often each key is written, with another size each time.
    rounds: usize,
}

/// Memory after a load.
struct Outcome {
    store: StoreStats,
    /// Growth of the process, at most and at the end.
    peak: u64,
    grown: u64,
    /// All of the process at the end.
    resident: u64,
}

/// Resident memory over the limit.
const RATIO: f64 = 1.15;
/// Memory of connections, buffers and threads under load.
const PROCESS: u64 = 4 * MIB;
/// Items and bytes of one BatchSet.
const BATCH: (usize, usize) = (1000, MIB as usize);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_values_stay_within_the_limit() {
    overfill(Load { limit: 64 * MIB, sizes: &[20_000], rounds: 1 }).await;
    overfill(Load { limit: 64 * MIB, sizes: &[65_536], rounds: 1 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_values_stay_within_the_limit() {
    // Most of an entry is overhead around its value.
    overfill(Load { limit: 16 * MIB, sizes: &[10], rounds: 1 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_of_changing_sizes_stay_within_the_limit() {
    let sizes = &[100, 30_000, 1_024, 3_000, 200_000, 7_000];
    overfill(Load { limit: 64 * MIB, sizes, rounds: 3 }).await;
}

/// Prints the table of `docs/benchmarks.md`. Takes minutes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints measurements"]
async fn resident_memory_over_the_limit() {
    const SIZES: [(&str, &[usize]); 6] = [
        ("10 B", &[10]),
        ("100 B", &[100]),
        ("1 KiB", &[1024]),
        ("64 KiB", &[65_536]),
        ("1 MiB", &[1 << 20]),
        ("100 B to 1 MiB", &[100, 1 << 20, 1_024, 30_000, 3_000, 200_000]),
    ];
    eprintln!("| limit | values | entries | used / limit | grown / limit | at its peak | RSS |");
    eprintln!("|---|---|---|---|---|---|---|");
    for limit in [64, 256, 512] {
        for (name, sizes) in SIZES {
            let Outcome { store, peak, grown, resident } = fill_at_once(limit * MIB, sizes).await;
            let ratio = |bytes: u64| bytes as f64 / (limit * MIB) as f64;
            eprintln!(
                "| {limit} MiB | {name} | {} | {:.2} | {:.2} | {:.2} | {} MiB |",
                store.keys,
                ratio(store.used_bytes),
                ratio(grown),
                ratio(peak),
                resident / MIB,
            );
        }
    }
}

/// Eight callers write three times as much as fits, with keys in no order.
async fn fill_at_once(limit: u64, sizes: &'static [usize]) -> Outcome {
    let larder = Larder::memory().env("LARDER_MEMORY__MAX_BYTES", limit).start().await;
    let cache = larder.client().await;
    let before = resident(&larder);
    let callers: Vec<_> = (0..8)
        .map(|caller| {
            let cache = cache.clone();
            tokio::spawn(async move {
                let (mut number, mut written) = (caller, 0);
                while written < limit * 3 / 8 {
                    let (mut items, mut bytes) = (Vec::new(), 0);
                    while items.is_empty() || (items.len() < BATCH.0 && bytes < BATCH.1 / 4) {
                        let key = number * 7919 % 10_000_019;
                        let size = sizes[number / 8 % sizes.len()];
                        items.push(set(&format!("k{key}"), data(vec![2; size])));
                        number += 8;
                        bytes += size;
                        written += (size + 128) as u64;
                    }
                    cache.batch_set(BatchSetRequest { items }).await.unwrap();
                }
            })
        })
        .collect();
    let mut peak = 0;
    while callers.iter().any(|caller| !caller.is_finished()) {
        peak = peak.max(resident(&larder));
        // Not a wait: the peak is sampled.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let resident = resident(&larder);
    let (peak, grown) = (peak.saturating_sub(before), resident.saturating_sub(before));
    Outcome { store: store(&cache).await, peak, grown, resident }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_larger_than_the_store_is_not_stored() {
    let variables =
        [("LARDER_MEMORY__MAX_BYTES", "1MiB"), ("LARDER_DEFAULTS__MAX_VALUE_BYTES", "2MiB")];
    let larder = Larder::memory().envs(&variables).start().await;
    let cache = larder.client().await;
    let answer = cache.set(set("k", data(vec![0; 1_900_000]))).await.unwrap();
    assert_eq!(answer.result(), SetResult::NotStored);
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

/// Writes more than fits, and compares the limit with the growth of the process.
async fn overfill(load: Load) {
    let Outcome { store, peak, grown, .. } = fill(&load).await;
    eprintln!("{:?}: {} used, {peak} at most, {grown} resident", load.sizes, store.used_bytes);
    assert_eq!(store.max_bytes, load.limit);
    assert!(store.used_bytes <= load.limit, "{store:?}");
    assert!(store.used_bytes >= load.limit * 9 / 10, "the memory is not used: {store:?}");
    assert!(store.evicted_keys > 0, "{store:?}");
    let most = (load.limit as f64 * RATIO) as u64 + PROCESS;
    assert!(peak <= most, "the process grew by {peak} bytes for {store:?}");
}

/// Writes one and a half times as much as fits, in each round.
async fn fill(load: &Load) -> Outcome {
    let variables = [
        ("LARDER_MEMORY__MAX_BYTES", load.limit.to_string()),
        ("LARDER_DEFAULTS__TTL", "1d".to_owned()),
        // Gives freed memory back at once, and not after a second.
        ("MIMALLOC_PURGE_DELAY", "0".to_owned()),
    ];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    let larder = Larder::memory().envs(&variables).start().await;
    let cache = larder.client().await;
    // Lets the process allocate the memory of such calls, while it stores only one key.
    for _ in 0..5 {
        let size = load.sizes[0];
        let items = (0..(BATCH.1 / size).min(BATCH.0)).map(|_| set("same", data(vec![1; size])));
        cache.batch_set(BatchSetRequest { items: items.collect() }).await.unwrap();
    }
    let before = resident(&larder);
    let mut peak = 0;
    for round in 0..load.rounds {
        let (mut key, mut written) = (0, 0);
        while written < load.limit * 3 / 2 {
            let (mut items, mut bytes) = (Vec::new(), 0);
            while items.is_empty() || (items.len() < BATCH.0 && bytes < BATCH.1) {
                let size = load.sizes[(key + round) % load.sizes.len()];
                items.push(set(&format!("k{key}"), data(vec![2; size])));
                (key, bytes) = (key + 1, bytes + size);
                // The least that such an entry takes.
                written += (size + 128) as u64;
            }
            let newest = items.last().unwrap().clone();
            cache.batch_set(BatchSetRequest { items }).await.unwrap();
            let answer = cache.get(get(&newest.key)).await.unwrap();
            assert!(answer.value == newest.value, "{} was just written", newest.key);
            peak = peak.max(resident(&larder));
        }
    }
    let resident = resident(&larder);
    let (peak, grown) = (peak.saturating_sub(before), resident.saturating_sub(before));
    Outcome { store: store(&cache).await, peak, grown, resident }
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
