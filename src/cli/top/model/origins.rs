//! Origins of the namespaces.

use std::collections::BTreeMap;

use super::traffic::percentiles;
use crate::{
    cli::top::figures::{NamespaceFigures, OriginFigures},
    pb::v1::{Counters, NamespaceSummary, StatsResponse},
};

/// Share of failed fetches from which an origin fails.
const FAILING: f64 = 0.05;

/// The namespaces that have an origin or have fetched in the last hour. Those with trouble first,
/// then by fetches.
pub(super) fn origins(
    stats: &StatsResponse,
    policies: &BTreeMap<String, NamespaceSummary>,
    namespaces: &[NamespaceFigures],
) -> Vec<OriginFigures> {
    let last_hour = |name: &str| {
        let found = stats.namespaces.iter().find(|one| one.namespace == name);
        found.and_then(|one| one.counted.as_ref()?.last_hour).unwrap_or_default()
    };
    let mut rows: Vec<OriginFigures> = namespaces
        .iter()
        .filter_map(|namespace| {
            let counters = last_hour(&namespace.namespace);
            let policy = policies.get(&namespace.namespace).and_then(|one| one.policy.as_ref());
            let has_origin = policy.is_some_and(|policy| policy.has_origin);
            (has_origin || counters.fetches > 0).then(|| row(namespace, &counters))
        })
        .collect();
    let order = |one: &OriginFigures| (one.state == "ok", -one.fetches_per_second);
    rows.sort_by(|one, other| {
        let (one, other) = (order(one), order(other));
        one.0.cmp(&other.0).then(one.1.total_cmp(&other.1))
    });
    rows
}

fn row(namespace: &NamespaceFigures, last_hour: &Counters) -> OriginFigures {
    let traffic = &namespace.traffic;
    OriginFigures {
        namespace: namespace.namespace.clone(),
        fetches_per_second: traffic.fetches_per_second,
        fetch_latency: percentiles(last_hour.fetch_latency.as_ref()),
        fetches_failed: last_hour.fetches_failed,
        state: if is_failing(namespace) { "failing" } else { "ok" },
    }
}

/// Whether many of the fetches fail by the rates.
pub(super) fn is_failing(namespace: &NamespaceFigures) -> bool {
    failed_share(namespace).is_some_and(|share| share >= FAILING)
}

/// Share of the fetches that fail; none without fetches.
pub(super) fn failed_share(namespace: &NamespaceFigures) -> Option<f64> {
    let failed = namespace.traffic.fetches_failed_per_second;
    let all = failed + namespace.traffic.fetches_per_second;
    (all > 0.0).then(|| failed / all)
}
