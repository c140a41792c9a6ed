//! The queue of requests over the limit.

use std::{collections::VecDeque, mem, task::Waker};

use tokio::time::Instant;

/// Queued requests in the order in which they arrived.
///
/// A position counts all requests that were ever queued, so it stays the same while older requests
/// leave. A slot is freed when its request and all older ones have left.
#[derive(Debug, Default)]
pub(super) struct WaitQueue {
    slots: VecDeque<QueueSlot>,
    /// Position of the first slot.
    front: usize,
    /// Position of the first slot that may be waiting: all slots before it are resolved.
    first_waiting: usize,
    /// Whether a task rejects expired requests.
    pub(super) has_timer: bool,
}

/// The state of one queued request.
#[derive(Debug)]
pub(super) enum QueueSlot {
    Waiting {
        expires: Instant,
        waker: Waker,
    },
    Admitted,
    Rejected,
    /// The request took its result or was dropped.
    Left,
}

impl WaitQueue {
    /// Adds a request and returns its position.
    pub(super) fn push(&mut self, expires: Instant) -> usize {
        self.slots.push_back(QueueSlot::Waiting { expires, waker: Waker::noop().clone() });
        self.front + self.slots.len() - 1
    }

    pub(super) fn get_mut(&mut self, position: usize) -> Option<&mut QueueSlot> {
        self.slots.get_mut(position.checked_sub(self.front)?)
    }

    /// The oldest request that waits.
    pub(super) fn next_waiting(&mut self) -> Option<&mut QueueSlot> {
        let from = self.first_waiting - self.front;
        let resolved = self
            .slots
            .range(from..)
            .take_while(|slot| !matches!(slot, QueueSlot::Waiting { .. }))
            .count();
        self.first_waiting += resolved;
        self.slots.get_mut(from + resolved)
    }

    /// Removes a request and returns its last state.
    pub(super) fn remove(&mut self, position: usize) -> Option<QueueSlot> {
        let last = mem::replace(self.get_mut(position)?, QueueSlot::Left);
        while matches!(self.slots.front(), Some(QueueSlot::Left)) {
            self.slots.pop_front();
            self.front += 1;
        }
        self.first_waiting = self.first_waiting.max(self.front);
        Some(last)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}
