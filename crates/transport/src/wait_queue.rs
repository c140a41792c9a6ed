//! The queued requests of one connection.

use std::{collections::VecDeque, mem, task::Waker};

use tokio::time::Instant;

/// The queued requests of a connection in the order in which they arrived.
///
/// A position counts all requests that were ever queued, so it stays the same while older requests
/// leave. A slot is freed when its request and all older ones have left.
#[derive(Debug, Default)]
pub(crate) struct WaitQueue {
    slots: VecDeque<QueueSlot>,
    /// Position of the first slot.
    front: usize,
    /// Position of the first slot that may be waiting: all slots before it are resolved.
    first_waiting: usize,
    /// Requests that wait.
    pub(crate) waiting: usize,
    /// Whether the connection is among the turns.
    pub(crate) has_turn: bool,
}

/// The state of one queued request.
#[derive(Debug)]
pub(crate) enum QueueSlot {
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
    pub(crate) fn push(&mut self, expires: Instant) -> usize {
        self.waiting += 1;
        self.slots.push_back(QueueSlot::Waiting { expires, waker: Waker::noop().clone() });
        self.front + self.slots.len() - 1
    }

    pub(crate) fn get_mut(&mut self, position: usize) -> Option<&mut QueueSlot> {
        self.slots.get_mut(position.checked_sub(self.front)?)
    }

    /// Time at which the oldest request expires that waits.
    pub(crate) fn next_expiry(&mut self) -> Option<Instant> {
        match self.next_waiting()? {
            QueueSlot::Waiting { expires, .. } => Some(*expires),
            QueueSlot::Admitted | QueueSlot::Rejected | QueueSlot::Left => None,
        }
    }

    /// Resolves the oldest request that waits, and returns its waker.
    pub(crate) fn resolve_next(&mut self, resolved: QueueSlot) -> Option<Waker> {
        let QueueSlot::Waiting { waker, .. } = mem::replace(self.next_waiting()?, resolved) else {
            return None;
        };
        self.waiting -= 1;
        Some(waker)
    }

    /// The oldest request that waits.
    fn next_waiting(&mut self) -> Option<&mut QueueSlot> {
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
    pub(crate) fn remove(&mut self, position: usize) -> Option<QueueSlot> {
        let last = mem::replace(self.get_mut(position)?, QueueSlot::Left);
        if let QueueSlot::Waiting { .. } = last {
            self.waiting -= 1;
        }
        while matches!(self.slots.front(), Some(QueueSlot::Left)) {
            self.slots.pop_front();
            self.front += 1;
        }
        self.first_waiting = self.first_waiting.max(self.front);
        Some(last)
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}
