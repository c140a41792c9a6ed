//! Faults, and what they undo.

use super::Micros;

/// One fault that was injected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    /// The replica of Larder that it concerns; none if it concerns Redis.
    pub(crate) replica: Option<u8>,
    pub(crate) began: Micros,
    pub(crate) ended: Micros,
    pub(crate) loss: Loss,
    /// The replica of Larder whose process ends in it.
    pub(crate) ends: Option<(u8, End)>,
    /// When every replica was in quarantine, while Redis was away for all of them, and when Redis
    /// was to return.
    pub(crate) quarantine: Option<(Micros, Micros)>,
}

/// The part of a replica that another process of it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The journal.
    Killed,
    /// Nothing.
    Replaced,
}

/// A moment at which the journal of a replica was empty, with all that was queued before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Emptied {
    pub(crate) replica: u8,
    /// When it was asked.
    pub(crate) asked: Micros,
    /// When it had answered.
    pub(crate) answered: Micros,
}

/// Writes that Redis had acknowledged, and that a fault may undo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    Nothing,
    /// Entries, leases and counters vanish. Nothing comes back.
    Vanished,
    /// The state of an earlier moment comes back: all since then is undone.
    Rewound {
        since: Micros,
    },
    /// The store's clock goes back, so that entries live longer.
    ClockBack,
}

// === impl Fault ===

impl Fault {
    pub(crate) fn overlaps(&self, from: Micros, until: Micros) -> bool {
        self.began <= until && self.ended >= from
    }
}
