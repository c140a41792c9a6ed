//! GetOrFetchResult in its three forms, from messages to what they mean and back.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
    time::Duration,
};

use tokio::time::Instant;

use super::super::{convert, status};
use crate::{
    cache::{
        self, FetchMode, FetchStatus, FillOutcome, GetOrFetchOutcome, GetOrFetchRequest,
        GetOrFetchResult,
    },
    model::{EntryKey, Violation, millis_ceil},
    pb::v1 as pb,
};

type Params = BTreeMap<String, String>;

/// What the response metadata say of an answer beside what they say of an entry.
pub(in crate::rpc) struct Told {
    pub(in crate::rpc) response: pb::GetOrFetchResponse,
    pub(in crate::rpc) x_cache: Option<convert::XCache>,
    pub(in crate::rpc) x_cache_fetch: Option<&'static str>,
}

pub(in crate::rpc) fn request(
    request: pb::GetOrFetchRequest,
    deadline: Option<Instant>,
) -> Result<GetOrFetchRequest, Violation> {
    Ok(GetOrFetchRequest {
        key: convert::key(&request.namespace, &request.key, &request.params)?,
        params: shared(request.params),
        max_stale: convert::non_negative("max_stale", request.max_stale)?,
        wait: convert::non_negative("wait", request.wait)?,
        deadline,
        mode: mode(request.no_cache, request.only_if_cached)?,
        consistency: convert::consistency(request.consistency)?,
    })
}

/// Most keys have no params, and then there is nothing to allocate.
fn shared(params: Params) -> Arc<Params> {
    static NONE: LazyLock<Arc<Params>> = LazyLock::new(Arc::default);
    if params.is_empty() { NONE.clone() } else { Arc::new(params) }
}

/// What holds for all keys of a batch.
pub(in crate::rpc) fn batch_request(
    request: &pb::BatchGetOrFetchRequest,
    deadline: Option<Instant>,
) -> Result<impl Fn(EntryKey, Arc<Params>) -> GetOrFetchRequest + use<>, Violation> {
    let max_stale = convert::non_negative("max_stale", request.max_stale)?;
    let wait = convert::non_negative("wait", request.wait)?;
    let mode = mode(request.no_cache, request.only_if_cached)?;
    let consistency = convert::consistency(request.consistency)?;
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

fn mode(no_cache: bool, only_if_cached: bool) -> Result<FetchMode, Violation> {
    match (no_cache, only_if_cached) {
        (false, false) => Ok(FetchMode::Normal),
        (true, false) => Ok(FetchMode::NoCache),
        (false, true) => Ok(FetchMode::OnlyIfCached),
        (true, true) => Err(Violation::new("only_if_cached", "cannot be combined with no_cache")),
    }
}

/// The answer, with a lease handed over to the caller.
pub(in crate::rpc) fn response(fetched: GetOrFetchResult) -> Told {
    respond(fetched, |offer| lease(offer.grant.hand_over().0, offer.expires_in, offer.stale))
}

/// The answer, with `lease` in the place of an offer.
pub(in crate::rpc) fn respond(
    fetched: GetOrFetchResult,
    lease: impl FnOnce(cache::LeaseOffer) -> pb::Lease,
) -> Told {
    use pb::get_or_fetch_response::Outcome;
    let GetOrFetchResult { answer, status, fill, degraded } = fetched;
    let (x_cache, outcome) = match answer {
        GetOrFetchOutcome::Found(found) => {
            (Some(convert::x_cache(&found)), Outcome::Found(convert::found(found)))
        }
        GetOrFetchOutcome::Lease(offer) => (None, Outcome::Lease(lease(offer))),
        GetOrFetchOutcome::Contended { retry_after } => (
            None,
            Outcome::Contended(pb::Contended { retry_after: Some(convert::duration(retry_after)) }),
        ),
        GetOrFetchOutcome::Missing => (None, Outcome::NotCached(pb::NotCached {})),
    };
    let (fetch_status, x_cache_fetch) = fetch_status(&status);
    let response = pb::GetOrFetchResponse {
        outcome: Some(outcome),
        degraded,
        fetch_status: fetch_status.into(),
        fill: fill.map_or(pb::FillResult::Unspecified, fill_result).into(),
        cause: if let FetchStatus::Failed(cause) = status { cause } else { String::new() },
    };
    Told { response, x_cache, x_cache_fetch }
}

pub(in crate::rpc) fn lease(
    token: [u8; 16],
    expires_in: Duration,
    stale: Option<cache::Found>,
) -> pb::Lease {
    pb::Lease {
        token: token.to_vec().into(),
        expires_in: Some(convert::duration(expires_in)),
        stale: stale.map(convert::found),
    }
}

/// What one key of a batch came to, and the lease that is to be handed over with it.
pub(in crate::rpc) fn batch_result(
    fetched: Result<GetOrFetchResult, cache::Error>,
) -> (pb::BatchGetOrFetchResult, Option<cache::LeaseGuard>) {
    use pb::batch_get_or_fetch_result::Result as Pb;
    let mut grant = None;
    let keep = |offer: cache::LeaseOffer| {
        let offered = lease(offer.grant.token().0, offer.expires_in, offer.stale);
        grant = Some(offer.grant);
        offered
    };
    let result = match fetched {
        Ok(fetched) => Pb::Answer(respond(fetched, keep).response),
        Err(error) => Pb::Error(status::fetch_error(error)),
    };
    (pb::BatchGetOrFetchResult { result: Some(result) }, grant)
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
        FillOutcome::LeaseLost => pb::FillResult::LeaseLost,
        FillOutcome::Invalidated => pb::FillResult::Invalidated,
        FillOutcome::Superseded => pb::FillResult::Superseded,
        FillOutcome::Uncacheable => pb::FillResult::Uncacheable,
        FillOutcome::NotStored { .. } => pb::FillResult::NotStored,
    }
}

/// The answer to Renew.
pub(in crate::rpc) fn renew_response(renewed: cache::RenewResult) -> pb::RenewResponse {
    use crate::store::LeaseStatus;
    let result = match renewed.hold {
        None => pb::RenewResult::Unspecified,
        Some(LeaseStatus::Held) => pb::RenewResult::Renewed,
        Some(LeaseStatus::Lost) => pb::RenewResult::LeaseLost,
        Some(LeaseStatus::Invalidated) => pb::RenewResult::Invalidated,
        Some(LeaseStatus::Superseded) => pb::RenewResult::Superseded,
    };
    let expires_in =
        (renewed.hold == Some(LeaseStatus::Held)).then(|| convert::duration(renewed.expires_in));
    pb::RenewResponse { result: result.into(), expires_in, degraded: renewed.hold.is_none() }
}

/// The longest time that fills are held off.
const MAX_HOLD_OFF: Duration = Duration::from_secs(3600);

pub(in crate::rpc) fn hold_off(
    duration: Option<prost_types::Duration>,
) -> Result<Duration, Violation> {
    let hold_off = convert::non_negative("hold_off", duration)?.unwrap_or_default();
    if hold_off > MAX_HOLD_OFF {
        let (asked, limit) = (hold_off.as_secs(), MAX_HOLD_OFF.as_secs());
        let description = format!("is {asked} s long, the limit is {limit} s");
        return Err(Violation::over_limit(
            "hold_off",
            description,
            usize::try_from(limit).unwrap_or(usize::MAX),
        ));
    }
    Ok(if hold_off.is_zero() { hold_off } else { Duration::from_millis(millis_ceil(hold_off)) })
}
