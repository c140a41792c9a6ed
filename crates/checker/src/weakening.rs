//! When a fault excuses a broken promise: the one place where promises are weakened.
//! `docs/checker.md` has the table, with the reasons.

use crate::history::{Fault, Loss, Micros, Record};

/// Acknowledged writes of this age may be missing at a promoted server.
pub(crate) const REPLICATION_LAG: Micros = 2_000_000;

/// Whether a fault may have undone an acknowledged call before another call saw its effect.
pub(crate) fn may_be_undone(faults: &[Fault], acknowledged: &Record, seen: &Record) -> bool {
    faults.iter().any(|fault| match fault.loss {
        Loss::Rewound { since } => {
            acknowledged.ended >= since
                && acknowledged.began <= fault.ended
                && seen.ended >= fault.began
        }
        Loss::Nothing | Loss::Vanished | Loss::ClockBack => false,
    })
}

/// Whether a fault may have removed state that existed in an interval.
pub(crate) fn may_have_vanished(faults: &[Fault], from: Micros, until: Micros) -> bool {
    faults.iter().any(|fault| match fault.loss {
        Loss::Vanished | Loss::ClockBack => fault.overlaps(from, until),
        Loss::Rewound { since } => since <= until && fault.ended >= from,
        Loss::Nothing => false,
    })
}

/// Whether the store's clock may have gone back in an interval.
pub(crate) fn clock_may_go_back(faults: &[Fault], from: Micros, until: Micros) -> bool {
    faults.iter().any(|fault| fault.loss == Loss::ClockBack && fault.overlaps(from, until))
}

/// Whether a fault of the replica of a call allows that it fails.
pub(crate) fn replica_may_fail(faults: &[Fault], call: &Record, recovery: Micros) -> bool {
    faults.iter().any(|fault| {
        fault.replica == Some(call.replica)
            && fault.began <= call.ended
            && fault.ended.saturating_add(recovery) >= call.began
    })
}
