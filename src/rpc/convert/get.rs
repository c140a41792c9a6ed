//! Get and BatchGet, and what all reads have in common.

use super::{Checked, value::entry_value};
use crate::{
    cache::{Consistency, Found, GetResult, Outcome, Tier},
    model::Violation,
    pb::{from_duration, v1 as pb},
};

/// The `x-cache*` and `cache-status` response metadata of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rpc) struct XCache {
    pub(in crate::rpc) outcome: &'static str,
    /// `cache-status`: a constant, so that a hit costs no allocation.
    pub(in crate::rpc) status: &'static str,
    pub(in crate::rpc) age_seconds: u64,
    pub(in crate::rpc) ttl_remaining_seconds: u64,
}

impl XCache {
    /// `x-cache` of a response without an entry.
    pub(in crate::rpc) const MISS: &'static str = "MISS";
    /// `cache-status` of a response without an entry, for which nothing was fetched.
    pub(in crate::rpc) const NOT_CACHED: &'static str = "Larder; detail=not-cached";

    pub(in crate::rpc) fn of(found: &Found) -> Self {
        let (outcome, status) = match found.outcome {
            Outcome::Hit => ("HIT", "Larder; hit"),
            Outcome::Stale => ("STALE", "Larder; hit; detail=stale"),
            Outcome::Negative => ("NEGATIVE", "Larder; hit; detail=negative"),
        };
        Self {
            outcome,
            status,
            age_seconds: found.age.as_secs(),
            ttl_remaining_seconds: found.ttl_remaining.as_secs(),
        }
    }
}

/// The consistency of a request. A level introduced by a later release is rejected, because
/// ignoring it would break its guarantee.
pub(in crate::rpc) fn consistency(consistency: i32) -> Checked<Consistency> {
    match pb::Consistency::try_from(consistency) {
        Ok(pb::Consistency::Unspecified) => Ok(Consistency::Near),
        Ok(pb::Consistency::Store) => Ok(Consistency::Store),
        Err(_) => {
            let description = format!("is {consistency}, which this server does not support");
            Err(Violation::new("consistency", description))
        }
    }
}

pub(in crate::rpc) fn get_response(result: GetResult) -> pb::GetResponse {
    let outcome = outcome(result.found.as_ref().map(|found| found.outcome)).into();
    let (value, entry) = result.found.map(value_and_info).unzip();
    let degraded = result.degraded;
    pb::GetResponse { outcome, value: value.flatten(), entry, degraded, ..Default::default() }
}

/// The result for one key of a batch. `degraded` is a field of the whole message.
pub(in crate::rpc) fn batch_get_result(result: GetResult) -> pb::BatchGetResult {
    let pb::GetResponse { outcome, value, entry, .. } = get_response(result);
    pb::BatchGetResult { outcome, value, entry, ..Default::default() }
}

pub(super) fn found(found: Found) -> pb::Found {
    let outcome = outcome(Some(found.outcome)).into();
    let (value, entry) = value_and_info(found);
    pb::Found { value, entry: Some(entry), outcome, ..Default::default() }
}

fn outcome(outcome: Option<Outcome>) -> pb::Outcome {
    match outcome {
        Some(Outcome::Hit) => pb::Outcome::Hit,
        Some(Outcome::Stale) => pb::Outcome::Stale,
        Some(Outcome::Negative) => pb::Outcome::Negative,
        None => pb::Outcome::Miss,
    }
}

pub(super) fn tier(tier: Tier) -> pb::Tier {
    match tier {
        Tier::Near => pb::Tier::Near,
        Tier::Store => pb::Tier::Store,
        Tier::Origin { .. } => pb::Tier::Origin,
    }
}

fn value_and_info(found: Found) -> (Option<pb::Value>, pb::EntryInfo) {
    let Found { entry, age, ttl_remaining, tier, outcome: _ } = found;
    let is_stored = !matches!(tier, Tier::Origin { is_stored: false });
    let info = pb::EntryInfo {
        version: if is_stored { entry.version.to_text() } else { String::new() },
        age: Some(from_duration(age)),
        ttl_remaining: Some(from_duration(ttl_remaining)),
        tags: entry.tags.to_vec(),
        tier: self::tier(tier).into(),
    };
    (entry_value(entry), info)
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Entry, Kind, Timestamp, Version};

    /// An entry with the text `v`, 1.5 s old and fresh for 2.5 s.
    pub(in crate::rpc::convert) fn found_text(outcome: Outcome, tier: Tier) -> Found {
        let kind = if outcome == Outcome::Negative { Kind::Negative } else { Kind::Text };
        let entry = Entry {
            kind,
            data: "v".into(),
            version: Version(255),
            created_at: Timestamp(0),
            fresh_until: Timestamp(4000),
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            revalidation_window: Duration::ZERO,
            tags: vec!["t".to_owned()].into(),
            fetch_metadata: None,
        };
        let (age, ttl_remaining) = (Duration::from_millis(1500), Duration::from_millis(2500));
        Found { entry, outcome, age, ttl_remaining, tier }
    }

    #[test]
    fn response_has_outcome_value_and_metadata_of_the_entry() {
        for (outcome, expected, name, status) in [
            (Outcome::Hit, pb::Outcome::Hit, "HIT", "Larder; hit"),
            (Outcome::Stale, pb::Outcome::Stale, "STALE", "Larder; hit; detail=stale"),
            (Outcome::Negative, pb::Outcome::Negative, "NEGATIVE", "Larder; hit; detail=negative"),
        ] {
            let found = found_text(outcome, Tier::Store);
            let x_cache =
                XCache { outcome: name, status, age_seconds: 1, ttl_remaining_seconds: 2 };
            assert_eq!(XCache::of(&found), x_cache);
            let response = get_response(GetResult { found: Some(found), degraded: false });
            assert_eq!((response.outcome(), response.degraded), (expected, false));
            assert_eq!(response.value.is_none(), outcome == Outcome::Negative);
            let info = response.entry.unwrap_or_default();
            assert_eq!(info.version, Version(255).to_text());
            assert_eq!((info.tags, info.tier), (vec!["t".to_owned()], pb::Tier::Store.into()));
        }
    }

    #[test]
    fn miss_has_neither_value_nor_metadata() {
        let response = get_response(GetResult { found: None, degraded: true });
        assert_eq!(response.outcome(), pb::Outcome::Miss);
        assert!(response.value.is_none() && response.entry.is_none() && response.degraded);
    }

    #[test]
    fn value_that_is_not_stored_has_no_version() {
        let fetched = |is_stored| {
            let found = found_text(Outcome::Hit, Tier::Origin { is_stored });
            let info = super::found(found).entry.unwrap_or_default();
            assert_eq!(info.tier(), pb::Tier::Origin);
            info.version
        };
        assert_eq!((fetched(true), fetched(false)), (Version(255).to_text(), String::new()));
    }

    #[test]
    fn unknown_consistency_is_rejected() {
        assert_eq!(consistency(0), Ok(Consistency::Near));
        assert_eq!(consistency(1), Ok(Consistency::Store));
        assert!(consistency(2).is_err_and(|violation| violation.field() == "consistency"));
    }
}
