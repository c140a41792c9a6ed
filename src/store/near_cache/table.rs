//! The bounded table of one namespace.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use quick_cache::{
    DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter,
    sync::{Cache, EntryAction, GuardResult, PlaceholderGuard},
};

use super::{
    NearCacheOptions,
    markers::{KnownBans, Marker, MarkerState, ReadAt},
};
use crate::model::{Entry, EntryKey, SaturatingFrom as _};

/// Cost of an entry in bytes, besides its key and value: both structs as they stand in the table,
/// which is at most 7/8 full, the reference counts of shared parts, and the header that arrived
/// with the value.
pub(super) const ENTRY_OVERHEAD: u64 =
    (size_of::<EntryKey>() + size_of::<CachedEntry>() + 192) as u64;
/// Least capacity of a shard in bytes, if the table has that much. An entry must fit into 97 % of
/// its shard.
const MIN_SHARD_BYTES: u64 = 4 * 1024 * 1024;
const MAX_SHARDS: u64 = 64;
/// Capacity per key whose use is remembered after its eviction, in bytes, and the least number of
/// such keys. The table itself grows as needed.
const BYTES_PER_EXPECTED_ENTRY: u64 = 1024;
const MIN_EXPECTED_ENTRIES: usize = 64;

/// Usage of one namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NearCacheUsage {
    /// Number of entries.
    pub entries: u64,
    /// Memory of the entries, in bytes.
    pub bytes: u64,
    /// Entries that were evicted to make room.
    pub evictions: u64,
}

/// The copies of one namespace, and its generation markers.
pub(super) struct NamespaceTable {
    options: NearCacheOptions,
    max_staleness_ns: u64,
    cache: Table,
    markers: Box<[Marker]>,
    /// Number of generations so far.
    lineages: AtomicU64,
    evictions: Arc<AtomicU64>,
}

type Table = Cache<EntryKey, CachedEntry, EntryWeighter, DefaultHashBuilder, EvictionCounter>;

/// Reserves the slot of a key for a read in flight. Only one read at a time holds it, and an
/// invalidation of the key voids it.
pub(super) struct Reservation<'a> {
    guard: Guard<'a>,
    key_bytes: u64,
    read_at: ReadAt,
}

type Guard<'a> =
    PlaceholderGuard<'a, EntryKey, CachedEntry, EntryWeighter, DefaultHashBuilder, EvictionCounter>;

#[derive(Clone)]
struct CachedEntry {
    entry: Entry,
    read_at: ReadAt,
    weight: u64,
}

#[derive(Clone)]
struct EntryWeighter;

#[derive(Clone)]
struct EvictionCounter(Arc<AtomicU64>);

// === impl NamespaceTable ===

impl NamespaceTable {
    pub(super) fn new(options: NearCacheOptions, generation_shards: u64) -> Self {
        let evictions = Arc::new(AtomicU64::new(0));
        let NearCacheOptions { max_bytes, max_staleness } = options;
        let expected_entries = usize::saturating_from(max_bytes / BYTES_PER_EXPECTED_ENTRY);
        let table = OptionsBuilder::new()
            .estimated_items_capacity(expected_entries.max(MIN_EXPECTED_ENTRIES))
            .weight_capacity(max_bytes)
            .shards(shards(max_bytes))
            .build();
        let lifecycle = EvictionCounter(evictions.clone());
        let hasher = DefaultHashBuilder::default();
        Self {
            options,
            max_staleness_ns: u64::saturating_from(max_staleness.as_nanos()),
            cache: match table {
                Ok(options) => Cache::with_options(options, EntryWeighter, hasher, lifecycle),
                Err(_) => {
                    Cache::with(MIN_EXPECTED_ENTRIES, max_bytes, EntryWeighter, hasher, lifecycle)
                }
            },
            markers: (0..generation_shards.max(1)).map(|_| Marker::default()).collect(),
            lineages: AtomicU64::new(0),
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
        let cached = self.cache.get(key)?;
        let marker = self.marker(key)?;
        if marker.is_current(&cached.read_at) {
            Some(cached.entry)
        } else {
            self.check(key, cached)
        }
    }

    /// The copy, if it is valid although its marker was announced since it was read.
    #[cold]
    fn check(&self, key: &EntryKey, cached: CachedEntry) -> Option<Entry> {
        let marker = self.marker(key)?;
        let renewed = marker.renewed(&cached.read_at, key.key(), &cached.entry.tags)?;
        // So that it need not be checked again. Another copy may have replaced it.
        self.cache.entry(key, Some(Duration::ZERO), |_, current| {
            if current.read_at == cached.read_at && current.entry.version == cached.entry.version {
                current.read_at = renewed;
            }
            EntryAction::Retain(())
        });
        Some(cached.entry)
    }

    /// Reserves the slot of a key that is about to be read; none if another read holds it.
    pub(super) fn reserve(&self, key: &EntryKey) -> Option<Reservation<'_>> {
        // Loaded before the store is asked: an invalidation after that begins a later epoch.
        let read_at = self.marker(key)?.read_at();
        let key_bytes = key.size() as u64;
        for _ in 0..2 {
            match self.cache.get_value_or_guard(key, Some(Duration::ZERO)) {
                GuardResult::Guard(guard) => {
                    return Some(Reservation { guard, key_bytes, read_at });
                }
                // The caller asks the store although there is a copy, so the copy is outdated.
                GuardResult::Value(_) => self.invalidate(key),
                GuardResult::Timeout => return None,
            }
        }
        None
    }

    pub(super) fn invalidate(&self, key: &EntryKey) {
        self.cache.remove(key);
    }

    /// The marker of a shard was changed: its copies are checked.
    pub(super) fn marker_announced(&self, shard: u64) {
        if let Some(marker) = self.marker_of(shard) {
            marker.announced();
        }
    }

    /// All markers were changed.
    pub(super) fn all_markers_announced(&self) {
        self.markers.iter().for_each(Marker::announced);
    }

    /// The shards whose markers were announced since they were read, with their epochs.
    pub(super) fn unconfirmed(&self) -> Vec<(u64, u64)> {
        let numbered = (0..).zip(&self.markers);
        numbered.filter_map(|(shard, marker)| Some((shard, marker.unconfirmed()?))).collect()
    }

    /// The marker of a shard was read in this epoch.
    pub(super) fn confirm(
        &self,
        (shard, epoch): (u64, u64),
        state: Option<MarkerState>,
        bans: &Arc<dyn KnownBans>,
    ) {
        if let Some(marker) = self.marker_of(shard) {
            marker.confirm(epoch, state, bans.clone(), &self.lineages);
        }
    }

    pub(super) fn invalidate_all(&self) {
        self.markers.iter().for_each(Marker::forget);
        self.cache.clear();
    }

    pub(super) fn usage(&self) -> NearCacheUsage {
        NearCacheUsage {
            entries: self.cache.len() as u64,
            bytes: self.cache.weight(),
            evictions: self.evictions.load(Ordering::Relaxed),
        }
    }

    #[inline]
    fn marker(&self, key: &EntryKey) -> Option<&Marker> {
        self.marker_of(key.shard(self.markers.len() as u64))
    }

    #[inline]
    fn marker_of(&self, shard: u64) -> Option<&Marker> {
        self.markers.get(usize::try_from(shard).ok()?)
    }
}

/// Number of shards of a table: a power of two, because the library would round up to one.
fn shards(max_bytes: u64) -> usize {
    let shards = (max_bytes / MIN_SHARD_BYTES).clamp(1, MAX_SHARDS);
    1 << shards.ilog2()
}

// === impl Reservation ===

impl Reservation<'_> {
    /// Inserts the entry that was read, unless the reservation was voided.
    pub(super) fn insert(self, entry: Entry) {
        let weight = self.key_bytes + entry.heap_bytes() as u64 + ENTRY_OVERHEAD;
        // An error means that the reservation was voided, or that the entry is too large.
        let _ = self.guard.insert(CachedEntry { entry, read_at: self.read_at, weight });
    }
}

// === impl EntryWeighter ===

impl Weighter<EntryKey, CachedEntry> for EntryWeighter {
    fn weight(&self, _key: &EntryKey, cached: &CachedEntry) -> u64 {
        cached.weight
    }
}

// === impl EvictionCounter ===

impl Lifecycle<EntryKey, CachedEntry> for EvictionCounter {
    type RequestState = ();

    fn on_evict(&self, _state: &mut (), _key: EntryKey, _evicted: CachedEntry) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overhead_is_that_of_the_table_and_of_shared_parts() {
        let parts = [size_of::<EntryKey>(), size_of::<CachedEntry>(), 192];
        assert_eq!(ENTRY_OVERHEAD, parts.iter().sum::<usize>() as u64);
    }

    #[test]
    fn number_of_shards_is_a_power_of_two_up_to_64() {
        const MIB: u64 = 1024 * 1024;
        let mib = [0, 1, 7, 8, 15, 16, 255, 256, 4096];
        assert_eq!(mib.map(|mib| shards(mib * MIB)), [1, 1, 1, 2, 2, 4, 32, 64, 64]);
    }
}
