//! Parts of the answer to a GetOrFetch that tests look at.
#![allow(clippy::wildcard_enum_match_arm)]

use std::time::Duration;

use crate::cache::{FetchStatus, Found, GetOrFetchOutcome, GetOrFetchResult, LeaseOffer, Outcome};

pub(in crate::cache) fn found(result: &GetOrFetchResult) -> &Found {
    match &result.outcome {
        GetOrFetchOutcome::Found(found) => found,
        other => panic!("nothing is found: {other:?}"),
    }
}

/// The value and its state.
pub(in crate::cache) fn value(result: &GetOrFetchResult) -> (&str, Outcome) {
    let found = found(result);
    (std::str::from_utf8(&found.entry.data).unwrap(), found.outcome)
}

/// The value, its state, and what was done for it.
pub(in crate::cache) fn seen(result: &GetOrFetchResult) -> (&str, Outcome, FetchStatus) {
    let (value, outcome) = value(result);
    (value, outcome, result.status.clone())
}

pub(in crate::cache) fn retry_after(result: &GetOrFetchResult) -> Duration {
    match &result.outcome {
        GetOrFetchOutcome::Contended { retry_after } => *retry_after,
        other => panic!("not contended: {other:?}"),
    }
}

pub(in crate::cache) fn lease(result: GetOrFetchResult) -> LeaseOffer {
    match result.outcome {
        GetOrFetchOutcome::Lease(offer) => offer,
        other => panic!("no lease: {other:?}"),
    }
}

pub(in crate::cache) fn is_not_cached(result: &GetOrFetchResult) -> bool {
    matches!(result.outcome, GetOrFetchOutcome::NotCached)
}
