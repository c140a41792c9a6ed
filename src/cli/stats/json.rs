//! The answer to the Stats RPC as JSON: names of the proto, durations in seconds.

use std::time::Duration;

use serde_json::{Value, json};

use crate::pb::v1 as pb;

pub(super) fn as_json(stats: &pb::StatsResponse) -> Value {
    let namespaces: Vec<Value> = stats
        .namespaces
        .iter()
        .map(|namespace| {
            json!({
                "namespace": namespace.namespace,
                "counted": namespace.counted.as_ref().map(windows_json),
                "size": namespace.size.as_ref().map(size_json),
            })
        })
        .collect();
    json!({
        "totals": stats.totals.as_ref().map(windows_json),
        "namespaces": namespaces,
        "store": stats.store.as_ref().map(store_json),
        "replicas": stats.replicas.iter().map(replica_json).collect::<Vec<_>>(),
        "degraded": stats.degraded,
        "collected_at": stats.collected_at.map(|at| at.to_string()),
        "counting_since": stats.counting_since.map(|at| at.to_string()),
    })
}

fn windows_json(windows: &pb::WindowStats) -> Value {
    json!({
        "total": windows.total.as_ref().map(counters_json),
        "last_hour": windows.last_hour.as_ref().map(counters_json),
        "last_day": windows.last_day.as_ref().map(counters_json),
    })
}

pub(in crate::cli) fn counters_json(counters: &pb::Counters) -> Value {
    json!({
        "hits": counters.hits,
        "stale": counters.stale,
        "negative": counters.negative,
        "misses": counters.misses,
        "hit_rate": counters.hit_rate,
        "sets": counters.sets,
        "sets_refused": counters.sets_refused,
        "deletes": counters.deletes,
        "invalidations": counters.invalidations,
        "leases_granted": counters.leases_granted,
        "leases_refused": counters.leases_refused,
        "leases_abandoned": counters.leases_abandoned,
        "degraded": counters.degraded,
        "hit_latency": counters.hit_latency.as_ref().map(latency_json),
        "miss_latency": counters.miss_latency.as_ref().map(latency_json),
        "fetch_latency": counters.fetch_latency.as_ref().map(latency_json),
        "fetches": counters.fetches,
        "fetches_failed": counters.fetches_failed,
        "fetches_coalesced": counters.fetches_coalesced,
        "early_refreshes": counters.early_refreshes,
        "stale_while_revalidate": counters.stale_while_revalidate,
        "stale_if_error": counters.stale_if_error,
        "stale_soft_timeout": counters.stale_soft_timeout,
        "fills_lost": counters.fills_lost,
        "fills_invalidated": counters.fills_invalidated,
        "fills_superseded": counters.fills_superseded,
        "fills_not_stored": counters.fills_not_stored,
        "uncacheable": counters.uncacheable,
        "near_hits": counters.near_hits,
        "bans": counters.bans,
        "invalidations_coalesced": counters.invalidations_coalesced,
        "contended": counters.contended,
        "compute_latency": counters.compute_latency.as_ref().map(latency_json),
    })
}

fn latency_json(latency: &pb::Latency) -> Value {
    json!({ "p50": seconds(latency.p50), "p95": seconds(latency.p95), "p99": seconds(latency.p99) })
}

fn replica_json(replica: &pb::ReplicaStats) -> Value {
    json!({
        "id": replica.id,
        "version": replica.version,
        "started_at": replica.started_at.map(|at| at.to_string()),
    })
}

fn size_json(size: &pb::NamespaceSize) -> Value {
    let ttl: Vec<Value> = size
        .ttl
        .iter()
        .map(|bucket| json!({ "up_to": seconds(bucket.up_to), "keys": bucket.keys }))
        .collect();
    json!({ "keys": size.keys, "bytes": size.bytes, "sampled": size.sampled, "ttl": ttl })
}

fn store_json(store: &pb::StoreStats) -> Value {
    json!({
        "kind": store.kind,
        "server_version": store.server_version,
        "reachable": store.reachable,
        "used_bytes": store.used_bytes,
        "peak_bytes": store.peak_bytes,
        "max_bytes": store.max_bytes,
        "fragmentation_ratio": store.fragmentation_ratio,
        "eviction_policy": store.eviction_policy,
        "evicted_keys": store.evicted_keys,
        "expired_keys": store.expired_keys,
        "keys": store.keys,
        "clients": store.clients,
        "ops_per_second": store.ops_per_second,
        "persistence": store.persistence,
        "uptime": seconds(store.uptime),
        "cause": store.cause,
        "topology": store.topology,
        "sentinel_service": store.sentinel_service,
        "primary": store.primary,
        "sentinels": store.sentinels,
        "sentinels_reachable": store.sentinels_reachable,
    })
}

fn seconds(duration: Option<prost_types::Duration>) -> Option<f64> {
    duration
        .and_then(|duration| Duration::try_from(duration).ok())
        .map(|duration| duration.as_secs_f64())
}
