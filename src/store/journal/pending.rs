//! The invalidations that are in the journal, as reads check them.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::Size;
use crate::{
    model::EntryKey,
    store::{Invalidation, targets::Targets},
};

/// Content of the journal. The thread that writes the journal keeps it equal to the file.
#[derive(Default)]
pub struct PendingInvalidations {
    /// Number of entries, so that a read of an empty journal costs one load.
    entries: AtomicU64,
    /// Bytes on disk.
    bytes: AtomicU64,
    /// Each with the time of its append, in milliseconds since the Unix epoch.
    targets: RwLock<Targets<u64>>,
}

impl PendingInvalidations {
    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.entries.load(Ordering::Acquire) == 0
    }

    /// Whether an entry is to be invalidated. A ban counts for its whole namespace, because the
    /// tags of the entry are not known.
    #[inline]
    pub fn covers(&self, key: &EntryKey) -> bool {
        !self.is_empty() && self.targets.read().covers(key)
    }

    /// Number and bytes of the entries.
    pub fn size(&self) -> Size {
        let [entries, bytes] =
            [&self.entries, &self.bytes].map(|size| size.load(Ordering::Relaxed));
        Size { entries, bytes }
    }

    /// Time of the eldest append, in milliseconds since the Unix epoch. Visits all entries.
    pub fn eldest(&self) -> Option<u64> {
        self.targets.read().iter().map(|(_, queued_at)| *queued_at).min()
    }

    /// Adds an invalidation; the elder of two equal ones counts.
    pub(super) fn insert(&self, invalidation: Invalidation, queued_at: u64) {
        self.targets.write().insert(invalidation, queued_at, elder);
    }

    pub(super) fn remove(&self, invalidation: &Invalidation) {
        self.targets.write().remove(invalidation);
    }

    /// Replaces all entries.
    pub(super) fn replace(&self, all: impl Iterator<Item = (Invalidation, u64)>) {
        let mut targets = Targets::default();
        all.for_each(|(invalidation, queued_at)| targets.insert(invalidation, queued_at, elder));
        *self.targets.write() = targets;
    }

    /// Publishes the size, after the changes that led to it.
    pub(super) fn set_size(&self, size: Size) {
        self.bytes.store(size.bytes, Ordering::Relaxed);
        self.entries.store(size.entries, Ordering::Release);
    }
}

fn elder(before: &u64, queued_at: u64) -> u64 {
    queued_at.min(*before)
}
