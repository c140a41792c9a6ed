//! One lease of an entry is live at a time, and at most one fill of it is accepted.

use super::{Grant, KeyHistory, Write, moment};
use crate::{
    history::{Answer, Call, Condition, Violation},
    weakening::{clock_may_go_back, may_be_removed_again, may_be_undone, may_have_vanished},
};

const ONE_FILL: &str = "at most one fill of a lease is accepted";
const FENCED: &str = "a fill with a lost lease is refused";

pub(crate) fn check(entry: &KeyHistory<'_>) -> Option<Violation> {
    let grants: Vec<Grant<'_>> = entry.grants().collect();
    for (number, first) in grants.iter().enumerate() {
        for second in &grants[number + 1..] {
            if are_both_live(entry, first, second) {
                let text = format!(
                    "leases {:08x} and {:08x} are live at a time",
                    first.lease as u32, second.lease as u32
                );
                return entry.violation("one lease of an entry is live", second.record, text);
            }
        }
        let violation = check_fills(entry, first, &grants);
        if violation.is_some() {
            return violation;
        }
    }
    None
}

/// Whether nothing but a broken promise explains that both were granted.
fn are_both_live(entry: &KeyHistory<'_>, first: &Grant<'_>, second: &Grant<'_>) -> bool {
    let [a, b] = [first.record, second.record];
    let live_from = a.ended.max(b.ended);
    let live_until = (a.began + first.expires_in).min(b.began + second.expires_in);
    let from = a.began.min(b.began);
    live_from + entry.rules.margin < live_until
        && !entry
            .records
            .iter()
            .any(|record| ends_leases(&record.call) && record.may_act_within(from, live_from))
        && !may_have_vanished(entry.faults, from, live_from)
        && !may_be_removed_again(entry.faults, entry.rules, from, live_from)
}

fn ends_leases(call: &Call) -> bool {
    matches!(call, Call::Write { .. } | Call::Invalidate(_) | Call::Abandon { .. })
}

fn check_fills(
    entry: &KeyHistory<'_>,
    grant: &Grant<'_>,
    grants: &[Grant<'_>],
) -> Option<Violation> {
    let fills =
        |write: &Write<'_>| write.condition == Condition::Lease(grant.lease) && write.is_stored();
    let mut accepted = entry.writes().filter(fills);
    let fill = accepted.next()?;
    let lease = format!("lease {:08x}", grant.lease as u32);
    if let Some(other) = accepted.next() {
        let text = format!("{lease} has the fills {} and {}", fill.id, other.id);
        return entry.violation(ONE_FILL, other.record, text);
    }
    let expired = grant.record.ended + grant.expires_in;
    let is_clock_steady = !clock_may_go_back(entry.faults, grant.record.began, fill.record.ended);
    if fill.record.began > expired + entry.rules.margin && is_clock_steady {
        let text = format!("{lease} had expired at {}", moment(expired));
        return entry.violation(FENCED, fill.record, text);
    }
    // Changes that are certainly between the lease and its fill.
    let is_between = |began, until| grant.record.ended < began && until < fill.record.began;
    for other in grants {
        if is_between(other.record.began, other.record.ended)
            && other.lease != grant.lease
            && !may_be_undone(entry.faults, other.record, fill.record)
        {
            let text = format!("{lease} was followed by {:08x}", other.lease as u32);
            return entry.violation(FENCED, fill.record, text);
        }
    }
    for record in &entry.records {
        let (what, counts_from) = match record.call {
            Call::Invalidate(target) if target.matches(entry.key, fill.tags) => {
                ("invalidation", entry.counts_from(record, fill.record))
            }
            Call::Write { .. } if matches!(record.answer, Answer::Stored { .. }) => {
                let is_kept = !may_be_undone(entry.faults, record, fill.record);
                ("write", is_kept.then_some(record.ended))
            }
            _ => continue,
        };
        if counts_from.is_some_and(|from| is_between(record.began, from)) {
            let text = format!("{lease} was followed by the {what} of {}", moment(record.began));
            return entry.violation(FENCED, fill.record, text);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::{
        checks::testing::*,
        history::{Answer, Condition, Failure, Loss, Record, Refusal, Target},
        names::SHOP,
    };

    fn fill(began: u64, id: u64, lease: u64) -> Record {
        write_if(began, began + 5, id, Condition::Lease(lease), stored())
    }

    #[test]
    fn a_lease_may_follow_one_that_has_ended() {
        good(check, &[grant(0, 5, 1, 100), grant(120, 125, 2, 100)]);
        good(check, &[grant(0, 5, 1, 100), fill(10, 1, 1), grant(20, 25, 2, 100)]);
        good(check, &[grant(0, 5, 1, 100), delete(10, 12, Answer::Done), grant(20, 25, 2, 100)]);
        let unknown = Answer::Failed(Failure::Deadline);
        good(check, &[grant(0, 5, 1, 100), delete(10, 12, unknown), grant(20, 25, 2, 100)]);
    }

    #[test]
    fn two_live_leases_are_found() {
        bad(check, &[grant(0, 5, 1, 100), grant(20, 25, 2, 100)]);
        bad(check, &[grant(0, 25, 1, 100), grant(3, 22, 2, 100)]);
        let refused_write = write(10, 12, 1, refused(Refusal::ConditionNotMet));
        bad(check, &[grant(0, 5, 1, 100), refused_write, grant(20, 25, 2, 100)]);
    }

    #[test]
    fn a_lost_lease_may_be_granted_again() {
        let history = [grant(0, 5, 1, 100), grant(20, 25, 2, 100)];
        let lost = [fault(None, 8, 10, Loss::Vanished)];
        assert_eq!(violation(check, &history, &lost), None);
        assert!(violation(check, &history, &[fault(None, 8, 10, Loss::Nothing)]).is_some());
    }

    #[test]
    fn two_fills_of_a_lease_are_found() {
        bad(check, &[grant(0, 5, 1, 100), fill(10, 1, 1), fill(20, 2, 1)]);
    }

    #[test]
    fn a_fill_after_the_end_of_its_lease_is_found() {
        good(check, &[grant(0, 5, 1, 100), fill(110, 1, 1)]);
        bad(check, &[grant(0, 5, 1, 100), fill(120, 1, 1)]);
    }

    #[test]
    fn a_fill_after_another_lease_is_found() {
        bad(check, &[grant(0, 5, 1, 20), grant(40, 45, 2, 20), fill(50, 1, 1)]);
        bad(
            check,
            &[
                grant(0, 5, 1, 100),
                delete(10, 12, Answer::Failed(Failure::Deadline)),
                grant(20, 25, 2, 100),
                fill(30, 1, 1),
            ],
        );
    }

    #[test]
    fn a_fill_after_an_invalidation_or_a_write_is_found() {
        let between = |record| [grant(0, 5, 1, 100), record, fill(30, 1, 1)];
        bad(check, &between(delete(10, 12, Answer::Done)));
        bad(check, &between(delete(10, 12, Answer::Queued)));
        good(check, &between(through(1, delete(10, 12, Answer::Queued))));
        bad(check, &between(write(10, 12, 2, stored())));
        let tags = |tags| Target::Tags { namespace: SHOP, round: 0, tags };
        bad(check, &between(invalidate(10, 12, tags(1), Answer::Done)));
        good(check, &between(invalidate(10, 12, tags(2), Answer::Done)));
        good(check, &between(delete(10, 30, Answer::Done)));
    }
}
