//! A stored entry, as small as it can be: there may be many millions.

mod extras;
mod head;

use std::{mem::replace, sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    block,
    generation::Generation,
    name::{self, HashedKey, table_hash},
};
use crate::{
    model::{Entry, EntryKey, Namespace, Tags, Timestamp, Version},
    store::EntryFacts,
};
use extras::{EXTRAS, Extras};
use head::Head;

/// No slot.
pub(super) const NONE: u32 = u32::MAX;

/// An entry with its bookkeeping.
pub(super) struct Slot {
    /// The version, the name and the value, or only the value.
    block: Bytes,
    generation: Arc<Generation>,
    extras: Option<Box<Extras>>,
    /// The slots that were used before and after this one.
    pub(super) older: u32,
    pub(super) newer: u32,
    /// Position in the heap by expiry.
    pub(super) heap_position: u32,
    created_at: Millis,
    expires_at: Millis,
    last_used_at: Millis,
    /// Three bytes of the hash of the key.
    hash: [u8; 3],
    head: Head,
}

/// Milliseconds since the store was created, in five bytes. Saturates after 34 years.
#[derive(Clone, Copy)]
struct Millis([u8; 5]);

/// Size of the version.
const VERSION: usize = size_of::<Version>();

fn three_bytes(hash: u32) -> [u8; 3] {
    let [a, b, c, _] = hash.to_le_bytes();
    [a, b, c]
}

/// How an entry is stored.
struct Layout {
    /// Whether the version and the name have an allocation of their own.
    is_separate: bool,
    /// Memory in bytes, besides the slot.
    memory: u64,
}

/// Memory in bytes, besides the slot, that an entry would take.
pub(super) fn memory_for(key: &EntryKey, entry: &Entry) -> u64 {
    Layout::of(VERSION + key.size(), entry.data.len(), &Extras::of(entry)).memory
}

// === impl Layout ===

impl Layout {
    /// Chooses what takes less memory.
    fn of(head_len: usize, value_len: usize, extras: &Extras) -> Self {
        let (in_extras, without) = (extras.memory(), if extras.is_empty() { EXTRAS } else { 0 });
        let joined = block::memory(head_len + value_len) + in_extras - without;
        let separate = block::memory(value_len) + name::memory(head_len) + in_extras;
        Self { is_separate: separate < joined, memory: separate.min(joined) }
    }
}

// === impl Slot ===

impl Slot {
    /// Stores an entry. `epoch` is the time at which the store was created.
    pub(super) fn new(
        key: &HashedKey<'_>,
        entry: Entry,
        generation: Arc<Generation>,
        now: Timestamp,
        epoch: Timestamp,
    ) -> Self {
        let head_len = VERSION + key.key.size();
        let mut extras = Extras::of(&entry);
        let Layout { is_separate, .. } = Layout::of(head_len, entry.data.len(), &extras);
        let version = entry.version.0.to_le_bytes();
        let [digest, text] = name::parts(key.key);
        // Copied in either case: a received value is a slice of the buffer of its whole request,
        // and would keep it in memory.
        let block = if is_separate {
            extras.head = Some([&version, digest, text].concat().into());
            block::concat(&[&entry.data])
        } else {
            block::concat(&[&version, digest, text, &entry.data])
        };
        Self {
            block,
            generation,
            extras: extras.boxed(),
            older: NONE,
            newer: NONE,
            heap_position: NONE,
            created_at: Millis::since(epoch, entry.created_at),
            expires_at: Millis::since(epoch, entry.expires_at()),
            last_used_at: Millis::since(epoch, now),
            hash: three_bytes(key.short_hash()),
            head: Head::new(head_len, entry.kind, key.key.params().is_some(), is_separate),
        }
    }

    /// The entry. Its value shares the memory of the stored one.
    pub(super) fn entry(&self, epoch: Timestamp) -> Entry {
        let expires_at = self.expires_at.timestamp(epoch);
        let mut entry = Entry {
            kind: self.head.kind(),
            data: self.value(),
            version: self.version(),
            created_at: self.created_at.timestamp(epoch),
            fresh_until: expires_at,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            revalidation_window: Duration::ZERO,
            tags: Tags::default(),
            fetch_metadata: None,
        };
        if let Some(extras) = &self.extras {
            entry.fresh_until = Timestamp(expires_at.0.saturating_sub(extras.windows()));
            entry.stale_while_revalidate = Duration::from_millis(extras.stale_while_revalidate);
            entry.stale_if_error = Duration::from_millis(extras.stale_if_error);
            entry.revalidation_window = Duration::from_millis(extras.revalidation_window);
            entry.tags = extras.tags.clone();
            entry.fetch_metadata = extras.fetch_metadata.clone();
        }
        entry
    }

    pub(super) fn facts(&self, epoch: Timestamp) -> EntryFacts {
        let value_bytes = match self.head.is_separate() {
            true => self.block.len(),
            false => self.block.len().saturating_sub(self.head.len()),
        };
        let windows = self.extras.as_ref().map_or(0, |extras| extras.windows());
        let expires_at = self.expires_at.timestamp(epoch);
        EntryFacts {
            key_bytes: self.key_text().len() as u64,
            value_bytes: value_bytes as u64,
            created_at: self.created_at.timestamp(epoch),
            fresh_until: Timestamp(expires_at.0.saturating_sub(windows)),
        }
    }

    /// Replaces everything but the value and its version.
    pub(super) fn revise(&mut self, revised: &Entry, epoch: Timestamp) {
        let head = self.extras.take().and_then(|extras| extras.head);
        self.extras = Extras { head, ..Extras::of(revised) }.boxed();
        self.created_at = Millis::since(epoch, revised.created_at);
        self.expires_at = Millis::since(epoch, revised.expires_at());
    }

    /// Takes the place of another entry of the same key in all orders.
    pub(super) fn replace(&mut self, other: Self) -> Self {
        let (older, newer, heap_position) = (self.older, self.newer, self.heap_position);
        replace(self, Self { older, newer, heap_position, ..other })
    }

    /// Memory of the entry in bytes, besides the slot.
    pub(super) fn memory(&self) -> u64 {
        block::memory(self.block.len()) + self.extras.as_ref().map_or(0, |extras| extras.memory())
    }

    pub(super) fn is_named(&self, key: &HashedKey<'_>) -> bool {
        self.hash == three_bytes(key.short_hash())
            && self.namespace() == key.key.namespace()
            && name::is_name_of(self.name(), self.head.has_params(), key.key)
    }

    /// Hash of the key in the table.
    pub(super) fn table_hash(&self) -> u64 {
        let [a, b, c] = self.hash;
        table_hash(u32::from_le_bytes([a, b, c, 0]))
    }

    /// The name of the entry; none if it is malformed.
    pub(super) fn key(&self) -> Option<EntryKey> {
        let (digest, key) = if self.head.has_params() {
            let (digest, key) = self.name().split_first_chunk::<32>()?;
            (Some(*digest), key)
        } else {
            (None, self.name())
        };
        EntryKey::from_parts(self.namespace().clone(), std::str::from_utf8(key).ok()?, digest)
    }

    pub(super) fn namespace(&self) -> &Namespace {
        self.generation.namespace()
    }

    pub(super) fn generation(&self) -> &Generation {
        &self.generation
    }

    /// Whether the hard expiry lies in the future.
    pub(super) fn is_alive(&self, now: Timestamp, epoch: Timestamp) -> bool {
        now.0.saturating_sub(epoch.0) < self.expires_at.get()
    }

    /// Whether the entry was neither invalidated nor banned.
    pub(super) fn is_valid(&self) -> bool {
        self.generation.is_current() || self.renewed().is_some()
    }

    /// Moves the entry of a superseded generation to the current one. Returns false if the entry is
    /// invalid.
    pub(super) fn renew_generation(&mut self) -> bool {
        let renewed = self.renewed();
        let is_valid = renewed.is_some();
        self.generation = renewed.unwrap_or_else(|| self.generation.clone());
        is_valid
    }

    /// Milliseconds from the creation of the store to the expiry.
    pub(super) fn expires_at(&self) -> u64 {
        self.expires_at.get()
    }

    /// Milliseconds from the creation of the store to the last use.
    pub(super) fn last_used_at(&self) -> u64 {
        self.last_used_at.get()
    }

    pub(super) fn use_at(&mut self, now: Timestamp, epoch: Timestamp) {
        self.last_used_at = Millis::since(epoch, now);
    }

    /// The version and the name.
    fn head(&self) -> &[u8] {
        if self.head.is_separate() {
            let head = self.extras.as_ref().and_then(|extras| extras.head.as_ref());
            return head.map_or(&[], |head| head);
        }
        self.block.get(..self.head.len()).unwrap_or_default()
    }

    fn name(&self) -> &[u8] {
        self.head().get(VERSION..).unwrap_or_default()
    }

    /// The current generation, if the entry of a superseded one is valid.
    fn renewed(&self) -> Option<Arc<Generation>> {
        let tags = self.extras.as_ref().map_or(&[][..], |extras| &extras.tags);
        self.generation.renewed(self.key_text(), tags)
    }

    /// The key, without the digest of the params.
    fn key_text(&self) -> &str {
        let text = name::text(self.name(), self.head.has_params());
        std::str::from_utf8(text).unwrap_or_default()
    }

    fn version(&self) -> Version {
        let version = self.head().first_chunk().copied();
        Version(u64::from_le_bytes(version.unwrap_or_default()))
    }

    fn value(&self) -> Bytes {
        if self.head.is_separate() {
            self.block.clone()
        } else {
            self.block.slice(self.head.len()..)
        }
    }
}

// === impl Millis ===

impl Millis {
    fn since(epoch: Timestamp, time: Timestamp) -> Self {
        let millis = time.0.saturating_sub(epoch.0).min((1 << 40) - 1);
        let [a, b, c, d, e, ..] = millis.to_le_bytes();
        Self([a, b, c, d, e])
    }

    fn get(self) -> u64 {
        let [a, b, c, d, e] = self.0;
        u64::from_le_bytes([a, b, c, d, e, 0, 0, 0])
    }

    fn timestamp(self, epoch: Timestamp) -> Timestamp {
        Timestamp(epoch.0.saturating_add(self.get()))
    }
}
