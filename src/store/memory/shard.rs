//! One shard: entries in order of use and of expiry, and leases. Every change returns the bytes it freed.

use std::{
    collections::{BTreeSet, HashMap},
    ops::Bound,
    sync::Arc,
};

use hashlink::LruCache;

use super::generation::Generation;
use crate::{
    model::{Entry, EntryKey, Timestamp},
    store::{LeaseLoss, LeaseStatus, LeaseToken, MAX_CAUSE_BYTES},
};

/// What an entry costs beside the bytes of its key, value and tags: its slot and key in the table of entries, which is at
/// most 7/8 full, and its place in the index by expiry, whose nodes are about 2/3 full, and the allocator's headers.
const ENTRY_OVERHEAD: u64 = ((size_of::<Slot>() + size_of::<EntryKey>() + 32)
    + size_of::<(Timestamp, EntryKey)>() * 3 / 2
    + 64) as u64;
/// What a lease costs beside the bytes of its key.
const LEASE_OVERHEAD: u64 =
    (size_of::<Lease>() + size_of::<EntryKey>() + MAX_CAUSE_BYTES + 64) as u64;

/// A part of the store. Its owner keeps the account of bytes.
pub(super) struct Shard {
    entries: LruCache<EntryKey, Slot>,
    by_expiry: BTreeSet<ExpiryKey>,
    leases: HashMap<EntryKey, Lease>,
}

/// An entry's place in the index by expiry.
pub(super) type ExpiryKey = (Timestamp, EntryKey);

/// A stored entry.
pub(super) struct Slot {
    pub(super) entry: Entry,
    /// Bytes in memory.
    pub(super) cost: u64,
    generation: Arc<Generation>,
    used_at: Timestamp,
}

/// Who may compute a key, or what became of the lease.
pub(super) struct Lease {
    pub(super) state: LeaseState,
    pub(super) token: LeaseToken,
    pub(super) generation: Arc<Generation>,
    pub(super) expires_at: Timestamp,
}

/// A lease that ended before its time is remembered until then, so that its holder can be told why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LeaseState {
    Held,
    Voided(LeaseLoss),
    /// The last holder gave up, for this cause.
    BackedOff(Box<str>),
    /// No fill is taken, whatever the generation.
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
    /// The valid entry of a key, which then counts as used.
    pub(super) fn valid(&mut self, key: &EntryKey, now: Timestamp) -> Option<&mut Slot> {
        let slot = self.entries.get_mut(key).filter(|slot| slot.is_valid(now))?;
        slot.used_at = now;
        Some(slot)
    }

    /// Puts an entry in place of what is there.
    pub(super) fn insert(&mut self, key: EntryKey, slot: Slot) -> u64 {
        let freed = self.remove(&key);
        slot.generation.gained(slot.cost);
        self.by_expiry.insert((slot.entry.expires_at(), key.clone()));
        self.entries.insert(key, slot);
        freed
    }

    /// Changes the times of an entry.
    pub(super) fn reschedule(&mut self, key: &EntryKey, change: impl FnOnce(&mut Entry)) {
        if let Some(slot) = self.entries.get_mut(key) {
            self.by_expiry.remove(&(slot.entry.expires_at(), key.clone()));
            change(&mut slot.entry);
            self.by_expiry.insert((slot.entry.expires_at(), key.clone()));
        }
    }

    pub(super) fn remove(&mut self, key: &EntryKey) -> u64 {
        self.entries.remove(key).map_or(0, |slot| {
            self.by_expiry.remove(&(slot.entry.expires_at(), key.clone()));
            slot.generation.lost(slot.cost);
            slot.cost
        })
    }

    /// When the entry that was not used for longest was last used.
    pub(super) fn oldest_use(&self) -> Option<Timestamp> {
        self.entries.iter().next().map(|(_, slot)| slot.used_at)
    }

    /// Drops the entry that was not used for longest.
    pub(super) fn evict(&mut self) -> u64 {
        let oldest = self.entries.iter().next().map(|(key, _)| key.clone());
        oldest.map_or(0, |key| self.remove(&key))
    }

    /// Drops up to `limit` entries whose time is over.
    pub(super) fn expire(&mut self, now: Timestamp, limit: usize) -> Expired {
        let mut expired = Expired::default();
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

    /// Looks at up to `limit` entries after `place`, in order of expiry, and drops those of ended generations. Answers the
    /// bytes that were freed, and where to go on.
    pub(super) fn purge(
        &mut self,
        place: Option<&ExpiryKey>,
        limit: usize,
    ) -> (u64, Option<ExpiryKey>) {
        let start = place.map_or(Bound::Unbounded, Bound::Excluded);
        let looked_at: Vec<ExpiryKey> =
            self.by_expiry.range((start, Bound::Unbounded)).take(limit).cloned().collect();
        let mut freed = 0;
        for (_, key) in &looked_at {
            if self.entries.peek(key).is_some_and(|slot| !slot.generation.is_current()) {
                freed += self.remove(key);
            }
        }
        (freed, (looked_at.len() == limit).then(|| looked_at.last().cloned()).flatten())
    }

    /// Valid entries with their remaining lifetime, most recently used first.
    pub(super) fn lifetimes(
        &self,
        now: Timestamp,
    ) -> impl Iterator<Item = (&EntryKey, std::time::Duration)> {
        let valid = self.entries.iter().rev().filter(move |(_, slot)| slot.is_valid(now));
        valid.map(move |(key, slot)| (key, slot.entry.expires_at().since(now)))
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of all that is held, counted anew.
    #[cfg(test)]
    pub(super) fn recount(&self) -> u64 {
        assert_eq!(self.entries.len(), self.by_expiry.len());
        let entries: u64 = self.entries.iter().map(|(_, slot)| slot.cost).sum();
        entries + self.leases.keys().map(lease_cost).sum::<u64>()
    }

    /// The lease of a key, unless its time or its generation is over.
    pub(super) fn lease(&self, key: &EntryKey, now: Timestamp) -> Option<&Lease> {
        self.leases.get(key).filter(|lease| now < lease.expires_at)
    }

    /// Puts a lease in place of what is there; answers the bytes that were freed.
    pub(super) fn grant(&mut self, key: EntryKey, lease: Lease) -> u64 {
        let cost = lease_cost(&key);
        self.leases.insert(key, lease).map_or(0, |_| cost)
    }

    /// Ends a held lease early; answers whether there was one.
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

    /// Ends a lease and lets nobody have another for a while.
    pub(super) fn back_off(&mut self, key: &EntryKey, cause: Box<str>, until: Timestamp) {
        if let Some(lease) = self.leases.get_mut(key) {
            lease.state = LeaseState::BackedOff(cause);
            lease.expires_at = until;
        }
    }

    /// Takes no fill of a key until then, or later if that was said before; answers the bytes that were freed.
    pub(super) fn hold_off(
        &mut self,
        key: &EntryKey,
        generation: Arc<Generation>,
        until: Timestamp,
        now: Timestamp,
    ) -> u64 {
        let before = self.lease(key, now).filter(|lease| lease.state == LeaseState::HeldOff);
        let expires_at = before.map_or(until, |lease| lease.expires_at.max(until));
        let lease = Lease {
            state: LeaseState::HeldOff,
            token: LeaseToken::random(),
            generation,
            expires_at,
        };
        self.grant(key.clone(), lease)
    }

    pub(super) fn drop_lease(&mut self, key: &EntryKey) -> u64 {
        self.leases.remove(key).map_or(0, |_| lease_cost(key))
    }

    /// Drops leases whose time is over, and names them, because somebody may be waiting. A lease of an ended generation stays
    /// until then, so that its holder can be told why its value is refused.
    pub(super) fn expire_leases(&mut self, now: Timestamp) -> (u64, Vec<EntryKey>) {
        let over: Vec<EntryKey> = self
            .leases
            .iter()
            .filter(|(_, lease)| lease.expires_at <= now)
            .map(|(key, _)| key.clone())
            .collect();
        (over.iter().map(|key| self.drop_lease(key)).sum(), over)
    }
}

/// What [`Shard::expire`] did.
#[derive(Default)]
pub(super) struct Expired {
    pub(super) entries: usize,
    pub(super) freed: u64,
}

/// Bytes that a lease takes.
pub(super) fn lease_cost(key: &EntryKey) -> u64 {
    key.size() as u64 + LEASE_OVERHEAD
}

// === impl Slot ===

impl Slot {
    pub(super) fn new(
        key: &EntryKey,
        entry: Entry,
        generation: Arc<Generation>,
        now: Timestamp,
    ) -> Self {
        let cost = (key.size() + entry.heap_bytes()) as u64 + ENTRY_OVERHEAD;
        Self { entry, cost, generation, used_at: now }
    }

    pub(super) fn is_valid(&self, now: Timestamp) -> bool {
        now < self.entry.expires_at() && self.generation.is_current()
    }
}
