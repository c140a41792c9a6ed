//! Calls are answered during an outage of the store.

use super::KeyHistory;
use crate::{
    history::{Answer, Call, Failure, Record, Violation},
    weakening::replica_may_fail,
};

pub(crate) fn check(entry: &KeyHistory<'_>) -> Option<Violation> {
    for record in &entry.records {
        let Answer::Failed(failure) = &record.answer else { continue };
        if !is_allowed(entry, record, failure) {
            let text = format!("{} failed: {failure:?}", record.call.name());
            return entry.violation("reads fail open", record, text);
        }
    }
    None
}

fn is_allowed(entry: &KeyHistory<'_>, record: &Record, failure: &Failure) -> bool {
    let needs_store =
        matches!(record.call, Call::Invalidate(_) | Call::Increment { .. } | Call::Abandon { .. });
    match failure {
        Failure::StoreUnavailable => needs_store,
        Failure::Overloaded => entry.faults.iter().any(|fault| {
            fault.name == "overload"
                && fault.began <= record.ended
                && fault.ended.saturating_add(entry.rules.recovery) >= record.began
        }),
        Failure::ShuttingDown | Failure::Connection(_) | Failure::Deadline | Failure::Other(_) => {
            replica_may_fail(entry.faults, record, entry.rules.recovery)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::{
        checks::testing::*,
        history::{Answer, Failure, Loss},
    };

    #[test]
    fn a_read_that_fails_without_a_fault_of_its_replica_is_found() {
        for failure in [Failure::Deadline, Failure::StoreUnavailable, Failure::Overloaded] {
            let history = [read_answer(10, 20, Answer::Failed(failure))];
            bad(check, &history);
            let of_store = [fault(None, 5, 30, Loss::Nothing)];
            assert!(violation(check, &history, &of_store).is_some());
        }
        let history = [read_answer(10, 20, Answer::Failed(Failure::Deadline))];
        assert_eq!(violation(check, &history, &[fault(Some(0), 5, 30, Loss::Nothing)]), None);
        assert!(violation(check, &history, &[fault(Some(1), 5, 30, Loss::Nothing)]).is_some());
    }

    #[test]
    fn an_invalidation_may_be_unavailable() {
        good(check, &[delete(10, 20, Answer::Failed(Failure::StoreUnavailable))]);
        bad(check, &[delete(10, 20, Answer::Failed(Failure::Deadline))]);
    }
}
