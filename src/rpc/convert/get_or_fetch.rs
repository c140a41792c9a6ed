//! GetOrFetch, FetchStream and BatchGetOrFetch.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
    time::Duration,
};

use tokio::time::Instant;

use super::{Checked, XCache, consistency, entry_key, get::found, non_negative};
use crate::{
    cache::{
        self, FetchMode, FetchStatus, FillOutcome, Found, GetOrFetchOutcome, GetOrFetchRequest,
        GetOrFetchResult, LeaseGuard, LeaseLoss, LeaseOffer,
    },
    model::{EntryKey, Violation},
    pb::{from_duration, v1 as pb},
    rpc::status,
};

type Params = BTreeMap<String, String>;

/// A response with its metadata.
pub(in crate::rpc) struct GetOrFetchReply {
    pub(in crate::rpc) response: pb::GetOrFetchResponse,
    /// The lease in the response, to be handed over when the response is sent.
    pub(in crate::rpc) lease: Option<GrantedLease>,
    pub(in crate::rpc) status: FetchReplyStatus,
}

/// The metadata of a reply.
pub(in crate::rpc) struct FetchReplyStatus {
    pub(in crate::rpc) x_cache: Option<XCache>,
    /// The `x-cache-fetch` metadata.
    pub(in crate::rpc) x_cache_fetch: Option<&'static str>,
    /// The `cache-status` metadata.
    pub(in crate::rpc) cache_status: &'static str,
}

/// A lease that is released unless it is handed over to the caller.
pub(in crate::rpc) struct GrantedLease {
    pub(in crate::rpc) guard: LeaseGuard,
    pub(in crate::rpc) expires_in: Duration,
}

pub(in crate::rpc) fn get_or_fetch_request(
    request: pb::GetOrFetchRequest,
    deadline: Option<Instant>,
) -> Checked<GetOrFetchRequest> {
    Ok(GetOrFetchRequest {
        key: entry_key(&request.namespace, &request.key, &request.params)?,
        params: shared(request.params),
        max_stale: non_negative("max_stale", request.max_stale)?,
        wait: non_negative("wait", request.wait)?,
        deadline,
        mode: mode(request.no_cache, request.only_if_cached)?,
        consistency: consistency(request.consistency)?,
    })
}

/// Most keys have no params: they share one empty map.
fn shared(params: Params) -> Arc<Params> {
    static EMPTY: LazyLock<Arc<Params>> = LazyLock::new(Arc::default);
    if params.is_empty() { EMPTY.clone() } else { Arc::new(params) }
}

/// Builds the requests for the keys of a batch from the fields that all keys share.
pub(in crate::rpc) fn get_or_fetch_template(
    request: &pb::BatchGetOrFetchRequest,
    deadline: Option<Instant>,
) -> Checked<impl Fn(EntryKey, Arc<Params>) -> GetOrFetchRequest + use<>> {
    let max_stale = non_negative("max_stale", request.max_stale)?;
    let wait = non_negative("wait", request.wait)?;
    let mode = mode(request.no_cache, request.only_if_cached)?;
    let consistency = consistency(request.consistency)?;
    Ok(move |key, params| GetOrFetchRequest {
        key,
        params,
        max_stale,
        wait,
        deadline,
        mode,
        consistency,
    })
}

fn mode(no_cache: bool, only_if_cached: bool) -> Checked<FetchMode> {
    match (no_cache, only_if_cached) {
        (false, false) => Ok(FetchMode::Normal),
        (true, false) => Ok(FetchMode::NoCache),
        (false, true) => Ok(FetchMode::OnlyIfCached),
        (true, true) => Err(Violation::new("only_if_cached", "cannot be combined with no_cache")),
    }
}

pub(in crate::rpc) fn get_or_fetch_reply(result: GetOrFetchResult) -> GetOrFetchReply {
    projected_reply(result, found)
}

/// A reply in which `found` converts the entry.
#[inline]
pub(in crate::rpc) fn projected_reply(
    result: GetOrFetchResult,
    found: impl FnOnce(Found) -> pb::Found,
) -> GetOrFetchReply {
    use pb::get_or_fetch_response::Outcome;
    let cache_status = cache_status(&result);
    let GetOrFetchResult { outcome, status, fill, degraded } = result;
    let mut lease = None;
    let (x_cache, outcome) = match outcome {
        GetOrFetchOutcome::Found(entry) => {
            let mut x_cache = XCache::of(&entry);
            if status.is_miss() {
                x_cache.outcome = XCache::MISS;
            }
            (Some(x_cache), Outcome::Found(found(entry)))
        }
        GetOrFetchOutcome::Lease(offer) => {
            let LeaseOffer { guard, expires_in, stale, stale_while_revalidate } = offer;
            let message = pb::Lease {
                token: guard.token().0.to_vec().into(),
                expires_in: Some(from_duration(expires_in)),
                stale: stale.map(found),
                stale_while_revalidate,
            };
            lease = Some(GrantedLease { guard, expires_in });
            (None, Outcome::Lease(message))
        }
        GetOrFetchOutcome::Contended { retry_after } => {
            let retry_after = Some(from_duration(retry_after));
            (None, Outcome::Contended(pb::Contended { retry_after }))
        }
        GetOrFetchOutcome::NotCached => (None, Outcome::NotCached(pb::NotCached {})),
    };
    let (fetch_status, x_cache_fetch) = fetch_status(&status);
    let response = pb::GetOrFetchResponse {
        outcome: Some(outcome),
        degraded,
        fetch_status: fetch_status.into(),
        fill: fill.map_or(pb::FillResult::Unspecified, fill_result).into(),
        cause: if let FetchStatus::Failed(Some(cause)) = status { cause } else { String::new() },
    };
    let status = FetchReplyStatus { x_cache, x_cache_fetch, cache_status };
    GetOrFetchReply { response, lease, status }
}

/// The answer in the terms of RFC 9211. They are constants, so that a hit costs no allocation: ages
/// and times are in the `x-cache-*` metadata.
fn cache_status(result: &GetOrFetchResult) -> &'static str {
    let is_stored = result.fill == Some(FillOutcome::Stored);
    match (&result.outcome, &result.status) {
        (GetOrFetchOutcome::Found(_), FetchStatus::Fetched) if is_stored => {
            "Larder; fwd=miss; stored"
        }
        (GetOrFetchOutcome::Found(_), FetchStatus::Fetched) => "Larder; fwd=miss",
        (GetOrFetchOutcome::Found(_), FetchStatus::Revalidated) => {
            "Larder; fwd=stale; fwd-status=304"
        }
        (GetOrFetchOutcome::Found(_), FetchStatus::Coalesced) => "Larder; fwd=miss; collapsed",
        (GetOrFetchOutcome::Found(_), FetchStatus::SoftTimeout) => {
            "Larder; hit; detail=soft-timeout"
        }
        (GetOrFetchOutcome::Found(_), FetchStatus::Failed(_)) => {
            "Larder; hit; detail=stale-if-error"
        }
        (GetOrFetchOutcome::Found(_), FetchStatus::Refreshing) => {
            "Larder; hit; detail=stale-while-revalidate"
        }
        (GetOrFetchOutcome::Found(found), FetchStatus::Read | FetchStatus::RefreshingEarly) => {
            XCache::of(found).status
        }
        (GetOrFetchOutcome::Lease(_), _) => "Larder; fwd=miss; detail=lease",
        (GetOrFetchOutcome::Contended { .. }, _) => "Larder; fwd=miss; detail=contended",
        (GetOrFetchOutcome::NotCached, _) => XCache::NOT_CACHED,
    }
}

/// The result for one key of a batch, and its lease, to be handed over when the result is sent.
pub(in crate::rpc) fn batch_get_or_fetch_result(
    result: Result<GetOrFetchResult, cache::Error>,
) -> (pb::BatchGetOrFetchResult, Option<LeaseGuard>) {
    projected_result(result, found)
}

/// As [`batch_get_or_fetch_result`], where `found` converts the entry.
pub(in crate::rpc) fn projected_result(
    result: Result<GetOrFetchResult, cache::Error>,
    found: impl FnOnce(Found) -> pb::Found,
) -> (pb::BatchGetOrFetchResult, Option<LeaseGuard>) {
    use pb::batch_get_or_fetch_result::Result as Pb;
    let (result, lease) = match result {
        Ok(result) => {
            let GetOrFetchReply { response, lease, .. } = projected_reply(result, found);
            (Pb::Answer(response), lease.map(|lease| lease.guard))
        }
        Err(error) => (Pb::Error(status::fetch_error(error)), None),
    };
    (pb::BatchGetOrFetchResult { result: Some(result) }, lease)
}

fn fetch_status(status: &FetchStatus) -> (pb::FetchStatus, Option<&'static str>) {
    match status {
        FetchStatus::Read => (pb::FetchStatus::Unspecified, None),
        FetchStatus::Fetched => (pb::FetchStatus::Fetched, Some("FETCHED")),
        FetchStatus::Revalidated => (pb::FetchStatus::Revalidated, Some("REVALIDATED")),
        FetchStatus::Coalesced => (pb::FetchStatus::Coalesced, Some("COALESCED")),
        FetchStatus::Refreshing => (pb::FetchStatus::Refreshing, Some("REFRESHING")),
        FetchStatus::RefreshingEarly => {
            (pb::FetchStatus::RefreshingEarly, Some("REFRESHING_EARLY"))
        }
        FetchStatus::SoftTimeout => (pb::FetchStatus::SoftTimeout, Some("SOFT_TIMEOUT")),
        FetchStatus::Failed(_) => (pb::FetchStatus::Failed, Some("FAILED")),
    }
}

fn fill_result(fill: FillOutcome) -> pb::FillResult {
    match fill {
        FillOutcome::Stored => pb::FillResult::Stored,
        FillOutcome::LeaseLost(LeaseLoss::Expired) => pb::FillResult::LeaseLost,
        FillOutcome::LeaseLost(LeaseLoss::Invalidated) => pb::FillResult::Invalidated,
        FillOutcome::LeaseLost(LeaseLoss::Superseded) => pb::FillResult::Superseded,
        FillOutcome::Uncacheable => pb::FillResult::Uncacheable,
        FillOutcome::NotStored { .. } => pb::FillResult::NotStored,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{super::get::tests::found_text, *};
    use crate::cache::{Outcome, Tier};
    use pb::get_or_fetch_response::Outcome as Pb;

    fn reply(answer: GetOrFetchOutcome) -> GetOrFetchReply {
        get_or_fetch_reply(answer.into())
    }

    #[test]
    fn no_cache_and_only_if_cached_exclude_each_other() {
        assert_eq!(mode(false, false), Ok(FetchMode::Normal));
        assert_eq!(mode(true, false), Ok(FetchMode::NoCache));
        assert_eq!(mode(false, true), Ok(FetchMode::OnlyIfCached));
        assert_eq!(mode(true, true).unwrap_err().field(), "only_if_cached");
    }

    #[test]
    fn request_keeps_params_for_the_origin() {
        let params = Params::from([("page".to_owned(), "2".to_owned())]);
        let request = pb::GetOrFetchRequest {
            namespace: "ns".to_owned(),
            key: "k".to_owned(),
            params: params.clone(),
            wait: Some(from_duration(Duration::ZERO)),
            ..pb::GetOrFetchRequest::default()
        };
        let request = get_or_fetch_request(request, None).unwrap();
        assert_eq!(*request.params, params);
        assert_eq!((request.wait, request.max_stale), (Some(Duration::ZERO), None));
    }

    #[test]
    fn metadata_names_the_fetch_status_like_the_proto() {
        for status in [
            FetchStatus::Fetched,
            FetchStatus::Revalidated,
            FetchStatus::Coalesced,
            FetchStatus::Refreshing,
            FetchStatus::RefreshingEarly,
            FetchStatus::SoftTimeout,
            FetchStatus::Failed(Some("cause".to_owned())),
        ] {
            let answer = GetOrFetchOutcome::Found(found_text(Outcome::Hit, Tier::Store));
            let reply = get_or_fetch_reply(GetOrFetchResult { status, ..answer.into() });
            let name = reply.response.fetch_status().as_str_name();
            assert_eq!(name.strip_prefix("FETCH_STATUS_"), reply.status.x_cache_fetch);
            assert_eq!(reply.response.cause.is_empty(), name != "FETCH_STATUS_FAILED");
        }
        assert_eq!(fetch_status(&FetchStatus::Read), (pb::FetchStatus::Unspecified, None));
    }

    #[test]
    fn a_value_that_was_fetched_or_waited_for_is_a_miss_in_the_metadata() {
        let metadata = |outcome, status, fill| {
            let answer = GetOrFetchOutcome::Found(found_text(outcome, Tier::Store));
            let reply = get_or_fetch_reply(GetOrFetchResult { status, fill, ..answer.into() });
            (reply.status.x_cache.unwrap().outcome, reply.status.cache_status)
        };
        let (hit, stale, negative) = (Outcome::Hit, Outcome::Stale, Outcome::Negative);
        let stored = Some(FillOutcome::Stored);
        for (outcome, status, fill, expected) in [
            (hit, FetchStatus::Read, None, ("HIT", "Larder; hit")),
            (hit, FetchStatus::RefreshingEarly, None, ("HIT", "Larder; hit")),
            (negative, FetchStatus::Read, None, ("NEGATIVE", "Larder; hit; detail=negative")),
            (hit, FetchStatus::Fetched, stored, ("MISS", "Larder; fwd=miss; stored")),
            (negative, FetchStatus::Fetched, None, ("MISS", "Larder; fwd=miss")),
            (hit, FetchStatus::Revalidated, stored, ("MISS", "Larder; fwd=stale; fwd-status=304")),
            (hit, FetchStatus::Coalesced, None, ("MISS", "Larder; fwd=miss; collapsed")),
            (
                stale,
                FetchStatus::Refreshing,
                None,
                ("STALE", "Larder; hit; detail=stale-while-revalidate"),
            ),
            (stale, FetchStatus::SoftTimeout, None, ("STALE", "Larder; hit; detail=soft-timeout")),
            (
                stale,
                FetchStatus::Failed(None),
                None,
                ("STALE", "Larder; hit; detail=stale-if-error"),
            ),
        ] {
            assert_eq!(metadata(outcome, status.clone(), fill), expected, "{status:?}");
        }
    }

    #[test]
    fn only_an_entry_has_cache_metadata() {
        let found = reply(GetOrFetchOutcome::Found(found_text(Outcome::Stale, Tier::Store)));
        assert_eq!(found.status.x_cache.unwrap().outcome, "STALE");
        assert!(matches!(found.response.outcome, Some(Pb::Found(_))));
        let not_cached = reply(GetOrFetchOutcome::NotCached);
        assert!(not_cached.status.x_cache.is_none());
        assert!(matches!(not_cached.response.outcome, Some(Pb::NotCached(_))));
        let retry_after = Duration::from_millis(10);
        let contended = reply(GetOrFetchOutcome::Contended { retry_after });
        assert!(contended.status.x_cache.is_none() && contended.lease.is_none());
        let expected = pb::Contended { retry_after: Some(from_duration(retry_after)) };
        assert_eq!(contended.response.outcome, Some(Pb::Contended(expected)));
    }

    #[test]
    fn error_of_one_key_has_a_reason() {
        let (result, lease) = batch_get_or_fetch_result(Err(cache::Error::ShuttingDown));
        assert!(lease.is_none());
        let Some(pb::batch_get_or_fetch_result::Result::Error(error)) = result.result else {
            panic!("{result:?}")
        };
        assert_eq!((error.reason.as_str(), error.retry_after), ("INTERNAL", None));
    }
}
