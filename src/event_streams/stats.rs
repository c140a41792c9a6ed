//! Figures of one source.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use crate::config::EventSourceConfig;

/// Outcome of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryOutcome {
    /// Its event is applied, or has no rules.
    Applied,
    /// It is no valid event, or was delivered too often.
    Refused,
    /// The stream was trimmed before it was applied.
    Lost,
    /// It was taken over from another consumer. It also counts as one of the others.
    Claimed,
}

/// Counts since the start, and the figures of the group.
pub(super) struct SourceStats {
    pub(super) index: usize,
    pub(super) stream: String,
    is_connected: AtomicBool,
    counts: [AtomicU64; EntryOutcome::ALL.len()],
    /// Negative: unknown.
    pending: AtomicI64,
    /// Negative: unknown.
    lag: AtomicI64,
}

impl EntryOutcome {
    pub(super) const ALL: [Self; 4] = [Self::Applied, Self::Refused, Self::Lost, Self::Claimed];

    /// The value of the label.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Refused => "refused",
            Self::Lost => "lost",
            Self::Claimed => "claimed",
        }
    }
}

impl SourceStats {
    pub(super) fn new(index: usize, source: &EventSourceConfig) -> Self {
        Self {
            index,
            stream: source.redis_stream.clone(),
            is_connected: AtomicBool::new(false),
            counts: Default::default(),
            pending: AtomicI64::new(-1),
            lag: AtomicI64::new(-1),
        }
    }

    pub(super) fn count(&self, outcome: EntryOutcome, number: usize) {
        self.counts[outcome as usize].fetch_add(number as u64, Ordering::Relaxed);
    }

    pub(super) fn counted(&self, outcome: EntryOutcome) -> u64 {
        self.counts[outcome as usize].load(Ordering::Relaxed)
    }

    /// Whether the stream is read.
    pub(super) fn is_connected(&self) -> bool {
        self.is_connected.load(Ordering::Relaxed)
    }

    pub(super) fn set_connected(&self, is_connected: bool) {
        self.is_connected.store(is_connected, Ordering::Relaxed);
        if !is_connected {
            self.set_group(None, None);
        }
    }

    /// Entries of the group that are not acknowledged, and those that are not read.
    pub(super) fn set_group(&self, pending: Option<i64>, lag: Option<i64>) {
        self.pending.store(pending.unwrap_or(-1), Ordering::Relaxed);
        self.lag.store(lag.unwrap_or(-1), Ordering::Relaxed);
    }

    pub(super) fn pending(&self) -> Option<u64> {
        u64::try_from(self.pending.load(Ordering::Relaxed)).ok()
    }

    pub(super) fn lag(&self) -> Option<u64> {
        u64::try_from(self.lag.load(Ordering::Relaxed)).ok()
    }
}
