//! Reads and writes of the fake.

use std::time::Duration;

use tonic::{Code, Status};

use super::{
    checks::{self, invalid, positive, status, store_unavailable},
    fake::State,
    leases::Lost,
    patches::patched,
    store::{Entry, Place},
};
use crate::{
    pb::{self, set_request::Condition, value::Kind},
    ttl::{from_wire, to_wire},
};

type Answer<T> = Result<T, Status>;

fn ttl_of(entry: &Entry) -> Option<prost_types::Duration> {
    Some(to_wire(entry.fresh_until.saturating_sub(entry.written_at)))
}

/// How long an entry is still fresh. The clock can have passed its end since it was found.
fn rest_of(state: &State, entry: &Entry) -> Duration {
    entry.fresh_until.saturating_sub(state.store.now())
}

pub(crate) fn get(
    state: &mut State,
    place: &Place,
    request: &pb::GetRequest,
) -> Answer<pb::GetResponse> {
    checks::place(place)?;
    let touch = positive(request.touch, "touch")?;
    let miss = pb::GetResponse {
        outcome: pb::Outcome::Miss.into(),
        degraded: state.degraded,
        ..Default::default()
    };
    let max_stale = from_wire(request.max_stale);
    let found = if state.degraded { None } else { state.store.find(place) };
    // Values that are substitutes after an error are no answers.
    let window = state.store.settings(&place.namespace).stale_while_revalidate;
    let window = max_stale.map_or(window, |max| max.min(window));
    let found = found.filter(|(_, past)| past.is_zero() || *past < window);
    let Some((mut entry, past)) = found else { return Ok(miss) };
    if past.is_zero()
        && let Some(touch) = touch
    {
        let max_ttl = state.store.settings(&place.namespace).max_ttl;
        let until = (state.store.now() + touch).min(entry.written_at + max_ttl);
        entry.fresh_until = entry.fresh_until.max(until);
        state.store.entries.insert(place.clone(), entry.clone());
    }
    let not_modified =
        !request.if_version_not.is_empty() && request.if_version_not == entry.version;
    let has_value = !request.omit_value && !not_modified;
    let found = state.store.found(&entry);
    Ok(pb::GetResponse {
        outcome: found.outcome,
        value: found.value.filter(|_| has_value),
        entry: found.entry,
        not_modified,
        ..miss
    })
}

/// Checks a write as the server does before it stores any of a batch.
pub(crate) fn check_set(state: &State, place: &Place, request: &pb::SetRequest) -> Answer<()> {
    checks::place(place)?;
    checks::tags(&request.tags)?;
    positive(request.ttl, "ttl")?;
    checks::value(request.value.as_ref(), &state.store.settings(&place.namespace)).map(|_| ())
}

pub(crate) fn set(state: &mut State, place: &Place, request: pb::SetRequest) -> pb::SetResponse {
    let refused = |result: pb::SetResult, degraded| pb::SetResponse {
        result: result.into(),
        degraded,
        ..Default::default()
    };
    if state.degraded {
        return refused(pb::SetResult::NotStored, true);
    }
    let fresh = state.store.fresh(place);
    let is_met = match &request.condition {
        None => true,
        Some(Condition::IfAbsent(_)) => fresh.is_none(),
        Some(Condition::IfPresent(_)) => fresh.is_some(),
        Some(Condition::IfVersion(version)) => {
            state.store.find(place).is_some_and(|(entry, _)| entry.version == *version)
        }
    };
    if !is_met {
        return refused(pb::SetResult::ConditionNotMet, false);
    }
    if !request.lease_token.is_empty() {
        let now = state.store.now();
        let lost = state.leases.refusal(place, &request.lease_token, &request.tags, now);
        let result = lost.map(|lost| match lost {
            Lost::Expired => pb::SetResult::LeaseLost,
            Lost::Invalidated => pb::SetResult::Invalidated,
            Lost::Superseded => pb::SetResult::Superseded,
        });
        if let Some(result) = result {
            return refused(result, false);
        }
    }
    let value = request.value.unwrap_or_default();
    let entry = state.store.put(place, value, from_wire(request.ttl), request.tags);
    state.changed(place, Lost::Superseded);
    pb::SetResponse {
        result: pb::SetResult::Stored.into(),
        ttl: ttl_of(&entry),
        version: entry.version,
        ..Default::default()
    }
}

pub(crate) fn delete(
    state: &mut State,
    place: &Place,
    request: &pb::DeleteRequest,
) -> Answer<pb::DeleteResponse> {
    checks::place(place)?;
    if request.if_version.as_deref() == Some("") {
        return Err(invalid("if_version", "must not be empty"));
    }
    if state.degraded {
        return Err(store_unavailable());
    }
    let found = state.store.find(place).map(|(entry, _)| entry);
    let wanted = request.if_version.as_ref();
    let is_wanted =
        wanted.is_none_or(|version| found.as_ref().is_some_and(|entry| entry.version == *version));
    let mut answer = pb::DeleteResponse {
        existed: found.is_some(),
        deleted: found.is_some() && is_wanted,
        durability: pb::Durability::Applied.into(),
        removed: None,
    };
    if !is_wanted {
        return Ok(answer);
    }
    if request.return_value {
        answer.removed = found.map(|entry| state.store.found(&entry));
    }
    state.store.entries.remove(place);
    if let Some(hold_off) = from_wire(request.hold_off) {
        let until = state.store.now() + hold_off;
        let own = place.clone();
        state.leases.hold_off(until, Box::new(move |place, _| *place == own));
    }
    state.changed(place, Lost::Invalidated);
    Ok(answer)
}

pub(crate) fn touch(
    state: &mut State,
    place: &Place,
    request: &pb::TouchRequest,
) -> Answer<pb::TouchResponse> {
    checks::place(place)?;
    let ttl = positive(request.ttl, "ttl")?;
    let fresh = if state.degraded { None } else { state.store.fresh(place) };
    let Some(mut entry) = fresh else {
        return Ok(pb::TouchResponse { found: false, ttl: None, degraded: state.degraded });
    };
    let settings = state.store.settings(&place.namespace);
    let applied = ttl.unwrap_or(settings.ttl).min(settings.max_ttl);
    entry.fresh_until = state.store.now() + applied;
    state.store.entries.insert(place.clone(), entry);
    state.announce(place);
    Ok(pb::TouchResponse { found: true, ttl: Some(to_wire(applied)), degraded: false })
}

pub(crate) fn increment(
    state: &mut State,
    place: &Place,
    request: &pb::IncrementRequest,
) -> Answer<pb::IncrementResponse> {
    checks::place(place)?;
    let ttl = positive(request.ttl, "ttl")?;
    if state.degraded {
        return Err(store_unavailable());
    }
    let fresh = state.store.fresh(place);
    let before = match &fresh {
        None if request.if_present => {
            return Ok(pb::IncrementResponse { missing: true, ..Default::default() });
        }
        None => request.initial,
        Some(entry) => match &entry.value.kind {
            Some(Kind::Text(text)) => text.parse().ok(),
            Some(Kind::Data(_) | Kind::Json(_)) | None => None,
        }
        .ok_or_else(|| {
            status(Code::FailedPrecondition, "NOT_AN_INTEGER", "the entry is not an integer")
        })?,
    };
    let sum = before.checked_add(request.delta.unwrap_or(1)).ok_or_else(|| {
        status(Code::FailedPrecondition, "OVERFLOW", "the sum does not fit in 64 bits")
    })?;
    let (ttl, tags) = match fresh {
        None => (ttl, Vec::new()),
        Some(entry) => (Some(rest_of(state, &entry)), entry.tags),
    };
    let value = pb::Value { kind: Some(Kind::Text(sum.to_string())) };
    let entry = state.store.put(place, value, ttl, tags);
    state.changed(place, Lost::Superseded);
    Ok(pb::IncrementResponse {
        value: sum,
        ttl_remaining: ttl_of(&entry),
        version: entry.version,
        missing: false,
    })
}

pub(crate) fn patch(
    state: &mut State,
    place: &Place,
    request: pb::PatchRequest,
) -> Answer<pb::PatchResponse> {
    checks::place(place)?;
    let change = request.patch.ok_or_else(|| invalid("patch", "must be set"))?;
    if state.degraded {
        return Err(store_unavailable());
    }
    let refused =
        |result: pb::PatchResult| pb::PatchResponse { result: result.into(), ..Default::default() };
    let Some(entry) = state.store.fresh(place) else {
        return Ok(refused(pb::PatchResult::Missing));
    };
    if request.if_version.is_some_and(|version| version != entry.version) {
        return Ok(refused(pb::PatchResult::ConditionNotMet));
    }
    let Some(Kind::Json(json)) = &entry.value.kind else {
        return Err(status(Code::FailedPrecondition, "NOT_JSON", "the value is not JSON"));
    };
    let value = pb::Value { kind: Some(Kind::Json(patched(json, &change)?)) };
    let value = checks::value(Some(&value), &state.store.settings(&place.namespace))?;
    let ttl = match request.expiry {
        Some(pb::patch_request::Expiry::Keep(_)) => Some(rest_of(state, &entry)),
        Some(pb::patch_request::Expiry::Ttl(ttl)) => positive(Some(ttl), "ttl")?,
        None => None,
    };
    let entry = state.store.put(place, value, ttl, entry.tags);
    state.changed(place, Lost::Superseded);
    Ok(pb::PatchResponse {
        result: pb::PatchResult::Applied.into(),
        ttl: ttl_of(&entry),
        version: entry.version,
    })
}
