//! After Ready, every acknowledged invalidation arrives, or Reset does.

use crate::history::{Answer, Call, Fault, Micros, Record, Rules, Target, Violation};

/// An event of a watch of one replica, with the time of its arrival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WatchEvent {
    pub(crate) replica: u8,
    pub(crate) at: Micros,
    pub(crate) what: Arrived,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Arrived {
    Ready,
    Invalidated(Target),
    /// Reset, the end of the stream, or a silence after which a caller drops all.
    Reset,
}

/// Checks the events of all watches against the acknowledged invalidations.
pub(crate) fn check(
    events: &[WatchEvent],
    records: &[Record],
    faults: &[Fault],
    rules: &Rules,
    replicas: u8,
) -> Option<Violation> {
    (0..replicas).find_map(|replica| check_one(replica, events, records, faults, rules))
}

fn check_one(
    replica: u8,
    events: &[WatchEvent],
    records: &[Record],
    faults: &[Fault],
    rules: &Rules,
) -> Option<Violation> {
    let mut events: Vec<&WatchEvent> =
        events.iter().filter(|event| event.replica == replica).collect();
    events.sort_by_key(|event| event.at);
    for record in records {
        // Deletes are announced with `keys` only.
        let Call::Invalidate(target) = record.call else { continue };
        let is_watched = crate::names::WATCHED.contains(&target.namespace());
        if !is_watched || record.answer != Answer::Done || matches!(target, Target::Key(_)) {
            continue;
        }
        let until = record.ended + rules.watch_delay;
        let is_ready = events
            .iter()
            .take_while(|event| event.at < record.began)
            .filter(|event| matches!(event.what, Arrived::Ready | Arrived::Reset))
            .last()
            .is_some_and(|event| event.what == Arrived::Ready);
        let is_disturbed = faults
            .iter()
            .any(|fault| fault.replica == Some(replica) && fault.overlaps(record.began, until));
        if !is_ready || is_disturbed {
            continue;
        }
        let arrives = events.iter().any(|event| {
            event.at >= record.began
                && event.at <= until
                && match event.what {
                    Arrived::Ready => false,
                    Arrived::Reset => true,
                    Arrived::Invalidated(other) => covers(other, target),
                }
        });
        if !arrives {
            return Some(Violation {
                promise: "a watch misses no invalidation",
                text: format!("replica {replica} did not announce {record}"),
                key: None,
                at: record.began,
            });
        }
    }
    None
}

/// Whether an event has the effect of an invalidation.
fn covers(event: Target, target: Target) -> bool {
    match (event, target) {
        (Target::Namespace(namespace), _) => namespace == target.namespace(),
        (
            Target::Tags { namespace, round, tags },
            Target::Tags { namespace: of_namespace, round: of_round, tags: of_tags },
        ) => namespace == of_namespace && round == of_round && tags & of_tags != 0,
        _ => event == target,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        checks::testing::{fault, invalidate, rules},
        history::Loss,
        names::SHOP,
    };

    const TARGET: Target = Target::Tags { namespace: SHOP, round: 0, tags: 1 };

    fn event(at: Micros, what: Arrived) -> WatchEvent {
        WatchEvent { replica: 0, at, what }
    }

    fn found(events: &[WatchEvent], faults: &[Fault]) -> bool {
        let records = [invalidate(100, 110, TARGET, Answer::Done)];
        check(events, &records, faults, &rules(), 1).is_some()
    }

    #[test]
    fn an_event_or_a_reset_must_arrive_in_time() {
        let ready = event(50, Arrived::Ready);
        let arrived = |at| event(at, Arrived::Invalidated(TARGET));
        assert!(!found(&[ready.clone(), arrived(105)], &[]));
        assert!(!found(&[ready.clone(), event(200, Arrived::Reset)], &[]));
        let all = Arrived::Invalidated(Target::Namespace(SHOP));
        assert!(!found(&[ready.clone(), event(120, all)], &[]));
        assert!(found(std::slice::from_ref(&ready), &[]));
        assert!(found(&[ready.clone(), arrived(211)], &[]));
        let other = Target::Tags { namespace: SHOP, round: 0, tags: 2 };
        assert!(found(&[ready, event(120, Arrived::Invalidated(other))], &[]));
    }

    #[test]
    fn nothing_is_promised_before_ready_and_during_a_fault_of_the_replica() {
        assert!(!found(&[], &[]));
        assert!(!found(&[event(50, Arrived::Ready), event(60, Arrived::Reset)], &[]));
        let stopped = [fault(Some(0), 90, 300, Loss::Nothing)];
        assert!(!found(&[event(50, Arrived::Ready)], &stopped));
    }
}
