//! One shard of the store: the entries, leases and hold-offs of the keys with the same hash.

use super::{entries::Entries, lease_records::LeaseRecords};
use crate::model::Timestamp;

/// Entries and leases, behind one lock.
pub(super) struct Shard {
    pub(super) entries: Entries,
    pub(super) leases: LeaseRecords,
}

impl Shard {
    pub(super) fn new(epoch: Timestamp) -> Self {
        Self { entries: Entries::new(epoch), leases: LeaseRecords::default() }
    }

    /// Memory of everything in the shard, summed up again.
    #[cfg(test)]
    pub(super) fn recount(&self) -> u64 {
        self.entries.recount() + self.leases.recount()
    }
}
