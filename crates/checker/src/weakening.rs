//! When a fault excuses a broken promise: the one place where promises are weakened.
//! `docs/checker.md` has the table, with the reasons.

use crate::history::{Answer, Emptied, End, Fault, Loss, Micros, Record, Rules};

/// Acknowledged writes of this age may be missing at a promoted server.
pub(crate) const REPLICATION_LAG: Micros = 2_000_000;
/// `store.failover_window` of the replicas.
pub(crate) const FAILOVER_WINDOW: Micros = 30_000_000;
/// Time for which a quarantine certainly lasts, unless all journals are empty before.
const QUARANTINE: Micros = 15_000_000;

/// Whether a fault may have undone an acknowledged write before another call saw its effect.
pub(crate) fn may_be_undone(faults: &[Fault], acknowledged: &Record, seen: &Record) -> bool {
    faults.iter().any(|fault| undoes(fault, acknowledged, seen))
}

fn undoes(fault: &Fault, acknowledged: &Record, seen: &Record) -> bool {
    // One that was queued may have been applied at any later time.
    let applied_until = acknowledged.effect_until();
    matches!(fault.loss, Loss::Rewound { since } if applied_until >= since)
        && acknowledged.began <= fault.ended
        && seen.ended >= fault.began
}

/// When an invalidation counts for another call at the latest; none if it may not count for it.
pub(crate) fn counts_from(
    faults: &[Fault],
    emptied: &[Emptied],
    rules: &Rules,
    invalidation: &Record,
    seen: &Record,
) -> Option<Micros> {
    let from = match invalidation.answer {
        Answer::Done => invalidation.ended,
        Answer::Queued => queued_counts_from(faults, emptied, invalidation, seen)?,
        _ => return None,
    };
    let is_undone = |fault: &Fault| {
        undoes(fault, invalidation, seen)
            && !is_applied_again(faults, rules, fault, invalidation, seen)
    };
    (!faults.iter().any(is_undone)).then_some(from)
}

/// Whether the replica that acknowledged an invalidation certainly applied it again after a fault
/// that undid it, before another call could see that.
fn is_applied_again(
    faults: &[Fault],
    rules: &Rules,
    fault: &Fault,
    invalidation: &Record,
    seen: &Record,
) -> bool {
    let applied = fault.ended.saturating_add(rules.reapplied);
    let forgets = |other: &Fault| {
        let is_its = other.ends.is_some_and(|(replica, _)| replica == invalidation.replica);
        is_its && other.overlaps(invalidation.began, applied)
    };
    let is_remembered = invalidation.ended.saturating_add(FAILOVER_WINDOW) > fault.ended
        && !faults.iter().any(forgets);
    // The replica itself reads nothing before it has applied its own.
    is_remembered && (seen.replica == invalidation.replica || seen.began > applied)
}

/// From when on an invalidation in the journal of a replica counts for another call.
fn queued_counts_from(
    faults: &[Fault],
    emptied: &[Emptied],
    invalidation: &Record,
    seen: &Record,
) -> Option<Micros> {
    let (replica, queued) = (invalidation.replica, invalidation.ended);
    // The replica that has it, also as another process with the same journal.
    let is_replaced = faults.iter().any(|fault| {
        fault.ends == Some((replica, End::Replaced)) && fault.overlaps(queued, seen.ended)
    });
    if seen.replica == replica && !is_replaced {
        return Some(queued);
    }
    // All replicas after the replay.
    let applied = emptied.iter().filter(|one| one.replica == replica && one.asked >= queued);
    let applied = applied.map(|one| one.answered).min();
    // All replicas that are in quarantine because of the same outage.
    let quarantined = faults.iter().filter_map(|fault| {
        let (since, until) = fault.quarantine?;
        let is_its = invalidation.began >= fault.began && queued <= until;
        let is_active = seen.ended <= until.saturating_add(QUARANTINE);
        (is_its && is_active).then_some(since.max(queued))
    });
    applied.into_iter().chain(quarantined).min()
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
