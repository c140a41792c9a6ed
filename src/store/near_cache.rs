//! The near cache: what a replica remembers of the store, so that most reads need not ask it.
//!
//! # Coherence
//!
//! The store announces every change of a key (see `redis/near_feed.rs`), and what it announces is forgotten. Three
//! things could still make a replica remember what is no longer so:
//!
//! - *A read that was under way when its key changed.* A read takes a place before it asks the store. An announcement
//!   clears the place, and what is put into a place that was cleared is dropped.
//! - *Announcements that were missed.* When the connection on which they come is lost, everything is forgotten and nothing is
//!   remembered until there is a new one. What was read before that one was set up is recognised by its epoch, and dropped.
//! - *Announcements that are late*, because the connection hangs. The store is asked for a sign of life on the same connection, again
//!   and again; announcements and answers keep their order. Remembered entries are served for
//!   `max_staleness` after a question that was answered was sent, and no longer. So no read returns what was
//!   replaced by a write that was acknowledged more than `max_staleness` before.
//!
//! What this replica itself writes it forgets before the write is acknowledged: its callers read their own writes.

pub mod metrics;
pub mod store;
mod table;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{sync::watch, time::Instant};

use crate::model::{Entry, EntryKey, Namespace, SaturatingFrom as _};
use table::NamespaceTable;
pub use table::NearCacheUsage;

/// How many questions for a sign of life fit into the shortest time for which entries are served after one.
const BEATS: u32 = 5;
const HEARTBEAT: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// What one namespace may remember.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NearCacheOptions {
    /// Bytes, what it takes to keep an entry included.
    pub max_bytes: u64,
    /// For how long a read may miss a write that was acknowledged through another replica.
    pub max_staleness: Duration,
}

/// What the store's announcements are wanted of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subscription {
    /// Of these namespaces.
    pub namespaces: Vec<Namespace>,
    /// Time between two questions for a sign of life.
    pub heartbeat: Duration,
}

/// What has happened to the near cache as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NearCacheStats {
    /// Whether it is in use: it is not while announcements may be missed.
    pub is_coherent: bool,
    /// Keys that were announced as changed.
    pub announced: u64,
    /// Times that everything was forgotten, because announcements may have been missed.
    pub flushes: u64,
}

/// See the module.
pub struct NearCache {
    tiers: ArcSwap<HashMap<Namespace, Arc<NamespaceTable>>>,
    following: watch::Sender<Subscription>,
    /// Generation markers per namespace.
    shards: u64,
    started: Instant,
    /// When the last question that was answered was sent, in nanoseconds since `started`; zero while announcements may be missed.
    as_of: AtomicU64,
    announced: AtomicU64,
    flushes: AtomicU64,
}

impl NearCache {
    /// Remembers nothing until [`NearCache::configure`] says of which namespaces. `shards` is the number of generation markers per
    /// namespace.
    pub fn new(shards: u16) -> Arc<Self> {
        Arc::new(Self {
            tiers: ArcSwap::default(),
            following: watch::Sender::default(),
            shards: u64::from(shards.max(1)),
            started: Instant::now(),
            as_of: AtomicU64::new(0),
            announced: AtomicU64::new(0),
            flushes: AtomicU64::new(0),
        })
    }

    /// Says which namespaces are remembered. What is remembered of one that is configured as before is kept.
    pub fn configure(&self, wanted: &HashMap<Namespace, NearCacheOptions>) {
        let before = self.tiers.load();
        let tiers = wanted.iter().map(|(namespace, options)| {
            let kept = before.get(namespace).filter(|tier| tier.options() == *options).cloned();
            (
                namespace.clone(),
                kept.unwrap_or_else(|| Arc::new(NamespaceTable::new(*options, self.shards))),
            )
        });
        self.tiers.store(Arc::new(tiers.collect()));
        let mut namespaces: Vec<Namespace> = wanted.keys().cloned().collect();
        namespaces.sort_unstable();
        let shortest =
            wanted.values().map(|options| options.max_staleness).min().unwrap_or(HEARTBEAT.1);
        let heartbeat = (shortest / BEATS).clamp(HEARTBEAT.0, HEARTBEAT.1);
        let following = Subscription { namespaces, heartbeat };
        self.following.send_if_modified(|now| {
            let changed = *now != following;
            *now = following;
            changed
        });
    }

    /// What announcements are wanted of, and every change of that.
    pub fn following(&self) -> watch::Receiver<Subscription> {
        self.following.subscribe()
    }

    /// What is remembered of an entry, if that is surely recent enough at `now`.
    pub fn get(&self, key: &EntryKey, now: Instant) -> Option<Entry> {
        let tiers = self.tiers.load();
        let tier = tiers.get(key.namespace())?;
        // Before the look at the entry: what was announced before this moment has been forgotten then.
        let as_of = self.as_of.load(Ordering::Acquire);
        let is_recent =
            as_of != 0 && self.since_start(now).saturating_sub(as_of) <= tier.max_staleness_ns();
        if is_recent { tier.get(key) } else { None }
    }

    /// Announcements come from now on: all that was read before is forgotten.
    pub(super) fn begin(&self) {
        self.forget_all();
    }

    /// All that was announced up to `asked` has been forgotten.
    pub(super) fn confirm(&self, asked: Instant) {
        self.as_of.store(self.since_start(asked).max(1), Ordering::Release);
    }

    /// Announcements may be missed from now on.
    pub(super) fn lose(&self) {
        if self.as_of.swap(0, Ordering::AcqRel) != 0 {
            self.flushes.fetch_add(1, Ordering::Relaxed);
        }
        self.forget_all();
    }

    /// An entry may have changed.
    pub(super) fn forget(&self, key: &EntryKey) {
        if let Some(tier) = self.tiers.load().get(key.namespace()) {
            tier.forget(key);
        }
    }

    /// The entries under one generation marker of a namespace may have become invalid.
    pub(super) fn forget_shard(&self, namespace: &str, shard: u64) {
        if let Some(tier) = self.tiers.load().get(namespace) {
            tier.forget_shard(shard);
        }
    }

    /// A namespace was invalidated.
    pub(super) fn forget_namespace(&self, namespace: &Namespace) {
        if let Some(tier) = self.tiers.load().get(namespace) {
            tier.forget_all();
        }
    }

    /// Everything may have changed.
    pub(super) fn forget_all(&self) {
        for tier in self.tiers.load().values() {
            tier.forget_all();
        }
    }

    pub(super) fn count_announced(&self, keys: u64) {
        self.announced.fetch_add(keys, Ordering::Relaxed);
    }

    /// What has happened so far.
    pub fn events(&self) -> NearCacheStats {
        NearCacheStats {
            is_coherent: self.as_of.load(Ordering::Relaxed) != 0,
            announced: self.announced.load(Ordering::Relaxed),
            flushes: self.flushes.load(Ordering::Relaxed),
        }
    }

    /// What is remembered per namespace.
    pub fn usage(&self) -> Vec<(Namespace, NearCacheUsage)> {
        self.tiers
            .load()
            .iter()
            .map(|(namespace, tier)| (namespace.clone(), tier.usage()))
            .collect()
    }

    /// Where to look for places for what is about to be read; none if it is not to be remembered.
    fn tier(&self, namespace: &Namespace) -> Option<Arc<NamespaceTable>> {
        let tiers = self.tiers.load();
        tiers.get(namespace).filter(|_| self.as_of.load(Ordering::Relaxed) != 0).cloned()
    }

    fn since_start(&self, instant: Instant) -> u64 {
        u64::saturating_from(instant.saturating_duration_since(self.started).as_nanos())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
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
        near.begin();
        near.confirm(Instant::now());
        near
    }

    /// What a read that nothing interferes with does.
    fn remember(near: &NearCache, key: &EntryKey, data: &'static str) {
        let tier = near.tier(key.namespace()).unwrap();
        tier.place(key).unwrap().keep(entry(data));
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
        near.confirm(Instant::now());
        assert_eq!(read(&near, "a").unwrap(), "1");
    }

    #[tokio::test(start_paused = true)]
    async fn is_forgotten_when_it_changes_and_nothing_else_is() {
        let near = confirmed();
        remember(&near, &key("a"), "1");
        remember(&near, &key("b"), "2");
        near.forget(&key("a"));
        assert_eq!((read(&near, "a"), read(&near, "b").unwrap()), (None, Bytes::from_static(b"2")));
        near.forget_shard("ns", key("b").shard(4));
        assert_eq!(read(&near, "b"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn another_shard_or_namespace_does_not_matter() {
        let near = confirmed();
        remember(&near, &key("a"), "1");
        near.forget_shard("ns", (key("a").shard(4) + 1) % 4);
        near.forget_shard("other", key("a").shard(4));
        near.forget_shard("ns", u64::MAX);
        near.forget_namespace(&Namespace::new("other").unwrap());
        assert_eq!(read(&near, "a").unwrap(), "1");
        near.forget_namespace(&Namespace::new("ns").unwrap());
        assert_eq!(read(&near, "a"), None);
    }

    /// Each of these happens while a read waits for the store.
    #[tokio::test(start_paused = true)]
    async fn what_a_read_brings_that_was_overtaken_is_dropped() {
        let overtakings: [fn(&NearCache); 5] = [
            |near| near.forget(&key("a")),
            |near| near.forget_shard("ns", key("a").shard(4)),
            |near| near.forget_namespace(&Namespace::new("ns").unwrap()),
            NearCache::forget_all,
            |near| {
                near.lose();
                near.begin();
                near.confirm(Instant::now());
            },
        ];
        for overtake in overtakings {
            let near = confirmed();
            let tier = near.tier(key("a").namespace()).unwrap();
            let place = tier.place(&key("a")).unwrap();
            overtake(&near);
            place.keep(entry("old"));
            assert_eq!(read(&near, "a"), None);
            remember(&near, &key("a"), "new");
            assert_eq!(read(&near, "a").unwrap(), "new");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_read_at_a_time_has_the_place_of_a_key() {
        let near = confirmed();
        let tier = near.tier(key("a").namespace()).unwrap();
        let place = tier.place(&key("a")).unwrap();
        assert!(tier.place(&key("a")).is_none());
        drop(place);
        assert!(tier.place(&key("a")).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_served_or_kept_while_announcements_may_be_missed() {
        let near = near();
        assert!(near.tier(key("a").namespace()).is_none());
        near.begin();
        near.confirm(Instant::now());
        remember(&near, &key("a"), "1");
        near.lose();
        assert!(near.tier(key("a").namespace()).is_none());
        near.begin();
        near.confirm(Instant::now());
        assert_eq!(read(&near, "a"), None);
        assert_eq!(near.events(), NearCacheStats { is_coherent: true, announced: 0, flushes: 1 });
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
        let following = near.following().borrow().clone();
        assert_eq!(
            following,
            Subscription { namespaces: vec![ns.clone(), other], heartbeat: SECOND / 50 }
        );
        near.configure(&HashMap::from([(ns, further)]));
        assert_eq!(read(&near, "a"), None);
        near.configure(&HashMap::new());
        assert!(near.following().borrow().namespaces.is_empty());
    }
}
