//! The last records in memory, bounded by bytes.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::watch;

/// Memory of a record besides its text, in bytes.
const OVERHEAD: usize = 64;
/// Most bytes and records that are read at once.
const MAX_READ_BYTES: usize = 64 * 1024;
const MAX_READ: usize = 256;

/// The last records. Each has a position, from 0.
pub(super) struct Ring {
    max_bytes: usize,
    lines: Mutex<Lines>,
    state: watch::Sender<RingState>,
}

/// The position of the next record, and whether there will be no more.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RingState {
    pub(super) end: u64,
    pub(super) is_closed: bool,
}

#[derive(Default)]
struct Lines {
    /// The position of the first.
    first: u64,
    lines: VecDeque<Arc<str>>,
    bytes: usize,
}

/// Records from a position.
pub(super) struct Read {
    pub(super) records: Vec<Arc<str>>,
    /// Records before these that are no longer there.
    pub(super) missed: u64,
    /// The position after them.
    pub(super) next: u64,
}

impl Ring {
    pub(super) fn new(max_bytes: usize) -> Self {
        let state = watch::Sender::new(RingState::default());
        Self { max_bytes, lines: Mutex::default(), state }
    }

    /// Adds a record, and removes old ones over the limit.
    pub(super) fn push(&self, line: &str) {
        let end = {
            let mut lines = self.lines.lock();
            lines.bytes += line.len() + OVERHEAD;
            lines.lines.push_back(line.into());
            while lines.bytes > self.max_bytes
                && let Some(oldest) = lines.lines.pop_front()
            {
                lines.bytes -= oldest.len() + OVERHEAD;
                lines.first += 1;
            }
            lines.first + lines.lines.len() as u64
        };
        self.state.send_modify(|state| state.end = end);
    }

    /// Ends the tails that wait for further records.
    pub(super) fn close(&self) {
        self.state.send_modify(|state| state.is_closed = true);
    }

    pub(super) fn follow(&self) -> watch::Receiver<RingState> {
        self.state.subscribe()
    }

    /// The positions of the last `count` records: the first, and that of the next record.
    pub(super) fn last(&self, count: u64) -> (u64, u64) {
        self.last_before(u64::MAX, count)
    }

    /// As [`Self::last`], of the records before a position.
    pub(super) fn last_before(&self, before: u64, count: u64) -> (u64, u64) {
        let lines = self.lines.lock();
        let end = (lines.first + lines.lines.len() as u64).min(before.max(lines.first));
        (end.saturating_sub(count).max(lines.first), end)
    }

    /// Reads some records between two positions.
    pub(super) fn read(&self, from: u64, until: u64) -> Read {
        let lines = self.lines.lock();
        let start = from.max(lines.first.min(until));
        let mut bytes = 0;
        let wanted = (until - start).min(MAX_READ as u64);
        let skipped = usize::try_from(start - lines.first.min(start)).unwrap_or(usize::MAX);
        let records = lines.lines.iter().skip(skipped).take(wanted as usize);
        let records: Vec<_> = records
            .take_while(|line| {
                let is_first = bytes == 0;
                bytes += line.len();
                is_first || bytes <= MAX_READ_BYTES
            })
            .cloned()
            .collect();
        let next = start + records.len() as u64;
        Read { records, missed: start.saturating_sub(from), next }
    }
}
