//! The embedded store: bounded in bytes, with least-recently-used eviction, and lost when the
//! process ends.
//!
//! Entries live in shards. Each shard is a map in order of use behind a lock that is never held
//! across an await. One byte budget serves all shards, so that a value may be as large as the whole
//! budget. An entry belongs to a generation of its namespace. Invalidating a namespace ends its
//! generation, which takes the same time for any number of entries; the sweeper removes the invalid
//! entries afterwards.

mod budget;
mod counter;
mod generation;
mod inspect;
mod leases;
mod shard;
mod sweeper;
#[cfg(test)]
mod tests;

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use super::{
    Condition, ErrorKind, Increment, IncrementOutcome, LeaseLoss, PutOutcome, Result, StatsStore,
    Store, clock::StoreClock, key_watch::KeyWatchers,
};
use crate::{
    model::{Entry, EntryKey, Lifetime, Namespace, NewEntry, Timestamp},
    stats::{
        delta::{StatsDelta, StatsReport},
        windows::{self, Windows},
    },
};
use budget::Budget;
use generation::Generations;
use shard::{Shard, StoredEntry, lease_cost};

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
    clock: StoreClock,
    budget: Budget,
}

// === impl MemoryStore ===

impl MemoryStore {
    /// Creates an empty store that holds at most `max_bytes`, including keys and overhead. Must be
    /// called in a Tokio runtime, which runs the sweeper until the store is dropped.
    pub fn new(max_bytes: u64) -> Self {
        let store = Self(Arc::new(Inner {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            generations: Generations::default(),
            lease_watchers: KeyWatchers::default(),
            stats: Mutex::default(),
            clock: StoreClock::new(),
            budget: Budget::new(max_bytes),
        }));
        sweeper::spawn(&store.0);
        store
    }
}

// === impl Inner ===

impl Inner {
    fn shard(&self, key: &EntryKey) -> &Mutex<Shard> {
        #[allow(clippy::cast_possible_truncation)]
        let index = self.hasher.hash_one(key) as usize % SHARDS;
        &self.shards[index]
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn read(&self, key: &EntryKey) -> Option<Entry> {
        let now = self.now();
        self.shard(key).lock().get(key, now).map(|stored| stored.entry.clone())
    }

    /// Stores an entry if `check` accepts the current state of the key. Returns the result of
    /// `check`.
    ///
    /// The bytes are reserved before the shard is locked, because an eviction may lock any shard.
    fn write<T>(
        &self,
        key: &EntryKey,
        mut entry: Entry,
        check: impl FnOnce(&mut Shard, Timestamp) -> std::result::Result<T, T>,
    ) -> Result<T> {
        // A received value is a slice of the buffer of its whole request. Storing the slice would
        // keep that buffer in memory.
        entry.data = Bytes::copy_from_slice(&entry.data);
        let generation = self.generations.current(key.namespace());
        let stored = StoredEntry::new(key, entry, generation, self.now());
        let cost = stored.cost;
        self.reserve(cost)?;
        let mut shard = self.shard(key).lock();
        match check(&mut shard, self.now()) {
            Ok(outcome) => {
                self.budget.release(shard.insert(key.clone(), stored));
                Ok(outcome)
            }
            Err(outcome) => {
                self.budget.release(cost);
                Ok(outcome)
            }
        }
    }

    /// Reserves `cost` bytes of the budget, and evicts entries until the budget is kept.
    fn reserve(&self, cost: u64) -> Result<()> {
        self.budget.reserve(cost)?;
        while self.budget.is_exceeded() {
            if !self.evict_oldest() {
                self.budget.release(cost);
                return Err(ErrorKind::Full.into());
            }
        }
        Ok(())
    }

    /// Evicts the least recently used entry of all shards. Returns false if there is none.
    fn evict_oldest(&self) -> bool {
        let oldest_uses = self
            .shards
            .iter()
            .enumerate()
            .filter_map(|(index, shard)| Some((shard.lock().oldest_use()?, index)));
        let Some((_, index)) = oldest_uses.min() else { return false };
        let freed = self.shards[index].lock().evict_oldest();
        self.budget.release(freed);
        self.budget.evicted.fetch_add(1, Ordering::Relaxed);
        true
    }

    fn void_lease(&self, shard: &mut Shard, key: &EntryKey, loss: LeaseLoss) {
        if shard.void_lease(key, loss) {
            self.lease_watchers.notify(&watch_key(key));
        }
    }
}

/// The key under which [`KeyWatchers`] list the watches of a lease.
fn watch_key(key: &EntryKey) -> Vec<u8> {
    // Unambiguous: a namespace contains no NUL, and the digest has a fixed length.
    let mut text = String::with_capacity(key.namespace().as_str().len() + key.key().len() + 45);
    text.push_str(key.namespace().as_str());
    text.push('\0');
    if let Some(params) = key.params() {
        params.write_to(&mut text);
    }
    text.push('\0');
    text.push_str(key.key());
    text.into_bytes()
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &EntryKey) -> Result<Option<Entry>> {
        Ok(self.0.read(key))
    }

    async fn get_many(&self, keys: &[EntryKey]) -> Result<Vec<Option<Entry>>> {
        Ok(keys.iter().map(|key| self.0.read(key)).collect())
    }

    async fn put(
        &self,
        key: &EntryKey,
        entry: &NewEntry,
        condition: Condition,
    ) -> Result<PutOutcome> {
        let store = &*self.0;
        store.write(key, Entry::written(entry, store.now()), |shard, now| {
            let current = shard.get(key, now).map(|stored| &stored.entry);
            let holds = match condition {
                Condition::Always => true,
                Condition::IfAbsent => !current.is_some_and(|entry| entry.is_fresh(now)),
                Condition::IfPresent => current.is_some_and(|entry| entry.is_fresh(now)),
                Condition::IfVersion(version) => {
                    current.is_some_and(|entry| entry.version == version)
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
        let store = &*self.0;
        let has_hold_off = !hold_off.is_zero();
        if has_hold_off {
            store.reserve(lease_cost(key))?;
        }
        let mut shard = store.shard(key).lock();
        let now = store.now();
        let existed = shard.get(key, now).is_some();
        store.budget.release(shard.remove(key));
        store.void_lease(&mut shard, key, LeaseLoss::Invalidated);
        if has_hold_off {
            let generation = store.generations.current(key.namespace());
            store.budget.release(shard.hold_off(key, generation, now.after(hold_off), now));
        }
        Ok(existed)
    }

    async fn invalidate(&self, namespace: &Namespace) -> Result<()> {
        self.0.generations.end(namespace);
        self.0.lease_watchers.notify_all();
        Ok(())
    }

    async fn touch(&self, key: &EntryKey, lifetime: Lifetime) -> Result<bool> {
        let store = &*self.0;
        let now = store.now();
        let mut shard = store.shard(key).lock();
        let is_fresh = shard.get(key, now).is_some_and(|stored| stored.entry.is_fresh(now));
        if is_fresh {
            shard.reschedule(key, |entry| {
                let revalidation_window = entry.revalidation_window;
                entry.reschedule(&Lifetime { revalidation_window, ..lifetime }, now);
            });
        }
        Ok(is_fresh)
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
            let is_stored = store.write(key, entry, |shard, now| {
                let current = shard
                    .get(key, now)
                    .map(|stored| &stored.entry)
                    .filter(|entry| entry.is_fresh(now));
                if current.map(state) != expected {
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

#[async_trait]
impl StatsStore for MemoryStore {
    async fn add(&self, delta: &StatsDelta) -> Result<()> {
        self.0.stats.lock().add(&delta.counts, self.0.now());
        Ok(())
    }

    async fn report(&self) -> Result<StatsReport> {
        let store = &*self.0;
        let report = windows::report(store.now(), |part, report| {
            store.stats.lock().add_part(part, report);
        });
        Ok(report.await)
    }
}
