//! The entries of one shard, by key, in order of use and in order of expiry.

use std::time::Duration;

use hashbrown::HashTable;

use super::{
    expiry_heap::ExpiryHeap,
    generation::Generation,
    name::HashedKey,
    slot::{self, NONE, Slot},
    slots::{SLOTS_PER_CHUNK, Slots},
};
use crate::{
    model::{Entry, EntryKey, Namespace, Timestamp},
    store::EntryInspection,
};

/// Memory of an entry in bytes, besides what its slot points to. The slot; the number of the slot
/// with a control byte in the table, which is 7/16 to 7/8 full; and another one in the heap, which
/// is at least half full.
pub(super) const ENTRY_OVERHEAD: u64 = (8192 / SLOTS_PER_CHUNK + 5 * 16 / 7 + 8) as u64;

/// Entries of the keys with the same hash. A method that frees bytes returns their number.
pub(super) struct Entries {
    slots: Slots,
    by_name: HashTable<u32>,
    by_expiry: ExpiryHeap,
    /// The ends of the list in order of use.
    oldest: u32,
    newest: u32,
    /// Time at which the store was created.
    epoch: Timestamp,
}

/// Change of the memory that an entry takes, in bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MemoryChange {
    pub(super) added: u64,
    pub(super) freed: u64,
}

/// Result of [`Entries::expire`].
#[derive(Default)]
pub(super) struct ExpireOutcome {
    pub(super) entries: usize,
    pub(super) freed: u64,
}

/// Memory that an entry takes, in bytes.
pub(super) fn memory_of(slot: &Slot) -> u64 {
    slot.memory() + ENTRY_OVERHEAD
}

/// Memory that an entry would take, in bytes.
pub(super) fn memory_for(key: &EntryKey, entry: &Entry) -> u64 {
    slot::memory_for(key, entry) + ENTRY_OVERHEAD
}

/// The next entries to list: up to `limit` before a position, or before the end.
pub(super) struct SlotRange {
    pub(super) before: Option<u32>,
    pub(super) limit: u32,
}

impl Entries {
    pub(super) fn new(epoch: Timestamp) -> Self {
        Self {
            slots: Slots::default(),
            by_name: HashTable::new(),
            by_expiry: ExpiryHeap::default(),
            oldest: NONE,
            newest: NONE,
            epoch,
        }
    }

    /// The valid entry of a key. Marks it as the most recently used.
    pub(super) fn get(&mut self, key: &HashedKey<'_>, now: Timestamp) -> Option<&Slot> {
        let index = self.find_valid(key, now)?;
        self.mark_used(index, now);
        Some(&self.slots[index])
    }

    /// As [`Entries::get`], with the value shared.
    pub(super) fn read(&mut self, key: &HashedKey<'_>, now: Timestamp) -> Option<Entry> {
        let epoch = self.epoch;
        self.get(key, now).map(|slot| slot.entry(epoch))
    }

    /// Memory of the entry of a key that counts in the usage of `generation`, in bytes.
    pub(super) fn counted_memory(
        &self,
        key: &HashedKey<'_>,
        generation: &Generation,
    ) -> Option<u64> {
        let slot = &self.slots[self.find(key)?];
        generation.counts(slot.generation()).then(|| memory_of(slot))
    }

    /// Inserts an entry, or replaces the current one.
    pub(super) fn insert(&mut self, key: &HashedKey<'_>, slot: Slot) -> u64 {
        slot.generation().add_entry(memory_of(&slot));
        if let Some(index) = self.find(key) {
            let replaced = self.slots[index].replace(slot);
            self.by_expiry.update(&mut self.slots, index);
            if index != self.newest {
                self.unlink(index);
                self.link_as_newest(index);
            }
            return released(&replaced);
        }
        let freed = if self.slots.is_full() { self.evict_oldest() } else { 0 };
        let hash = slot.table_hash();
        let index = self.slots.push(slot);
        self.by_name.insert_unique(hash, index, |index| self.slots[*index].table_hash());
        self.by_expiry.push(&mut self.slots, index);
        self.link_as_newest(index);
        freed
    }

    /// Changes everything of the valid entry of a key but its value.
    pub(super) fn revise(
        &mut self,
        key: &HashedKey<'_>,
        now: Timestamp,
        change: impl FnOnce(&mut Entry),
    ) -> Option<MemoryChange> {
        let index = self.find_valid(key, now)?;
        let slot = &mut self.slots[index];
        let freed = memory_of(slot);
        let mut entry = slot.entry(self.epoch);
        change(&mut entry);
        slot.revise(&entry, self.epoch);
        let added = memory_of(slot);
        slot.generation().remove_entry(freed);
        slot.generation().add_entry(added);
        self.by_expiry.update(&mut self.slots, index);
        Some(MemoryChange { added, freed })
    }

    pub(super) fn remove(&mut self, key: &HashedKey<'_>) -> u64 {
        self.find(key).map_or(0, |index| self.remove_at(index))
    }

    /// Milliseconds from the creation of the store to the last use of the least recently used
    /// entry.
    pub(super) fn oldest_use(&self) -> Option<u64> {
        (self.oldest != NONE).then(|| self.slots[self.oldest].last_used_at())
    }

    /// Removes the least recently used entry.
    pub(super) fn evict_oldest(&mut self) -> u64 {
        if self.oldest == NONE { 0 } else { self.remove_at(self.oldest) }
    }

    /// Removes up to `limit` expired entries.
    pub(super) fn expire(&mut self, now: Timestamp, limit: usize) -> ExpireOutcome {
        let now = now.0.saturating_sub(self.epoch.0);
        let mut expired = ExpireOutcome::default();
        while expired.entries < limit
            && let Some(index) = self.by_expiry.first()
            && self.slots[index].expires_at() <= now
        {
            expired.freed += self.remove_at(index);
            expired.entries += 1;
        }
        expired
    }

    /// Visits up to `limit` entries before the position `before`, fewer if they have to be checked
    /// against many bans. Removes invalid entries, and moves those of superseded generations to the
    /// current one. Returns the freed bytes, and the position to continue from; none at the end.
    pub(super) fn purge(&mut self, before: Option<u32>, limit: u32) -> (u64, Option<u32>) {
        let mut index = before.unwrap_or(NONE).min(self.slots.len());
        let (mut freed, mut effort) = (0, 0);
        // Backwards: a removal moves the last entry, which was visited, to its position.
        while index > 0 && effort < limit {
            index -= 1;
            effort += 1;
            if !self.slots[index].generation().is_current() {
                effort = effort.saturating_add(self.slots[index].generation().check_effort());
                if !self.slots[index].renew_generation() {
                    freed += self.remove_at(index);
                }
            }
        }
        (freed, (index > 0).then_some(index))
    }

    /// Namespaces and remaining lifetimes of the valid ones among the `limit` most recently used
    /// entries.
    pub(super) fn lifetimes(&self, now: Timestamp, limit: usize) -> Vec<(Namespace, Duration)> {
        let elapsed = now.0.saturating_sub(self.epoch.0);
        let mut index = self.newest;
        let by_use = std::iter::from_fn(|| {
            let slot = (index != NONE).then(|| &self.slots[index])?;
            index = slot.older;
            Some(slot)
        });
        by_use
            .take(limit)
            .filter(|slot| slot.is_alive(now, self.epoch) && !slot.generation().is_ended())
            .map(|slot| {
                let remaining = Duration::from_millis(slot.expires_at() - elapsed);
                (slot.namespace().clone(), remaining)
            })
            .collect()
    }

    /// Visits the entries of a range, and passes the valid ones in a namespace to `each`. Returns
    /// the position to continue from; none at the end.
    pub(super) fn list<'a>(
        &'a self,
        SlotRange { before, limit }: SlotRange,
        now: Timestamp,
        namespace: &Namespace,
        each: impl FnMut(&'a Slot),
    ) -> Option<u32> {
        let end = before.unwrap_or(NONE).min(self.slots.len());
        let start = end.saturating_sub(limit);
        // Backwards: a removal moves the last entry to its position, which may be visited again,
        // but an entry never moves to where it would be missed.
        let slots = (start..end).rev().map(|index| &self.slots[index]);
        slots
            .filter(|slot| slot.namespace() == namespace)
            .filter(|slot| slot.is_alive(now, self.epoch) && slot.is_valid())
            .for_each(each);
        (start > 0).then_some(start)
    }

    /// The entry that is stored for a key. Does not mark it as used.
    pub(super) fn inspect(&self, key: &HashedKey<'_>, now: Timestamp) -> Option<EntryInspection> {
        let slot = &self.slots[self.find(key)?];
        if !slot.is_alive(now, self.epoch) {
            return None;
        }
        let (entry, generation) = (slot.entry(self.epoch), slot.generation());
        Some(EntryInspection {
            is_invalidated: !slot.is_valid(),
            ban_sequence: generation.sequence(),
            bans: generation.matching_bans(key.key.key(), &entry.tags),
            stored_bytes: memory_of(slot),
            lease: None,
            entry: Some(entry),
        })
    }

    pub(super) fn len(&self) -> u32 {
        self.slots.len()
    }

    fn find_valid(&mut self, key: &HashedKey<'_>, now: Timestamp) -> Option<u32> {
        let index = self.find(key)?;
        let slot = &self.slots[index];
        let is_valid = slot.is_alive(now, self.epoch)
            && (slot.generation().is_current() || self.renew_generation(index));
        is_valid.then_some(index)
    }

    #[cold]
    fn renew_generation(&mut self, index: u32) -> bool {
        self.slots[index].renew_generation()
    }

    fn find(&self, key: &HashedKey<'_>) -> Option<u32> {
        let is_named = |index: &u32| self.slots[*index].is_named(key);
        self.by_name.find(key.table_hash(), is_named).copied()
    }

    fn remove_at(&mut self, index: u32) -> u64 {
        self.unlink(index);
        self.by_expiry.remove(&mut self.slots, index);
        let hash = self.slots[index].table_hash();
        if let Ok(entry) = self.by_name.find_entry(hash, |other| *other == index) {
            entry.remove();
        }
        let last = self.slots.len() - 1;
        let Some(removed) = self.slots.swap_remove(index) else { return 0 };
        if index != last {
            self.renumber(last, index);
        }
        self.shrink_table();
        released(&removed)
    }

    /// Follows the slot that has moved from the number `from` to `to`.
    fn renumber(&mut self, from: u32, to: u32) {
        self.by_expiry.renumber(&self.slots, to);
        let Slot { older, newer, .. } = self.slots[to];
        let hash = self.slots[to].table_hash();
        if let Some(index) = self.by_name.find_mut(hash, |other| *other == from) {
            *index = to;
        }
        self.set_newer(older, to);
        self.set_older(newer, to);
    }

    /// Gives memory back when most of the entries have gone.
    fn shrink_table(&mut self) {
        const MIN_CAPACITY: usize = 64;
        let (len, capacity) = (self.by_name.len(), self.by_name.capacity());
        if capacity > MIN_CAPACITY && len < capacity / 4 {
            self.by_name.shrink_to(2 * len, |index| self.slots[*index].table_hash());
        }
    }

    fn mark_used(&mut self, index: u32, now: Timestamp) {
        self.slots[index].use_at(now, self.epoch);
        if index != self.newest {
            self.unlink(index);
            self.link_as_newest(index);
        }
    }

    fn unlink(&mut self, index: u32) {
        let Slot { older, newer, .. } = self.slots[index];
        self.set_newer(older, newer);
        self.set_older(newer, older);
    }

    fn link_as_newest(&mut self, index: u32) {
        let older = self.newest;
        self.slots[index].older = older;
        self.slots[index].newer = NONE;
        self.newest = index;
        self.set_newer(older, index);
    }

    /// Makes `newer` follow the slot `index`; the first in the list if there is no such slot.
    fn set_newer(&mut self, index: u32, newer: u32) {
        if index == NONE {
            self.oldest = newer;
        } else {
            self.slots[index].newer = newer;
        }
    }

    /// Makes `older` precede the slot `index`; the last in the list if there is no such slot.
    fn set_older(&mut self, index: u32, older: u32) {
        if index == NONE {
            self.newest = older;
        } else {
            self.slots[index].older = older;
        }
    }

    /// Memory of all entries, summed up again. Checks that the orders agree.
    #[cfg(test)]
    pub(super) fn recount(&self) -> u64 {
        assert!(self.by_expiry.is_consistent(&self.slots));
        assert_eq!(self.by_name.len(), self.slots.len() as usize);
        let (mut index, mut listed, mut older) = (self.oldest, 0, NONE);
        while index != NONE {
            assert_eq!(self.slots[index].older, older);
            (older, index, listed) = (index, self.slots[index].newer, listed + 1);
        }
        assert_eq!((older, listed), (self.newest, self.slots.len()));
        let mut numbers: Vec<u32> = self.by_name.iter().copied().collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..self.slots.len()));
        (0..self.slots.len()).map(|index| memory_of(&self.slots[index])).sum()
    }
}

fn released(slot: &Slot) -> u64 {
    let memory = memory_of(slot);
    slot.generation().remove_entry(memory);
    memory
}
