//! A value that is read was written to this entry, by a write that was not refused.

use super::{KeyHistory, Write};
use crate::{
    history::{Answer, Call, ReadKind, Record, Violation},
    names::NAMESPACES,
};

pub(crate) fn check(entry: &KeyHistory<'_>) -> Option<Violation> {
    let writes = entry.writes_by_id();
    for record in &entry.records {
        let Some(value) = record.answer.value() else { continue };
        let Some((key, id)) = value.source else {
            let text = "a value has another form than all written ones".to_owned();
            return entry.violation("values are those that were written", record, text);
        };
        if key != entry.key {
            let namespace = NAMESPACES[usize::from(key.namespace)];
            let text = format!("the value was written to {namespace}, key {}", key.number);
            return entry.violation("namespaces never leak", record, text);
        }
        let Some(write) = writes.get(&id).filter(|write| write.record.began <= record.ended) else {
            let text = format!("write {id} had not begun");
            return entry.violation("values are those that were written", record, text);
        };
        if was_certainly_refused(write) && !was_waited_for(record, write) {
            let text = format!("write {id} was refused");
            return entry.violation("a refused write leaves the cache unchanged", record, text);
        }
    }
    None
}

fn was_certainly_refused(write: &Write<'_>) -> bool {
    matches!(write.record.answer, Answer::Refused(_) | Answer::NotStored { degraded: false })
}

/// Whether a caller waited for the computation, whose value it may have though it is not stored.
fn was_waited_for(read: &Record, write: &Write<'_>) -> bool {
    let waits = matches!(read.call, Call::Read { kind: ReadKind::GetOrFetch, .. });
    waits && read.began <= write.record.ended
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::{
        checks::testing::*,
        history::{Answer, Failure, Refusal},
    };

    #[test]
    fn a_value_may_be_that_of_a_write_in_flight_or_without_answer() {
        good(check, &[write(0, 20, 1, stored()), read(10, 12, 1)]);
        good(check, &[write(0, 20, 1, Answer::Failed(Failure::Deadline)), read(30, 40, 1)]);
        good(check, &[write(0, 20, 1, Answer::NotStored { degraded: true }), read(30, 40, 1)]);
    }

    #[test]
    fn a_value_without_write_is_found() {
        bad(check, &[read(10, 12, 1)]);
        bad(check, &[read(10, 12, 1), write(13, 20, 1, stored())]);
    }

    #[test]
    fn a_value_of_another_namespace_is_found() {
        let mut leaked = read(10, 12, 1);
        if let Answer::Value(value) = &mut leaked.answer {
            value.source =
                value.source.map(|(key, id)| (crate::history::Key { namespace: 1, ..key }, id));
        }
        bad(check, &[write(0, 5, 1, stored()), leaked]);
    }

    #[test]
    fn a_refused_value_is_found() {
        for refusal in [Refusal::ConditionNotMet, Refusal::Invalidated] {
            bad(check, &[write(0, 5, 1, refused(refusal)), read(10, 12, 1)]);
        }
    }
}
