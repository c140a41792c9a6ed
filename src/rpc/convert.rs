//! From messages to what they mean, and back. After this no invalid input exists.

pub(super) mod get_or_fetch;
pub(super) mod stats;

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use prost_types::Duration as PbDuration;

use crate::{
    cache::{
        Consistency, Found, GetResult, Outcome, SetCommand, SetMode, SetOutcome, SetResult, Tier,
    },
    model::{
        Entry, EntryKey, Kind, MAX_TAG_BYTES, MAX_TAGS, Namespace, SaturatingFrom as _, Tags,
        Version, Violation,
    },
    pb::v1 as pb,
    stats::registry::OTHER,
    store::{Condition, LeaseLoss, LeaseToken},
};

const MAX_REASON_BYTES: usize = 256;

type Checked<T> = Result<T, Violation>;

// === requests ===

pub(super) fn key(
    namespace: &str,
    key: &str,
    params: &BTreeMap<String, String>,
) -> Checked<EntryKey> {
    EntryKey::new(Namespace::new(namespace)?, key, pairs(params))
}

/// Keys of a batch are often of one namespace, which then need not be checked again for each: `before` is that of the last one.
pub(super) fn key_ref(named: &pb::KeyRef, before: Option<&Namespace>) -> Checked<EntryKey> {
    let namespace = match before {
        Some(namespace) if namespace.as_str() == named.namespace => namespace.clone(),
        _ => Namespace::new(&named.namespace)?,
    };
    EntryKey::new(namespace, &named.key, pairs(&named.params))
}

fn pairs(params: &BTreeMap<String, String>) -> impl ExactSizeIterator<Item = (&str, &str)> {
    params.iter().map(|(name, value)| (name.as_str(), value.as_str()))
}

/// A duration that may be zero.
pub(super) fn non_negative(
    field: &'static str,
    duration: Option<PbDuration>,
) -> Checked<Option<Duration>> {
    match duration.map(crate::pb::duration) {
        Some(None) => Err(Violation::new(field, "must not be negative")),
        other => Ok(other.flatten()),
    }
}

/// How recent an answer must be. What a later release may demand cannot be kept here, and is not ignored.
pub(super) fn consistency(consistency: i32) -> Checked<Consistency> {
    match pb::Consistency::try_from(consistency) {
        Ok(pb::Consistency::Unspecified) => Ok(Consistency::Near),
        Ok(pb::Consistency::Store) => Ok(Consistency::Store),
        Err(_) => Err(Violation::new("consistency", "is not known to this server")),
    }
}

/// A duration that must be positive.
pub(super) fn ttl(duration: Option<PbDuration>) -> Checked<Option<Duration>> {
    match duration.map(crate::pb::duration) {
        None => Ok(None),
        Some(Some(ttl)) if !ttl.is_zero() => Ok(Some(ttl)),
        Some(_) => Err(Violation::new(
            "ttl",
            "must be positive; leave it unset for the namespace's default",
        )),
    }
}

/// The lease that a token names; none if no token looks like this. What is opaque to callers cannot be malformed.
pub(super) fn token(token: &[u8]) -> Option<LeaseToken> {
    token.try_into().ok().map(LeaseToken)
}

pub(super) fn required_token(lease_token: &[u8]) -> Checked<Option<LeaseToken>> {
    if lease_token.is_empty() {
        Err(Violation::new("lease_token", "must be set"))
    } else {
        Ok(token(lease_token))
    }
}

pub(super) fn reason(reason: &str) -> Checked<&str> {
    if reason.len() > MAX_REASON_BYTES {
        let description =
            format!("is {} bytes long, the limit is {MAX_REASON_BYTES}", reason.len());
        return Err(Violation::over_limit("reason", description, MAX_REASON_BYTES));
    }
    Ok(reason)
}

/// The value for a key under a lease.
pub(super) fn fill(key: EntryKey, fill: pb::FetchStreamFill, mode: SetMode) -> Checked<SetCommand> {
    let (kind, data) = value(fill.value)?;
    Ok(SetCommand { key, kind, data, ttl: ttl(fill.ttl)?, tags: tags(fill.tags)?, mode })
}

pub(super) fn set(request: pb::SetRequest) -> Checked<SetCommand> {
    let key = key(&request.namespace, &request.key, &request.params)?;
    let (kind, data) = value(request.value)?;
    Ok(SetCommand {
        key,
        kind,
        data,
        ttl: ttl(request.ttl)?,
        tags: tags(request.tags)?,
        mode: mode(request.condition, &request.lease_token)?,
    })
}

fn value(value: Option<pb::Value>) -> Checked<(Kind, Bytes)> {
    match value.and_then(|value| value.kind) {
        Some(pb::value::Kind::Data(data)) => Ok((Kind::Bytes, data)),
        Some(pb::value::Kind::Text(text)) => Ok((Kind::Text, text.into())),
        Some(pb::value::Kind::Json(json)) => Ok((Kind::Json, json.into())),
        None => Err(Violation::new("value", "must be set, with one of data, text and json")),
    }
}

fn tags(mut tags: Vec<String>) -> Checked<Tags> {
    if tags.len() > MAX_TAGS {
        let description = format!("has {} elements, the limit is {MAX_TAGS}", tags.len());
        return Err(Violation::over_limit("tags", description, MAX_TAGS));
    }
    for (place, tag) in tags.iter().enumerate() {
        let element = |violation: Violation| Err(violation.within(&format!("tags[{place}]")));
        if tag.is_empty() {
            return element(Violation::new("", "must not be empty"));
        }
        if tag.len() > MAX_TAG_BYTES {
            let description = format!("is {} bytes long, the limit is {MAX_TAG_BYTES}", tag.len());
            return element(Violation::over_limit("", description, MAX_TAG_BYTES));
        }
    }
    tags.sort_unstable();
    tags.dedup();
    Ok(tags.into())
}

fn mode(condition: Option<pb::set_request::Condition>, lease_token: &[u8]) -> Checked<SetMode> {
    use pb::set_request::Condition as Pb;
    if !lease_token.is_empty() {
        if condition.is_some() {
            return Err(Violation::new("lease_token", "cannot be combined with a condition"));
        }
        return Ok(token(lease_token).map_or(SetMode::UnderUnknownLease, SetMode::Under));
    }
    let condition = match condition {
        None => Condition::Always,
        Some(Pb::IfAbsent(true)) => Condition::IfAbsent,
        Some(Pb::IfPresent(true)) => Condition::IfPresent,
        Some(Pb::IfAbsent(false)) => {
            return Err(Violation::new("if_absent", "must be true when set"));
        }
        Some(Pb::IfPresent(false)) => {
            return Err(Violation::new("if_present", "must be true when set"));
        }
        Some(Pb::IfVersion(version)) if version.is_empty() => {
            return Err(Violation::new("if_version", "must not be empty when set"));
        }
        Some(Pb::IfVersion(version)) => match Version::parse(&version) {
            Some(version) => Condition::IfVersion(version),
            None => return Ok(SetMode::OnUnknownVersion),
        },
    };
    Ok(SetMode::On(condition))
}

/// Namespaces to report on; what cannot be told apart has a name that no namespace has.
pub(super) fn reported(namespaces: &[String]) -> Checked<()> {
    for (place, name) in namespaces.iter().enumerate().filter(|(_, name)| *name != OTHER) {
        Namespace::new(name)
            .map_err(|violation| violation.renamed(format!("namespaces[{place}]")))?;
    }
    Ok(())
}

/// The number of parts of a batch.
pub(super) fn batch_size(field: &'static str, size: usize, limit: usize) -> Checked<()> {
    if size == 0 {
        return Err(Violation::new(field, "must not be empty"));
    }
    if size > limit {
        return Err(Violation::over_limit(
            field,
            format!("has {size} elements, the limit is {limit}"),
            limit,
        ));
    }
    Ok(())
}

// === responses ===

pub(super) fn duration(duration: Duration) -> PbDuration {
    PbDuration {
        seconds: i64::saturating_from(duration.as_secs()),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

pub(super) fn outcome(outcome: Option<Outcome>) -> pb::Outcome {
    match outcome {
        Some(Outcome::Hit) => pb::Outcome::Hit,
        Some(Outcome::Stale) => pb::Outcome::Stale,
        Some(Outcome::Negative) => pb::Outcome::Negative,
        None => pb::Outcome::Miss,
    }
}

/// Name of an outcome in response metadata and logs.
pub(super) fn outcome_name(outcome: Option<Outcome>) -> &'static str {
    match outcome {
        Some(Outcome::Hit) => "HIT",
        Some(Outcome::Stale) => "STALE",
        Some(Outcome::Negative) => "NEGATIVE",
        None => "MISS",
    }
}

/// What the response metadata say of an entry: outcome, age and remaining TTL, the latter in whole seconds.
pub(super) type XCache = (&'static str, u64, u64);

pub(super) fn x_cache(found: &Found) -> XCache {
    (outcome_name(Some(found.outcome)), found.age.as_secs(), found.ttl_remaining.as_secs())
}

/// The value of an entry, if it has one, and what is known of it.
pub(super) fn value_and_info(found: Found) -> (Option<pb::Value>, pb::EntryInfo) {
    let Found { entry, age, ttl_remaining, tier, outcome: _ } = found;
    let (tier, is_stored) = match tier {
        Tier::Near => (pb::Tier::Near, true),
        Tier::Store => (pb::Tier::Store, true),
        Tier::Origin { is_stored } => (pb::Tier::Origin, is_stored),
    };
    let info = pb::EntryInfo {
        version: if is_stored { entry.version.to_text() } else { String::new() },
        age: Some(duration(age)),
        ttl_remaining: Some(duration(ttl_remaining)),
        tags: entry.tags.to_vec(),
        tier: tier.into(),
    };
    (stored_value(entry), info)
}

fn stored_value(entry: Entry) -> Option<pb::Value> {
    // What was stored as text was UTF-8; what Redis holds may since have been changed by somebody else.
    let text = |data: Bytes| String::from_utf8(data.into());
    let kind = match entry.kind {
        Kind::Bytes => pb::value::Kind::Data(entry.data),
        Kind::Text => text(entry.data).map_or_else(
            |broken| pb::value::Kind::Data(broken.into_bytes().into()),
            pb::value::Kind::Text,
        ),
        Kind::Json => text(entry.data).map_or_else(
            |broken| pb::value::Kind::Data(broken.into_bytes().into()),
            pb::value::Kind::Json,
        ),
        Kind::Negative => return None,
    };
    Some(pb::Value { kind: Some(kind) })
}

pub(super) fn value_bytes(value: &pb::Value) -> usize {
    match &value.kind {
        Some(pb::value::Kind::Data(data)) => data.len(),
        Some(pb::value::Kind::Text(text) | pb::value::Kind::Json(text)) => text.len(),
        None => 0,
    }
}

pub(super) fn found(found: Found) -> pb::Found {
    let outcome = outcome(Some(found.outcome)).into();
    let (value, entry) = value_and_info(found);
    pb::Found { value, entry: Some(entry), outcome }
}

pub(super) fn get_response(read: GetResult) -> pb::GetResponse {
    let outcome = outcome(read.found.as_ref().map(|found| found.outcome)).into();
    let (value, entry) = read.found.map(value_and_info).unzip();
    pb::GetResponse { outcome, value: value.flatten(), entry, degraded: read.degraded }
}

pub(super) fn batch_get_result(read: GetResult) -> pb::BatchGetResult {
    let pb::GetResponse { outcome, value, entry, degraded: _ } = get_response(read);
    pb::BatchGetResult { outcome, value, entry }
}

pub(super) fn set_response(result: SetResult) -> pb::SetResponse {
    let (version, ttl) = match result.outcome {
        SetOutcome::Stored { version, ttl } => (version.to_text(), Some(duration(ttl))),
        SetOutcome::ConditionNotMet | SetOutcome::LeaseLost(_) | SetOutcome::NotStored => {
            (String::new(), None)
        }
    };
    pb::SetResponse {
        result: set_result(result.outcome).into(),
        version,
        ttl,
        degraded: result.degraded,
    }
}

fn set_result(result: SetOutcome) -> pb::SetResult {
    match result {
        SetOutcome::Stored { .. } => pb::SetResult::Stored,
        SetOutcome::ConditionNotMet => pb::SetResult::ConditionNotMet,
        SetOutcome::LeaseLost(LeaseLoss::Expired) => pb::SetResult::LeaseLost,
        SetOutcome::LeaseLost(LeaseLoss::Invalidated) => pb::SetResult::Invalidated,
        SetOutcome::LeaseLost(LeaseLoss::Superseded) => pb::SetResult::Superseded,
        SetOutcome::NotStored => pb::SetResult::NotStored,
    }
}

/// Name of what became of a Set, for logs.
pub(super) fn set_result_name(result: SetOutcome) -> &'static str {
    match result {
        SetOutcome::Stored { .. } => "STORED",
        SetOutcome::ConditionNotMet => "CONDITION_NOT_MET",
        SetOutcome::LeaseLost(LeaseLoss::Expired) => "LEASE_LOST",
        SetOutcome::LeaseLost(LeaseLoss::Invalidated) => "INVALIDATED",
        SetOutcome::LeaseLost(LeaseLoss::Superseded) => "SUPERSEDED",
        SetOutcome::NotStored => "NOT_STORED",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn pb_duration(seconds: i64, nanos: i32) -> Option<PbDuration> {
        Some(PbDuration { seconds, nanos })
    }

    #[test]
    fn a_ttl_is_positive_or_unset() {
        assert_eq!(ttl(None).unwrap(), None);
        assert_eq!(ttl(pb_duration(0, 1)).unwrap(), Some(Duration::from_nanos(1)));
        for (seconds, nanos) in [(0, 0), (-1, 0), (0, -1), (i64::MIN, i32::MIN)] {
            assert_eq!(ttl(pb_duration(seconds, nanos)).unwrap_err().field(), "ttl");
        }
        assert!(ttl(pb_duration(i64::MAX, 999_999_999)).is_ok());
        assert!(ttl(pb_duration(1, i32::MAX)).is_err());
    }

    #[test]
    fn zero_is_a_wait_and_a_staleness() {
        assert_eq!(non_negative("wait", pb_duration(0, 0)).unwrap(), Some(Duration::ZERO));
        assert_eq!(non_negative("wait", pb_duration(0, -5)).unwrap_err().field(), "wait");
    }

    #[test]
    fn tags_are_sorted_bounded_and_named_when_wrong() {
        let sorted = tags(["b", "a", "b"].map(str::to_owned).to_vec()).unwrap();
        assert_eq!(*sorted, ["a".to_owned(), "b".to_owned()]);
        assert_eq!(tags(vec!["t".to_owned(); 33]).unwrap_err().limit(), Some(32));
        assert_eq!(tags(vec!["a".to_owned(), String::new()]).unwrap_err().field(), "tags[1]");
        let violation = tags(vec!["t".repeat(129)]).unwrap_err();
        assert_eq!((violation.field(), violation.limit()), ("tags[0]", Some(128)));
    }

    #[test]
    fn a_lease_and_a_condition_exclude_each_other() {
        use pb::set_request::Condition as Pb;
        assert_eq!(mode(Some(Pb::IfAbsent(true)), &[0; 16]).unwrap_err().field(), "lease_token");
        assert_eq!(mode(None, &[0; 15]).unwrap(), SetMode::UnderUnknownLease);
        assert_eq!(required_token(&[]).unwrap_err().field(), "lease_token");
        assert_eq!(mode(Some(Pb::IfAbsent(false)), &[]).unwrap_err().field(), "if_absent");
        assert_eq!(
            mode(Some(Pb::IfVersion("x".to_owned())), &[]).unwrap(),
            SetMode::OnUnknownVersion
        );
        assert_eq!(
            mode(Some(Pb::IfVersion(String::new())), &[]).unwrap_err().field(),
            "if_version"
        );
        let version = Version(255);
        let condition = mode(Some(Pb::IfVersion(version.to_text())), &[]).unwrap();
        assert_eq!(condition, SetMode::On(Condition::IfVersion(version)));
    }
}
