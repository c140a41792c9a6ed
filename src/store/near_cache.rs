//! The near cache: each replica's copies of entries of the store, so that most reads need not ask
//! it.
//!
//! # Coherence
//!
//! The store announces every change of a key (see `redis/near_invalidations.rs`), and each
//! announcement removes the copies that it concerns. Three cases remain in which a replica could
//! keep an outdated copy:
//!
//! - *The key changes while a read of it is in flight.* A read reserves the key's slot before it
//!   asks the store. An announcement voids the reservation, and an entry inserted under a voided
//!   reservation is dropped.
//! - *Announcements are missed.* When the connection that carries them is lost, all copies are
//!   removed, and none are inserted until a new connection is set up. Entries that were read before
//!   the new connection was set up belong to an earlier epoch, and are dropped.
//! - *Announcements are late*, because the connection hangs. The replica sends heartbeats on the
//!   same connection, where announcements and answers keep their order: when a heartbeat is
//!   answered, every change announced before has arrived. Copies are served for `max_staleness`
//!   after the last answered heartbeat was *sent*, and no longer. So no read returns a value whose
//!   replacement was acknowledged more than `max_staleness` before.
//!
//! An announced generation marker means that the namespace was invalidated, or that entries were
//! banned. `markers.rs` explains how the copies that no ban hides are kept.
//!
//! A replica removes its copy of a key before its own write to that key is acknowledged, so its
//! callers read their own writes.

mod markers;
pub mod metrics;
pub mod store;
mod table;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use crate::{
    model::{Entry, EntryKey, Namespace, SaturatingFrom as _},
    planted::{self, Bug},
};
pub use markers::{BanPosition, KnownBans, MarkerState};
use table::NamespaceTable;
pub use table::NearCacheUsage;

/// Heartbeats per `max_staleness`.
const HEARTBEATS_PER_STALENESS: u32 = 5;
const MIN_HEARTBEAT_INTERVAL: Duration = Duration::from_millis(10);
const MAX_HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// Limits of one namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NearCacheOptions {
    /// Memory for the copies, in bytes, including their overhead.
    pub max_bytes: u64,
    /// Time for which a read may miss a write that was acknowledged through another replica.
    pub max_staleness: Duration,
}

/// The announcements that the near cache needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subscription {
    /// The namespaces whose changes are announced, sorted.
    pub namespaces: Vec<Namespace>,
    /// Interval between two heartbeats.
    pub heartbeat: Duration,
}

/// State and counters of the near cache as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NearCacheStats {
    /// Whether it is in use. It is not in use while announcements may be missed.
    pub is_coherent: bool,
    /// Keys that the store announced as changed.
    pub announced_keys: u64,
    /// Number of times that all copies were removed because announcements may have been missed.
    pub flushes: u64,
}

/// Generation markers of a namespace that were announced since they were read.
#[derive(Debug)]
pub struct UnconfirmedMarkers {
    /// The namespace.
    pub namespace: Namespace,
    /// The numbers of the shards, and the epochs of their announcements.
    pub shards: Vec<(u64, u64)>,
}

/// The near cache of a replica: one table of copies per configured namespace.
pub struct NearCache {
    tables: ArcSwap<HashMap<Namespace, Arc<NamespaceTable>>>,
    subscription: watch::Sender<Subscription>,
    /// Generation markers per namespace.
    shards: u64,
    started_at: Instant,
    /// Time at which the last answered heartbeat was sent, in nanoseconds since `started_at`; zero
    /// while announcements may be missed.
    coherent_at: AtomicU64,
    announced_keys: AtomicU64,
    flushes: AtomicU64,
    marker_announced: Notify,
}

impl NearCache {
    /// Creates a near cache for no namespace: see [`NearCache::configure`]. `shards` is the number
    /// of generation markers per namespace.
    pub fn new(shards: u16) -> Arc<Self> {
        Arc::new(Self {
            tables: ArcSwap::default(),
            subscription: watch::Sender::default(),
            shards: u64::from(shards.max(1)),
            started_at: Instant::now(),
            coherent_at: AtomicU64::new(0),
            announced_keys: AtomicU64::new(0),
            flushes: AtomicU64::new(0),
            marker_announced: Notify::new(),
        })
    }

    /// Sets the namespaces that have a near cache. A namespace whose options are unchanged keeps
    /// its copies.
    pub fn configure(&self, options: &HashMap<Namespace, NearCacheOptions>) {
        let before = self.tables.load();
        let tables = options.iter().map(|(namespace, options)| {
            let kept = before.get(namespace).filter(|table| table.options() == *options).cloned();
            let table =
                kept.unwrap_or_else(|| Arc::new(NamespaceTable::new(*options, self.shards)));
            (namespace.clone(), table)
        });
        self.tables.store(Arc::new(tables.collect()));
        let subscription = Subscription::for_options(options);
        self.subscription.send_if_modified(|current| {
            let is_changed = *current != subscription;
            *current = subscription;
            is_changed
        });
    }

    /// The announcements that are needed, with every change.
    pub fn subscription(&self) -> watch::Receiver<Subscription> {
        self.subscription.subscribe()
    }

    /// The copy of an entry, if it is recent enough at `now`. The entry may have expired.
    pub fn get(&self, key: &EntryKey, now: Instant) -> Option<Entry> {
        let tables = self.tables.load();
        let table = tables.get(key.namespace())?;
        // Loaded before the table is read: every change announced before this moment has removed
        // its copy by then.
        let coherent_at = self.coherent_at.load(Ordering::Acquire);
        let is_recent = coherent_at != 0
            && self.nanos_until(now).saturating_sub(coherent_at) <= table.max_staleness_ns();
        let is_used = is_recent || planted::is(Bug::NearWithoutHeartbeat);
        if is_used { table.get(key) } else { None }
    }

    /// Announcements arrive from now on. Entries that were read before are not inserted.
    pub(super) fn on_connected(&self) {
        if planted::is(Bug::NearKeptOnReconnect) {
            return;
        }
        self.invalidate_all();
    }

    /// A heartbeat was answered: every change announced before `sent_at` has removed its copy.
    pub(super) fn on_heartbeat(&self, sent_at: Instant) {
        self.coherent_at.store(self.nanos_until(sent_at).max(1), Ordering::Release);
    }

    /// Announcements may be missed from now on.
    pub(super) fn on_disconnected(&self) {
        if self.coherent_at.swap(0, Ordering::AcqRel) != 0 {
            self.flushes.fetch_add(1, Ordering::Relaxed);
        }
        if planted::is(Bug::NearKeptOnReconnect) {
            return;
        }
        self.invalidate_all();
    }

    /// Whether a namespace has a near cache.
    pub(super) fn is_configured(&self, namespace: &str) -> bool {
        self.tables.load().contains_key(namespace)
    }

    /// Removes the copy of one entry.
    pub(super) fn invalidate(&self, key: &EntryKey) {
        if let Some(table) = self.tables.load().get(key.namespace()) {
            table.invalidate(key);
        }
    }

    /// A generation marker was changed. Its copies are served again if they are valid after it was
    /// read: see [`NearCache::confirm_marker`].
    pub(super) fn invalidate_shard(&self, namespace: &str, shard: u64) {
        if let Some(table) = self.tables.load().get(namespace) {
            table.marker_announced(shard);
            self.marker_announced.notify_one();
        }
    }

    /// Entries of a namespace were banned through this replica. What is not banned is served again
    /// when the markers were read.
    pub(super) fn on_ban(&self, namespace: &Namespace) {
        if let Some(table) = self.tables.load().get(namespace) {
            table.all_markers_announced();
            self.marker_announced.notify_one();
        }
    }

    /// Waits until markers were announced since the last call.
    pub(super) async fn marker_announced(&self) {
        self.marker_announced.notified().await;
    }

    /// Ends the next wait for an announcement at once.
    pub(super) fn remind_of_markers(&self) {
        self.marker_announced.notify_one();
    }

    /// The markers that were announced since they were read.
    pub(super) fn unconfirmed_markers(&self) -> Vec<UnconfirmedMarkers> {
        let tables = self.tables.load();
        let unconfirmed = tables.iter().map(|(namespace, table)| UnconfirmedMarkers {
            namespace: namespace.clone(),
            shards: table.unconfirmed(),
        });
        unconfirmed.filter(|unconfirmed| !unconfirmed.shards.is_empty()).collect()
    }

    /// A marker was read after the announcement that began `epoch`; none if it is missing.
    pub(super) fn confirm_marker(
        &self,
        namespace: &Namespace,
        shard_in_epoch: (u64, u64),
        state: Option<MarkerState>,
        bans: &Arc<dyn KnownBans>,
    ) {
        if let Some(table) = self.tables.load().get(namespace) {
            table.confirm(shard_in_epoch, state, bans);
        }
    }

    /// Removes all copies of a namespace.
    pub(super) fn invalidate_namespace(&self, namespace: &Namespace) {
        if let Some(table) = self.tables.load().get(namespace) {
            table.invalidate_all();
        }
    }

    /// Removes all copies.
    pub(super) fn invalidate_all(&self) {
        for table in self.tables.load().values() {
            table.invalidate_all();
        }
        self.marker_announced.notify_one();
    }

    pub(super) fn count_announced(&self, keys: u64) {
        self.announced_keys.fetch_add(keys, Ordering::Relaxed);
    }

    /// Removes all copies of a namespace, or of all. Returns their number and their bytes.
    pub(super) fn flush(&self, namespace: Option<&Namespace>) -> (u64, u64) {
        let tables = self.tables.load();
        let selected = tables.iter().filter(|(name, _)| namespace.is_none_or(|one| one == *name));
        let (mut entries, mut bytes) = (0, 0);
        for (_, table) in selected {
            let usage = table.usage();
            table.invalidate_all();
            entries += usage.entries;
            bytes += usage.bytes;
        }
        (entries, bytes)
    }

    /// State and counters so far.
    pub fn stats(&self) -> NearCacheStats {
        NearCacheStats {
            is_coherent: self.coherent_at.load(Ordering::Relaxed) != 0,
            announced_keys: self.announced_keys.load(Ordering::Relaxed),
            flushes: self.flushes.load(Ordering::Relaxed),
        }
    }

    /// Usage per namespace.
    pub fn usage(&self) -> Vec<(Namespace, NearCacheUsage)> {
        self.tables
            .load()
            .iter()
            .map(|(namespace, table)| (namespace.clone(), table.usage()))
            .collect()
    }

    /// The table for entries that are about to be read; none if they must not be inserted.
    fn table(&self, namespace: &Namespace) -> Option<Arc<NamespaceTable>> {
        let tables = self.tables.load();
        tables.get(namespace).filter(|_| self.coherent_at.load(Ordering::Relaxed) != 0).cloned()
    }

    fn nanos_until(&self, instant: Instant) -> u64 {
        u64::saturating_from(instant.saturating_duration_since(self.started_at).as_nanos())
    }
}

impl Subscription {
    fn for_options(options: &HashMap<Namespace, NearCacheOptions>) -> Self {
        let mut namespaces: Vec<Namespace> = options.keys().cloned().collect();
        namespaces.sort_unstable();
        let shortest = options.values().map(|options| options.max_staleness).min();
        let heartbeat = shortest.unwrap_or_default() / HEARTBEATS_PER_STALENESS;
        let heartbeat = heartbeat.clamp(MIN_HEARTBEAT_INTERVAL, MAX_HEARTBEAT_INTERVAL);
        Self { namespaces, heartbeat }
    }
}
