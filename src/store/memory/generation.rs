//! Namespaces and their generations: invalidating a namespace sets one flag.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use hashbrown::HashTable;
use parking_lot::RwLock;
use tokio::task::yield_now;

use super::{
    allocation::{ARC_HEADER, allocated},
    budget::Budget,
    namespace_state::NamespaceState,
};
use crate::{
    model::{Namespace, Timestamp},
    store::{NamespacePage, NamespaceUsage},
};

/// The entries and leases of a namespace between two invalidations.
pub(super) struct Generation {
    state: Arc<NamespaceState>,
    ended: AtomicBool,
    keys: AtomicU64,
    bytes: AtomicU64,
}

/// The namespaces in use.
pub(super) struct Generations {
    /// Sharded, so that a visit of all namespaces holds each lock for a short time only.
    shards: Box<[RwLock<NamespaceTable>]>,
    hasher: RandomState,
    ended: AtomicBool,
}

struct NamespaceEntry {
    state: Arc<NamespaceState>,
    /// None after an invalidation, until the next write.
    current: Option<Arc<Generation>>,
}

type NamespaceTable = HashTable<NamespaceEntry>;

/// Of a million namespaces, each shard has 4,000.
const SHARDS: usize = 256;
/// Shards with few namespaces that are visited without a yield.
const SHARDS_PER_YIELD: usize = 16;
/// Namespaces of different shards that are visited without a yield.
const NAMESPACES_PER_YIELD: usize = 256;

/// Memory of a namespace in bytes, besides its entries and leases. The table is, with a control
/// byte for each element, at least 7/16 full.
pub(super) fn namespace_bytes(name: &Namespace) -> u64 {
    let word = align_of::<usize>();
    allocated(ARC_HEADER + name.as_str().len(), word)
        + allocated(ARC_HEADER + size_of::<NamespaceState>(), word)
        + allocated(ARC_HEADER + size_of::<Generation>(), word)
        + (16 * (size_of::<NamespaceEntry>() + 1) / 7) as u64
}

// === impl Generation ===

impl Generation {
    fn of(state: &Arc<NamespaceState>) -> Arc<Self> {
        Arc::new(Self {
            state: state.clone(),
            ended: AtomicBool::default(),
            keys: AtomicU64::default(),
            bytes: AtomicU64::default(),
        })
    }

    pub(super) fn namespace(&self) -> &Namespace {
        self.state.name()
    }

    pub(super) fn state(&self) -> &Arc<NamespaceState> {
        &self.state
    }

    /// Whether the entries and leases of the generation are valid.
    pub(super) fn is_current(&self) -> bool {
        !self.ended.load(Ordering::Acquire)
    }

    pub(super) fn add_entry(&self, bytes: u64) {
        self.keys.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn remove_entry(&self, bytes: u64) {
        self.keys.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

// === impl NamespaceEntry ===

impl NamespaceEntry {
    /// Whether only the table refers to the namespace, and it can be forgotten.
    fn is_unused(&self, now: Timestamp) -> bool {
        let own_references = match &self.current {
            Some(generation) if Arc::strong_count(generation) > 1 => return false,
            Some(_) => 2,
            None => 1,
        };
        Arc::strong_count(&self.state) == own_references && self.state.is_idle(now)
    }
}

// === impl Generations ===

impl Default for Generations {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            hasher: RandomState::new(),
            ended: AtomicBool::default(),
        }
    }
}

impl Generations {
    /// The generation of a write that begins now.
    pub(super) fn current(&self, namespace: &Namespace, budget: &Budget) -> Arc<Generation> {
        let (hash, shard) = self.locate(namespace);
        let is_namespace = |entry: &NamespaceEntry| entry.state.name() == namespace;
        let found = shard.read().find(hash, is_namespace).and_then(|entry| entry.current.clone());
        if let Some(current) = found {
            return current;
        }
        let mut table = shard.write();
        let entry = table.entry(hash, is_namespace, |entry| self.hash(entry));
        let mut entry = entry.or_insert_with(|| {
            budget.add(namespace_bytes(namespace));
            NamespaceEntry { state: NamespaceState::of(namespace), current: None }
        });
        let NamespaceEntry { state, current } = entry.get_mut();
        current.get_or_insert_with(|| Generation::of(state)).clone()
    }

    /// The state of a namespace, if it is in use.
    pub(super) fn state(&self, namespace: &Namespace) -> Option<Arc<NamespaceState>> {
        let (hash, shard) = self.locate(namespace);
        let table = shard.read();
        let found = table.find(hash, |entry| entry.state.name() == namespace);
        found.map(|entry| entry.state.clone())
    }

    /// Ends the current generation. Operations that began before belong to it, and operations that
    /// begin afterwards belong to a new one.
    pub(super) fn end(&self, namespace: &Namespace) {
        let (hash, shard) = self.locate(namespace);
        let mut table = shard.write();
        let entry = table.find_mut(hash, |entry| entry.state.name() == namespace);
        if let Some(ended) = entry.and_then(|entry| entry.current.take()) {
            ended.ended.store(true, Ordering::Release);
            self.ended.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a generation has ended since the last call.
    pub(super) fn take_ended(&self) -> bool {
        self.ended.swap(false, Ordering::Relaxed)
    }

    /// Removes namespaces without entries and leases, so that names that are used once do not
    /// accumulate in memory.
    pub(super) async fn remove_unused(&self, now: Timestamp, budget: &Budget) {
        self.visit(|shard| {
            let mut table = shard.write();
            let visited = table.len();
            table.retain(|entry| {
                let is_used = !entry.is_unused(now);
                if !is_used {
                    budget.release(namespace_bytes(entry.state.name()));
                }
                is_used
            });
            let (len, capacity) = (table.len(), table.capacity());
            if len < capacity / 4 {
                table.shrink_to(2 * len, |entry| self.hash(entry));
            }
            visited
        })
        .await;
    }

    /// Keys and bytes of the namespaces on `page`, sorted by name, and of the next one, which tells
    /// that there are more pages.
    pub(super) async fn usage(&self, page: &NamespacePage) -> Vec<(Namespace, NamespaceUsage)> {
        let mut first = BTreeMap::<Namespace, Arc<Generation>>::new();
        self.visit(|shard| {
            let table = shard.read();
            for entry in table.iter().filter(|entry| page.follows(entry.state.name().as_str())) {
                let (name, Some(generation)) = (entry.state.name(), &entry.current) else {
                    continue;
                };
                let is_full = first.len() > page.limit();
                if is_full && first.last_key_value().is_some_and(|(last, _)| last < name) {
                    continue;
                }
                first.insert(name.clone(), generation.clone());
                if is_full {
                    first.pop_last();
                }
            }
            table.len()
        })
        .await;
        let usage = |generation: &Generation| NamespaceUsage {
            keys: generation.keys.load(Ordering::Relaxed),
            bytes: generation.bytes.load(Ordering::Relaxed),
            ..NamespaceUsage::default()
        };
        first.into_iter().map(|(name, generation)| (name, usage(&generation))).collect()
    }

    /// Memory of the namespaces, summed up again.
    #[cfg(test)]
    pub(super) fn recount(&self) -> u64 {
        let bytes = |entry: &NamespaceEntry| namespace_bytes(entry.state.name());
        self.shards.iter().map(|shard| shard.read().iter().map(bytes).sum::<u64>()).sum()
    }

    fn hash(&self, entry: &NamespaceEntry) -> u64 {
        self.hasher.hash_one(entry.state.name())
    }

    fn locate(&self, namespace: &Namespace) -> (u64, &RwLock<NamespaceTable>) {
        let hash = self.hasher.hash_one(namespace);
        // The tables use the lowest and the highest bits.
        #[allow(clippy::cast_possible_truncation)]
        let index = (hash >> 40) as usize % SHARDS;
        (hash, &self.shards[index])
    }

    /// Visits all shards, and yields in between. `visit` returns the number of namespaces in the
    /// shard.
    async fn visit(&self, mut visit: impl FnMut(&RwLock<NamespaceTable>) -> usize + Send) {
        let mut namespaces = 0;
        for (index, shard) in self.shards.iter().enumerate() {
            namespaces += visit(shard);
            if namespaces > NAMESPACES_PER_YIELD || index % SHARDS_PER_YIELD == 0 {
                namespaces = 0;
                yield_now().await;
            }
        }
    }
}
