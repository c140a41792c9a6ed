//! What is remembered of one namespace.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use quick_cache::{
    DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter,
    sync::{Cache, GuardResult, PlaceholderGuard},
};

use super::NearCacheOptions;
use crate::model::{Entry, EntryKey, SaturatingFrom as _};

/// What an entry costs beside its key and value: both as they stand in the table, which is at most 7/8 full, the reference counts before
/// shared parts, and the header with which the value came.
const ENTRY_OVERHEAD: u64 = (size_of::<EntryKey>() + size_of::<Cached>() + 192) as u64;
/// The least size of the parts into which the table is divided, if it is that large. An entry must fit into 97 % of its part.
const SHARD_BYTES: u64 = 4 * 1024 * 1024;
const MAX_SHARDS: u64 = 64;

/// What a namespace remembers, and what it cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NearCacheUsage {
    /// Number of entries.
    pub entries: u64,
    /// Their size in memory, in bytes.
    pub bytes: u64,
    /// Entries that left to make room.
    pub evictions: u64,
}

pub(super) struct NamespaceTable {
    options: NearCacheOptions,
    max_staleness_ns: u64,
    table: Table,
    /// The epoch of each generation marker. What was read in an epoch that is over is forgotten.
    epochs: Box<[AtomicU64]>,
    evictions: Arc<AtomicU64>,
}

type Table = Cache<EntryKey, Cached, EntryWeighter, DefaultHashBuilder, EvictionCounter>;

/// The right to have remembered what is about to be read. Only one read at a time has it for a key, and it ends when the key is forgotten.
pub(super) struct Reservation<'a> {
    guard:
        PlaceholderGuard<'a, EntryKey, Cached, EntryWeighter, DefaultHashBuilder, EvictionCounter>,
    key_bytes: u64,
    epoch: u64,
}

#[derive(Clone)]
struct Cached {
    entry: Entry,
    epoch: u64,
    weight: u64,
}

#[derive(Clone)]
struct EntryWeighter;

#[derive(Clone)]
struct EvictionCounter(Arc<AtomicU64>);

// === impl Tier ===

impl NamespaceTable {
    pub(super) fn new(options: NearCacheOptions, shards: u64) -> Self {
        let evictions = Arc::new(AtomicU64::new(0));
        // The table has a power of two of them, and would round up.
        let parts = (options.max_bytes / SHARD_BYTES).clamp(1, MAX_SHARDS);
        let parts = 1 << parts.ilog2();
        let table = OptionsBuilder::new()
            // The table grows as needed; this is only the number of keys whose use is remembered after they left.
            .estimated_items_capacity(usize::saturating_from(options.max_bytes / 1024).max(64))
            .weight_capacity(options.max_bytes)
            .shards(usize::try_from(parts).unwrap_or(1))
            .build();
        let lifecycle = EvictionCounter(evictions.clone());
        let hasher = DefaultHashBuilder::default();
        Self {
            options,
            max_staleness_ns: u64::saturating_from(options.max_staleness.as_nanos()),
            table: match table {
                Ok(options) => Cache::with_options(options, EntryWeighter, hasher, lifecycle),
                Err(_) => Cache::with(64, options.max_bytes, EntryWeighter, hasher, lifecycle),
            },
            epochs: (0..shards).map(|_| AtomicU64::new(0)).collect(),
            evictions,
        }
    }

    pub(super) fn options(&self) -> NearCacheOptions {
        self.options
    }

    pub(super) fn max_staleness_ns(&self) -> u64 {
        self.max_staleness_ns
    }

    pub(super) fn get(&self, key: &EntryKey) -> Option<Entry> {
        let remembered = self.table.get(key)?;
        (remembered.epoch == self.epoch(key)).then_some(remembered.entry)
    }

    /// A place for what is about to be read; none if there is one already, or nothing to read.
    pub(super) fn place(&self, key: &EntryKey) -> Option<Reservation<'_>> {
        // Before the store is asked: what was invalidated since then is of a later epoch.
        let epoch = self.epoch(key);
        let key_bytes = key.size() as u64;
        for _ in 0..2 {
            match self.table.get_value_or_guard(key, Some(std::time::Duration::ZERO)) {
                GuardResult::Guard(guard) => return Some(Reservation { guard, key_bytes, epoch }),
                // It was not good enough for whoever reads.
                GuardResult::Value(_) => self.forget(key),
                GuardResult::Timeout => return None,
            }
        }
        None
    }

    pub(super) fn forget(&self, key: &EntryKey) {
        self.table.remove(key);
    }

    pub(super) fn forget_shard(&self, shard: u64) {
        if let Some(epoch) = usize::try_from(shard).ok().and_then(|shard| self.epochs.get(shard)) {
            epoch.fetch_add(1, Ordering::AcqRel);
        }
    }

    pub(super) fn forget_all(&self) {
        self.epochs.iter().for_each(|epoch| {
            epoch.fetch_add(1, Ordering::AcqRel);
        });
        self.table.clear();
    }

    pub(super) fn usage(&self) -> NearCacheUsage {
        NearCacheUsage {
            entries: self.table.len() as u64,
            bytes: self.table.weight(),
            evictions: self.evictions.load(Ordering::Relaxed),
        }
    }

    fn epoch(&self, key: &EntryKey) -> u64 {
        let shard = key.shard(self.epochs.len() as u64);
        usize::try_from(shard)
            .ok()
            .and_then(|shard| self.epochs.get(shard))
            .map_or(0, |epoch| epoch.load(Ordering::Acquire))
    }
}

// === impl Place ===

impl Reservation<'_> {
    /// Remembers what was read, unless that was overtaken.
    pub(super) fn keep(self, entry: Entry) {
        let weight = self.key_bytes + entry.heap_bytes() as u64 + ENTRY_OVERHEAD;
        // An error says that it was overtaken, or that the entry is too large.
        let _ = self.guard.insert(Cached { entry, epoch: self.epoch, weight });
    }
}

impl Weighter<EntryKey, Cached> for EntryWeighter {
    fn weight(&self, _key: &EntryKey, remembered: &Cached) -> u64 {
        remembered.weight
    }
}

impl Lifecycle<EntryKey, Cached> for EvictionCounter {
    type RequestState = ();

    fn on_evict(&self, _state: &mut (), _key: EntryKey, _remembered: Cached) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
