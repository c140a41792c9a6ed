//! Generations of namespaces: invalidating a namespace sets one flag.

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

use crate::{
    model::Namespace,
    store::{NamespacePage, NamespaceUsage},
};

/// The entries and leases of a namespace between two invalidations.
#[derive(Debug, Default)]
pub(super) struct Generation {
    ended: AtomicBool,
    keys: AtomicU64,
    bytes: AtomicU64,
}

/// The current generation of each namespace in use.
pub(super) struct Generations {
    /// Sharded, so that a visit of all namespaces holds each lock for a short time only.
    shards: Box<[RwLock<GenerationTable>]>,
    hasher: RandomState,
    ended: AtomicBool,
}

type GenerationTable = HashTable<(Namespace, Arc<Generation>)>;

/// Of a million namespaces, each shard has 4,000.
const SHARDS: usize = 256;
/// Shards with few namespaces that are visited without a yield.
const SHARDS_PER_YIELD: usize = 16;
/// Namespaces of different shards that are visited without a yield.
const NAMESPACES_PER_YIELD: usize = 256;

// === impl Generation ===

impl Generation {
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
    pub(super) fn current(&self, namespace: &Namespace) -> Arc<Generation> {
        let (hash, shard) = self.locate(namespace);
        let is_namespace = |(name, _): &(Namespace, Arc<Generation>)| name == namespace;
        if let Some((_, current)) = shard.read().find(hash, is_namespace) {
            return current.clone();
        }
        let mut table = shard.write();
        let entry = table.entry(hash, is_namespace, |(name, _)| self.hasher.hash_one(name));
        entry.or_insert_with(|| (namespace.clone(), Arc::default())).get().1.clone()
    }

    /// Ends the current generation. Operations that began before belong to it, and operations that
    /// begin afterwards belong to a new one.
    pub(super) fn end(&self, namespace: &Namespace) {
        let (hash, shard) = self.locate(namespace);
        if let Ok(found) = shard.write().find_entry(hash, |(name, _)| name == namespace) {
            let ((_, ended), _) = found.remove();
            ended.ended.store(true, Ordering::Release);
            self.ended.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a generation has ended since the last call.
    pub(super) fn take_ended(&self) -> bool {
        self.ended.swap(false, Ordering::Relaxed)
    }

    /// Removes generations without entries and leases, so that names that are used once do not
    /// accumulate in memory.
    pub(super) async fn remove_unused(&self) {
        self.visit(|shard| {
            let mut table = shard.write();
            let visited = table.len();
            table.retain(|(_, generation)| Arc::strong_count(generation) > 1);
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
            for (name, generation) in table.iter().filter(|(name, _)| page.follows(name.as_str())) {
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

    fn locate(&self, namespace: &Namespace) -> (u64, &RwLock<GenerationTable>) {
        let hash = self.hasher.hash_one(namespace);
        // The tables use the lowest and the highest bits.
        #[allow(clippy::cast_possible_truncation)]
        let index = (hash >> 40) as usize % SHARDS;
        (hash, &self.shards[index])
    }

    /// Visits all shards, and yields in between. `visit` returns the number of namespaces in the
    /// shard.
    async fn visit(&self, mut visit: impl FnMut(&RwLock<GenerationTable>) -> usize + Send) {
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
