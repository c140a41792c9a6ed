//! Each acknowledged increment counts once.

use super::KeyHistory;
use crate::{
    history::{Answer, Call, Record, Violation},
    weakening::may_have_vanished,
};

const ONCE: &str = "counters count each increment once";

pub(crate) fn check(entry: &KeyHistory<'_>) -> Option<Violation> {
    let is_increment = |record: &&&Record| matches!(record.call, Call::Increment { .. });
    let increments: Vec<&&Record> = entry.records.iter().filter(is_increment).collect();
    let first = increments.iter().map(|record| record.began).min()?;
    let last = increments.iter().map(|record| record.ended).max()?;
    if may_have_vanished(entry.faults, first, last) {
        return None;
    }
    let counted: Vec<(&Record, i64)> = increments
        .iter()
        .filter_map(|record| match record.answer {
            Answer::Counted(value) => Some((**record, value)),
            _ => None,
        })
        .collect();
    for (number, (record, value)) in counted.iter().enumerate() {
        let begun = increments
            .iter()
            .filter(|other| other.began <= record.ended && !other.answer.is_certainly_nothing());
        if *value > i64::try_from(begun.count()).unwrap_or(i64::MAX) {
            let text = format!("the counter is at {value}, more than increments had begun");
            return entry.violation(ONCE, record, text);
        }
        for (other, other_value) in &counted[number + 1..] {
            let is_ordered = record.ended < other.began;
            if value == other_value || (is_ordered && value > other_value) {
                let text = format!("the counter was at {value} and then at {other_value}");
                return entry.violation(ONCE, other, text);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::{
        checks::testing::*,
        history::{Answer, Call, Failure, Loss, Record},
    };

    fn increment(began: u64, ended: u64, answer: Answer) -> Record {
        call(began, ended, Call::Increment { key: KEY }, answer)
    }

    fn to(began: u64, ended: u64, value: i64) -> Record {
        increment(began, ended, Answer::Counted(value))
    }

    #[test]
    fn increments_are_counted_in_some_order() {
        good(check, &[to(0, 10, 2), to(5, 8, 1), to(20, 30, 3)]);
        let unknown = increment(0, 10, Answer::Failed(Failure::Deadline));
        good(check, &[unknown.clone(), to(20, 30, 2)]);
        good(check, &[unknown, to(20, 30, 1)]);
    }

    #[test]
    fn lost_and_doubled_increments_are_found() {
        bad(check, &[to(0, 10, 1), to(20, 30, 1)]);
        bad(check, &[to(0, 10, 2)]);
        bad(check, &[to(0, 10, 2), to(1, 50, 3), to(20, 30, 1)]);
    }

    #[test]
    fn a_counter_may_vanish_with_its_store() {
        let history = [to(0, 10, 1), to(20, 30, 1)];
        assert_eq!(violation(check, &history, &[fault(None, 12, 15, Loss::Vanished)]), None);
    }
}
