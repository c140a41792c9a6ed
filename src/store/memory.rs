//! The embedded store: bounded in bytes, least recently used entries leave first, nothing survives the process.
//!
//! Entries live in shards, each a map in order of use behind a lock that is never held across an await. The byte budget is one
//! for all shards, so that a value may be as large as the whole budget. An entry belongs to a generation of its
//! namespace; invalidating a namespace ends its generation, which takes the same time for any number of entries, and the
//! dead entries are swept up afterwards.

mod budget;
mod generation;
mod leases;
mod shard;
mod sweeper;
#[cfg(test)]
mod tests;

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    Condition, ErrorKind, Increment, IncrementOutcome, Inspect, LeaseLoss, NamespaceUsage,
    PutOutcome, Result, StatsStore, Store, StoreInfo, key_watch::KeyWatchers, ttl_class,
};
use crate::{
    model::{Entry, EntryKey, Kind, Lifetime, Namespace, NewEntry, SaturatingFrom as _, Timestamp},
    stats::{
        delta::{StatsDelta, StatsReport},
        windows::Windows,
    },
};
use budget::Budget;
use generation::Generations;
use shard::{Shard, Slot, lease_cost};

/// Enough that two cores rarely meet at a lock, and few enough to look at all of them when something must be evicted.
const SHARDS: usize = 16;
/// Entries per shard that [`Inspect::sizes`] looks at.
const SIZE_SAMPLE: usize = 4096;

/// See the module. Clones share the same entries.
#[derive(Clone)]
pub struct MemoryStore(Arc<Inner>);

struct Inner {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    generations: Generations,
    wakeups: KeyWatchers,
    ledger: Mutex<Windows>,
    clock: Clock,
    budget: Budget,
}

/// Wall-clock time that does not jump: read once, then carried on by the monotonic clock.
struct Clock {
    started: Instant,
    started_at: Timestamp,
}

// === impl MemoryStore ===

impl MemoryStore {
    /// An empty store that holds at most `max_bytes`, keys and its own bookkeeping included. Must be called in a Tokio
    /// runtime, on which it sweeps up what expired until it is dropped.
    pub fn new(max_bytes: u64) -> Self {
        let store = Self(Arc::new(Inner {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            generations: Generations::default(),
            wakeups: KeyWatchers::default(),
            ledger: Mutex::default(),
            clock: Clock::start(),
            budget: Budget::new(max_bytes),
        }));
        sweeper::spawn(&store.0);
        store
    }

    /// What the store holds and has done. Does not wait.
    pub fn snapshot(&self) -> StoreInfo {
        let store = &*self.0;
        let budget = &store.budget;
        StoreInfo {
            used_bytes: budget.used(),
            peak_bytes: budget.peak.load(Ordering::Relaxed),
            max_bytes: budget.max,
            eviction_policy: "lru".to_owned(),
            evicted_keys: budget.evicted.load(Ordering::Relaxed),
            expired_keys: budget.expired.load(Ordering::Relaxed),
            keys: store.shards.iter().map(|shard| shard.lock().len() as u64).sum(),
            persistence: "none".to_owned(),
            uptime: store.clock.started.elapsed(),
            ..StoreInfo::default()
        }
    }
}

// === impl Inner ===

impl Inner {
    fn shard(&self, key: &EntryKey) -> &Mutex<Shard> {
        #[allow(clippy::cast_possible_truncation)]
        let place = self.hasher.hash_one(key) as usize % SHARDS;
        &self.shards[place]
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn read(&self, key: &EntryKey) -> Option<Entry> {
        let now = self.now();
        self.shard(key).lock().valid(key, now).map(|slot| slot.entry.clone())
    }

    /// Stores an entry if `allowed` by what is there.
    ///
    /// Room is made before the shard is locked, because making room may lock any shard.
    fn write<T>(
        &self,
        key: &EntryKey,
        mut entry: Entry,
        allowed: impl FnOnce(&mut Shard, Timestamp) -> std::result::Result<T, T>,
    ) -> Result<T> {
        // A received value is a window into the buffer of its whole request, which it would keep in memory.
        entry.data = Bytes::copy_from_slice(&entry.data);
        let slot = Slot::new(key, entry, self.generations.current(key.namespace()), self.now());
        let cost = slot.cost;
        self.make_room(cost)?;
        let mut shard = self.shard(key).lock();
        match allowed(&mut shard, self.now()) {
            Ok(outcome) => {
                self.budget.release(shard.insert(key.clone(), slot));
                Ok(outcome)
            }
            Err(outcome) => {
                self.budget.release(cost);
                Ok(outcome)
            }
        }
    }

    /// Takes `cost` from the budget and evicts what is over it.
    fn make_room(&self, cost: u64) -> Result<()> {
        self.budget.reserve(cost)?;
        while self.budget.is_exceeded() {
            if !self.evict_oldest() {
                self.budget.release(cost);
                return Err(ErrorKind::Full.into());
            }
        }
        Ok(())
    }

    fn evict_oldest(&self) -> bool {
        let oldest_uses = self
            .shards
            .iter()
            .enumerate()
            .filter_map(|(place, shard)| Some((shard.lock().oldest_use()?, place)));
        let Some((_, place)) = oldest_uses.min() else { return false };
        let freed = self.shards[place].lock().evict();
        self.budget.release(freed);
        self.budget.evicted.fetch_add(1, Ordering::Relaxed);
        true
    }

    fn void_lease(&self, shard: &mut Shard, key: &EntryKey, loss: LeaseLoss) {
        if shard.void_lease(key, loss) {
            self.wakeups.wake(&wakeup_key(key));
        }
    }
}

/// The name under which waiters for a key's lease are listed.
fn wakeup_key(key: &EntryKey) -> Vec<u8> {
    // No part can contain what separates it from the next: a namespace has no NUL, and the digest has a fixed length.
    let mut name = String::with_capacity(key.namespace().as_str().len() + key.key().len() + 45);
    name.push_str(key.namespace().as_str());
    name.push('\0');
    if let Some(params) = key.params() {
        params.write_to(&mut name);
    }
    name.push('\0');
    name.push_str(key.key());
    name.into_bytes()
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
        draft: &NewEntry,
        condition: Condition,
    ) -> Result<PutOutcome> {
        let store = &*self.0;
        store.write(key, Entry::written(draft, store.now()), |shard, now| {
            let current = shard.valid(key, now).map(|slot| &slot.entry);
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
        let held_off = !hold_off.is_zero();
        if held_off {
            store.make_room(lease_cost(key))?;
        }
        let mut shard = store.shard(key).lock();
        let now = store.now();
        let existed = shard.valid(key, now).is_some();
        store.budget.release(shard.remove(key));
        store.void_lease(&mut shard, key, LeaseLoss::Invalidated);
        if held_off {
            let generation = store.generations.current(key.namespace());
            store.budget.release(shard.hold_off(key, generation, now.after(hold_off), now));
        }
        Ok(existed)
    }

    async fn invalidate(&self, namespace: &Namespace) -> Result<()> {
        self.0.generations.end(namespace);
        self.0.wakeups.wake_all();
        Ok(())
    }

    async fn touch(&self, key: &EntryKey, lifetime: Lifetime) -> Result<bool> {
        let store = &*self.0;
        let now = store.now();
        let mut shard = store.shard(key).lock();
        let fresh = shard.valid(key, now).is_some_and(|slot| slot.entry.is_fresh(now));
        if fresh {
            shard.reschedule(key, |entry| {
                let revalidation_window = entry.revalidation_window;
                entry.reschedule(&Lifetime { revalidation_window, ..lifetime }, now);
            });
        }
        Ok(fresh)
    }

    async fn increment(&self, key: &EntryKey, increment: &Increment) -> Result<IncrementOutcome> {
        let store = &*self.0;
        loop {
            let current = store.read(key).filter(|entry| entry.is_fresh(store.now()));
            let (sum, entry) = match sum(current.as_ref(), increment, store.now()) {
                Ok(counted) => counted,
                Err(refused) => return Ok(refused),
            };
            let ttl_remaining = entry.fresh_until.since(entry.created_at);
            let seen = current.map(|entry| (entry.version, entry.fresh_until));
            let stored = store.write(key, entry, |shard, now| {
                let current = shard
                    .valid(key, now)
                    .map(|slot| &slot.entry)
                    .filter(|entry| entry.is_fresh(now));
                if current.map(|entry| (entry.version, entry.fresh_until)) != seen {
                    return Err(false);
                }
                store.void_lease(shard, key, LeaseLoss::Superseded);
                Ok(true)
            })?;
            // Somebody else was faster, and with every turn of the loop somebody is.
            if stored {
                return Ok(IncrementOutcome::Sum { value: sum, ttl_remaining });
            }
        }
    }

    fn now(&self) -> Timestamp {
        self.0.now()
    }
}

fn sum(
    current: Option<&Entry>,
    increment: &Increment,
    now: Timestamp,
) -> std::result::Result<(i64, Entry), IncrementOutcome> {
    let before = match current {
        None => increment.initial,
        Some(entry) if entry.kind == Kind::Text => {
            parse_counter(&entry.data).ok_or(IncrementOutcome::NotAnInteger)?
        }
        Some(_) => return Err(IncrementOutcome::NotAnInteger),
    };
    let sum = before.checked_add(increment.delta).ok_or(IncrementOutcome::Overflow)?;
    let draft = NewEntry {
        kind: Kind::Text,
        data: sum.to_string().into(),
        version: increment.version,
        lifetime: increment.lifetime,
        tags: current.map(|entry| entry.tags.clone()).unwrap_or_default(),
        fetch_metadata: None,
    };
    let mut entry = Entry::written(&draft, now);
    if let Some(current) = current {
        entry.fresh_until = current.fresh_until;
        entry.stale_while_revalidate = current.stale_while_revalidate;
        entry.stale_if_error = current.stale_if_error;
    }
    Ok((sum, entry))
}

/// Reads a counter as strictly as Redis does: decimal digits, no plus sign, no leading zeros.
fn parse_counter(data: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(data).ok()?;
    let value: i64 = text.parse().ok()?;
    (value.to_string() == text).then_some(value)
}

#[async_trait]
impl StatsStore for MemoryStore {
    async fn add(&self, delta: &StatsDelta) -> Result<()> {
        self.0.ledger.lock().add(&delta.counts, self.0.now());
        Ok(())
    }

    async fn report(&self) -> Result<StatsReport> {
        Ok(self.0.ledger.lock().report(self.0.now()))
    }
}

#[async_trait]
impl Inspect for MemoryStore {
    fn kind(&self) -> &'static str {
        "memory"
    }

    async fn ping(&self) -> Result<()> {
        Ok(())
    }

    async fn info(&self) -> Result<StoreInfo> {
        Ok(self.snapshot())
    }

    async fn usage(&self) -> Result<Vec<(Namespace, NamespaceUsage)>> {
        let store = &*self.0;
        let now = store.now();
        let mut sizes: Vec<(Namespace, NamespaceUsage)> = store
            .generations
            .sizes()
            .into_iter()
            .map(|(namespace, keys, bytes)| {
                (namespace, NamespaceUsage { keys, bytes, ..NamespaceUsage::default() })
            })
            .collect();
        sizes.sort_by(|(one, _), (two, _)| one.cmp(two));
        for shard in &store.shards {
            let shard = shard.lock();
            for (key, remaining) in shard.lifetimes(now).take(SIZE_SAMPLE) {
                if let Ok(place) = sizes.binary_search_by(|(name, _)| name.cmp(key.namespace())) {
                    sizes[place].1.ttl[ttl_class(remaining)] += 1;
                }
            }
        }
        for (_, size) in &mut sizes {
            size.scale_ttl();
        }
        Ok(sizes)
    }
}

// === impl Clock ===

impl Clock {
    fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let started_at = Timestamp(u64::saturating_from(since_epoch.as_millis()));
        Self { started: Instant::now(), started_at }
    }

    fn now(&self) -> Timestamp {
        Timestamp(
            self.started_at
                .0
                .saturating_add(u64::saturating_from(self.started.elapsed().as_millis())),
        )
    }
}
