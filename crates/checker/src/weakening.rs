//! When a fault excuses a broken promise: the one place where promises are weakened.
//! `docs/checker.md` has the table, with the reasons.

use crate::history::{Answer, Emptied, End, Fault, Loss, Micros, Record, Rules};

/// Acknowledged writes of this age may be missing at a promoted server.
pub(crate) const REPLICATION_LAG: Micros = 2_000_000;
/// `store.failover_window` of the replicas.
pub(crate) const FAILOVER_WINDOW: Micros = 30_000_000;
/// Faults that lose nothing, after which another primary or another process of it may answer.
const CHANGES_PRIMARY: [&str; 3] = ["kill of Redis", "failover of a cluster", "move of slots"];
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

/// Whether replicas may apply their last invalidations again in an interval, because another
/// primary answers. That removes what was stored since, and ends leases.
pub(crate) fn may_be_removed_again(
    faults: &[Fault],
    rules: &Rules,
    from: Micros,
    until: Micros,
) -> bool {
    faults.iter().any(|fault| {
        let applied = fault.ended.saturating_add(rules.reapplied);
        changes_primary(fault) && fault.began <= until && applied >= from
    })
}

/// Whether another primary, or another process of it, may answer since a fault.
pub(crate) fn changes_primary(fault: &Fault) -> bool {
    matches!(fault.loss, Loss::Rewound { .. }) || CHANGES_PRIMARY.contains(&fault.name)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::{delete, fault, read, rules, through};

    fn from(
        faults: &[Fault],
        emptied: &[Emptied],
        invalidation: &Record,
        seen: &Record,
    ) -> Option<Micros> {
        counts_from(faults, emptied, &rules(), invalidation, seen)
    }

    fn ends(fault: Fault, replica: u8, end: End) -> Fault {
        Fault { ends: Some((replica, end)), ..fault }
    }

    #[test]
    fn a_queued_invalidation_counts_at_once_for_its_replica() {
        let (queued, own) = (delete(10, 20, Answer::Queued), read(30, 40, 1));
        let other = through(1, own.clone());
        assert_eq!(from(&[], &[], &queued, &own), Some(20));
        assert_eq!(from(&[], &[], &queued, &other), None);
        let end = |end| ends(fault(Some(0), 22, 25, Loss::Nothing), 0, end);
        assert_eq!(from(&[end(End::Killed)], &[], &queued, &own), Some(20));
        assert_eq!(from(&[end(End::Replaced)], &[], &queued, &own), None);
        let of_other = ends(fault(Some(1), 22, 25, Loss::Nothing), 1, End::Replaced);
        assert_eq!(from(&[of_other], &[], &queued, &own), Some(20));
    }

    #[test]
    fn a_queued_invalidation_counts_everywhere_after_the_replay() {
        let (queued, seen) = (delete(10, 20, Answer::Queued), through(1, read(90, 99, 1)));
        let emptied = |replica, asked| [Emptied { replica, asked, answered: asked + 5 }];
        assert_eq!(from(&[], &emptied(0, 50), &queued, &seen), Some(55));
        assert_eq!(from(&[], &emptied(0, 19), &queued, &seen), None, "asked before it was queued");
        assert_eq!(from(&[], &emptied(1, 50), &queued, &seen), None, "another journal");
    }

    #[test]
    fn a_queued_invalidation_counts_in_the_quarantine_of_its_outage() {
        let outage = |since, until| Fault {
            quarantine: Some((since, until)),
            ..fault(None, 5, 60, Loss::Nothing)
        };
        let (queued, seen) = (delete(10, 20, Answer::Queued), through(1, read(90, 99, 1)));
        assert_eq!(from(&[outage(40, 50)], &[], &queued, &seen), Some(40));
        assert_eq!(from(&[outage(15, 50)], &[], &queued, &seen), Some(20));
        assert_eq!(from(&[outage(12, 18)], &[], &queued, &seen), None, "queued after the return");
        let late = through(1, read(90, 60 + QUARANTINE, 1));
        assert_eq!(from(&[outage(40, 50)], &[], &queued, &late), None, "it may have expired");
        let before = delete(1, 3, Answer::Queued);
        assert_eq!(from(&[outage(40, 50)], &[], &before, &seen), None, "of another outage");
    }

    #[test]
    fn invalidations_may_be_applied_again_when_another_primary_answers() {
        let may = |fault| may_be_removed_again(&[fault], &rules(), 30, 40);
        let by_hand = |began, ended| Fault {
            name: CHANGES_PRIMARY[1],
            ..fault(None, began, ended, Loss::Nothing)
        };
        assert!(may(by_hand(35, 60)) && may(by_hand(0, 10)) && may(by_hand(40, 60)));
        assert!(!may(by_hand(0, 9)) && !may(by_hand(41, 60)));
        assert!(may(fault(None, 35, 60, Loss::Rewound { since: 0 })));
        assert!(!may(fault(None, 35, 60, Loss::Nothing)), "a partition");
    }

    #[test]
    fn a_replica_applies_its_invalidations_again_after_a_failover() {
        let deleted = delete(10, 20, Answer::Done);
        let failover = || fault(None, 40, 60, Loss::Rewound { since: 15 });
        let [own, soon, late] = [(0, 45), (1, 79), (1, 81)]
            .map(|(replica, began)| through(replica, read(began, began + 1, 1)));
        assert_eq!(from(&[failover()], &[], &deleted, &own), Some(20), "through the same replica");
        assert_eq!(from(&[failover()], &[], &deleted, &soon), None, "through another one, at once");
        assert_eq!(from(&[failover()], &[], &deleted, &late), Some(20));
        for end in [End::Killed, End::Replaced] {
            let killed = |began| ends(fault(Some(0), began, began + 2, Loss::Nothing), 0, end);
            let faults = [failover(), killed(30)];
            assert_eq!(from(&faults, &[], &deleted, &own), None, "it is forgotten");
            assert_eq!(from(&faults, &[], &deleted, &late), None, "it is forgotten");
            assert_eq!(from(&[failover(), killed(90)], &[], &deleted, &late), Some(20));
        }
        let long = fault(None, 40, 30 + FAILOVER_WINDOW, Loss::Rewound { since: 15 });
        assert_eq!(from(&[long], &[], &deleted, &own), None, "longer ago than the window");
        let queued = delete(1, 5, Answer::Queued);
        let emptied = [Emptied { replica: 0, asked: 16, answered: 18 }];
        assert_eq!(from(&[failover()], &emptied, &queued, &soon), None, "applied late");
    }
}
