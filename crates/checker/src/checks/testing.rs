//! Hand-made histories.

use crate::{
    checks::{KeyCheck, KeyHistory},
    history::{
        Answer, Call, Condition, Fault, Key, Loss, Micros, ReadKind, ReadValue, Record, Refusal,
        Rules, Target, Violation, WriteId,
    },
    names::SHOP,
};

pub(crate) const KEY: Key = Key { namespace: SHOP, number: 5 };
pub(crate) const TTL: Micros = 1_000;

/// Rules with short times: a margin of 10, a recovery of 10, a staleness window of 100 in the
/// namespace 3, near caches with 50 in the namespace 2.
pub(crate) fn rules() -> Rules {
    Rules {
        max_staleness: vec![0, 0, 50, 0, 0, 0],
        stale_window: vec![0, 0, 0, 100, 0, 0],
        deadline: 100,
        margin: 10,
        watch_delay: 100,
        recovery: 10,
        reapplied: 20,
    }
}

pub(crate) fn call(began: Micros, ended: Micros, call: Call, answer: Answer) -> Record {
    Record { client: 0, replica: 0, began, ended, call, answer }
}

pub(crate) fn through(replica: u8, record: Record) -> Record {
    Record { replica, ..record }
}

pub(crate) fn in_namespace(namespace: u8, record: Record) -> Record {
    let key = Key { namespace, ..KEY };
    let call = match record.call {
        Call::Read { kind, .. } => Call::Read { key, kind },
        Call::Write { write, ttl, tags, condition, .. } => {
            Call::Write { key, write, ttl, tags, condition }
        }
        Call::Invalidate(Target::Key(_)) => Call::Invalidate(Target::Key(key)),
        Call::Increment { .. } => Call::Increment { key },
        other => other,
    };
    let answer = match record.answer {
        Answer::Value(value) => Answer::Value(ReadValue {
            source: value.source.map(|(_, write)| (key, write)),
            ..value
        }),
        other => other,
    };
    Record { call, answer, ..record }
}

pub(crate) fn stored() -> Answer {
    Answer::Stored { ttl: TTL, version: 1 }
}

pub(crate) fn write(began: Micros, ended: Micros, id: WriteId, answer: Answer) -> Record {
    write_if(began, ended, id, Condition::Always, answer)
}

pub(crate) fn write_if(
    began: Micros,
    ended: Micros,
    id: WriteId,
    condition: Condition,
    answer: Answer,
) -> Record {
    let write = Call::Write { key: KEY, write: id, ttl: TTL, tags: 1, condition };
    call(began, ended, write, answer)
}

pub(crate) fn refused(refusal: Refusal) -> Answer {
    Answer::Refused(refusal)
}

pub(crate) fn read(began: Micros, ended: Micros, id: WriteId) -> Record {
    let value =
        ReadValue { source: Some((KEY, id)), is_stale: false, is_coalesced: false, version: id };
    read_answer(began, ended, Answer::Value(value))
}

pub(crate) fn read_answer(began: Micros, ended: Micros, answer: Answer) -> Record {
    call(began, ended, Call::Read { key: KEY, kind: ReadKind::Get }, answer)
}

pub(crate) fn delete(began: Micros, ended: Micros, answer: Answer) -> Record {
    invalidate(began, ended, Target::Key(KEY), answer)
}

pub(crate) fn invalidate(began: Micros, ended: Micros, target: Target, answer: Answer) -> Record {
    call(began, ended, Call::Invalidate(target), answer)
}

pub(crate) fn grant(began: Micros, ended: Micros, lease: u64, expires_in: Micros) -> Record {
    let answer = Answer::Granted { lease, expires_in, degraded: false, stale: None };
    call(began, ended, Call::Read { key: KEY, kind: ReadKind::GetOrFetch }, answer)
}

pub(crate) fn fault(replica: Option<u8>, began: Micros, ended: Micros, loss: Loss) -> Fault {
    Fault { name: "fault", replica, began, ended, loss, ends: None, quarantine: None }
}

/// The violation of a check in calls and faults.
pub(crate) fn violation(
    check: KeyCheck,
    records: &[Record],
    faults: &[Fault],
) -> Option<Violation> {
    let records: Vec<&Record> = records.iter().collect();
    let key = records.iter().find_map(|record| record.call.key()).unwrap_or(KEY);
    check(&KeyHistory { key, records, faults, emptied: &[], rules: &rules() })
}

#[track_caller]
pub(crate) fn good(check: KeyCheck, records: &[Record]) {
    assert_eq!(violation(check, records, &[]), None);
}

#[track_caller]
pub(crate) fn bad(check: KeyCheck, records: &[Record]) {
    assert!(violation(check, records, &[]).is_some());
}
