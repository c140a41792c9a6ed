//! A stored entry, as small as it can be: there may be many millions.

use std::{mem::replace, sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    allocation::{ARC_HEADER, allocated},
    block,
    generation::Generation,
    name::{self, HashedKey},
};
use crate::model::{
    Entry, EntryKey, FetchMetadata, Kind, Namespace, Tags, Timestamp, Version, millis_ceil,
};

/// No slot.
pub(super) const NONE: u32 = u32::MAX;

/// An entry with its bookkeeping.
pub(super) struct Slot {
    /// The name and the value, or only the value.
    block: Bytes,
    version: Version,
    generation: Arc<Generation>,
    extras: Option<Box<Extras>>,
    /// Hash of the key.
    pub(super) hash: u32,
    /// The slots that were used before and after this one.
    pub(super) older: u32,
    pub(super) newer: u32,
    /// Position in the heap by expiry.
    pub(super) heap_position: u32,
    created_at: Millis,
    fresh_until: Millis,
    expires_at: Millis,
    last_used_at: Millis,
    name: NameLayout,
    kind: Kind,
}

/// What few entries have.
#[derive(Default)]
struct Extras {
    /// The name, where a block with both would waste memory.
    name: Option<Box<[u8]>>,
    tags: Tags,
    fetch_metadata: Option<Arc<FetchMetadata>>,
    /// In milliseconds.
    stale_while_revalidate: u64,
    stale_if_error: u64,
    revalidation_window: u64,
}

/// Milliseconds since the store was created, in five bytes. Saturates after 34 years.
#[derive(Clone, Copy)]
struct Millis([u8; 5]);

/// Length of the name, with two flags.
#[derive(Clone, Copy)]
struct NameLayout(u16);

/// Memory of [`Extras`], besides what they point to.
const EXTRAS: u64 = allocated(size_of::<Extras>(), align_of::<Extras>());

/// How an entry is stored.
struct Layout {
    /// Whether the name has an allocation of its own.
    is_separate: bool,
    /// Memory in bytes, besides the slot.
    memory: u64,
}

/// Memory in bytes, besides the slot, that an entry would take.
pub(super) fn memory_for(key: &EntryKey, entry: &Entry) -> u64 {
    Layout::of(key.size(), entry.data.len(), &Extras::of(entry)).memory
}

// === impl Layout ===

impl Layout {
    /// Chooses what takes less memory.
    fn of(name_len: usize, value_len: usize, extras: &Extras) -> Self {
        let (in_extras, without) = (extras.memory(), if extras.is_empty() { EXTRAS } else { 0 });
        let joined = block::memory(name_len + value_len) + in_extras - without;
        let separate = block::memory(value_len) + name::memory(name_len) + in_extras;
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
        let name_len = key.key.size();
        let mut extras = Extras::of(&entry);
        let Layout { is_separate, .. } = Layout::of(name_len, entry.data.len(), &extras);
        // Copied in either case: a received value is a slice of the buffer of its whole request,
        // and would keep it in memory.
        let block = if is_separate {
            extras.name = Some(name::bytes(key.key));
            block::concat(&[&entry.data])
        } else {
            let [digest, text] = name::parts(key.key);
            block::concat(&[digest, text, &entry.data])
        };
        Self {
            block,
            version: entry.version,
            generation,
            extras: extras.boxed(),
            hash: key.short_hash(),
            older: NONE,
            newer: NONE,
            heap_position: NONE,
            created_at: Millis::since(epoch, entry.created_at),
            fresh_until: Millis::since(epoch, entry.fresh_until),
            expires_at: Millis::since(epoch, entry.expires_at()),
            last_used_at: Millis::since(epoch, now),
            name: NameLayout::new(name_len, key.key.params().is_some(), is_separate),
            kind: entry.kind,
        }
    }

    /// The entry. Its value shares the memory of the stored one.
    pub(super) fn entry(&self, epoch: Timestamp) -> Entry {
        let mut entry = Entry {
            kind: self.kind,
            data: self.value(),
            version: self.version,
            created_at: self.created_at.timestamp(epoch),
            fresh_until: self.fresh_until.timestamp(epoch),
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            revalidation_window: Duration::ZERO,
            tags: Tags::default(),
            fetch_metadata: None,
        };
        if let Some(extras) = &self.extras {
            entry.stale_while_revalidate = Duration::from_millis(extras.stale_while_revalidate);
            entry.stale_if_error = Duration::from_millis(extras.stale_if_error);
            entry.revalidation_window = Duration::from_millis(extras.revalidation_window);
            entry.tags = extras.tags.clone();
            entry.fetch_metadata = extras.fetch_metadata.clone();
        }
        entry
    }

    /// Replaces everything but the value and its version.
    pub(super) fn revise(&mut self, revised: &Entry, epoch: Timestamp) {
        let name = self.extras.take().and_then(|extras| extras.name);
        self.extras = Extras { name, ..Extras::of(revised) }.boxed();
        self.created_at = Millis::since(epoch, revised.created_at);
        self.fresh_until = Millis::since(epoch, revised.fresh_until);
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
        self.hash == key.short_hash()
            && self.is_in(key.key)
            && name::is_name_of(self.name(), self.name.has_params(), key.key)
    }

    fn is_in(&self, key: &EntryKey) -> bool {
        self.namespace() == key.namespace()
    }

    pub(super) fn namespace(&self) -> &Namespace {
        self.generation.namespace()
    }

    pub(super) fn generation(&self) -> &Generation {
        &self.generation
    }

    pub(super) fn is_valid(&self, now: Timestamp, epoch: Timestamp) -> bool {
        now.0.saturating_sub(epoch.0) < self.expires_at.get() && self.generation.is_current()
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

    fn name(&self) -> &[u8] {
        if self.name.is_separate() {
            let name = self.extras.as_ref().and_then(|extras| extras.name.as_ref());
            return name.map_or(&[], |name| name);
        }
        self.block.get(..self.name.len()).unwrap_or_default()
    }

    fn value(&self) -> Bytes {
        if self.name.is_separate() {
            self.block.clone()
        } else {
            self.block.slice(self.name.len()..)
        }
    }
}

// === impl Extras ===

impl Extras {
    fn of(entry: &Entry) -> Self {
        Self {
            name: None,
            tags: entry.tags.clone(),
            fetch_metadata: entry.fetch_metadata.clone(),
            stale_while_revalidate: millis_ceil(entry.stale_while_revalidate),
            stale_if_error: millis_ceil(entry.stale_if_error),
            revalidation_window: millis_ceil(entry.revalidation_window),
        }
    }

    fn is_empty(&self) -> bool {
        let windows = self.stale_while_revalidate | self.stale_if_error | self.revalidation_window;
        self.name.is_none() && self.tags.is_empty() && self.fetch_metadata.is_none() && windows == 0
    }

    fn boxed(self) -> Option<Box<Self>> {
        (!self.is_empty()).then(|| Box::new(self))
    }

    fn memory(&self) -> u64 {
        let name = self.name.as_ref().map_or(0, |name| name::memory(name.len()));
        let tags: u64 = self.tags.iter().map(|tag| allocated(tag.capacity(), 1)).sum();
        let tag_list = match self.tags.len() {
            0 => 0,
            tags => allocated(ARC_HEADER + tags * size_of::<String>(), align_of::<String>()),
        };
        let fetch_metadata = self.fetch_metadata.as_ref().map_or(0, |metadata| {
            let validators = [&metadata.validators.etag, &metadata.validators.last_modified];
            let texts = validators.into_iter().flatten().map(|text| allocated(text.len(), 1));
            let size = ARC_HEADER + size_of::<FetchMetadata>();
            allocated(size, align_of::<FetchMetadata>()) + texts.sum::<u64>()
        });
        EXTRAS + name + tags + tag_list + fetch_metadata
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

// === impl NameLayout ===

impl NameLayout {
    const HAS_PARAMS: u16 = 1 << 15;
    const IS_SEPARATE: u16 = 1 << 14;

    fn new(len: usize, has_params: bool, is_separate: bool) -> Self {
        // At most the longest key and a digest.
        let mut layout = u16::try_from(len).unwrap_or(0);
        if has_params {
            layout |= Self::HAS_PARAMS;
        }
        if is_separate {
            layout |= Self::IS_SEPARATE;
        }
        Self(layout)
    }

    fn len(self) -> usize {
        usize::from(self.0 & !(Self::HAS_PARAMS | Self::IS_SEPARATE))
    }

    fn has_params(self) -> bool {
        self.0 & Self::HAS_PARAMS != 0
    }

    fn is_separate(self) -> bool {
        self.0 & Self::IS_SEPARATE != 0
    }
}
