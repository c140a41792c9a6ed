//! The namespaces in use, with their current generations.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher as _, RandomState},
    mem::replace,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use hashbrown::HashTable;
use parking_lot::RwLock;
use tokio::task::yield_now;

use super::{
    allocation::{ARC_HEADER, allocated},
    budget::Budget,
    generation::Generation,
    namespace_bans::BanSpan,
    namespace_state::NamespaceState,
};
use crate::{
    model::{Namespace, Timestamp},
    store::{Ban, BanLimits, BanOutcome, NamespacePage, NamespaceUsage},
};

/// The namespaces in use.
pub(super) struct Generations {
    /// Sharded, so that a visit of all namespaces holds each lock for a short time only.
    shards: Box<[RwLock<NamespaceTable>]>,
    hasher: RandomState,
    has_invalid: AtomicBool,
}

/// A ban that is about to be added.
pub(super) struct NewBan<'a> {
    pub(super) namespace: &'a Namespace,
    pub(super) ban: &'a Ban,
    pub(super) limits: &'a BanLimits,
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
        + Generation::memory()
        + (16 * (size_of::<NamespaceEntry>() + 1) / 7) as u64
}

// === impl NamespaceEntry ===

impl NamespaceEntry {
    /// Whether only the table refers to the namespace, and it can be forgotten.
    fn is_unused(&self, now: Timestamp, budget: &Budget) -> bool {
        let own_references = match &self.current {
            Some(generation) if Arc::strong_count(generation) > 1 => return false,
            Some(_) => 2,
            None => 1,
        };
        Arc::strong_count(&self.state) == own_references
            && self.state.is_idle(now, budget.is_full_of_namespaces())
    }

    /// Drops the bans that are older than every entry and lease.
    fn sweep_bans(&self, is_used: bool, now: Timestamp, budget: &Budget) {
        let Some(bans) = self.state.bans() else { return };
        let mut bans = bans.write();
        let current = self.current.as_ref();
        let oldest = current.map_or(u64::MAX, |current| current.oldest_sequence());
        let elders_memory = current.map_or(0, |current| current.elders_memory());
        let account = self.state.ban_account(elders_memory, budget);
        if is_used {
            bans.sweep(oldest, now, account);
        } else {
            bans.release(account);
        }
    }
}

// === impl Generations ===

impl Default for Generations {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            hasher: RandomState::new(),
            has_invalid: AtomicBool::default(),
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
        let NamespaceEntry { state, current } = self.entry(&mut table, hash, namespace, budget);
        current.get_or_insert_with(|| Generation::of(state)).clone()
    }

    /// Finds or adds a namespace.
    fn entry<'a>(
        &self,
        table: &'a mut NamespaceTable,
        hash: u64,
        namespace: &Namespace,
        budget: &Budget,
    ) -> &'a mut NamespaceEntry {
        let is_namespace = |entry: &NamespaceEntry| entry.state.name() == namespace;
        let entry = table.entry(hash, is_namespace, |entry| self.hash(entry));
        let entry = entry.or_insert_with(|| {
            budget.add_namespace(namespace_bytes(namespace));
            NamespaceEntry { state: NamespaceState::of(namespace), current: None }
        });
        entry.into_mut()
    }

    /// The state of a namespace, if it is in use.
    pub(super) fn state(&self, namespace: &Namespace) -> Option<Arc<NamespaceState>> {
        let (hash, shard) = self.locate(namespace);
        let table = shard.read();
        let found = table.find(hash, |entry| entry.state.name() == namespace);
        found.map(|entry| entry.state.clone())
    }

    /// Ends the generations of a namespace. Operations that began before belong to them, and
    /// operations that begin afterwards belong to a new one.
    pub(super) fn end(&self, namespace: &Namespace, now: Timestamp, budget: &Budget) {
        let (hash, shard) = self.locate(namespace);
        let mut table = shard.write();
        let entry = table.find_mut(hash, |entry| entry.state.name() == namespace);
        if let Some(entry) = entry
            && let Some(ended) = entry.current.take()
        {
            ended.end();
            if let Some(bans) = entry.state.bans() {
                // Only the hold-offs are still needed.
                bans.write().sweep(u64::MAX, now, entry.state.ban_account(0, budget));
            }
            self.has_invalid.store(true, Ordering::Relaxed);
        }
    }

    /// Bans entries of a namespace. Operations that begin afterwards see the ban.
    pub(super) fn ban(
        &self,
        NewBan { namespace, ban, limits }: NewBan<'_>,
        now: Timestamp,
        budget: &Budget,
    ) -> BanOutcome {
        let (hash, shard) = self.locate(namespace);
        let mut table = shard.write();
        let mut has_hold_off = !ban.hold_off.is_zero();
        if has_hold_off {
            let known = table.find(hash, |entry| entry.state.name() == namespace);
            let until = now.after(ban.hold_off);
            if budget.is_full_of_namespaces()
                && !known.is_some_and(|entry| entry.state.is_held_off(until))
            {
                budget.hold_off_all(until);
                has_hold_off = false;
            }
        }
        let entry = if has_hold_off {
            Some(self.entry(&mut table, hash, namespace, budget))
        } else {
            // Without an entry or a lease there is nothing to ban.
            table.find_mut(hash, |entry| entry.state.name() == namespace)
        };
        let Some(entry) = entry.filter(|entry| has_hold_off || entry.current.is_some()) else {
            return BanOutcome::Banned;
        };
        self.has_invalid.store(true, Ordering::Relaxed);
        let held_until = if has_hold_off { now.after(ban.hold_off) } else { Timestamp::default() };
        let NamespaceEntry { state, current } = entry;
        let elders_memory = current.as_ref().map_or(0, |current| current.elders_memory());
        let account = state.ban_account(elders_memory, budget);
        let mut bans = state.bans_or_default().write();
        let last_hold_off = bans.table().last_hold_off().max(held_until);
        if !bans.add(ban, BanSpan { made_at: now, held_until }, limits, account) {
            // The hold-offs are not recorded any more, so they hold for the whole namespace.
            state.hold_off(last_hold_off);
            if let Some(ended) = current.take() {
                ended.end();
            }
            return BanOutcome::NamespaceInvalidated;
        }
        state.check_fills(held_until);
        if let Some(current) = current {
            let successor = current.succeeded(bans.sequence());
            drop(bans);
            // The flag comes last: a read that sees it finds the ban.
            replace(current, successor).supersede();
        }
        BanOutcome::Banned
    }

    /// Whether entries have become invalid since the last call, by an invalidation or a ban.
    pub(super) fn take_invalid(&self) -> bool {
        self.has_invalid.swap(false, Ordering::Relaxed)
    }

    /// Removes bans that are not needed any more, and namespaces without entries and leases, so
    /// that names that are used once do not accumulate in memory.
    pub(super) async fn remove_unused(&self, now: Timestamp, budget: &Budget) {
        self.visit(|shard| {
            let mut table = shard.write();
            let visited = table.len();
            table.retain(|entry| {
                let is_used = !entry.is_unused(now, budget);
                entry.sweep_bans(is_used, now, budget);
                if !is_used {
                    budget.release_namespace(namespace_bytes(entry.state.name()));
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

    /// Keys and bytes of the namespaces on `page`, sorted by name, and of the next one, which shows
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
        first.into_iter().map(|(name, generation)| (name, generation.usage())).collect()
    }

    /// Names of the namespaces that may have entries.
    pub(super) async fn names(&self) -> Vec<Namespace> {
        let mut names = Vec::new();
        self.visit(|shard| {
            let table = shard.read();
            let in_use = table.iter().filter(|entry| entry.current.is_some());
            names.extend(in_use.map(|entry| entry.state.name().clone()));
            table.len()
        })
        .await;
        names
    }

    /// Memory of the namespaces, summed up again.
    #[cfg(test)]
    pub(super) fn recount(&self) -> u64 {
        let bytes = |entry: &NamespaceEntry| {
            let bans = entry.state.bans().map_or(0, |bans| bans.read().accounted());
            namespace_bytes(entry.state.name()) + bans
        };
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
