//! Bans by a text that is compared as a whole: a tag or a key.

use std::collections::HashMap;

use crate::model::Timestamp;

#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    /// Number of the ban in the sequence of the namespace's bans, from 1 on.
    pub(super) sequence: u64,
    /// End of its hold-off.
    pub(super) held_until: Timestamp,
}

/// Bans by text.
#[derive(Debug, Default)]
pub(super) struct Records {
    map: HashMap<Box<str>, Record>,
    /// Length of all texts.
    bytes: usize,
}

// === impl Record ===

impl Record {
    /// Takes over what is later in another ban of the same.
    pub(super) fn renew(&mut self, other: Self) {
        self.sequence = self.sequence.max(other.sequence);
        self.held_until = self.held_until.max(other.held_until);
    }
}

// === impl Records ===

impl Records {
    pub(super) fn get(&self, text: &str) -> Option<&Record> {
        // Most tables have no banned keys, and need no hash then.
        if self.map.is_empty() { None } else { self.map.get(text) }
    }

    pub(super) fn insert(&mut self, text: &str, record: Record) {
        match self.map.get_mut(text) {
            Some(elder) => elder.renew(record),
            None => {
                self.bytes += text.len();
                self.map.insert(text.into(), record);
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Record)> {
        self.map.iter().map(|(text, record)| (&**text, record))
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    /// Number of texts that are not in the table.
    pub(super) fn count_new(&self, texts: &[String]) -> usize {
        texts.iter().filter(|text| !self.map.contains_key(text.as_str())).count()
    }

    /// Drops the others.
    pub(super) fn retain(&mut self, is_kept: impl Fn(&Record) -> bool) {
        let mut freed = 0;
        self.map.retain(|text, record| {
            let is_kept = is_kept(record);
            freed += if is_kept { 0 } else { text.len() };
            is_kept
        });
        self.bytes -= freed;
        if self.map.capacity() > 4 * self.map.len().max(16) {
            self.map.shrink_to(2 * self.map.len());
        }
    }

    /// Estimated memory, in bytes.
    pub(super) fn memory(&self) -> usize {
        // With a control byte for each element. The table is at most 7/8 full.
        let record = size_of::<(Box<str>, Record)>() + 1;
        let rounding = 16 * self.map.len();
        self.map.capacity() * record * 8 / 7 + self.bytes + rounding
    }

    /// Length of all texts.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
