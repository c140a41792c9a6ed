//! Origins of the namespaces: their traffic by the statistics, and their breakers by the reports of
//! the replicas.

use std::collections::BTreeMap;

use super::{elapsed, traffic::percentiles};
use crate::{
    cli::top::figures::{NamespaceFigures, OriginFigures},
    pb::v1::{
        Counters, NamespaceSummary, OriginState, Replica, StatsResponse, origin_state::Breaker,
    },
};

/// Share of failed fetches from which an origin fails.
const FAILING: f64 = 0.05;

/// Fewest fetches for a judgement. It is a small number, so that an outage is seen soon.
const ENOUGH_FETCHES: f64 = 10.0;

/// Answers that describe origins.
pub(super) struct OriginSources<'a> {
    pub(super) stats: &'a StatsResponse,
    pub(super) policies: &'a BTreeMap<String, NamespaceSummary>,
    pub(super) replicas: &'a [Replica],
}

/// The namespaces that have an origin or have fetched in the last hour. Those with trouble first,
/// then by fetches.
pub(super) fn origins(
    sources: &OriginSources<'_>,
    namespaces: &[NamespaceFigures],
) -> Vec<OriginFigures> {
    let mut rows: Vec<OriginFigures> =
        namespaces.iter().filter_map(|namespace| row(sources, namespace)).collect();
    let order = |one: &OriginFigures| (one.state == "ok", -one.fetches_per_second);
    rows.sort_by(|one, other| {
        let (one, other) = (order(one), order(other));
        one.0.cmp(&other.0).then(one.1.total_cmp(&other.1))
    });
    rows
}

fn row(sources: &OriginSources<'_>, namespace: &NamespaceFigures) -> Option<OriginFigures> {
    let name = &namespace.namespace;
    let stats = sources.stats.namespaces.iter().find(|one| one.namespace == *name);
    let last_hour: Counters =
        stats.and_then(|one| one.counted.as_ref()?.last_hour).unwrap_or_default();
    let policy = sources.policies.get(name).and_then(|one| one.policy.as_ref());
    let states: Vec<&OriginState> = sources
        .replicas
        .iter()
        .flat_map(|replica| &replica.origins)
        .filter(|origin| origin.namespace == *name)
        .collect();
    let has_origin = policy.is_some_and(|policy| policy.has_origin) || !states.is_empty();
    if !has_origin && last_hour.fetches == 0 && last_hour.fetches_failed == 0 {
        return None;
    }
    let is =
        |breaker: Breaker| states.iter().copied().filter(move |origin| origin.breaker() == breaker);
    let (open, half_open) = (is(Breaker::Open).count(), is(Breaker::HalfOpen).count());
    let state = match (open, half_open) {
        (0, 0) if is_failing(namespace) => "failing",
        (0, 0) => "ok",
        (0, _) => "half_open",
        (_, _) => "open",
    };
    let broken = is(Breaker::Open).chain(is(Breaker::HalfOpen));
    let since = broken.filter_map(|origin| elapsed(origin.since, sources.stats.collected_at));
    let last_error = states.iter().map(|origin| &origin.last_error).find(|error| !error.is_empty());
    Some(OriginFigures {
        namespace: name.clone(),
        url: states.first().map(|origin| origin.url.clone()),
        fetches_per_second: namespace.traffic.fetches_per_second,
        fetch_latency: percentiles(last_hour.fetch_latency.as_ref()),
        fetches_failed: last_hour.fetches_failed,
        in_flight: states.iter().map(|origin| origin.in_flight).sum(),
        state,
        state_for: since.max_by(f64::total_cmp),
        replicas_open: open + half_open,
        replicas: states.len(),
        last_error: last_error.cloned(),
    })
}

/// Whether many of the fetches fail by the rates.
pub(super) fn is_failing(namespace: &NamespaceFigures) -> bool {
    failed_share(namespace).is_some_and(|share| share >= FAILING)
}

/// Share of the fetches that fail; none if there are too few to judge.
pub(super) fn failed_share(namespace: &NamespaceFigures) -> Option<f64> {
    let traffic = &namespace.traffic;
    let failed = traffic.fetches_failed_per_second;
    let all = failed + traffic.fetches_per_second;
    (all * traffic.rate_window >= ENOUGH_FETCHES).then(|| failed / all)
}
