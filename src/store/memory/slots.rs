//! The slots of a shard: dense, and allocated in chunks, so that neither growth nor removal copies
//! more than one of them.

use std::{
    mem::replace,
    ops::{Index, IndexMut},
};

use super::slot::{NONE, Slot};

/// Slots with the numbers from zero to the number of slots.
#[derive(Default)]
pub(super) struct Slots {
    chunks: Vec<Vec<Slot>>,
    /// An empty chunk, so that writes and removals in turn do not allocate.
    spare: Option<Vec<Slot>>,
}

/// Fills a size class of the allocator.
const CHUNK_BYTES: usize = 8192;
pub(super) const SLOTS_PER_CHUNK: usize = CHUNK_BYTES / size_of::<Slot>();
/// Memory for so many chunks is not given back.
const MIN_CAPACITY: usize = 4;

impl Slots {
    #[allow(clippy::cast_possible_truncation)]
    pub(super) fn len(&self) -> u32 {
        let last = self.chunks.last().map_or(SLOTS_PER_CHUNK, Vec::len);
        (self.chunks.len() * SLOTS_PER_CHUNK + last - SLOTS_PER_CHUNK) as u32
    }

    /// Whether there are no more numbers for slots.
    pub(super) fn is_full(&self) -> bool {
        self.len() == NONE
    }

    /// Adds a slot, and returns its number.
    pub(super) fn push(&mut self, slot: Slot) -> u32 {
        let index = self.len();
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < SLOTS_PER_CHUNK => chunk.push(slot),
            _ => {
                let spare = self.spare.take();
                let mut chunk = spare.unwrap_or_else(|| Vec::with_capacity(SLOTS_PER_CHUNK));
                chunk.push(slot);
                self.chunks.push(chunk);
            }
        }
        index
    }

    /// Removes a slot. The last slot gets its number.
    pub(super) fn swap_remove(&mut self, index: u32) -> Option<Slot> {
        let chunk = self.chunks.last_mut()?;
        let last = chunk.pop()?;
        if chunk.is_empty() {
            self.spare = self.chunks.pop();
            if self.chunks.capacity() > 4 * self.chunks.len().max(MIN_CAPACITY) {
                self.chunks.shrink_to(2 * self.chunks.len());
            }
        }
        Some(if index == self.len() { last } else { replace(&mut self[index], last) })
    }
}

fn locate(index: u32) -> (usize, usize) {
    let index = index as usize;
    (index / SLOTS_PER_CHUNK, index % SLOTS_PER_CHUNK)
}

impl Index<u32> for Slots {
    type Output = Slot;

    fn index(&self, index: u32) -> &Slot {
        let (chunk, index) = locate(index);
        &self.chunks[chunk][index]
    }
}

impl IndexMut<u32> for Slots {
    fn index_mut(&mut self, index: u32) -> &mut Slot {
        let (chunk, index) = locate(index);
        &mut self.chunks[chunk][index]
    }
}
