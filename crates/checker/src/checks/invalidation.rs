//! A read returns nothing that was invalidated or overwritten before it began.

use super::{KeyHistory, Write, moment};
use crate::{
    history::{Answer, Call, Micros, ReadKind, Record, Violation},
    weakening::may_be_undone,
};

pub(crate) fn check(entry: &KeyHistory<'_>) -> Option<Violation> {
    let writes = entry.writes_by_id();
    for read in &entry.records {
        let Some((_, id)) = read.answer.value().and_then(|value| value.source) else { continue };
        let Some(write) = writes.get(&id) else { continue };
        let basis_end = entry.basis_end(write);
        let is_late = |later: &Record, counts_from: Micros| {
            basis_end < later.began
                && counts_from.saturating_add(staleness(entry, later, read)) < read.began
        };
        let invalidation = entry.invalidations().find_map(|(record, target)| {
            let from = entry.counts_from(record, read)?;
            let follows = target.matches(entry.key, write.tags) && is_late(record, from);
            follows.then_some((record, from))
        });
        if let Some((record, from)) = invalidation {
            let text = format!(
                "write {id} counts as of {} at the latest, the invalidation was {} at {} and \
                 counts from {}, and the read began at {}",
                moment(basis_end),
                if record.answer == Answer::Queued { "queued" } else { "acknowledged" },
                moment(record.ended),
                moment(from),
                moment(read.began)
            );
            return entry.violation("invalidation is final", read, text);
        }
        let overwrites = |later: &Write<'_>| {
            later.id != id
                && later.is_stored()
                && is_late(later.record, later.record.ended)
                && !may_be_undone(entry.faults, later.record, read)
        };
        if let Some(later) = entry.writes().find(overwrites) {
            let text = format!("write {id} was overwritten by write {}", later.id);
            return entry.violation("reads see the last write", read, text);
        }
    }
    None
}

/// How long a read may miss a change through another replica.
fn staleness(entry: &KeyHistory<'_>, change: &Record, read: &Record) -> Micros {
    let asks_store = matches!(read.call, Call::Read { kind: ReadKind::GetFromStore, .. });
    let is_same = change.replica == read.replica;
    if asks_store || is_same {
        return 0;
    }
    entry.rules.max_staleness[usize::from(entry.key.namespace)]
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::{
        checks::testing::*,
        history::{Answer, Condition, Failure, Loss, Target},
        names::{NEAR, SHOP},
    };

    const DONE: Answer = Answer::Done;

    #[test]
    fn values_may_be_read_while_an_invalidation_is_in_flight() {
        good(check, &[write(0, 5, 1, stored()), delete(10, 20, DONE), read(15, 30, 1)]);
    }

    #[test]
    fn a_deleted_value_is_found() {
        bad(check, &[write(0, 5, 1, stored()), delete(10, 20, DONE), read(21, 30, 1)]);
    }

    #[test]
    fn a_failed_invalidation_promises_nothing() {
        let failed = Answer::Failed(Failure::StoreUnavailable);
        good(check, &[write(0, 5, 1, stored()), delete(10, 20, failed), read(21, 30, 1)]);
    }

    #[test]
    fn a_write_that_overlaps_the_invalidation_may_be_read() {
        good(check, &[write(0, 15, 1, stored()), delete(10, 20, DONE), read(21, 30, 1)]);
        let unknown = Answer::Failed(Failure::Connection("".into()));
        good(check, &[write(0, 5, 1, unknown), delete(10, 20, DONE), read(21, 30, 1)]);
    }

    #[test]
    fn a_fill_counts_as_of_its_lease() {
        let fill = |began, ended| write_if(began, ended, 1, Condition::Lease(9), stored());
        let leased = grant(0, 5, 9, 500);
        bad(check, &[leased.clone(), delete(10, 20, DONE), fill(30, 40), read(50, 60, 1)]);
        good(check, &[delete(10, 20, DONE), grant(21, 25, 9, 500), fill(30, 40), read(50, 60, 1)]);
    }

    #[test]
    fn tags_patterns_and_namespaces_concern_their_entries() {
        let with =
            |target| [write(0, 5, 1, stored()), invalidate(10, 20, target, DONE), read(21, 30, 1)];
        let tags = |tags| Target::Tags { namespace: SHOP, round: 0, tags };
        let group = |group| Target::Group { namespace: SHOP, round: 0, group };
        bad(check, &with(tags(0b01)));
        good(check, &with(tags(0b10)));
        bad(check, &with(group(5)));
        good(check, &with(group(4)));
        bad(check, &with(Target::Namespace(SHOP)));
        good(check, &with(Target::Namespace(1)));
    }

    #[test]
    fn a_near_cache_may_lag_behind_other_replicas_for_its_bound() {
        let with = |replica, began| {
            [
                in_namespace(NEAR, write(0, 5, 1, stored())),
                in_namespace(NEAR, delete(10, 20, DONE)),
                through(replica, in_namespace(NEAR, read(began, began + 1, 1))),
            ]
        };
        good(check, &with(1, 60));
        bad(check, &with(1, 71));
        bad(check, &with(0, 21));
    }

    #[test]
    fn an_overwritten_value_is_found() {
        bad(check, &[write(0, 5, 1, stored()), write(10, 20, 2, stored()), read(21, 30, 1)]);
        good(check, &[write(0, 15, 1, stored()), write(10, 20, 2, stored()), read(21, 30, 1)]);
    }

    #[test]
    fn a_value_that_was_queued_for_deletion_is_found() {
        let queued = |replica| {
            let read = through(replica, read(21, 30, 1));
            [write(0, 5, 1, stored()), delete(10, 20, Answer::Queued), read]
        };
        bad(check, &queued(0));
        good(check, &queued(1));
        good(check, &[write(0, 15, 1, stored()), delete(10, 20, Answer::Queued), read(21, 30, 1)]);
    }

    #[test]
    fn a_rewind_excuses_only_what_it_can_undo() {
        let read = through(1, read(51, 60, 1));
        let history = [write(0, 5, 1, stored()), delete(10, 20, DONE), read];
        let rewound = |since| [fault(None, 40, 50, Loss::Rewound { since })];
        assert_eq!(violation(check, &history, &rewound(15)), None);
        assert!(violation(check, &history, &rewound(21)).is_some());
        assert!(violation(check, &history, &[fault(None, 40, 50, Loss::Vanished)]).is_some());
    }
}
