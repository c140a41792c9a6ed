//! Stats.

use std::time::{Duration, SystemTime};

use super::Checked;
use crate::{
    cache::{
        NamespaceUsage, StoreInfo, TTL_CLASSES,
        fleet_stats::{self, Overview},
    },
    model::Namespace,
    pb::{from_duration, v1 as pb},
    stats::{
        counters::{Counter, Counters, LatencyKind},
        registry::OTHER,
    },
};

/// Checks the namespaces of a request. The name of the shared counters, which is no valid name of a
/// namespace, is accepted too.
pub(in crate::rpc) fn check_reported(namespaces: &[String]) -> Checked<()> {
    for (index, name) in namespaces.iter().enumerate().filter(|(_, name)| *name != OTHER) {
        Namespace::new(name)
            .map_err(|violation| violation.renamed(format!("namespaces[{index}]")))?;
    }
    Ok(())
}

/// Reports on the selected namespaces; on all if none are selected.
pub(in crate::rpc) fn stats_response(
    overview: &Overview,
    selected: &[String],
) -> pb::StatsResponse {
    let report = &overview.report;
    let windows = |selected: &[String]| pb::WindowStats {
        total: Some(counters(&fleet_stats::sum(&report.total, selected))),
        last_hour: Some(counters(&fleet_stats::sum(&report.last_hour, selected))),
        last_day: Some(counters(&fleet_stats::sum(&report.last_day, selected))),
    };
    let mut names = fleet_stats::names(report);
    names.extend(overview.sizes.iter().map(|(namespace, _)| namespace.to_string()));
    names.sort_unstable();
    names.dedup();
    names.retain(|name| selected.is_empty() || selected.contains(name));
    let namespaces = names.into_iter().map(|namespace| pb::NamespaceStats {
        counted: Some(windows(std::slice::from_ref(&namespace))),
        size: overview
            .sizes
            .iter()
            .find(|(name, _)| name.as_str() == namespace)
            .map(|(_, usage)| size(usage)),
        namespace,
    });
    pb::StatsResponse {
        totals: Some(windows(selected)),
        namespaces: namespaces.collect(),
        store: Some(store(overview.store_kind, overview.facts.as_ref())),
        degraded: overview.degraded,
        collected_at: Some(SystemTime::now().into()),
    }
}

fn counters(counts: &Counters) -> pb::Counters {
    pb::Counters {
        hits: counts.get(Counter::Hits),
        stale: counts.get(Counter::Stale),
        negative: counts.get(Counter::Negative),
        misses: counts.get(Counter::Misses),
        hit_rate: counts.hit_rate(),
        sets: counts.get(Counter::Sets),
        sets_refused: counts.get(Counter::SetsRefused),
        deletes: counts.get(Counter::Deletes),
        invalidations: counts.get(Counter::Invalidations),
        leases_granted: counts.get(Counter::LeasesGranted),
        leases_refused: counts.get(Counter::LeasesRefused),
        leases_abandoned: counts.get(Counter::LeasesAbandoned),
        degraded: counts.get(Counter::Degraded),
        hit_latency: latency(counts, LatencyKind::Hit),
        miss_latency: latency(counts, LatencyKind::Miss),
        fetch_latency: latency(counts, LatencyKind::Fetch),
        fetches: counts.get(Counter::Fetches),
        fetches_failed: counts.get(Counter::FetchesFailed),
        fetches_coalesced: counts.get(Counter::FetchesCoalesced),
        early_refreshes: counts.get(Counter::EarlyRefreshes),
        stale_while_revalidate: counts.get(Counter::StaleWhileRevalidate),
        stale_if_error: counts.get(Counter::StaleIfError),
        stale_soft_timeout: counts.get(Counter::StaleSoftTimeout),
        fills_lost: counts.get(Counter::FillsLost),
        fills_invalidated: counts.get(Counter::FillsInvalidated),
        fills_superseded: counts.get(Counter::FillsSuperseded),
        fills_not_stored: counts.get(Counter::FillsNotStored),
        uncacheable: counts.get(Counter::Uncacheable),
        near_hits: counts.get(Counter::NearHits),
    }
}

fn latency(counts: &Counters, kind: LatencyKind) -> Option<pb::Latency> {
    let percentile = |share| counts.latency(kind, share).map(from_duration);
    Some(pb::Latency { p50: Some(percentile(0.5)?), p95: percentile(0.95), p99: percentile(0.99) })
}

fn size(usage: &NamespaceUsage) -> pb::NamespaceSize {
    let bounds = TTL_CLASSES.into_iter().map(|bound| Some(from_duration(bound))).chain([None]);
    let ttl = bounds.zip(usage.ttl).map(|(up_to, keys)| pb::TtlBucket { up_to, keys });
    pb::NamespaceSize {
        keys: usage.keys,
        bytes: usage.bytes,
        sampled: usage.sampled,
        ttl: ttl.collect(),
    }
}

fn store(kind: &str, info: Option<&StoreInfo>) -> pb::StoreStats {
    let kind = kind.to_owned();
    let Some(info) = info else {
        return pb::StoreStats { kind, ..pb::StoreStats::default() };
    };
    pb::StoreStats {
        kind,
        server_version: info.server_version.clone(),
        reachable: true,
        used_bytes: info.used_bytes,
        peak_bytes: info.peak_bytes,
        max_bytes: info.max_bytes,
        fragmentation_ratio: info.fragmentation_ratio,
        eviction_policy: info.eviction_policy.clone(),
        evicted_keys: info.evicted_keys,
        expired_keys: info.expired_keys,
        keys: info.keys,
        clients: info.clients,
        ops_per_second: info.ops_per_second,
        persistence: info.persistence.clone(),
        uptime: Some(from_duration(Duration::from_secs(info.uptime.as_secs()))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::stats::delta::StatsReport;

    fn usage(keys: u64) -> NamespaceUsage {
        NamespaceUsage { keys, bytes: 10 * keys, sampled: false, ttl: [0, keys, 0, 0, 0] }
    }

    fn overview(facts: Option<StoreInfo>) -> Overview {
        let mut report = StatsReport::default();
        for (namespace, hits) in [("a", 1), ("c", 2)] {
            let mut counts = Counters::default();
            counts.0[Counter::Hits as usize] = hits;
            report.total.insert(namespace.to_owned(), counts);
        }
        let sizes = vec![(Namespace::new("b").unwrap(), usage(3))];
        Overview { report, store_kind: "redis", facts, sizes, degraded: false }
    }

    #[test]
    fn namespaces_with_counters_or_entries_are_reported_sorted() {
        let response = stats_response(&overview(None), &[]);
        let names: Vec<&str> =
            response.namespaces.iter().map(|stats| stats.namespace.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(response.totals.unwrap().total.unwrap().hits, 3);
        let size = response.namespaces[1].size.clone().unwrap();
        assert_eq!((size.keys, size.ttl.len(), size.ttl[1].keys), (3, TTL_CLASSES.len() + 1, 3));
        assert_eq!(size.ttl.last().unwrap().up_to, None);
    }

    #[test]
    fn selection_restricts_namespaces_and_totals() {
        let response = stats_response(&overview(None), &["c".to_owned()]);
        assert_eq!(response.namespaces.len(), 1);
        assert_eq!(response.namespaces[0].namespace, "c");
        assert_eq!(response.totals.unwrap().total.unwrap().hits, 2);
    }

    #[test]
    fn unreachable_store_still_has_a_kind() {
        let store = stats_response(&overview(None), &[]).store.unwrap();
        let expected = pb::StoreStats { kind: "redis".to_owned(), ..pb::StoreStats::default() };
        assert_eq!(store, expected);
        let info = StoreInfo { keys: 7, ..StoreInfo::default() };
        let store = stats_response(&overview(Some(info)), &[]).store.unwrap();
        assert!(store.reachable && store.keys == 7 && store.kind == "redis");
    }

    #[test]
    fn selected_namespaces_are_validated() {
        let names =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert!(check_reported(&names(&["a", OTHER])).is_ok());
        assert_eq!(check_reported(&names(&["a", "A"])).unwrap_err().field(), "namespaces[1]");
    }
}
