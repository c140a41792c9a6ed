//! The invalidations that are in the journal, as reads check them.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::RwLock;

use super::{Invalidation, Size};
use crate::model::{EntryKey, Namespace};

/// What is in the journal. The thread that writes the journal keeps it equal to the file.
#[derive(Default)]
pub struct PendingInvalidations {
    /// Number of entries, so that a read of an empty journal costs one load.
    entries: AtomicU64,
    /// Bytes on disk.
    bytes: AtomicU64,
    targets: RwLock<Targets>,
}

#[derive(Default)]
struct Targets {
    /// Each with the time of its append, in milliseconds since the Unix epoch.
    all: HashMap<Invalidation, u64>,
    /// Number of invalidations in each namespace that are not of one key.
    wide: HashMap<Namespace, usize>,
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
        !self.is_empty() && self.covers_now(key)
    }

    /// Number and bytes of the entries.
    pub fn size(&self) -> Size {
        let [entries, bytes] =
            [&self.entries, &self.bytes].map(|size| size.load(Ordering::Relaxed));
        Size { entries, bytes }
    }

    /// Time of the eldest append, in milliseconds since the Unix epoch. Visits all entries.
    pub fn eldest(&self) -> Option<u64> {
        self.targets.read().all.values().copied().min()
    }

    fn covers_now(&self, key: &EntryKey) -> bool {
        let targets = self.targets.read();
        targets.wide.contains_key(key.namespace())
            || targets.all.contains_key(&Invalidation::Key(key.clone()))
    }

    /// Adds an invalidation; the elder of two equal ones counts.
    pub(super) fn insert(&self, invalidation: Invalidation, queued_at: u64) {
        self.targets.write().insert(invalidation, queued_at);
    }

    pub(super) fn remove(&self, invalidation: &Invalidation) {
        self.targets.write().remove(invalidation);
    }

    /// Replaces all entries.
    pub(super) fn replace(&self, all: impl Iterator<Item = (Invalidation, u64)>) {
        let mut targets = Targets::default();
        all.for_each(|(invalidation, queued_at)| targets.insert(invalidation, queued_at));
        *self.targets.write() = targets;
    }

    /// Publishes the size, after the changes that led to it.
    pub(super) fn set_size(&self, size: Size) {
        self.bytes.store(size.bytes, Ordering::Relaxed);
        self.entries.store(size.entries, Ordering::Release);
    }
}

impl Targets {
    fn insert(&mut self, invalidation: Invalidation, queued_at: u64) {
        let namespace = invalidation.namespace().clone();
        let is_wide = !matches!(invalidation, Invalidation::Key(_));
        let is_new = !self.all.contains_key(&invalidation);
        let elder = self.all.entry(invalidation).or_insert(queued_at);
        *elder = queued_at.min(*elder);
        if is_wide && is_new {
            *self.wide.entry(namespace).or_default() += 1;
        }
    }

    fn remove(&mut self, invalidation: &Invalidation) {
        if self.all.remove(invalidation).is_none() || matches!(invalidation, Invalidation::Key(_)) {
            return;
        }
        if let Some(count) = self.wide.get_mut(invalidation.namespace()) {
            *count -= 1;
            if *count == 0 {
                self.wide.remove(invalidation.namespace());
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::store::{Ban, BanLimits};

    fn key(namespace: &str, key: &str) -> EntryKey {
        EntryKey::new(Namespace::new(namespace).unwrap(), key, [].into_iter()).unwrap()
    }

    fn insert(pending: &PendingInvalidations, invalidation: Invalidation, queued_at: u64) {
        pending.insert(invalidation, queued_at);
        let entries = pending.targets.read().all.len() as u64;
        pending.set_size(Size { entries, bytes: entries * 100 });
    }

    #[test]
    fn a_key_covers_itself_and_the_others_their_namespace() {
        let pending = PendingInvalidations::default();
        assert!(pending.is_empty() && !pending.covers(&key("a", "k")));
        insert(&pending, Invalidation::Key(key("a", "k")), 7);
        assert!(pending.covers(&key("a", "k")));
        assert!(!pending.covers(&key("a", "other")) && !pending.covers(&key("b", "k")));
        let namespace = Namespace::new("b").unwrap();
        let ban = Ban { tags: vec!["t".to_owned()], ..Ban::default() };
        let ban = Invalidation::of_ban(&namespace, &ban, &BanLimits::default());
        let whole = Invalidation::Namespace(namespace);
        insert(&pending, ban.clone(), 5);
        insert(&pending, ban.clone(), 9);
        insert(&pending, whole.clone(), 9);
        assert_eq!(pending.eldest(), Some(5));
        assert_eq!(pending.size(), Size { entries: 3, bytes: 300 });
        assert!(pending.covers(&key("b", "k")));
        pending.remove(&ban);
        pending.remove(&ban);
        assert!(pending.covers(&key("b", "k")));
        pending.remove(&whole);
        assert!(!pending.covers(&key("b", "k")) && pending.covers(&key("a", "k")));
        pending.replace([(whole, 1)].into_iter());
        assert!(pending.covers(&key("b", "k")) && !pending.covers(&key("a", "k")));
    }
}
