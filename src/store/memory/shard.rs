//! One shard of the store: entries in order of use and of expiry, and leases. A method that frees
//! bytes returns their number, and the caller keeps the budget.

use std::{
    collections::{BTreeSet, HashMap},
    ops::Bound,
    sync::Arc,
    time::Duration,
};

use hashlink::LruCache;

use super::generation::Generation;
use crate::{
    model::{Entry, EntryKey, Namespace, Timestamp},
    store::{LeaseLoss, LeaseStatus, LeaseToken, MAX_CAUSE_BYTES},
};

/// Cost of an entry in bytes, besides its key, value and tags: the structs in the table of entries,
/// which is at most 7/8 full, and in the index by expiry, whose nodes are about 2/3 full, and the
/// headers of the allocator.
pub(super) const ENTRY_OVERHEAD: u64 = ((size_of::<StoredEntry>() + size_of::<EntryKey>() + 32)
    + size_of::<(Timestamp, EntryKey)>() * 3 / 2
    + 64) as u64;
/// Cost of a lease in bytes, besides its key.
pub(super) const LEASE_OVERHEAD: u64 =
    (size_of::<Lease>() + size_of::<EntryKey>() + MAX_CAUSE_BYTES + 64) as u64;

/// Entries and leases of the keys with the same hash.
pub(super) struct Shard {
    entries: LruCache<EntryKey, StoredEntry>,
    by_expiry: BTreeSet<ExpiryKey>,
    leases: HashMap<EntryKey, Lease>,
}

/// Key of an entry in the index by expiry.
pub(super) type ExpiryKey = (Timestamp, EntryKey);

/// An entry with its bookkeeping.
pub(super) struct StoredEntry {
    pub(super) entry: Entry,
    /// Memory in bytes, including the key.
    pub(super) cost: u64,
    generation: Arc<Generation>,
    last_used_at: Timestamp,
}

/// The lease of a key, or the record of one that has ended.
pub(super) struct Lease {
    pub(super) state: LeaseState,
    pub(super) token: LeaseToken,
    pub(super) generation: Arc<Generation>,
    pub(super) expires_at: Timestamp,
}

/// State of a lease. A lease that ends early is recorded until it would have expired, so that its
/// holder can learn why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LeaseState {
    Held,
    Voided(LeaseLoss),
    /// The last holder abandoned the lease, for this cause.
    BackedOff(Box<str>),
    /// No fill is accepted, under any generation.
    HeldOff,
}

// === impl Shard ===

impl Default for Shard {
    fn default() -> Self {
        Self {
            entries: LruCache::new_unbounded(),
            by_expiry: BTreeSet::new(),
            leases: HashMap::new(),
        }
    }
}

impl Shard {
    /// The valid entry of a key. Marks it as the most recently used.
    pub(super) fn get(&mut self, key: &EntryKey, now: Timestamp) -> Option<&StoredEntry> {
        let stored = self.entries.get_mut(key).filter(|stored| stored.is_valid(now))?;
        stored.last_used_at = now;
        Some(stored)
    }

    /// Inserts an entry, or replaces the current one.
    pub(super) fn insert(&mut self, key: EntryKey, stored: StoredEntry) -> u64 {
        let freed = self.remove(&key);
        stored.generation.add_entry(stored.cost);
        self.by_expiry.insert((stored.entry.expires_at(), key.clone()));
        self.entries.insert(key, stored);
        freed
    }

    /// Changes the lifetime of an entry.
    pub(super) fn reschedule(&mut self, key: &EntryKey, change: impl FnOnce(&mut Entry)) {
        if let Some(stored) = self.entries.get_mut(key) {
            self.by_expiry.remove(&(stored.entry.expires_at(), key.clone()));
            change(&mut stored.entry);
            self.by_expiry.insert((stored.entry.expires_at(), key.clone()));
        }
    }

    pub(super) fn remove(&mut self, key: &EntryKey) -> u64 {
        self.entries.remove(key).map_or(0, |stored| {
            self.by_expiry.remove(&(stored.entry.expires_at(), key.clone()));
            stored.generation.remove_entry(stored.cost);
            stored.cost
        })
    }

    /// Time of the last use of the least recently used entry.
    pub(super) fn oldest_use(&self) -> Option<Timestamp> {
        self.entries.iter().next().map(|(_, stored)| stored.last_used_at)
    }

    /// Removes the least recently used entry.
    pub(super) fn evict_oldest(&mut self) -> u64 {
        let oldest = self.entries.iter().next().map(|(key, _)| key.clone());
        oldest.map_or(0, |key| self.remove(&key))
    }

    /// Removes up to `limit` expired entries.
    pub(super) fn expire(&mut self, now: Timestamp, limit: usize) -> ExpireOutcome {
        let mut expired = ExpireOutcome::default();
        while expired.entries < limit
            && let Some((expires_at, key)) = self.by_expiry.first()
            && *expires_at <= now
        {
            let key = key.clone();
            expired.freed += self.remove(&key);
            expired.entries += 1;
        }
        expired
    }

    /// Visits up to `limit` entries after `after`, in order of expiry, and removes those of ended
    /// generations. Returns the freed bytes, and the position to continue from; none at the end.
    pub(super) fn purge(
        &mut self,
        after: Option<&ExpiryKey>,
        limit: usize,
    ) -> (u64, Option<ExpiryKey>) {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let visited: Vec<ExpiryKey> =
            self.by_expiry.range((start, Bound::Unbounded)).take(limit).cloned().collect();
        let mut freed = 0;
        for (_, key) in &visited {
            if self.entries.peek(key).is_some_and(|stored| !stored.generation.is_current()) {
                freed += self.remove(key);
            }
        }
        (freed, (visited.len() == limit).then(|| visited.last().cloned()).flatten())
    }

    /// Namespaces and remaining lifetimes of the valid ones among the `limit` most recently used
    /// entries.
    pub(super) fn lifetimes(&self, now: Timestamp, limit: usize) -> Vec<(Namespace, Duration)> {
        let sample = self.entries.iter().rev().take(limit);
        sample
            .filter(|(_, stored)| stored.is_valid(now))
            .map(|(key, stored)| (key.namespace().clone(), stored.entry.expires_at().since(now)))
            .collect()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of all entries and leases, summed up again.
    #[cfg(test)]
    pub(super) fn recount(&self) -> u64 {
        assert_eq!(self.entries.len(), self.by_expiry.len());
        let entries: u64 = self.entries.iter().map(|(_, stored)| stored.cost).sum();
        entries + self.leases.keys().map(lease_cost).sum::<u64>()
    }

    /// The lease of a key, in any state, unless it has expired.
    pub(super) fn lease(&self, key: &EntryKey, now: Timestamp) -> Option<&Lease> {
        self.leases.get(key).filter(|lease| now < lease.expires_at)
    }

    /// Grants a lease, or replaces the current one.
    pub(super) fn grant(&mut self, key: EntryKey, lease: Lease) -> u64 {
        let cost = lease_cost(&key);
        self.leases.insert(key, lease).map_or(0, |_| cost)
    }

    /// Voids a held lease. Returns whether there was one.
    pub(super) fn void_lease(&mut self, key: &EntryKey, loss: LeaseLoss) -> bool {
        match self.leases.get_mut(key) {
            Some(lease) if lease.state == LeaseState::Held => {
                lease.state = LeaseState::Voided(loss);
                true
            }
            _ => false,
        }
    }

    /// Whether `token` holds the lease of a key.
    pub(super) fn lease_status(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        now: Timestamp,
    ) -> LeaseStatus {
        let Some(lease) = self.lease(key, now) else { return Err(LeaseLoss::Expired) };
        match lease.state {
            LeaseState::HeldOff => Err(LeaseLoss::Invalidated),
            _ if lease.token != token => Err(LeaseLoss::Expired),
            _ if !lease.generation.is_current() => Err(LeaseLoss::Invalidated),
            LeaseState::Held => Ok(()),
            LeaseState::Voided(loss) => Err(loss),
            LeaseState::BackedOff(_) => Err(LeaseLoss::Expired),
        }
    }

    pub(super) fn extend_lease(&mut self, key: &EntryKey, expires_at: Timestamp) {
        if let Some(lease) = self.leases.get_mut(key) {
            lease.expires_at = expires_at;
        }
    }

    /// Ends a lease, and grants no other until `until`.
    pub(super) fn back_off(&mut self, key: &EntryKey, cause: Box<str>, until: Timestamp) {
        if let Some(lease) = self.leases.get_mut(key) {
            lease.state = LeaseState::BackedOff(cause);
            lease.expires_at = until;
        }
    }

    /// Accepts no fill of a key until `until`, or until the end of an earlier hold-off if that is
    /// later.
    pub(super) fn hold_off(
        &mut self,
        key: &EntryKey,
        generation: Arc<Generation>,
        until: Timestamp,
        now: Timestamp,
    ) -> u64 {
        let earlier = self.lease(key, now).filter(|lease| lease.state == LeaseState::HeldOff);
        let expires_at = earlier.map_or(until, |lease| lease.expires_at.max(until));
        let lease = Lease {
            state: LeaseState::HeldOff,
            token: LeaseToken::random(),
            generation,
            expires_at,
        };
        self.grant(key.clone(), lease)
    }

    pub(super) fn remove_lease(&mut self, key: &EntryKey) -> u64 {
        self.leases.remove(key).map_or(0, |_| lease_cost(key))
    }

    /// Removes expired leases, and returns the freed bytes and their keys, which may be watched. A
    /// lease of an ended generation is kept until it expires, so that its holder can learn why the
    /// fill is refused.
    pub(super) fn expire_leases(&mut self, now: Timestamp) -> (u64, Vec<EntryKey>) {
        let expired: Vec<EntryKey> = self
            .leases
            .iter()
            .filter(|(_, lease)| lease.expires_at <= now)
            .map(|(key, _)| key.clone())
            .collect();
        (expired.iter().map(|key| self.remove_lease(key)).sum(), expired)
    }
}

/// Result of [`Shard::expire`].
#[derive(Default)]
pub(super) struct ExpireOutcome {
    pub(super) entries: usize,
    pub(super) freed: u64,
}

/// Cost of a lease, in bytes.
pub(super) fn lease_cost(key: &EntryKey) -> u64 {
    key.size() as u64 + LEASE_OVERHEAD
}

// === impl StoredEntry ===

impl StoredEntry {
    pub(super) fn new(
        key: &EntryKey,
        entry: Entry,
        generation: Arc<Generation>,
        now: Timestamp,
    ) -> Self {
        let cost = (key.size() + entry.heap_bytes()) as u64 + ENTRY_OVERHEAD;
        Self { entry, cost, generation, last_used_at: now }
    }

    pub(super) fn is_valid(&self, now: Timestamp) -> bool {
        now < self.entry.expires_at() && self.generation.is_current()
    }
}
