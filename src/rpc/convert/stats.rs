//! The answer to Stats.

use std::time::{Duration, SystemTime};

use super::super::convert;
use crate::{
    cache::fleet_stats::{self, Overview},
    pb::v1 as pb,
    stats::counters::{Counter, Counters, LatencyKind},
    store::{NamespaceUsage, StoreInfo, TTL_CLASSES},
};

/// Reports on the namespaces in `chosen`, or on all if it is empty.
pub(in crate::rpc) fn response(overview: &Overview, chosen: &[String]) -> pb::StatsResponse {
    let report = &overview.report;
    let counted = |chosen: &[String]| pb::WindowStats {
        total: Some(counters(&fleet_stats::sum(&report.total, chosen))),
        last_hour: Some(counters(&fleet_stats::sum(&report.last_hour, chosen))),
        last_day: Some(counters(&fleet_stats::sum(&report.last_day, chosen))),
    };
    let mut names = fleet_stats::names(report);
    names.extend(overview.sizes.iter().map(|(namespace, _)| namespace.to_string()));
    names.sort_unstable();
    names.dedup();
    names.retain(|name| chosen.is_empty() || chosen.contains(name));
    let namespaces = names.into_iter().map(|namespace| pb::NamespaceStats {
        counted: Some(counted(std::slice::from_ref(&namespace))),
        size: overview
            .sizes
            .iter()
            .find(|(name, _)| name.as_str() == namespace)
            .map(|(_, held)| size(held)),
        namespace,
    });
    pb::StatsResponse {
        totals: Some(counted(chosen)),
        namespaces: namespaces.collect(),
        store: Some(store(overview.facts.as_ref())),
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

fn latency(counts: &Counters, timed: LatencyKind) -> Option<pb::Latency> {
    let quantile = |share| counts.latency(timed, share).map(convert::duration);
    Some(pb::Latency { p50: Some(quantile(0.5)?), p95: quantile(0.95), p99: quantile(0.99) })
}

fn size(size: &NamespaceUsage) -> pb::NamespaceSize {
    let bounds = TTL_CLASSES.into_iter().map(|bound| Some(convert::duration(bound))).chain([None]);
    let ttl = bounds.zip(size.ttl).map(|(up_to, keys)| pb::TtlBucket { up_to, keys });
    pb::NamespaceSize {
        keys: size.keys,
        bytes: size.bytes,
        sampled: size.sampled,
        ttl: ttl.collect(),
    }
}

fn store(facts: Option<&StoreInfo>) -> pb::StoreStats {
    let Some(facts) = facts else {
        return pb::StoreStats { kind: "redis".to_owned(), ..pb::StoreStats::default() };
    };
    pb::StoreStats {
        kind: facts.kind.to_owned(),
        server_version: facts.server_version.clone(),
        reachable: true,
        used_bytes: facts.used_bytes,
        peak_bytes: facts.peak_bytes,
        max_bytes: facts.max_bytes,
        fragmentation_ratio: facts.fragmentation_ratio,
        eviction_policy: facts.eviction_policy.clone(),
        evicted_keys: facts.evicted_keys,
        expired_keys: facts.expired_keys,
        keys: facts.keys,
        clients: facts.clients,
        ops_per_second: facts.ops_per_second,
        persistence: facts.persistence.clone(),
        uptime: Some(convert::duration(Duration::from_secs(facts.uptime.as_secs()))),
    }
}
