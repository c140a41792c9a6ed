//! Of writes with a condition that exclude each other, one wins.

use std::collections::HashMap;

use super::{KeyHistory, Write};
use crate::{
    history::{Call, Condition, Record, Violation},
    weakening::{may_be_removed_again, may_be_undone, may_have_vanished},
};

const ATOMIC: &str = "conditions are atomic";

pub(crate) fn check(entry: &KeyHistory<'_>) -> Option<Violation> {
    let stored: Vec<Write<'_>> = entry.writes().filter(Write::is_stored).collect();
    let mut replaced = HashMap::new();
    for write in &stored {
        if let Condition::IfVersion(version) = write.condition
            && let Some(first) = replaced.insert(version, *write)
            && !may_be_undone(entry.faults, first.record, write.record)
        {
            let text = format!("writes {} and {} replaced one version", first.id, write.id);
            return entry.violation(ATOMIC, write.record, text);
        }
    }
    let creations: Vec<&Write<'_>> =
        stored.iter().filter(|write| write.condition == Condition::IfAbsent).collect();
    for (number, first) in creations.iter().enumerate() {
        for second in &creations[number + 1..] {
            if exclude_each_other(entry, first, second) {
                let text = format!("writes {} and {} both found no entry", first.id, second.id);
                return entry.violation(ATOMIC, second.record, text);
            }
        }
    }
    None
}

/// Whether the entry of the first certainly existed until the second was applied.
fn exclude_each_other(entry: &KeyHistory<'_>, first: &Write<'_>, second: &Write<'_>) -> bool {
    let from = first.record.began.min(second.record.began);
    let until = first.record.ended.max(second.record.ended);
    let may_end = |record: &&Record| match record.call {
        Call::Invalidate(_) => record.may_act_within(from, until),
        Call::Write { .. } => {
            let expires = Write::of(record).map_or(0, |write| write.expires_from());
            record.may_act_within(from, until) && expires <= until + entry.rules.margin
        }
        Call::Touch { ttl, .. } => {
            let expires = record.began.saturating_add(ttl);
            record.may_act_within(from, until) && expires <= until + entry.rules.margin
        }
        Call::Read { .. } | Call::Increment { .. } | Call::Abandon { .. } => false,
    };
    !entry.records.iter().any(may_end)
        && !may_have_vanished(entry.faults, from, until)
        && !may_be_removed_again(entry.faults, entry.rules, from, until)
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::{
        checks::testing::*,
        history::{Answer, Condition, Loss, Record, Refusal},
    };

    fn create(began: u64, ended: u64, id: u64) -> Record {
        write_if(began, ended, id, Condition::IfAbsent, stored())
    }

    #[test]
    fn two_creations_are_found() {
        bad(check, &[create(0, 10, 1), create(5, 15, 2)]);
        bad(check, &[create(0, 10, 1), create(500, 510, 2)]);
        let not_met = refused(Refusal::ConditionNotMet);
        good(check, &[create(0, 10, 1), write_if(5, 15, 2, Condition::IfAbsent, not_met)]);
    }

    #[test]
    fn an_entry_may_be_created_again_after_its_end() {
        good(check, &[create(0, 10, 1), create(1_005, 1_010, 2)]);
        good(check, &[create(0, 10, 1), delete(20, 30, Answer::Done), create(40, 50, 2)]);
        let history = [create(0, 10, 1), create(40, 50, 2)];
        let lost = [fault(None, 20, 30, Loss::Vanished)];
        assert_eq!(violation(check, &history, &lost), None);
        let rewound = [fault(None, 20, 30, Loss::Rewound { since: 15 })];
        assert_eq!(violation(check, &history, &rewound), None, "a Delete is applied again");
        assert!(violation(check, &history, &[fault(None, 20, 30, Loss::Nothing)]).is_some());
    }

    #[test]
    fn a_version_that_is_replaced_twice_is_found() {
        let replace = |began, id, version| {
            write_if(began, began + 10, id, Condition::IfVersion(version), stored())
        };
        bad(check, &[replace(0, 1, 7), replace(5, 2, 7)]);
        good(check, &[replace(0, 1, 7), replace(5, 2, 8)]);
    }
}
