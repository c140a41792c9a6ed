#![allow(clippy::unwrap_used)]

use super::*;
use crate::model::{Kind, Timestamp, Version};
use bytes::Bytes;

const SECOND: Duration = Duration::from_secs(1);

fn key(name: &str) -> EntryKey {
    EntryKey::new(Namespace::new("ns").unwrap(), name, [].into_iter()).unwrap()
}

fn entry(data: &'static str) -> Entry {
    Entry {
        kind: Kind::Text,
        data: Bytes::from_static(data.as_bytes()),
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

fn near() -> Arc<NearCache> {
    let near = NearCache::new(4);
    let options = NearCacheOptions { max_bytes: 1 << 20, max_staleness: SECOND };
    near.configure(&HashMap::from([(Namespace::new("ns").unwrap(), options)]));
    near
}

fn confirmed() -> Arc<NearCache> {
    let near = near();
    near.on_connected();
    near.on_heartbeat(Instant::now());
    near
}

/// What a read that nothing interferes with does.
fn remember(near: &NearCache, key: &EntryKey, data: &'static str) {
    let table = near.table(key.namespace()).unwrap();
    table.reserve(key).unwrap().insert(entry(data));
}

fn read(near: &NearCache, name: &str) -> Option<Bytes> {
    near.get(&key(name), Instant::now()).map(|entry| entry.data)
}

#[tokio::test(start_paused = true)]
async fn is_served_for_as_long_as_the_last_sign_of_life_is_good_for() {
    let near = confirmed();
    remember(&near, &key("a"), "1");
    tokio::time::advance(SECOND).await;
    assert_eq!(read(&near, "a").unwrap(), "1");
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(read(&near, "a"), None);
    near.on_heartbeat(Instant::now());
    assert_eq!(read(&near, "a").unwrap(), "1");
}

#[tokio::test(start_paused = true)]
async fn is_forgotten_when_it_changes_and_nothing_else_is() {
    let near = confirmed();
    remember(&near, &key("a"), "1");
    remember(&near, &key("b"), "2");
    near.invalidate(&key("a"));
    assert_eq!((read(&near, "a"), read(&near, "b").unwrap()), (None, Bytes::from_static(b"2")));
    near.invalidate_shard("ns", key("b").shard(4));
    assert_eq!(read(&near, "b"), None);
}

#[tokio::test(start_paused = true)]
async fn another_shard_or_namespace_does_not_matter() {
    let near = confirmed();
    remember(&near, &key("a"), "1");
    near.invalidate_shard("ns", (key("a").shard(4) + 1) % 4);
    near.invalidate_shard("other", key("a").shard(4));
    near.invalidate_shard("ns", u64::MAX);
    near.invalidate_namespace(&Namespace::new("other").unwrap());
    assert_eq!(read(&near, "a").unwrap(), "1");
    near.invalidate_namespace(&Namespace::new("ns").unwrap());
    assert_eq!(read(&near, "a"), None);
}

/// Each of these happens while a read waits for the store.
#[tokio::test(start_paused = true)]
async fn what_a_read_brings_that_was_overtaken_is_dropped() {
    let overtakings: [fn(&NearCache); 5] = [
        |near| near.invalidate(&key("a")),
        |near| near.invalidate_shard("ns", key("a").shard(4)),
        |near| near.invalidate_namespace(&Namespace::new("ns").unwrap()),
        NearCache::invalidate_all,
        |near| {
            near.on_disconnected();
            near.on_connected();
            near.on_heartbeat(Instant::now());
        },
    ];
    for overtake in overtakings {
        let near = confirmed();
        let table = near.table(key("a").namespace()).unwrap();
        let reservation = table.reserve(&key("a")).unwrap();
        overtake(&near);
        reservation.insert(entry("old"));
        assert_eq!(read(&near, "a"), None);
        remember(&near, &key("a"), "new");
        assert_eq!(read(&near, "a").unwrap(), "new");
    }
}

#[tokio::test(start_paused = true)]
async fn one_read_at_a_time_has_the_place_of_a_key() {
    let near = confirmed();
    let table = near.table(key("a").namespace()).unwrap();
    let reservation = table.reserve(&key("a")).unwrap();
    assert!(table.reserve(&key("a")).is_none());
    drop(reservation);
    assert!(table.reserve(&key("a")).is_some());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_served_or_kept_while_announcements_may_be_missed() {
    let near = near();
    assert!(near.table(key("a").namespace()).is_none());
    near.on_connected();
    near.on_heartbeat(Instant::now());
    remember(&near, &key("a"), "1");
    near.on_disconnected();
    assert!(near.table(key("a").namespace()).is_none());
    near.on_connected();
    near.on_heartbeat(Instant::now());
    assert_eq!(read(&near, "a"), None);
    assert_eq!(near.stats(), NearCacheStats { is_coherent: true, announced_keys: 0, flushes: 1 });
}

#[tokio::test(start_paused = true)]
async fn is_bounded_in_bytes() {
    let near = confirmed();
    for number in 0..10_000 {
        remember(&near, &key(&number.to_string()), "0123456789");
    }
    let (_, usage) = near.usage().remove(0);
    assert!(usage.bytes <= 1 << 20, "{usage:?}");
    assert!(usage.entries > 1000 && usage.evictions > 1000, "{usage:?}");
    remember(&near, &key("large"), Box::leak("x".repeat(2 << 20).into_boxed_str()));
    assert_eq!(read(&near, "large"), None);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_configured_as_before_keeps_what_it_remembers() {
    let near = confirmed();
    remember(&near, &key("a"), "1");
    let options = NearCacheOptions { max_bytes: 1 << 20, max_staleness: SECOND };
    let further = NearCacheOptions { max_staleness: SECOND / 10, ..options };
    let [ns, other] = ["ns", "other"].map(|name| Namespace::new(name).unwrap());
    near.configure(&HashMap::from([(ns.clone(), options), (other.clone(), further)]));
    assert_eq!(read(&near, "a").unwrap(), "1");
    let subscription = near.subscription().borrow().clone();
    assert_eq!(
        subscription,
        Subscription { namespaces: vec![ns.clone(), other], heartbeat: SECOND / 50 }
    );
    near.configure(&HashMap::from([(ns, further)]));
    assert_eq!(read(&near, "a"), None);
    near.configure(&HashMap::new());
    assert!(near.subscription().borrow().namespaces.is_empty());
}
