//! Requests from calls, and answers from responses.

use std::{
    error::Error as _,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use larder::pb::v1::{
    Durability, EntryInfo, FetchStatus, GetOrFetchResponse, InvalidateRequest, KeyRef, Outcome,
    PatternTarget, SetRequest, SetResponse, SetResult, TagTarget, Target as PbTarget, Value,
    get_or_fetch_response::Outcome as Fetched, set_request, target, value::Kind,
};
use tonic::{Code, Status};

use crate::{
    history::{Answer, Failure, Key, Micros, ReadValue, Refusal, TagSet, Target, Version},
    names::{NAMESPACES, glob, key_name, parse_value, tag_names, value},
};

pub(crate) fn namespace(key: Key) -> String {
    NAMESPACES[usize::from(key.namespace)].to_owned()
}

pub(crate) fn key_ref(key: Key) -> KeyRef {
    KeyRef { namespace: namespace(key), key: key_name(key), ..KeyRef::default() }
}

pub(crate) fn duration(micros: Micros) -> Option<prost_types::Duration> {
    let nanos = i32::try_from(micros % 1_000_000).unwrap() * 1000;
    Some(prost_types::Duration { seconds: i64::try_from(micros / 1_000_000).unwrap(), nanos })
}

pub(crate) fn micros(duration: Option<prost_types::Duration>) -> Micros {
    let duration = duration.unwrap_or_default();
    let seconds = u64::try_from(duration.seconds).unwrap_or_default();
    seconds * 1_000_000 + u64::try_from(duration.nanos / 1000).unwrap_or_default()
}

pub(crate) fn set_request(
    key: Key,
    write: u64,
    ttl: Micros,
    tags: TagSet,
    condition: Option<set_request::Condition>,
) -> SetRequest {
    let text = Value { kind: Some(Kind::Text(value(key, write).into())) };
    SetRequest {
        namespace: namespace(key),
        key: key_name(key),
        value: Some(text),
        ttl: duration(ttl),
        tags: tag_names(key.round(), tags),
        condition,
        ..SetRequest::default()
    }
}

/// A request for the target, which is not a key.
pub(crate) fn invalidate_request(of: Target) -> InvalidateRequest {
    let namespace = NAMESPACES[usize::from(of.namespace())].to_owned();
    let target = match of {
        Target::Tags { round, tags, .. } => {
            target::Target::Tags(TagTarget { namespace, tags: tag_names(round, tags) })
        }
        Target::Group { round, group, .. } => {
            target::Target::Pattern(PatternTarget { namespace, glob: glob(round, group) })
        }
        Target::Key(key) => target::Target::Key(key_ref(key)),
        Target::Namespace(_) => target::Target::Namespace(namespace),
    };
    InvalidateRequest {
        targets: vec![PbTarget { target: Some(target) }],
        ..InvalidateRequest::default()
    }
}

pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

pub(crate) fn version(text: &str) -> Version {
    hash(text.as_bytes())
}

/// The answer of a read, from its parts.
pub(crate) fn read_answer(
    outcome: Outcome,
    value: Option<&Value>,
    entry: Option<&EntryInfo>,
    degraded: bool,
    is_coalesced: bool,
) -> Answer {
    match outcome {
        Outcome::Hit | Outcome::Stale => {
            let text = match value.and_then(|value| value.kind.as_ref()) {
                Some(Kind::Text(text)) => std::str::from_utf8(text).unwrap_or_default(),
                _ => "",
            };
            Answer::Value(ReadValue {
                source: parse_value(text),
                is_stale: outcome == Outcome::Stale,
                is_coalesced,
                version: version(entry.map_or("", |entry| entry.version.as_str())),
            })
        }
        Outcome::Miss | Outcome::Negative | Outcome::Unspecified => Answer::Miss { degraded },
    }
}

pub(crate) fn fetched(response: &GetOrFetchResponse) -> Answer {
    let is_coalesced = response.fetch_status() == FetchStatus::Coalesced;
    let degraded = response.degraded;
    match &response.outcome {
        Some(Fetched::Found(found)) => read_answer(
            found.outcome(),
            found.value.as_ref(),
            found.entry.as_ref(),
            degraded,
            is_coalesced,
        ),
        Some(Fetched::Lease(lease)) => {
            let stale = lease.stale.as_ref().map(|found| {
                let (value, entry) = (found.value.as_ref(), found.entry.as_ref());
                read_answer(found.outcome(), value, entry, false, false)
            });
            let stale = match stale {
                Some(Answer::Value(value)) => Some(value),
                _ => None,
            };
            Answer::Granted {
                lease: hash(&lease.token),
                expires_in: micros(lease.expires_in),
                degraded,
                stale,
            }
        }
        Some(Fetched::Contended(_)) => Answer::Contended,
        Some(Fetched::NotCached(_)) | None => Answer::Miss { degraded },
    }
}

pub(crate) fn set_answer(response: &SetResponse) -> Answer {
    match response.result() {
        SetResult::Stored => {
            Answer::Stored { ttl: micros(response.ttl), version: version(&response.version) }
        }
        SetResult::ConditionNotMet => Answer::Refused(Refusal::ConditionNotMet),
        SetResult::LeaseLost => Answer::Refused(Refusal::LeaseLost),
        SetResult::Invalidated => Answer::Refused(Refusal::Invalidated),
        SetResult::Superseded => Answer::Refused(Refusal::Superseded),
        SetResult::NotStored | SetResult::Unspecified => {
            Answer::NotStored { degraded: response.degraded }
        }
    }
}

/// The answer of an invalidation.
pub(crate) fn invalidated(durability: Durability) -> Answer {
    match durability {
        Durability::Applied => Answer::Done,
        Durability::Queued => Answer::Queued,
        Durability::Unspecified => Answer::Failed(Failure::Other("no durability".into())),
    }
}

/// Why a call has no answer. Every error of Larder has details; one of the connection has none.
pub(crate) fn failure(status: &Status) -> Failure {
    let has =
        |reason: &str| status.details().windows(reason.len()).any(|part| part == reason.as_bytes());
    match status.code() {
        Code::DeadlineExceeded => Failure::Deadline,
        Code::Cancelled if status.message().contains("Timeout") => Failure::Deadline,
        Code::ResourceExhausted => Failure::Overloaded,
        Code::Unavailable if has("STORE_UNAVAILABLE") => Failure::StoreUnavailable,
        _ if has("SHUTTING_DOWN") => Failure::ShuttingDown,
        _ if status.details().is_empty() => {
            Failure::Connection(format!("{}: {}", status.message(), causes(status)).into())
        }
        _ => Failure::Other(format!("{}: {}", status.code(), status.message()).into()),
    }
}

/// Whether the replica has certainly not begun the call: a client that follows GOAWAY repeats it.
pub(crate) fn was_refused(status: &Status) -> bool {
    let text = causes(status);
    // The last one is a call that was not sent: its connection was closed before.
    ["REFUSED_STREAM", "ConnectError", "ConnectionRefused", "NO_ERROR", "hyper::Error(Canceled"]
        .iter()
        .any(|reason| text.contains(reason))
}

fn causes(status: &Status) -> String {
    let mut cause = status.source();
    let mut text = String::new();
    while let Some(error) = cause {
        text.push_str(&format!("{error:?} "));
        cause = error.source();
    }
    text
}
