//! The slots of a shard in the order of their expiry: a binary heap, in which each slot has its
//! position.

use super::slots::Slots;

/// Numbers of slots. None expires before its parent, which is at half its position.
#[derive(Default)]
pub(super) struct ExpiryHeap(Vec<u32>);

/// Memory for so many slots is not given back.
const MIN_CAPACITY: usize = 16;

impl ExpiryHeap {
    /// The slot that expires first.
    pub(super) fn first(&self) -> Option<u32> {
        self.0.first().copied()
    }

    /// Adds the slot `index`.
    pub(super) fn push(&mut self, slots: &mut Slots, index: u32) {
        let position = self.0.len();
        self.0.push(index);
        self.sift_up(slots, position);
    }

    /// Restores the order after the expiry of the slot `index` has changed.
    pub(super) fn update(&mut self, slots: &mut Slots, index: u32) {
        let position = slots[index].heap_position as usize;
        let position = self.sift_up(slots, position);
        self.sift_down(slots, position);
    }

    /// Removes the slot `index`.
    pub(super) fn remove(&mut self, slots: &mut Slots, index: u32) {
        let position = slots[index].heap_position as usize;
        self.0.swap_remove(position);
        if let Some(moved) = self.0.get(position).copied() {
            self.place(slots, position, moved);
            self.update(slots, moved);
        }
        if self.0.capacity() > 4 * self.0.len().max(MIN_CAPACITY) {
            self.0.shrink_to(2 * self.0.len());
        }
    }

    /// Follows the slot that has moved to the number `index`.
    pub(super) fn renumber(&mut self, slots: &Slots, index: u32) {
        self.0[slots[index].heap_position as usize] = index;
    }

    fn sift_up(&mut self, slots: &mut Slots, mut position: usize) -> usize {
        let index = self.0[position];
        let expires_at = slots[index].expires_at();
        while position > 0 {
            let parent = (position - 1) / 2;
            if slots[self.0[parent]].expires_at() <= expires_at {
                break;
            }
            self.place(slots, position, self.0[parent]);
            position = parent;
        }
        self.place(slots, position, index);
        position
    }

    fn sift_down(&mut self, slots: &mut Slots, mut position: usize) {
        let index = self.0[position];
        let expires_at = slots[index].expires_at();
        loop {
            let children = [2 * position + 1, 2 * position + 2].into_iter();
            let present = children.filter(|child| *child < self.0.len());
            let earliest = present.min_by_key(|child| slots[self.0[*child]].expires_at());
            let Some(child) = earliest else { break };
            if slots[self.0[child]].expires_at() >= expires_at {
                break;
            }
            self.place(slots, position, self.0[child]);
            position = child;
        }
        self.place(slots, position, index);
    }

    #[allow(clippy::cast_possible_truncation)]
    fn place(&mut self, slots: &mut Slots, position: usize, index: u32) {
        self.0[position] = index;
        slots[index].heap_position = position as u32;
    }

    /// Whether every slot is at the position that it has recorded, and none expires before its
    /// parent.
    #[cfg(test)]
    pub(super) fn is_consistent(&self, slots: &Slots) -> bool {
        let is_placed = |(position, index): (usize, &u32)| {
            let parent = self.0[position.saturating_sub(1) / 2];
            slots[*index].heap_position as usize == position
                && slots[parent].expires_at() <= slots[*index].expires_at()
        };
        self.0.len() == slots.len() as usize && self.0.iter().enumerate().all(is_placed)
    }
}
