#![allow(clippy::unwrap_used)]

mod bans;

use bytes::Bytes;

use super::*;
use crate::model::{Kind, Timestamp, Version};
use table::ENTRY_OVERHEAD;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MIB: u64 = 1024 * 1024;
const SHARDS: u16 = 4;

fn namespace(name: &str) -> Namespace {
    Namespace::new(name).unwrap()
}

fn key(name: &str) -> EntryKey {
    EntryKey::new(namespace("ns"), name, [].into_iter()).unwrap()
}

fn entry(data: impl Into<Bytes>) -> Entry {
    Entry {
        kind: Kind::Text,
        data: data.into(),
        version: Version(1),
        created_at: Timestamp(0),
        fresh_until: Timestamp(u64::MAX),
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
        revalidation_window: Duration::ZERO,
        tags: Vec::new().into(),
        fetch_metadata: None,
    }
}

fn options(max_bytes: u64, max_staleness: Duration) -> NearCacheOptions {
    NearCacheOptions { max_bytes, max_staleness }
}

/// A near cache for one namespace, before its connection is set up.
fn disconnected(max_bytes: u64) -> Arc<NearCache> {
    let near = NearCache::new(SHARDS);
    near.configure(&HashMap::from([(namespace("ns"), options(max_bytes, SECOND))]));
    near
}

/// A near cache in use.
fn coherent(max_bytes: u64) -> Arc<NearCache> {
    let near = disconnected(max_bytes);
    connect(&near);
    near
}

fn connect(near: &NearCache) {
    near.on_connected();
    near.on_heartbeat(Instant::now());
}

/// Does what a read without interference does.
fn insert(near: &NearCache, name: &str, data: &str) {
    let table = near.table(&namespace("ns")).unwrap();
    table.reserve(&key(name)).unwrap().insert(entry(data.to_owned()));
}

fn read(near: &NearCache, name: &str) -> Option<Bytes> {
    near.get(&key(name), Instant::now()).map(|entry| entry.data)
}

fn usage(near: &NearCache) -> NearCacheUsage {
    let [(_, usage)] = near.usage().try_into().unwrap();
    usage
}

#[tokio::test(start_paused = true)]
async fn copies_are_served_until_exactly_max_staleness_after_the_heartbeat_was_sent() {
    let near = coherent(MIB);
    insert(&near, "a", "1");
    let sent_at = Instant::now();
    tokio::time::advance(SECOND / 2).await;
    // The answer arrives later, which does not count.
    near.on_heartbeat(sent_at);
    tokio::time::advance(SECOND / 2).await;
    assert_eq!(read(&near, "a").unwrap(), "1");
    tokio::time::advance(MILLISECOND).await;
    assert_eq!(read(&near, "a"), None);
    assert!(near.stats().is_coherent, "the copies are kept");
    near.on_heartbeat(Instant::now());
    assert_eq!(read(&near, "a").unwrap(), "1");
}

#[tokio::test(start_paused = true)]
async fn staleness_is_measured_at_the_given_time() {
    let near = coherent(MIB);
    insert(&near, "a", "1");
    let now = Instant::now();
    assert!(near.get(&key("a"), now + SECOND).is_some());
    assert!(near.get(&key("a"), now + SECOND + MILLISECOND).is_none());
}

#[tokio::test(start_paused = true)]
async fn invalidation_of_a_key_removes_its_copy_only() {
    let near = coherent(MIB);
    insert(&near, "a", "1");
    insert(&near, "b", "2");
    near.invalidate(&key("a"));
    assert_eq!((read(&near, "a"), read(&near, "b").unwrap()), (None, Bytes::from_static(b"2")));
}

#[tokio::test(start_paused = true)]
async fn invalidation_of_a_shard_removes_the_copies_of_its_keys_only() {
    let near = coherent(MIB);
    let shards = u64::from(SHARDS);
    let other = (0..)
        .map(|number: u32| number.to_string())
        .find(|name| key(name).shard(shards) != key("a").shard(shards))
        .unwrap();
    insert(&near, "a", "1");
    insert(&near, &other, "2");
    near.invalidate_shard("other", key("a").shard(shards));
    near.invalidate_shard("ns", shards);
    near.invalidate_shard("ns", u64::MAX);
    assert_eq!(read(&near, "a").unwrap(), "1");
    near.invalidate_shard("ns", key("a").shard(shards));
    assert_eq!((read(&near, "a"), read(&near, &other).unwrap()), (None, Bytes::from("2")));
    insert(&near, "a", "3");
    assert_eq!(read(&near, "a").unwrap(), "3", "the next epoch");
}

#[tokio::test(start_paused = true)]
async fn invalidation_of_a_namespace_removes_its_copies_only() {
    let near = coherent(MIB);
    insert(&near, "a", "1");
    near.invalidate_namespace(&namespace("other"));
    assert_eq!(read(&near, "a").unwrap(), "1");
    near.invalidate_namespace(&namespace("ns"));
    assert_eq!((read(&near, "a"), usage(&near).entries), (None, 0));
}

/// Each of these happens while a read of `a` is in flight.
#[tokio::test(start_paused = true)]
async fn reservation_is_voided_by_every_invalidation_of_its_key() {
    let invalidations: [fn(&NearCache); 6] = [
        |near| near.invalidate(&key("a")),
        |near| near.invalidate_shard("ns", key("a").shard(u64::from(SHARDS))),
        |near| near.invalidate_namespace(&namespace("ns")),
        NearCache::invalidate_all,
        NearCache::on_connected,
        |near| {
            near.on_disconnected();
            connect(near);
        },
    ];
    for (number, invalidate) in invalidations.into_iter().enumerate() {
        let near = coherent(MIB);
        let table = near.table(key("a").namespace()).unwrap();
        let reservation = table.reserve(&key("a")).unwrap();
        invalidate(&near);
        reservation.insert(entry("old"));
        assert_eq!(read(&near, "a"), None, "invalidation {number}");
        insert(&near, "a", "new");
        assert_eq!(read(&near, "a").unwrap(), "new", "invalidation {number}");
    }
}

#[tokio::test(start_paused = true)]
async fn reservation_is_not_voided_by_other_keys() {
    let near = coherent(MIB);
    let table = near.table(key("a").namespace()).unwrap();
    let reservation = table.reserve(&key("a")).unwrap();
    near.invalidate(&key("b"));
    near.invalidate_namespace(&namespace("other"));
    reservation.insert(entry("1"));
    assert_eq!(read(&near, "a").unwrap(), "1");
}

#[tokio::test(start_paused = true)]
async fn only_one_read_at_a_time_holds_the_reservation_of_a_key() {
    let near = coherent(MIB);
    let table = near.table(key("a").namespace()).unwrap();
    let reservation = table.reserve(&key("a")).unwrap();
    assert!(table.reserve(&key("a")).is_none());
    assert!(table.reserve(&key("b")).is_some());
    drop(reservation);
    assert!(table.reserve(&key("a")).is_some());
}

#[tokio::test(start_paused = true)]
async fn reservation_replaces_an_existing_copy() {
    let near = coherent(MIB);
    insert(&near, "a", "1");
    let table = near.table(key("a").namespace()).unwrap();
    let reservation = table.reserve(&key("a")).unwrap();
    assert_eq!(read(&near, "a"), None, "the read needs a later entry");
    reservation.insert(entry("2"));
    assert_eq!(read(&near, "a").unwrap(), "2");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_inserted_or_served_while_announcements_may_be_missed() {
    let near = disconnected(MIB);
    let is_in_use = || near.table(&namespace("ns")).is_some();
    assert!(!is_in_use());
    near.on_connected();
    assert!(!is_in_use(), "the first heartbeat is not answered yet");
    near.on_heartbeat(Instant::now());
    assert!(is_in_use() && near.table(&namespace("other")).is_none());
    insert(&near, "a", "1");
    near.on_disconnected();
    assert!(!is_in_use() && !near.stats().is_coherent);
    assert_eq!((read(&near, "a"), usage(&near).entries), (None, 0));
    connect(&near);
    assert!(is_in_use());
    assert_eq!(read(&near, "a"), None);
}

#[tokio::test(start_paused = true)]
async fn stats_count_announcements_and_flushes_of_a_cache_in_use() {
    let near = disconnected(MIB);
    assert_eq!(near.stats(), NearCacheStats::default());
    near.on_disconnected();
    assert_eq!(near.stats().flushes, 0, "it was not in use");
    connect(&near);
    near.count_announced(2);
    near.count_announced(3);
    let expected = NearCacheStats { is_coherent: true, announced_keys: 5, flushes: 0 };
    assert_eq!(near.stats(), expected);
    near.on_disconnected();
    near.on_disconnected();
    let expected = NearCacheStats { is_coherent: false, announced_keys: 5, flushes: 1 };
    assert_eq!(near.stats(), expected);
}

#[tokio::test(start_paused = true)]
async fn usage_is_exact() {
    let near = coherent(MIB);
    assert_eq!(usage(&near), NearCacheUsage::default());
    insert(&near, "a", "12345");
    insert(&near, "long name", "1");
    let bytes = 2 * ENTRY_OVERHEAD + 6 + 10;
    assert_eq!(usage(&near), NearCacheUsage { entries: 2, bytes, evictions: 0 });
    near.invalidate(&key("a"));
    let bytes = ENTRY_OVERHEAD + 10;
    assert_eq!(usage(&near), NearCacheUsage { entries: 1, bytes, evictions: 0 });
}

#[tokio::test(start_paused = true)]
async fn memory_is_bounded_by_evictions() {
    let near = coherent(MIB);
    for number in 0..10_000 {
        insert(&near, &number.to_string(), "0123456789");
    }
    let usage = usage(&near);
    assert!(usage.bytes <= MIB && usage.bytes > MIB * 9 / 10, "{usage:?}");
    assert_eq!(usage.entries + usage.evictions, 10_000);
}

#[tokio::test(start_paused = true)]
async fn small_table_has_one_shard_and_a_large_table_shards_of_at_least_4_mib() {
    // An entry fits if it takes at most 97 % of a shard.
    for (max_bytes, fits, too_large) in [
        (MIB, 900 * 1024, MIB),
        (7 * MIB, 6 * MIB, 7 * MIB),
        (8 * MIB, 3 * MIB, 4 * MIB),
        (1024 * MIB, 15 * MIB, 16 * MIB),
    ] {
        let near = coherent(max_bytes);
        for (name, size, expected) in [("fits", fits, true), ("too large", too_large, false)] {
            insert(&near, name, &"x".repeat(usize::try_from(size).unwrap()));
            assert_eq!(read(&near, name).is_some(), expected, "{size} of {max_bytes} bytes");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn namespace_with_unchanged_options_keeps_its_copies() {
    let near = coherent(MIB);
    insert(&near, "a", "1");
    let (ns, other) = (namespace("ns"), namespace("other"));
    let [unchanged, changed] = [SECOND, SECOND / 10].map(|staleness| options(MIB, staleness));
    near.configure(&HashMap::from([(ns.clone(), unchanged), (other, changed)]));
    assert_eq!(read(&near, "a").unwrap(), "1");
    near.configure(&HashMap::from([(ns.clone(), changed)]));
    assert_eq!(read(&near, "a"), None);
    insert(&near, "a", "2");
    near.configure(&HashMap::new());
    assert_eq!(read(&near, "a"), None);
    assert!(near.usage().is_empty() && near.table(&ns).is_none());
}

#[tokio::test(start_paused = true)]
async fn max_staleness_is_that_of_the_namespace() {
    let near = NearCache::new(SHARDS);
    let [ns, short] = ["ns", "short"].map(namespace);
    near.configure(&HashMap::from([
        (ns.clone(), options(MIB, SECOND)),
        (short.clone(), options(MIB, SECOND / 10)),
    ]));
    connect(&near);
    let [key, short_key] = [&ns, &short]
        .map(|namespace| EntryKey::new(namespace.clone(), "k", [].into_iter()).unwrap());
    for key in [&key, &short_key] {
        let table = near.table(key.namespace()).unwrap();
        table.reserve(key).unwrap().insert(entry("1"));
    }
    let is_served = |key, after| near.get(key, Instant::now() + after).is_some();
    assert!(is_served(&short_key, SECOND / 10) && !is_served(&short_key, SECOND / 5));
    assert!(is_served(&key, SECOND));
}

#[tokio::test(start_paused = true)]
async fn heartbeat_interval_is_a_fifth_of_the_shortest_max_staleness_within_limits() {
    let near = NearCache::new(SHARDS);
    let heartbeat = |stalenesses: &[Duration]| {
        let options = stalenesses
            .iter()
            .enumerate()
            .map(|(number, staleness)| (namespace(&format!("n{number}")), options(MIB, *staleness)))
            .collect();
        near.configure(&options);
        near.subscription().borrow().heartbeat
    };
    assert_eq!(heartbeat(&[SECOND]), SECOND / 5);
    assert_eq!(heartbeat(&[SECOND, SECOND / 2, 2 * SECOND]), SECOND / 10);
    assert_eq!(heartbeat(&[45 * MILLISECOND]), MIN_HEARTBEAT_INTERVAL);
    assert_eq!(heartbeat(&[60 * SECOND]), MAX_HEARTBEAT_INTERVAL);
}

#[tokio::test(start_paused = true)]
async fn subscription_changes_only_with_the_namespaces_or_the_heartbeat() {
    let near = NearCache::new(SHARDS);
    let [a, b] = ["a", "b"].map(namespace);
    let mut subscription = near.subscription();
    near.configure(&HashMap::from([
        (b.clone(), options(MIB, SECOND)),
        (a.clone(), options(MIB, SECOND)),
    ]));
    assert!(subscription.has_changed().unwrap());
    assert_eq!(subscription.borrow_and_update().namespaces, [a.clone(), b.clone()]);
    near.configure(&HashMap::from([
        (a.clone(), options(2 * MIB, SECOND)),
        (b.clone(), options(MIB, 2 * SECOND)),
    ]));
    assert!(!subscription.has_changed().unwrap(), "another connection is not needed");
    near.configure(&HashMap::from([(a, options(MIB, SECOND))]));
    assert!(subscription.has_changed().unwrap());
    assert_eq!(subscription.borrow_and_update().namespaces.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn zero_shards_count_as_one() {
    let near = NearCache::new(0);
    near.configure(&HashMap::from([(namespace("ns"), options(MIB, SECOND))]));
    connect(&near);
    insert(&near, "a", "1");
    near.invalidate_shard("ns", 0);
    assert_eq!(read(&near, "a"), None);
}

#[tokio::test(start_paused = true)]
async fn a_flush_removes_the_copies_of_a_namespace_or_of_all() {
    let near = coherent(MIB);
    insert(&near, "a", "1");
    insert(&near, "b", "2");
    let bytes = usage(&near).bytes;
    assert_eq!(near.flush(Some(&namespace("other"))), (0, 0));
    assert_eq!(near.flush(Some(&namespace("ns"))), (2, bytes));
    assert_eq!((read(&near, "a"), usage(&near).entries), (None, 0));
    insert(&near, "a", "1");
    assert_eq!(near.flush(None).0, 1);
    assert_eq!(read(&near, "a"), None);
    insert(&near, "a", "3");
    assert_eq!(read(&near, "a").unwrap(), "3", "it is still in use");
}
