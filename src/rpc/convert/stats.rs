//! Converts Stats.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Checked;
use crate::{
    cache::{
        NamespacePage, NamespaceUsage, StoreInfo, TTL_CLASSES, Topology,
        fleet_stats::{self, Overview},
    },
    model::{Namespace, SaturatingFrom as _, Violation},
    pb::{from_duration, v1 as pb},
    stats::{
        counters::{Counter, Counters, LatencyKind},
        delta::{ByNamespace, ReplicaInfo},
        registry::OTHER,
    },
};

/// Returns the page that a request asks for. The token of a page is the last name of the previous
/// page.
pub(in crate::rpc) fn stats_page(request: pb::StatsRequest) -> Checked<NamespacePage> {
    check_reported(&request.namespaces)?;
    if !request.page_token.is_empty() {
        check_name(&request.page_token)
            .map_err(|_| Violation::new("page_token", "must be a next_page_token of Stats"))?;
    }
    let limit = match request.page_size {
        0 => NamespacePage::MAX,
        size => usize::saturating_from(size),
    };
    Ok(NamespacePage::new(request.namespaces, request.page_token, limit))
}

/// Checks the field `namespaces` of a request for statistics.
pub(super) fn check_reported(names: &[String]) -> Checked<()> {
    for (index, name) in names.iter().enumerate() {
        check_name(name).map_err(|violation| violation.renamed(format!("namespaces[{index}]")))?;
    }
    Ok(())
}

/// Checks the name of a namespace. The name of the shared counters, which is no valid name of a
/// namespace, is accepted too.
fn check_name(name: &str) -> Checked<()> {
    if name != OTHER {
        Namespace::new(name)?;
    }
    Ok(())
}

/// Reports on the namespaces of a page, with the totals of all pages.
pub(in crate::rpc) fn stats_response(
    overview: &Overview,
    page: &NamespacePage,
) -> pb::StatsResponse {
    let report = &overview.report;
    let (names, has_more) = overview.names(page);
    let next_page_token = if has_more { names.last().copied().unwrap_or_default() } else { "" };
    let one = |counts: &ByNamespace, name: &str| {
        Some(counters(counts.get(name).unwrap_or(&Counters::default())))
    };
    let namespaces = names.iter().map(|name| pb::NamespaceStats {
        namespace: (*name).to_owned(),
        counted: Some(pb::WindowStats {
            total: one(&report.total, name),
            last_hour: one(&report.last_hour, name),
            last_day: one(&report.last_day, name),
        }),
        size: overview.size(name).map(size),
    });
    let sum = |counts: &ByNamespace| Some(counters(&fleet_stats::sum(counts, page)));
    pb::StatsResponse {
        totals: Some(pb::WindowStats {
            total: sum(&report.total),
            last_hour: sum(&report.last_hour),
            last_day: sum(&report.last_day),
        }),
        namespaces: namespaces.collect(),
        store: Some(pb::StoreStats {
            cause: overview.trouble.clone().unwrap_or_default(),
            ..located(
                store(overview.store_kind, overview.facts.as_ref()),
                overview.topology.clone(),
            )
        }),
        replicas: report.replicas.iter().map(replica).collect(),
        degraded: overview.degraded,
        collected_at: Some(SystemTime::now().into()),
        next_page_token: next_page_token.to_owned(),
        counting_since: report.since.map(|since| at_millis(since.0).into()),
    }
}

pub(super) fn replica(replica: &ReplicaInfo) -> pb::ReplicaStats {
    pb::ReplicaStats {
        id: format!("{:016x}", replica.id),
        version: replica.version.clone(),
        started_at: Some(at_millis(replica.started_at_ms).into()),
    }
}

pub(super) fn at_millis(since_epoch: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(since_epoch)
}

pub(super) fn counters(counts: &Counters) -> pb::Counters {
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
        bans: counts.get(Counter::Bans),
        invalidations_coalesced: counts.get(Counter::InvalidationsCoalesced),
        contended: counts.get(Counter::Contended),
        compute_latency: latency(counts, LatencyKind::Compute),
    }
}

fn latency(counts: &Counters, kind: LatencyKind) -> Option<pb::Latency> {
    let percentile = |share| counts.latency(kind, share).map(from_duration);
    Some(pb::Latency { p50: Some(percentile(0.5)?), p95: percentile(0.95), p99: percentile(0.99) })
}

pub(super) fn size(usage: &NamespaceUsage) -> pb::NamespaceSize {
    let bounds = TTL_CLASSES.into_iter().map(|bound| Some(from_duration(bound))).chain([None]);
    let ttl = bounds.zip(usage.ttl).map(|(up_to, keys)| pb::TtlBucket { up_to, keys });
    pb::NamespaceSize {
        keys: usage.keys,
        bytes: usage.bytes,
        sampled: usage.sampled,
        ttl: ttl.collect(),
    }
}

/// Adds how the server is found, which is known also if it does not answer.
fn located(store: pb::StoreStats, topology: Topology) -> pb::StoreStats {
    pb::StoreStats {
        topology: topology.name.to_owned(),
        sentinel_service: topology.service,
        primary: topology.primary,
        sentinels: u32::saturating_from(topology.sentinels),
        sentinels_reachable: u32::saturating_from(topology.reachable_sentinels),
        ..store
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
        ..pb::StoreStats::default()
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
        let topology = Topology { name: "sentinel", sentinels: 3, ..Topology::default() };
        Overview {
            report,
            store_kind: "redis",
            topology,
            facts,
            sizes,
            degraded: false,
            trouble: None,
        }
    }

    #[test]
    fn namespaces_with_counters_or_entries_are_reported_sorted() {
        let response = stats_response(&overview(None), &NamespacePage::default());
        let names: Vec<&str> =
            response.namespaces.iter().map(|stats| stats.namespace.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(response.totals.unwrap().total.unwrap().hits, 3);
        let size = response.namespaces[1].size.clone().unwrap();
        assert_eq!((size.keys, size.ttl.len(), size.ttl[1].keys), (3, TTL_CLASSES.len() + 1, 3));
        assert_eq!(size.ttl.last().unwrap().up_to, None);
    }

    fn page(selected: &[&str], after: &str, limit: usize) -> NamespacePage {
        let selected = selected.iter().map(ToString::to_string).collect();
        NamespacePage::new(selected, after.to_owned(), limit)
    }

    #[test]
    fn pages_follow_one_another_and_each_has_the_totals_of_all() {
        let first = stats_response(&overview(None), &page(&[], "", 2));
        assert_eq!((first.namespaces.len(), &*first.next_page_token), (2, "b"));
        let second = stats_response(&overview(None), &page(&[], "b", 2));
        assert_eq!((second.namespaces.len(), &*second.next_page_token), (1, ""));
        assert_eq!(second.namespaces[0].namespace, "c");
        assert_eq!(second.totals, first.totals);
    }

    #[test]
    fn page_size_is_limited_and_the_token_is_validated() {
        let page_of = |page_size, token: &str| {
            let page_token = token.to_owned();
            stats_page(pb::StatsRequest { page_size, page_token, ..pb::StatsRequest::default() })
        };
        let limits = [0, 1, 1000, u32::MAX].map(|size| page_of(size, "").unwrap().limit());
        assert_eq!(limits, [1000, 1, 1000, 1000]);
        assert!(page_of(0, OTHER).unwrap().follows("a"));
        assert_eq!(page_of(0, "NO").unwrap_err().field(), "page_token");
    }

    #[test]
    fn selection_restricts_namespaces_and_totals() {
        let response = stats_response(&overview(None), &page(&["c"], "", 9));
        assert_eq!(response.namespaces.len(), 1);
        assert_eq!(response.namespaces[0].namespace, "c");
        assert_eq!(response.totals.unwrap().total.unwrap().hits, 2);
    }

    #[test]
    fn unreachable_store_still_has_a_kind() {
        let store = stats_response(&overview(None), &NamespacePage::default()).store.unwrap();
        let expected = pb::StoreStats {
            kind: "redis".to_owned(),
            topology: "sentinel".to_owned(),
            sentinels: 3,
            ..pb::StoreStats::default()
        };
        assert_eq!(store, expected);
        let info = StoreInfo { keys: 7, ..StoreInfo::default() };
        let store = stats_response(&overview(Some(info)), &NamespacePage::default()).store.unwrap();
        assert!(store.reachable && store.keys == 7 && store.kind == "redis");
    }

    #[test]
    fn selected_namespaces_are_validated() {
        let check = |names: &[&str]| {
            let namespaces = names.iter().map(ToString::to_string).collect();
            stats_page(pb::StatsRequest { namespaces, ..pb::StatsRequest::default() })
        };
        assert!(check(&["a", OTHER]).is_ok());
        assert_eq!(check(&["a", "A"]).unwrap_err().field(), "namespaces[1]");
    }
}
