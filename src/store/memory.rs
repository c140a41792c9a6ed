//! The embedded store: bounded in bytes, with least-recently-used eviction, and lost when the
//! process ends.
//!
//! Entries live in shards. Each shard is a table with a list in order of use, behind a lock that is
//! never held across an await. One byte budget serves all shards, so that a value may be as large
//! as the whole budget. It counts what the allocator takes. An entry belongs to a generation of its
//! namespace. Invalidating a namespace ends its generation, which takes the same time for any
//! number of entries; the sweeper removes the invalid entries and leases afterwards. A ban begins a
//! new generation: an entry of an earlier one is checked against the newer bans at its next read,
//! and belongs to the current generation afterwards.
//!
//! Leases and hold-offs are records with a limit of their own. A lease that cannot be recorded is
//! not granted: the caller computes without one. A hold-off that cannot be recorded is extended to
//! its whole namespace, because a fill that it should have refused may be wrong.

mod allocation;
mod block;
mod budget;
mod counter;
mod entries;
mod eviction;
mod expiry_heap;
mod generation;
mod generations;
mod hold_offs;
mod hot_key_history;
mod inspect;
mod lease_records;
mod leases;
mod name;
mod namespace_bans;
mod namespace_state;
mod replace;
mod reschedule;
mod shard;
mod slot;
mod slots;
mod stats;
mod succession;
mod sweeper;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{
    Ban, BanLimits, BanOutcome, Condition, HeldQuotas, Increment, IncrementOutcome, LeaseLoss,
    PutOutcome, ReadOutcome, Result, Store, Take, TakeOutcome, clock::StoreClock,
    held_quotas::HeldQuota, key_watch::KeyWatchers,
};
use crate::{
    changes::{ChangeHub, ChangedKey, PublishedChange, WatchOptions},
    model::{Entry, EntryKey, Lifetime, Namespace, NewEntry, Timestamp, Version},
    stats::{replica_report::ReplicaReport, windows::Windows},
};
pub use inspect::LeaseRecordInfo;

use budget::Budget;
use entries::{MemoryChange, memory_for};
use generation::Generation;
use generations::{Generations, NewBan};
use hot_key_history::HotKeyHistory;
use name::HashedKey;
use shard::Shard;
use slot::Slot;

/// Enough that two cores rarely contend for a lock, and few enough that an eviction can look at
/// all of them.
const SHARDS: usize = 16;

/// The embedded store. Clones share the same entries.
#[derive(Clone)]
pub struct MemoryStore(Arc<Inner>);

struct Inner {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    generations: Generations,
    lease_watchers: KeyWatchers,
    stats: Mutex<Windows>,
    hot_keys: Mutex<HotKeyHistory>,
    /// The reports of replicas, by their ids.
    reports: Mutex<BTreeMap<u64, ReplicaReport>>,
    clock: StoreClock,
    /// Time at which the store was created.
    epoch: Timestamp,
    budget: Budget,
    /// Random id that distinguishes this store from others.
    id: u64,
    /// Learns of each change once it is visible.
    changes: Arc<ChangeHub>,
    quotas: HeldQuotas,
}

// === impl MemoryStore ===

impl MemoryStore {
    /// Creates an empty store that holds at most `max_bytes`, including keys and overhead. Must be
    /// called in a Tokio runtime, which runs the sweeper until the store is dropped.
    pub fn new(max_bytes: u64) -> Self {
        let changes = ChangeHub::new(WatchOptions::default());
        Self::publishing(max_bytes, changes, HeldQuotas::default())
    }

    /// As [`MemoryStore::new`], and publishes each change to `changes`. Its namespaces hold no more
    /// than `quotas` allows.
    pub fn publishing(max_bytes: u64, changes: Arc<ChangeHub>, quotas: HeldQuotas) -> Self {
        let clock = StoreClock::new();
        let epoch = clock.now();
        let store = Self(Arc::new(Inner {
            shards: (0..SHARDS).map(|_| Mutex::new(Shard::new(epoch))).collect(),
            hasher: RandomState::new(),
            generations: Generations::default(),
            lease_watchers: KeyWatchers::default(),
            stats: Mutex::default(),
            hot_keys: Mutex::default(),
            reports: Mutex::default(),
            clock,
            epoch,
            budget: Budget::new(max_bytes),
            id: rand::random(),
            changes,
            quotas,
        }));
        sweeper::spawn(&store.0);
        store
    }
}

// === impl Inner ===

impl Inner {
    fn locate<'a>(&self, key: &'a EntryKey) -> (HashedKey<'a>, &Mutex<Shard>) {
        let hash = self.hasher.hash_one(key);
        // The shards use the lower half.
        #[allow(clippy::cast_possible_truncation)]
        let index = (hash >> 32) as usize % SHARDS;
        (HashedKey { key, hash }, &self.shards[index])
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn generation(&self, namespace: &Namespace) -> Arc<Generation> {
        self.generations.current(namespace, &self.budget)
    }

    fn read(&self, key: &EntryKey) -> Option<Entry> {
        let now = self.now();
        let (key, shard) = self.locate(key);
        shard.lock().entries.read(&key, now)
    }

    /// Stores an entry if `check` accepts the current state of the key. Returns the result of
    /// `check`.
    ///
    /// The bytes are reserved before the shard is locked, because an eviction may lock any shard.
    fn write<T>(
        &self,
        key: &EntryKey,
        entry: Entry,
        check: impl FnOnce(&mut Shard, &HashedKey<'_>, Timestamp) -> std::result::Result<T, T>,
    ) -> Result<T> {
        let generation = self.generation(key.namespace());
        let (key, shard) = self.locate(key);
        let memory = memory_for(key.key, &entry);
        let quota = self.quotas.of(key.key.namespace()).map(|quota| (quota, generation.clone()));
        let check_quota = |(quota, generation): &(Arc<HeldQuota>, Arc<Generation>)| {
            let replaced = shard.lock().entries.counted_memory(&key, generation);
            quota.check(&generation.usage(), memory, replaced)
        };
        // First without the lock, so that a write that is refused evicts nothing.
        quota.as_ref().map_or(Ok(()), check_quota)?;
        self.reserve(memory)?;
        // Evicted first and copied afterwards, so that the process does not need both.
        let slot = Slot::new(&key, entry, generation, self.now(), self.epoch);
        // Held until the entry is inserted, so that writes at the same time count each other.
        let mut _checked = None;
        if let Some(quota) = &quota {
            _checked = Some(quota.1.state().quota_lock.lock());
            check_quota(quota).inspect_err(|_| self.budget.release(memory))?;
        }
        let mut shard = shard.lock();
        match check(&mut shard, &key, self.now()) {
            Ok(outcome) => {
                self.budget.release(shard.entries.insert(&key, slot));
                self.publish(key.key);
                Ok(outcome)
            }
            Err(outcome) => {
                self.budget.release(memory);
                Ok(outcome)
            }
        }
    }

    /// Changes everything of the valid entry of a key but its value. The budget may be exceeded
    /// afterwards.
    fn revise(
        &self,
        shard: &mut Shard,
        key: &HashedKey<'_>,
        now: Timestamp,
        change: impl FnOnce(&mut Entry),
    ) {
        if let Some(MemoryChange { added, freed }) = shard.entries.revise(key, now, change) {
            self.budget.add(added);
            self.budget.release(freed);
            self.publish(key.key);
        }
    }

    /// Publishes the change of an entry, which is visible. The lock of its shard is held: a watch
    /// that is not seen here begins after the change.
    #[inline]
    fn publish(&self, key: &EntryKey) {
        if self.changes.follows_keys() {
            self.changes.publish_key(key.namespace().as_str(), ChangedKey::of(key));
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &EntryKey) -> Result<Option<Entry>> {
        Ok(self.0.read(key))
    }

    async fn get_many(&self, keys: &[EntryKey]) -> Result<Vec<ReadOutcome>> {
        Ok(keys.iter().map(|key| Ok(self.0.read(key))).collect())
    }

    async fn put(
        &self,
        key: &EntryKey,
        entry: &NewEntry,
        condition: Condition,
    ) -> Result<PutOutcome> {
        let store = &*self.0;
        if let Condition::Replacing(version) = condition {
            return store.replace(key, entry, version);
        }
        store.write(key, Entry::written(entry, store.now()), |shard, key, now| {
            let mut current = || shard.entries.read(key, now);
            let holds = match condition {
                Condition::Always => true,
                Condition::IfAbsent => !current().is_some_and(|entry| entry.is_fresh(now)),
                Condition::IfPresent => current().is_some_and(|entry| entry.is_fresh(now)),
                Condition::IfVersion(version) | Condition::Replacing(version) => {
                    current().is_some_and(|entry| entry.version == version)
                }
            };
            if !holds {
                return Err(PutOutcome::ConditionNotMet);
            }
            store.void_lease(shard, key, LeaseLoss::Superseded);
            Ok(PutOutcome::Stored)
        })
    }

    async fn delete(&self, key: &EntryKey, hold_off: Duration) -> Result<bool> {
        let outcome = self.take(key, &Take { hold_off, ..Take::default() }).await?;
        Ok(matches!(outcome, TakeOutcome::Removed(_)))
    }

    async fn take(&self, key: &EntryKey, take: &Take) -> Result<TakeOutcome> {
        let store = &*self.0;
        let &Take { hold_off, if_version, returns_entry } = take;
        let namespace = (!hold_off.is_zero()).then(|| store.namespace_to_hold_off(key.namespace()));
        let (key, shard) = store.locate(key);
        let mut shard = shard.lock();
        let now = store.now();
        let entry = shard.entries.read(&key, now);
        if let Some(version) = if_version {
            match &entry {
                None => return Ok(TakeOutcome::Absent),
                Some(entry) if entry.version != version => return Ok(TakeOutcome::OtherVersion),
                Some(_) => {}
            }
        }
        store.budget.release(shard.entries.remove(&key));
        // Also without an entry: it may have been evicted, which is not published.
        store.publish(key.key);
        store.void_lease(&mut shard, &key, LeaseLoss::Invalidated);
        if let Some(namespace) = namespace {
            let until = now.after(hold_off);
            match namespace {
                Some(namespace) => store.hold_off(&mut shard, &key, &namespace, until),
                None => store.budget.hold_off_all(until),
            }
            drop(shard);
            store.evict_to_limit();
        }
        Ok(match entry {
            Some(entry) => TakeOutcome::Removed(returns_entry.then_some(entry)),
            None => TakeOutcome::Absent,
        })
    }

    async fn invalidate(&self, namespace: &Namespace) -> Result<()> {
        let store = &*self.0;
        store.generations.end(namespace, store.now(), &store.budget);
        store.changes.publish(namespace.as_str(), PublishedChange::Namespace);
        store.lease_watchers.notify_all();
        Ok(())
    }

    async fn ban(
        &self,
        namespace: &Namespace,
        ban: &Ban,
        limits: &BanLimits,
    ) -> Result<BanOutcome> {
        let store = &*self.0;
        let new = NewBan { namespace, ban, limits };
        let outcome = store.generations.ban(new, store.now(), &store.budget);
        for change in ban.changes(outcome) {
            store.changes.publish(namespace.as_str(), change);
        }
        // The lease of a banned key has ended. Whether a tag is banned is known at the fill only.
        if !ban.globs.is_empty()
            || !ban.keys.is_empty()
            || outcome == BanOutcome::NamespaceInvalidated
        {
            store.lease_watchers.notify_all();
        }
        store.evict_to_limit();
        Ok(outcome)
    }

    async fn touch(&self, key: &EntryKey, lifetime: Lifetime) -> Result<bool> {
        Ok(self.0.reschedule(key, lifetime, None))
    }

    async fn prolong(&self, key: &EntryKey, version: Version, lifetime: Lifetime) -> Result<bool> {
        Ok(self.0.reschedule(key, lifetime, Some(version)))
    }

    async fn increment(&self, key: &EntryKey, increment: &Increment) -> Result<IncrementOutcome> {
        let store = &*self.0;
        let state = |entry: &Entry| (entry.version, entry.fresh_until);
        loop {
            let current = store.read(key).filter(|entry| entry.is_fresh(store.now()));
            let (value, entry) = match counter::add(current.as_ref(), increment, store.now()) {
                Ok(incremented) => incremented,
                Err(refused) => return Ok(refused),
            };
            let ttl_remaining = entry.fresh_until.since(entry.created_at);
            let expected = current.as_ref().map(state);
            let is_stored = store.write(key, entry, |shard, key, now| {
                let current = shard.entries.read(key, now).filter(|entry| entry.is_fresh(now));
                if current.as_ref().map(state) != expected {
                    return Err(false);
                }
                store.void_lease(shard, key, LeaseLoss::Superseded);
                Ok(true)
            })?;
            // Otherwise another write came first, so each round of the loop is the progress of one
            // of the writers.
            if is_stored {
                return Ok(IncrementOutcome::Sum { value, ttl_remaining });
            }
        }
    }

    fn now(&self) -> Timestamp {
        self.0.now()
    }
}
