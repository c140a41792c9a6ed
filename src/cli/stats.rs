//! `larder stats`: prints the answer to the Stats RPC as tables or JSON.

use std::{
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

use bytesize::ByteSize;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};
use tonic::{Status, transport::Channel};

use super::{
    StatsArgs,
    client::{self, Error, RemoteServer},
};
use crate::pb::v1::{self as pb, cache_service_client::CacheServiceClient};

pub(super) fn run(args: &StatsArgs) -> ExitCode {
    client::run(&args.connect, async |RemoteServer { address, channel }| {
        match all_pages(CacheServiceClient::new(channel), &args.namespaces).await {
            Ok(stats) => {
                let text =
                    if args.json { format!("{:#}", as_json(&stats)) } else { as_table(&stats) };
                // A reader that has read enough closes the pipe.
                let _ = writeln!(io::stdout(), "{text}");
                Ok(())
            }
            Err(status) => Err(Error::Status { address, status: Box::new(status) }),
        }
    })
}

/// Reads all pages. All but the namespaces is from the last page.
async fn all_pages(
    mut client: CacheServiceClient<Channel>,
    namespaces: &[String],
) -> Result<pb::StatsResponse, Status> {
    let mut request =
        pb::StatsRequest { namespaces: namespaces.to_vec(), ..pb::StatsRequest::default() };
    let mut namespaces = Vec::new();
    loop {
        let mut page = client.stats(request.clone()).await?.into_inner();
        namespaces.append(&mut page.namespaces);
        if page.next_page_token.is_empty() {
            page.namespaces = namespaces;
            return Ok(page);
        }
        request.page_token = page.next_page_token;
    }
}

fn as_table(stats: &pb::StatsResponse) -> String {
    let mut counted = Table::new();
    counted.load_style(presets::NOTHING);
    counted.set_header([
        "namespace",
        "window",
        "hits",
        "stale",
        "misses",
        "hit rate",
        "p50 hit",
        "p99 hit",
        "sets",
        "deletes",
        "leases",
        "fetches",
        "saved",
    ]);
    let named = stats
        .namespaces
        .iter()
        .map(|namespace| (namespace.namespace.as_str(), namespace.counted.as_ref()));
    for (name, windows) in named.chain([("(all)", stats.totals.as_ref())]) {
        let Some(windows) = windows else { continue };
        let rows = [
            ("total", &windows.total),
            ("last hour", &windows.last_hour),
            ("last day", &windows.last_day),
        ];
        for (index, (window, counters)) in rows.into_iter().enumerate() {
            let Some(counters) = counters else { continue };
            counted.add_row(counted_row(if index == 0 { name } else { "" }, window, counters));
        }
    }
    for column in counted.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut text =
        format!("{counted}\n\n{}\n{}", sizes_table(stats), store_lines(stats.store.as_ref()));
    if stats.degraded {
        text.push_str(
            "\nThe store did not answer: \
             these are the statistics of this replica only, since its start.",
        );
    }
    text
}

fn counted_row(name: &str, window: &str, counters: &pb::Counters) -> [String; 13] {
    let latency = |of: fn(&pb::Latency) -> Option<prost_types::Duration>| {
        counters
            .hit_latency
            .as_ref()
            .and_then(of)
            .map_or_else(dash, |duration| show_duration(&duration))
    };
    [
        name.to_owned(),
        window.to_owned(),
        counters.hits.to_string(),
        counters.stale.to_string(),
        counters.misses.to_string(),
        counters.hit_rate.map_or_else(dash, |rate| format!("{:.1} %", rate * 100.0)),
        latency(|latency| latency.p50),
        latency(|latency| latency.p99),
        counters.sets.to_string(),
        counters.deletes.to_string(),
        counters.leases_granted.to_string(),
        counters.fetches.to_string(),
        (counters.leases_refused + counters.fetches_coalesced).to_string(),
    ]
}

fn sizes_table(stats: &pb::StatsResponse) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "namespace",
        "keys",
        "bytes",
        "",
        "<= 1 min",
        "<= 10 min",
        "<= 1 h",
        "<= 1 d",
        "longer",
    ]);
    for namespace in &stats.namespaces {
        let Some(size) = &namespace.size else { continue };
        let mut row = vec![
            namespace.namespace.clone(),
            size.keys.to_string(),
            ByteSize(size.bytes).to_string(),
            if size.sampled { "estimated" } else { "" }.to_owned(),
        ];
        row.extend(size.ttl.iter().map(|bucket| bucket.keys.to_string()));
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn store_lines(store: Option<&pb::StoreStats>) -> String {
    let Some(store) = store else { return String::new() };
    if !store.reachable {
        return format!("store      {}, not reachable", store.kind);
    }
    let limit = if store.max_bytes == 0 {
        "no limit".to_owned()
    } else {
        format!("limit {}", ByteSize(store.max_bytes))
    };
    let name = if store.server_version.is_empty() { &store.kind } else { &store.server_version };
    let mut lines = vec![
        format!("store      {name}, up {}", show_uptime(store.uptime)),
        format!(
            "memory     {} in use, peak {}, {limit}",
            ByteSize(store.used_bytes),
            ByteSize(store.peak_bytes)
        ),
        format!(
            "keys       {}, {} expired, {} evicted ({})",
            store.keys, store.expired_keys, store.evicted_keys, store.eviction_policy
        ),
        format!("persists   {}", store.persistence),
    ];
    if let (Some(clients), Some(ops)) = (store.clients, store.ops_per_second) {
        lines.push(format!("load       {ops} commands per second, {clients} clients"));
    }
    lines.join("\n")
}

fn dash() -> String {
    "-".to_owned()
}

fn show_uptime(uptime: Option<prost_types::Duration>) -> String {
    let seconds = uptime.map_or(0, |uptime| u64::try_from(uptime.seconds).unwrap_or(0));
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

fn show_duration(duration: &prost_types::Duration) -> String {
    let duration = Duration::try_from(*duration).unwrap_or_default();
    // The buckets of the latencies have a precision of about two digits.
    match duration {
        short if short < Duration::from_millis(1) => format!("{} us", short.as_micros()),
        short if short < Duration::from_secs(1) => format!("{:.1} ms", short.as_secs_f64() * 1e3),
        long => humantime::format_duration(Duration::from_secs(long.as_secs())).to_string(),
    }
}

fn as_json(stats: &pb::StatsResponse) -> Value {
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
        "degraded": stats.degraded,
        "collected_at": stats.collected_at.map(|at| at.to_string()),
    })
}

fn windows_json(windows: &pb::WindowStats) -> Value {
    json!({
        "total": windows.total.as_ref().map(counters_json),
        "last_hour": windows.last_hour.as_ref().map(counters_json),
        "last_day": windows.last_day.as_ref().map(counters_json),
    })
}

fn counters_json(counters: &pb::Counters) -> Value {
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
    })
}

fn latency_json(latency: &pb::Latency) -> Value {
    json!({ "p50": seconds(latency.p50), "p95": seconds(latency.p95), "p99": seconds(latency.p99) })
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
    })
}

fn seconds(duration: Option<prost_types::Duration>) -> Option<f64> {
    duration
        .and_then(|duration| Duration::try_from(duration).ok())
        .map(|duration| duration.as_secs_f64())
}
