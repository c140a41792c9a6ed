//! `GetOrFetch` of the fake.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tonic::Status;

use super::{
    checks,
    fake::{Shared, State},
    store::Place,
};
use crate::{
    pb::{self, get_or_fetch_response::Outcome},
    ttl::{from_wire, to_wire},
};

const CONTENDED: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

fn answer(outcome: Outcome, status: pb::FetchStatus) -> pb::GetOrFetchResponse {
    pb::GetOrFetchResponse {
        outcome: Some(outcome),
        fetch_status: status.into(),
        ..Default::default()
    }
}

fn contended(after: Duration) -> Outcome {
    Outcome::Contended(pb::Contended { retry_after: Some(to_wire(after)) })
}

/// The result of a look at the entry.
enum Look {
    Answer(Box<pb::GetOrFetchResponse>),
    /// Another caller computes; its lease ends at this time of the clock of the fake.
    Busy(Duration),
}

fn look(
    state: &mut State,
    place: &Place,
    request: &pb::GetOrFetchRequest,
    begun: Duration,
    waited: bool,
) -> Look {
    let now = state.store.now();
    let settings = state.store.settings(&place.namespace);
    let max_stale = from_wire(request.max_stale);
    // With no_cache, only a value that was computed for this call or later is an answer.
    let found = state.store.find(place).filter(|(entry, past)| {
        (!request.no_cache || entry.written_at > begun)
            && (past.is_zero() || max_stale.is_none_or(|max| *past < max))
    });
    let mut stale = None;
    let mut may_answer = false;
    if let Some((entry, past)) = found {
        let found = state.store.found(&entry);
        if now < entry.fresh_until {
            let coalesced = pb::FetchStatus::Coalesced;
            let status = if waited { coalesced } else { pb::FetchStatus::Unspecified };
            return Look::Answer(answer(Outcome::Found(found), status).into());
        }
        stale = Some(found);
        may_answer = past < settings.stale_while_revalidate;
    }
    if request.only_if_cached {
        let none = Outcome::NotCached(pb::NotCached {});
        return Look::Answer(answer(none, pb::FetchStatus::Unspecified).into());
    }
    if let Some((rest, cause)) = state.leases.backoff(place, now) {
        let outcome = stale.map_or_else(|| contended(rest), Outcome::Found);
        let failed = answer(outcome, pb::FetchStatus::Failed);
        return Look::Answer(pb::GetOrFetchResponse { cause, ..failed }.into());
    }
    if let Some(expires_at) = state.leases.busy(place, now) {
        return match stale.filter(|_| may_answer) {
            Some(stale) => {
                Look::Answer(answer(Outcome::Found(stale), pb::FetchStatus::Refreshing).into())
            }
            None => Look::Busy(expires_at),
        };
    }
    let lease = pb::Lease {
        token: state.leases.grant(place, now + settings.lease_ttl),
        expires_in: Some(to_wire(settings.lease_ttl)),
        stale_while_revalidate: stale.is_some() && may_answer && !request.no_cache,
        stale,
    };
    Look::Answer(answer(Outcome::Lease(lease), pb::FetchStatus::Unspecified).into())
}

/// Reads one entry, or grants the lease to compute it.
pub(crate) async fn get_or_fetch(
    shared: &Shared,
    place: &Place,
    request: &pb::GetOrFetchRequest,
) -> Result<pb::GetOrFetchResponse, Status> {
    checks::place(place)?;
    let (begun, standard) = {
        let state = shared.state.lock();
        (state.store.now(), state.store.settings(&place.namespace).lease_wait)
    };
    let wait = from_wire(request.wait).unwrap_or(standard).min(LONGEST_WAIT);
    let ends = Instant::now() + wait;
    let mut waited = false;
    loop {
        let mut changed = std::pin::pin!(shared.changed.notified());
        changed.as_mut().enable();
        let expires_in = {
            let mut state = shared.state.lock();
            if state.degraded {
                let lease = pb::Lease {
                    token: Bytes::from_static(&[0; 16]),
                    expires_in: Some(to_wire(Duration::from_secs(10))),
                    ..Default::default()
                };
                let away = answer(Outcome::Lease(lease), pb::FetchStatus::Unspecified);
                return Ok(pb::GetOrFetchResponse { degraded: true, ..away });
            }
            match look(&mut state, place, request, begun, waited) {
                Look::Answer(answer) => return Ok(*answer),
                Look::Busy(expires_at) => expires_at.saturating_sub(state.store.now()),
            }
        };
        if Instant::now() >= ends {
            return Ok(answer(contended(CONTENDED), pb::FetchStatus::Unspecified));
        }
        waited = true;
        let look_again = ends.min(Instant::now() + expires_in + Duration::from_millis(1));
        // Both the time and a change are reasons to look again.
        let _ = tokio::time::timeout_at(look_again, changed).await;
    }
}

/// `GetOrFetch` for several keys: it waits for others only while it has no lease itself.
pub(crate) async fn batch(
    shared: &Shared,
    places: &[Place],
    request: &pb::BatchGetOrFetchRequest,
) -> Result<pb::BatchGetOrFetchResponse, Status> {
    let ask = async |place: &Place, wait| {
        let single = pb::GetOrFetchRequest {
            max_stale: request.max_stale,
            wait,
            no_cache: request.no_cache,
            only_if_cached: request.only_if_cached,
            ..Default::default()
        };
        get_or_fetch(shared, place, &single).await
    };
    let is_lease =
        |answer: &pb::GetOrFetchResponse| matches!(answer.outcome, Some(Outcome::Lease(_)));
    let mut answers = Vec::with_capacity(places.len());
    for place in places {
        answers.push(ask(place, Some(to_wire(Duration::ZERO))).await?);
    }
    let mut leased = answers.iter().any(is_lease);
    // All keys share the time to wait.
    let namespace = places.first().map_or("", |place| &place.namespace);
    let standard = shared.state.lock().store.settings(namespace).lease_wait;
    let ends = Instant::now() + from_wire(request.wait).unwrap_or(standard).min(LONGEST_WAIT);
    for (place, answer) in places.iter().zip(&mut answers) {
        if !leased && matches!(answer.outcome, Some(Outcome::Contended(_))) {
            let left = ends.saturating_duration_since(Instant::now());
            *answer = ask(place, Some(to_wire(left))).await?;
            leased |= is_lease(answer);
        }
    }
    let result = |answer| pb::BatchGetOrFetchResult {
        result: Some(pb::batch_get_or_fetch_result::Result::Answer(answer)),
    };
    Ok(pb::BatchGetOrFetchResponse { results: answers.into_iter().map(result).collect() })
}
