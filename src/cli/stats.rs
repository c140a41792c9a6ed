//! `larder stats`: prints the answer to the Stats RPC as tables or JSON.

mod json;

use std::{process::ExitCode, time::Duration};

use bytesize::ByteSize;
use comfy_table::{CellAlignment, Table, presets};
use tonic::Status;

use self::json::as_json;
pub(super) use self::json::counters_json;
use super::{
    StatsArgs,
    client::{self, Error, RemoteServer},
    connection::Connection,
    figures::{dash, percent},
};
use crate::{
    pb::v1::{self as pb, cache_service_client::CacheServiceClient},
    visible_text::{visible_json, visible_lines},
};

pub(super) fn run(args: &StatsArgs) -> ExitCode {
    client::run(args.server.address.as_ref(), &args.connect, async |server: RemoteServer| {
        let client = CacheServiceClient::new(server.connection.clone());
        match all_pages(client, &args.namespaces).await {
            Ok(stats) => {
                let text = if args.json {
                    visible_json(&as_json(&stats).to_string()).into_owned()
                } else {
                    visible_lines(&as_table(&stats)).into_owned()
                };
                super::print(&format!("{text}\n")).map_err(Error::Output)?;
                let is_unknown = |name: &&String| {
                    !stats.namespaces.iter().any(|namespace| namespace.namespace == **name)
                };
                match args.namespaces.iter().find(is_unknown) {
                    Some(name) => Err(Error::NoStatistics { namespace: name.clone() }),
                    None => Ok(()),
                }
            }
            Err(status) => Err(server.failed(status)),
        }
    })
}

/// Reads all pages. All but the namespaces is from the last page.
async fn all_pages(
    mut client: CacheServiceClient<Connection>,
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
    let mut parts = vec![
        counted_table(stats, READS, |_| true).to_string(),
        counted_table(stats, EVENTS, has_any).to_string(),
        counted_table(stats, LATENCIES, has_any).to_string(),
        sizes_table(stats).to_string(),
        replica_lines(stats),
    ];
    parts.retain(|part| part.lines().count() > 1 || part.starts_with("replicas"));
    parts.push(store_lines(stats.store.as_ref()));
    let lines = parts.join("\n\n");
    let mut text = lines.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    if stats.degraded {
        text.push_str(
            "\nThe store did not answer: \
             these are the statistics of this replica only, since its start.",
        );
    }
    text
}

fn has_any(cells: &[String]) -> bool {
    cells.iter().any(|cell| cell != "0" && cell != "-")
}

/// A column of a table: its heading, and what it shows of the counters.
type Column = (&'static str, fn(&pb::Counters) -> String);

/// The columns that every namespace has.
const READS: &[Column] = &[
    ("hits", |counters| counters.hits.to_string()),
    ("stale", |counters| counters.stale.to_string()),
    ("negative", |counters| counters.negative.to_string()),
    ("misses", |counters| counters.misses.to_string()),
    ("hit rate", |counters| counters.hit_rate.map_or_else(dash, percent)),
    ("p50 hit", |counters| show_latency(counters.hit_latency.as_ref(), |latency| latency.p50)),
    ("p99 hit", |counters| show_latency(counters.hit_latency.as_ref(), |latency| latency.p99)),
    ("near", |counters| counters.near_hits.to_string()),
    ("sets", |counters| counters.sets.to_string()),
    ("deletes", |counters| counters.deletes.to_string()),
    ("leases", |counters| counters.leases_granted.to_string()),
    ("fetches", |counters| counters.fetches.to_string()),
    ("coalesced", |counters| counters.fetches_coalesced.to_string()),
];

/// Columns for what does not always happen. Rows without any of it are left out.
const EVENTS: &[Column] = &[
    ("degraded", |counters| counters.degraded.to_string()),
    ("refused", |counters| counters.sets_refused.to_string()),
    ("lost fills", |counters| {
        let lost = counters.fills_lost + counters.fills_invalidated + counters.fills_superseded;
        (lost + counters.fills_not_stored).to_string()
    }),
    ("uncacheable", |counters| counters.uncacheable.to_string()),
    ("contended", |counters| counters.contended.to_string()),
    ("abandoned", |counters| counters.leases_abandoned.to_string()),
    ("fetch errors", |counters| counters.fetches_failed.to_string()),
    ("early", |counters| counters.early_refreshes.to_string()),
    ("revalidating", |counters| counters.stale_while_revalidate.to_string()),
    ("if error", |counters| counters.stale_if_error.to_string()),
    ("soft timeout", |counters| counters.stale_soft_timeout.to_string()),
    ("invalidated", |counters| counters.invalidations.to_string()),
    ("banned", |counters| counters.bans.to_string()),
    ("windowed", |counters| counters.invalidations_coalesced.to_string()),
    ("no lease", |counters| counters.leases_refused.to_string()),
];

/// Percentiles of the latencies. Rows without any are left out.
const LATENCIES: &[Column] = &[
    ("p50 hit", |counters| show_latency(counters.hit_latency.as_ref(), |latency| latency.p50)),
    ("p95 hit", |counters| show_latency(counters.hit_latency.as_ref(), |latency| latency.p95)),
    ("p99 hit", |counters| show_latency(counters.hit_latency.as_ref(), |latency| latency.p99)),
    ("p50 miss", |counters| show_latency(counters.miss_latency.as_ref(), |latency| latency.p50)),
    ("p95 miss", |counters| show_latency(counters.miss_latency.as_ref(), |latency| latency.p95)),
    ("p99 miss", |counters| show_latency(counters.miss_latency.as_ref(), |latency| latency.p99)),
    ("p50 fetch", |counters| show_latency(counters.fetch_latency.as_ref(), |latency| latency.p50)),
    ("p95 fetch", |counters| show_latency(counters.fetch_latency.as_ref(), |latency| latency.p95)),
    ("p99 fetch", |counters| show_latency(counters.fetch_latency.as_ref(), |latency| latency.p99)),
    ("p50 compute", |counters| {
        show_latency(counters.compute_latency.as_ref(), |latency| latency.p50)
    }),
    ("p95 compute", |counters| {
        show_latency(counters.compute_latency.as_ref(), |latency| latency.p95)
    }),
    ("p99 compute", |counters| {
        show_latency(counters.compute_latency.as_ref(), |latency| latency.p99)
    }),
];

/// A row for each namespace and window that `is_shown`.
fn counted_table(
    stats: &pb::StatsResponse,
    columns: &[Column],
    is_shown: impl Fn(&[String]) -> bool,
) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let headings = ["namespace", "window"].into_iter();
    table.set_header(headings.chain(columns.iter().map(|(heading, _)| *heading)));
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
        let mut shown_name = name;
        for (window, counters) in rows {
            let Some(counters) = counters else { continue };
            let cells: Vec<String> = columns.iter().map(|(_, show)| show(counters)).collect();
            if is_shown(&cells) {
                let names = [shown_name.to_owned(), window.to_owned()];
                table.add_row(names.into_iter().chain(cells));
                shown_name = "";
            }
        }
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// A percentile of a latency; a dash if nothing was measured.
pub(super) fn show_latency(
    latency: Option<&pb::Latency>,
    of: fn(&pb::Latency) -> Option<prost_types::Duration>,
) -> String {
    latency.and_then(of).map_or_else(dash, |duration| show_duration(&duration))
}

fn replica_lines(stats: &pb::StatsResponse) -> String {
    let mut lines = vec![format!("replicas   {}", stats.replicas.len())];
    lines.extend(stats.replicas.iter().map(|pb::ReplicaStats { id, version, started_at }| {
        let started_at = started_at.map(|at| at.to_string()).unwrap_or_default();
        format!("           {id}  {version}  started {started_at}")
    }));
    lines.extend(stats.counting_since.map(|since| format!("total      since {since}")));
    lines.join("\n")
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
        let cause = if store.cause.is_empty() { "it does not answer" } else { &store.cause };
        let unreachable = format!("store      {}, not reachable: {cause}", store.kind);
        return [unreachable]
            .into_iter()
            .chain(sentinel_line(store))
            .collect::<Vec<_>>()
            .join("\n");
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
    lines.extend(sentinel_line(store));
    if !store.cause.is_empty() {
        lines.push(format!("trouble    {}", store.cause));
    }
    if let (Some(clients), Some(ops)) = (store.clients, store.ops_per_second) {
        lines.push(format!("load       {ops} commands per second, {clients} clients"));
    }
    lines.join("\n")
}

/// The primary, as the sentinels name it; none without sentinels.
fn sentinel_line(store: &pb::StoreStats) -> Option<String> {
    if store.sentinels == 0 {
        return None;
    }
    let primary = if store.primary.is_empty() { "no primary" } else { &store.primary };
    Some(format!(
        "sentinels  {} of {} answer, and name {primary} for {}",
        store.sentinels_reachable, store.sentinels, store.sentinel_service
    ))
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn sentinels_are_shown_also_while_the_store_is_away() {
        let store = pb::StoreStats {
            kind: "redis".to_owned(),
            sentinel_service: "main".to_owned(),
            primary: "10.0.0.1:6379".to_owned(),
            sentinels: 3,
            sentinels_reachable: 2,
            ..pb::StoreStats::default()
        };
        let line = "sentinels  2 of 3 answer, and name 10.0.0.1:6379 for main";
        for reachable in [true, false] {
            let lines = store_lines(Some(&pb::StoreStats { reachable, ..store.clone() }));
            assert!(lines.lines().any(|shown| shown == line), "{lines}");
        }
        let unnamed = pb::StoreStats { primary: String::new(), ..store };
        assert!(store_lines(Some(&unnamed)).contains("and name no primary for main"));
        assert!(!store_lines(Some(&pb::StoreStats::default())).contains("sentinels"));
    }

    /// Each counter of the JSON has its number in the tables for people.
    #[test]
    fn the_tables_show_every_counter() {
        let latency = |ms: i32| {
            let of = |ms: i32| Some(prost_types::Duration { seconds: 0, nanos: ms * 1_000_000 });
            Some(pb::Latency { p50: of(ms), p95: of(ms + 1), p99: of(ms + 2) })
        };
        let counters = pb::Counters {
            hits: 1001,
            stale: 1002,
            negative: 1003,
            misses: 1004,
            hit_rate: Some(0.5),
            sets: 1005,
            sets_refused: 1006,
            deletes: 1007,
            invalidations: 1008,
            leases_granted: 1009,
            leases_refused: 1010,
            leases_abandoned: 1011,
            degraded: 1012,
            hit_latency: latency(11),
            miss_latency: latency(21),
            fetch_latency: latency(31),
            fetches: 1013,
            fetches_failed: 1014,
            fetches_coalesced: 1015,
            early_refreshes: 1016,
            stale_while_revalidate: 1017,
            stale_if_error: 1018,
            stale_soft_timeout: 1019,
            fills_lost: 10_000,
            fills_invalidated: 20_000,
            fills_superseded: 40_000,
            fills_not_stored: 80_000,
            uncacheable: 1020,
            near_hits: 1021,
            bans: 1022,
            invalidations_coalesced: 1023,
            contended: 1024,
            compute_latency: latency(41),
        };
        let windows = pb::WindowStats { total: Some(counters), ..Default::default() };
        let stats = pb::StatsResponse { totals: Some(windows), ..Default::default() };
        let text = as_table(&stats);
        for number in (1001..=1024).chain([150_000]) {
            assert!(text.contains(&number.to_string()), "{number} is not in\n{text}");
        }
        for ms in [11, 12, 13, 21, 22, 23, 31, 32, 33, 41, 42, 43] {
            assert!(text.contains(&format!("{ms}.0 ms")), "{ms} ms is not in\n{text}");
        }
        assert!(text.contains("50.0 %"));
        // A counter that is added to the JSON needs a column here.
        assert_eq!(counters_json(&counters).as_object().unwrap().len(), 33);
        let coalesced = text.lines().next().unwrap().split_whitespace().last();
        assert_eq!(coalesced, Some("coalesced"));
        assert_eq!(text.lines().nth(1).unwrap().split_whitespace().last(), Some("1015"));
    }
}
