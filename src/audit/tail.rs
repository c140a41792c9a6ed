//! Reads the records in memory, and those that follow.

use std::sync::Arc;

use tokio::sync::watch;

use super::ring::{Read, Ring, RingState};

/// Reads records from a position on. It holds nothing but that position: records that are removed
/// before they are read are counted.
pub struct Tail {
    ring: Arc<Ring>,
    state: watch::Receiver<RingState>,
    next: u64,
    /// The position where it ends; none if it follows.
    until: Option<u64>,
}

/// Some records of a tail.
#[derive(Debug, PartialEq, Eq)]
pub struct TailPart {
    /// The records as JSON, the oldest first.
    pub records: Vec<Arc<str>>,
    /// Records before them that are missing, because they were not read in time.
    pub missed: u64,
}

impl Tail {
    /// Begins with the last `count` records.
    pub(super) fn new(ring: Arc<Ring>, count: u64, follows: bool) -> Self {
        let state = ring.follow();
        let (next, end) = ring.last(count);
        Self { ring, state, next, until: (!follows).then_some(end) }
    }

    /// Those of the last `count` records before a position.
    pub(super) fn before(ring: Arc<Ring>, before: u64, count: u64) -> Self {
        let state = ring.follow();
        let (next, end) = ring.last_before(before, count);
        Self { ring, state, next, until: Some(end) }
    }

    /// The position of the next record, from 0 on since the start of the log.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// Waits for records. None after the last, or when the log is closed.
    pub async fn next(&mut self) -> Option<TailPart> {
        loop {
            let RingState { end, is_closed } = *self.state.borrow_and_update();
            let until = self.until.unwrap_or(end).max(self.next);
            let Read { records, missed, next } = self.ring.read(self.next, until);
            self.next = next;
            if !records.is_empty() || missed > 0 {
                return Some(TailPart { records, missed });
            }
            if self.until.is_some() || is_closed {
                return None;
            }
            self.state.changed().await.ok()?;
        }
    }

    /// Whether it waits for further records.
    pub fn follows(&self) -> bool {
        self.until.is_none()
    }
}
