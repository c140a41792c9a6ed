//! Invalidations and listings of the fake.

use std::time::Duration;

use tonic::Status;

use super::{
    checks::{self, invalid, store_unavailable},
    entries,
    fake::State,
    store::Place,
};
use crate::{
    globs::Glob,
    pb::{self, target::Target as Kind, watch_response::Event},
    ttl::from_wire,
};

const PAGE: usize = 100;
const LARGEST_PAGE: usize = 1000;

fn applied(existed: bool, namespace_invalidated: bool) -> pb::TargetResult {
    let durability = pb::Durability::Applied.into();
    pb::TargetResult { existed, namespace_invalidated, namespaces: Vec::new(), durability }
}

fn check(target: &Kind) -> Result<(), Status> {
    match target {
        Kind::Namespace(name) => checks::namespace(name),
        Kind::Tags(target) => {
            checks::namespace(&target.namespace)?;
            if target.tags.is_empty() {
                return Err(invalid("tags", "must not be empty"));
            }
            checks::tags(&target.tags)
        }
        Kind::Pattern(target) => {
            checks::namespace(&target.namespace)?;
            checks::glob(&target.glob).map(|_| ())
        }
        Kind::Key(_) => Ok(()),
        Kind::Event(event) if event.name.is_empty() => Err(invalid("event.name", "must be set")),
        Kind::Event(_) => Ok(()),
    }
}

/// Makes entries unreachable.
pub(crate) fn invalidate(
    state: &mut State,
    request: pb::InvalidateRequest,
    schema: &str,
) -> Result<pb::InvalidateResponse, Status> {
    let targets: Option<Vec<Kind>> =
        request.targets.into_iter().map(|target| target.target).collect();
    let targets = targets.filter(|targets| !targets.is_empty());
    let targets = targets.ok_or_else(|| invalid("targets", "must be set"))?;
    targets.iter().try_for_each(check)?;
    if state.degraded {
        return Err(store_unavailable());
    }
    let hold_off = from_wire(request.hold_off).filter(|hold_off| !hold_off.is_zero());
    let until = hold_off.map(|hold_off| state.store.now() + hold_off);
    let mut answer =
        pb::InvalidateResponse { durability: pb::Durability::Applied.into(), ..Default::default() };
    for target in targets {
        let Kind::Event(event) = target else {
            answer.results.push(apply(state, target, until, schema)?);
            continue;
        };
        let rule = state.events.get(&event.name).cloned();
        let selected = rule.map_or_else(|| Ok(Vec::new()), |rule| rule(&event.attributes));
        let selected = selected.map_err(|why| invalid("event.attributes", why))?;
        let mut results = Vec::new();
        for target in selected {
            let kind = target.target.clone().ok_or_else(|| invalid("target", "must be set"))?;
            let result = apply(state, kind, until, schema)?;
            results.push(pb::EventTargetResult { target: Some(target), result: Some(result) });
        }
        answer.results.push(applied(false, false));
        answer.events.push(pb::EventResult { targets: results });
    }
    Ok(answer)
}

fn apply(
    state: &mut State,
    target: Kind,
    until: Option<Duration>,
    schema: &str,
) -> Result<pb::TargetResult, Status> {
    match target {
        Kind::Namespace(name) => {
            invalidate_namespace(state, &name)?;
            if let Some(until) = until {
                state.leases.hold_off(until, Box::new(move |place, _| place.namespace == name));
            }
            return Ok(applied(false, true));
        }
        Kind::Tags(pb::TagTarget { namespace, tags }) => {
            for (place, entry) in state.store.of(&namespace) {
                if entry.tags.iter().any(|tag| tags.contains(tag)) {
                    state.store.entries.remove(&place);
                }
            }
            state.leases.ban_tags(&namespace, &tags);
            let event = pb::TagsInvalidated { namespace: namespace.clone(), tags: tags.clone() };
            state.watches.announce(&namespace, &Event::TagsInvalidated(event));
            if let Some(until) = until {
                let concerns = move |place: &Place, held: &[String]| {
                    place.namespace == namespace && held.iter().any(|tag| tags.contains(tag))
                };
                state.leases.hold_off(until, Box::new(concerns));
            }
        }
        Kind::Pattern(pb::PatternTarget { namespace, glob }) => {
            let matcher = checks::glob(&glob)?;
            for (place, _) in state.store.of(&namespace) {
                if matcher.matches(&place.key) {
                    state.store.entries.remove(&place);
                }
            }
            let concerns =
                |place: &Place| place.namespace == namespace && matcher.matches(&place.key);
            state.leases.void_where(concerns);
            let event = pb::PatternInvalidated { namespace: namespace.clone(), glob };
            state.watches.announce(&namespace, &Event::PatternInvalidated(event));
            if let Some(until) = until {
                let concerns = move |place: &Place, _: &[String]| {
                    place.namespace == namespace && matcher.matches(&place.key)
                };
                state.leases.hold_off(until, Box::new(concerns));
            }
        }
        Kind::Key(pb::KeyRef { namespace, key, params }) => {
            let place = Place { namespace, key, params, schema: schema.to_owned() };
            let deleted = entries::delete(state, &place, &pb::DeleteRequest::default())?;
            if let Some(until) = until {
                state.leases.hold_off(until, Box::new(move |own, _| *own == place));
            }
            return Ok(applied(deleted.existed, false));
        }
        Kind::Event(_) => return Err(invalid("target", "an event selects no events")),
    }
    Ok(applied(false, false))
}

/// Makes all entries of a namespace unreachable.
pub(crate) fn invalidate_namespace(state: &mut State, namespace: &str) -> Result<(), Status> {
    checks::namespace(namespace)?;
    if state.degraded {
        return Err(store_unavailable());
    }
    state.store.entries.retain(|place, _| place.namespace != namespace);
    state.leases.void_where(|place| place.namespace == namespace);
    let event = pb::NamespaceInvalidated { namespace: namespace.to_owned() };
    state.watches.announce(namespace, &Event::NamespaceInvalidated(event));
    Ok(())
}

/// The keys of a namespace that match.
pub(crate) fn matching(
    state: &mut State,
    namespace: &str,
    glob: &str,
) -> Result<Vec<pb::ListedKey>, Status> {
    checks::namespace(namespace)?;
    let matcher: Option<Glob> = if glob.is_empty() { None } else { Some(checks::glob(glob)?) };
    if state.degraded {
        return Err(store_unavailable());
    }
    let mut keys: Vec<_> = state
        .store
        .of(namespace)
        .into_iter()
        .filter(|(place, _)| matcher.as_ref().is_none_or(|glob| glob.matches(&place.key)))
        .map(|(place, _)| pb::ListedKey { params_digest: place.digest(), key: place.key })
        .collect();
    keys.sort_by(|a, b| (&a.key, &a.params_digest).cmp(&(&b.key, &b.params_digest)));
    Ok(keys)
}

/// A page of keys; the token is the number of keys before it.
pub(crate) fn list_keys(
    state: &mut State,
    request: &pb::ListKeysRequest,
) -> Result<pb::ListKeysResponse, Status> {
    let all = matching(state, &request.namespace, &request.glob)?;
    let from: usize = request.page_token.parse().unwrap_or_default();
    let size = match request.page_size as usize {
        0 => PAGE,
        size => size.min(LARGEST_PAGE),
    };
    let next = from + size;
    let next_page_token = if next < all.len() { next.to_string() } else { String::new() };
    Ok(pb::ListKeysResponse {
        keys: all.into_iter().skip(from).take(size).collect(),
        next_page_token,
    })
}
