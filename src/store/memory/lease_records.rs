//! The leases and hold-offs of one shard.

use std::sync::Arc;

use hashbrown::HashTable;

use super::{
    allocation::allocated,
    generation::Generation,
    name::{self, HashedKey, Name, table_hash},
    namespace_state::NamespaceState,
};
use crate::{
    model::Timestamp,
    store::{LeaseLoss, LeaseStatus, LeaseToken, MAX_CAUSE_BYTES},
};

/// Leases and hold-offs of the keys with the same hash.
#[derive(Default)]
pub(super) struct LeaseRecords {
    leases: HashTable<Lease>,
    hold_offs: HashTable<HoldOff>,
}

/// The lease of a key, or the record of one that has ended.
pub(super) struct Lease {
    name: Name,
    hash: u32,
    pub(super) state: LeaseState,
    pub(super) token: LeaseToken,
    pub(super) generation: Arc<Generation>,
    pub(super) expires_at: Timestamp,
}

/// No fill of a key is accepted, under any generation.
///
/// The key is known by its hash only. Another key with the same hash is held off as well, which
/// costs a fill and nothing else.
struct HoldOff {
    hash: u64,
    namespace: Arc<NamespaceState>,
    expires_at: Timestamp,
}

/// State of a lease. A lease that ends early is recorded until it would have expired, so that its
/// holder can learn why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LeaseState {
    Held,
    Voided(LeaseLoss),
    /// The last holder abandoned the lease, for this cause.
    BackedOff(Box<str>),
}

/// A record that a sweep has removed.
pub(super) struct RemovedRecord {
    pub(super) namespace: Arc<NamespaceState>,
    pub(super) bytes: u64,
    /// The key of its watches, if the record was a lease.
    pub(super) watch_key: Option<Vec<u8>>,
}

/// Position of a sweep: a bucket of the leases, or of the hold-offs after them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SweepPosition {
    is_in_hold_offs: bool,
    bucket: usize,
}

/// Memory of a record in a table that is, with a control byte for each bucket, 7/16 to 7/8 full.
const fn table_memory(size: usize) -> u64 {
    (16 * (size + 1) / 7) as u64
}

/// Memory of the record of a lease in bytes, besides its name.
pub(super) const LEASE_OVERHEAD: u64 =
    table_memory(size_of::<Lease>()) + allocated(MAX_CAUSE_BYTES, 1);
/// Memory of the record of a hold-off, in bytes.
pub(super) const HOLD_OFF_BYTES: u64 = table_memory(size_of::<HoldOff>());

/// Memory of the lease of a key, in bytes.
pub(super) fn lease_bytes(key: &HashedKey<'_>) -> u64 {
    lease_bytes_of(key.key.size())
}

fn lease_bytes_of(name_len: usize) -> u64 {
    name::memory(name_len) + LEASE_OVERHEAD
}

impl LeaseRecords {
    /// The lease of a key, in any state, unless it has expired.
    pub(super) fn lease(&self, key: &HashedKey<'_>, now: Timestamp) -> Option<&Lease> {
        self.find(key).filter(|lease| now < lease.expires_at)
    }

    /// End of the hold-off of a key, if it lies in the future.
    pub(super) fn held_off_until(&self, key: &HashedKey<'_>, now: Timestamp) -> Option<Timestamp> {
        let hold_off = self.hold_offs.find(key.hash, |hold_off| hold_off.hash == key.hash);
        hold_off.map(|hold_off| hold_off.expires_at).filter(|end| now < *end)
    }

    /// Grants a lease. Returns the one that it replaces.
    pub(super) fn grant(
        &mut self,
        key: &HashedKey<'_>,
        token: LeaseToken,
        generation: Arc<Generation>,
        expires_at: Timestamp,
    ) -> Option<Lease> {
        let lease = Lease {
            name: Name::of(key.key),
            hash: key.short_hash(),
            state: LeaseState::Held,
            token,
            generation,
            expires_at,
        };
        if let Some(current) = self.find_mut(key) {
            return Some(std::mem::replace(current, lease));
        }
        let hash = table_hash(lease.hash);
        self.leases.insert_unique(hash, lease, |lease| table_hash(lease.hash));
        None
    }

    /// Voids a held lease. Returns whether there was one.
    pub(super) fn void(&mut self, key: &HashedKey<'_>, loss: LeaseLoss) -> bool {
        match self.find_mut(key) {
            Some(lease) if lease.state == LeaseState::Held => {
                lease.state = LeaseState::Voided(loss);
                true
            }
            _ => false,
        }
    }

    /// Whether `token` holds the lease of a key.
    pub(super) fn status(
        &self,
        key: &HashedKey<'_>,
        token: LeaseToken,
        now: Timestamp,
    ) -> LeaseStatus {
        if self.held_off_until(key, now).is_some() {
            return Err(LeaseLoss::Invalidated);
        }
        let Some(lease) = self.lease(key, now) else { return Err(LeaseLoss::Expired) };
        match lease.state {
            _ if lease.token != token => Err(LeaseLoss::Expired),
            _ if lease.generation.is_lease_invalid(key.key.key()) => Err(LeaseLoss::Invalidated),
            LeaseState::Held => Ok(()),
            LeaseState::Voided(loss) => Err(loss),
            LeaseState::BackedOff(_) => Err(LeaseLoss::Expired),
        }
    }

    pub(super) fn extend(&mut self, key: &HashedKey<'_>, expires_at: Timestamp) {
        if let Some(lease) = self.find_mut(key) {
            lease.expires_at = expires_at;
        }
    }

    /// Ends a lease, and grants no other until `until`.
    pub(super) fn back_off(&mut self, key: &HashedKey<'_>, cause: Box<str>, until: Timestamp) {
        if let Some(lease) = self.find_mut(key) {
            lease.state = LeaseState::BackedOff(cause);
            lease.expires_at = until;
        }
    }

    /// Accepts no fill of a key until `until`, or until the end of an earlier hold-off if that is
    /// later. Returns false if that cannot be recorded: a new record needs `reserve` to succeed.
    pub(super) fn hold_off(
        &mut self,
        key: &HashedKey<'_>,
        namespace: &Arc<NamespaceState>,
        until: Timestamp,
        reserve: impl FnOnce() -> bool,
    ) -> bool {
        if namespace.covers_hold_off(until) {
            return true;
        }
        let is_same = |hold_off: &HoldOff| hold_off.hash == key.hash;
        if let Some(hold_off) = self.hold_offs.find_mut(key.hash, is_same) {
            hold_off.expires_at = hold_off.expires_at.max(until);
            return true;
        }
        if !reserve() {
            return false;
        }
        let hold_off = HoldOff { hash: key.hash, namespace: namespace.clone(), expires_at: until };
        self.hold_offs.insert_unique(key.hash, hold_off, |hold_off| hold_off.hash);
        true
    }

    /// Removes the lease of a key.
    pub(super) fn remove(&mut self, key: &HashedKey<'_>) -> Option<Lease> {
        let is_named = |lease: &Lease| lease.is_named(key);
        let entry = self.leases.find_entry(key.table_hash(), is_named).ok()?;
        Some(entry.remove().0)
    }

    /// Visits `limit` buckets from `position` on. Removes the records that are not needed any more:
    /// expired ones, leases of ended generations, and hold-offs of namespaces that are held off as
    /// a whole. Adds them to `removed`. Returns the position to continue from; none at the end.
    ///
    /// No queue by expiry is needed for this: the number of records is limited.
    pub(super) fn sweep(
        &mut self,
        position: SweepPosition,
        limit: usize,
        now: Timestamp,
        removed: &mut Vec<RemovedRecord>,
    ) -> Option<SweepPosition> {
        let SweepPosition { is_in_hold_offs, bucket } = position;
        let next = bucket.saturating_add(limit);
        if !is_in_hold_offs {
            for bucket in bucket..next.min(self.leases.num_buckets()) {
                if self.leases.get_bucket(bucket).is_some_and(|lease| lease.is_over(now))
                    && let Ok(entry) = self.leases.get_bucket_entry(bucket)
                {
                    removed.push(entry.remove().0.removed(now));
                }
            }
            if next < self.leases.num_buckets() {
                return Some(SweepPosition { is_in_hold_offs, bucket: next });
            }
            shrink(&mut self.leases, |lease| table_hash(lease.hash));
            return Some(SweepPosition { is_in_hold_offs: true, bucket: 0 });
        }
        for bucket in bucket..next.min(self.hold_offs.num_buckets()) {
            if self.hold_offs.get_bucket(bucket).is_some_and(|hold_off| hold_off.is_over(now))
                && let Ok(entry) = self.hold_offs.get_bucket_entry(bucket)
            {
                let HoldOff { namespace, .. } = entry.remove().0;
                removed.push(RemovedRecord { namespace, bytes: HOLD_OFF_BYTES, watch_key: None });
            }
        }
        if next < self.hold_offs.num_buckets() {
            return Some(SweepPosition { is_in_hold_offs, bucket: next });
        }
        shrink(&mut self.hold_offs, |hold_off| hold_off.hash);
        None
    }

    fn find(&self, key: &HashedKey<'_>) -> Option<&Lease> {
        self.leases.find(key.table_hash(), |lease| lease.is_named(key))
    }

    fn find_mut(&mut self, key: &HashedKey<'_>) -> Option<&mut Lease> {
        self.leases.find_mut(key.table_hash(), |lease| lease.is_named(key))
    }

    /// Memory of all records, summed up again.
    #[cfg(test)]
    pub(super) fn recount(&self) -> u64 {
        let leases: u64 = self.leases.iter().map(Lease::bytes).sum();
        leases + self.hold_offs.len() as u64 * HOLD_OFF_BYTES
    }
}

/// Gives memory back when most records have gone.
fn shrink<T>(table: &mut HashTable<T>, hash: impl Fn(&T) -> u64) {
    let (len, capacity) = (table.len(), table.capacity());
    if len < capacity / 4 {
        table.shrink_to(2 * len, hash);
    }
}

// === impl HoldOff ===

impl HoldOff {
    /// Whether the record is not needed any more.
    fn is_over(&self, now: Timestamp) -> bool {
        self.expires_at <= now || self.namespace.covers_hold_off(self.expires_at)
    }
}

// === impl Lease ===

impl Lease {
    /// Memory of the record, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        lease_bytes_of(self.name.as_bytes().len())
    }

    fn is_named(&self, key: &HashedKey<'_>) -> bool {
        self.hash == key.short_hash()
            && self.generation.namespace() == key.key.namespace()
            && self.name.is_of(key.key)
    }

    fn is_over(&self, now: Timestamp) -> bool {
        self.expires_at <= now || self.generation.is_ended()
    }

    fn removed(self, now: Timestamp) -> RemovedRecord {
        let namespace = self.generation.state().clone();
        if now < self.expires_at && !matches!(self.state, LeaseState::BackedOff(_)) {
            // The namespace remembers instead why the holder's fill is refused.
            namespace.remember_invalidation(self.expires_at);
        }
        let watch_key = Some(self.name.watch_key(self.generation.namespace()));
        RemovedRecord { bytes: self.bytes(), namespace, watch_key }
    }
}
