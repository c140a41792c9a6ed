//! The figures as plain text.

use std::time::Duration;

use super::{
    figures::{
        HotKeyFigures, NamespaceFigures, OriginFigures, ReplicaFigures, ReportFigures,
        StoreFigures, TopFigures,
    },
    units,
};
use crate::cli::figures::{dash, escape, table};

/// All figures, in blocks with empty lines between them.
pub(super) fn text(figures: &TopFigures) -> String {
    let mut blocks = vec![summary(figures)];
    let namespaces = figures.namespaces.iter().map(namespace);
    blocks.push(table(&NAMESPACE_COLUMNS, namespaces));
    if !figures.hot_keys.is_empty() {
        let rows = figures.hot_keys.iter().map(hot_key);
        blocks.push(table(&["hot key of", "key", "reads/s", "share"], rows));
    }
    if !figures.origins.is_empty() {
        let header = ["origin of", "fetches/s", "p50", "p99", "failed in 1 h", "state"];
        blocks.push(table(&header, figures.origins.iter().map(origin)));
    }
    let rows = figures.replicas.iter().map(replica);
    let header = [
        "replica",
        "version",
        "up",
        "host",
        "requests/s",
        "cpus",
        "memory",
        "connections",
        "store",
    ];
    blocks.push(table(&header, rows));
    blocks.join("\n\n")
}

const NAMESPACE_COLUMNS: [&str; 11] = [
    "namespace",
    "reads/s",
    "hit %",
    "stale %",
    "p50 ms",
    "p99 ms",
    "keys",
    "bytes",
    "ttl",
    "fetches/s",
    "marks",
];

fn summary(figures: &TopFigures) -> String {
    let totals = &figures.totals;
    let percent = |share: Option<f64>| share.map_or_else(dash, |share| units::share(share) + " %");
    let latency = |seconds: Option<f64>| seconds.map_or_else(dash, units::latency);
    let collected_at = figures.collected_at.as_deref().unwrap_or("-");
    let mut lines = vec![
        format!("server     {}, at {collected_at}", figures.address),
        format!("replicas   {}", figures.replicas.len()),
        format!("store      {}", store(&figures.store)),
        format!(
            "reads      {}/s, hit rate {}, stale {}, p50 {}, p99 {}",
            units::rate(totals.reads_per_second),
            percent(totals.shown_hit_rate()),
            percent(totals.shown_stale_rate()),
            latency(totals.hit_latency.p50),
            latency(totals.hit_latency.p99),
        ),
        format!(
            "fetches    {}/s, saved {}",
            units::rate(totals.fetches_per_second),
            percent(totals.fetches_saved)
        ),
        format!("rates      of {}", units::span(Duration::from_secs_f64(totals.rate_window))),
    ];
    let attention = figures.attention.iter();
    lines.extend(attention.map(|line| format!("attention  {}: {}", line.subject, line.text)));
    let left_out = figures.left_out.iter();
    lines.extend(left_out.map(|left| format!("left out   {}: {}", left.part.name(), left.reason)));
    lines.iter().map(|line| escape(line)).collect::<Vec<_>>().join("\n")
}

fn store(store: &StoreFigures) -> String {
    if !store.reachable {
        return format!("{}, not reachable", store.kind);
    }
    let used = match store.max_bytes {
        Some(limit) => units::bytes_of(store.used_bytes, limit),
        None => format!("{}, no limit", units::bytes(store.used_bytes)),
    };
    let evictions =
        store.evictions_per_second.map(|number| format!(", {} evictions/s", units::rate(number)));
    format!(
        "{}, {used}, {} keys, {} evicted{}",
        store.name(),
        units::count(store.keys),
        units::count(store.evicted_keys),
        evictions.unwrap_or_default(),
    )
}

fn namespace(row: &NamespaceFigures) -> Vec<String> {
    let traffic = &row.traffic;
    let share = |share: Option<f64>| share.map_or_else(dash, units::share);
    let millis = |seconds: Option<f64>| seconds.map_or_else(dash, units::millis);
    let mark = if row.sampled { "~" } else { "" };
    vec![
        row.namespace.clone(),
        units::rate(traffic.reads_per_second),
        share(traffic.shown_hit_rate()),
        share(traffic.shown_stale_rate()),
        millis(traffic.hit_latency.p50),
        millis(traffic.hit_latency.p99),
        row.keys.map_or_else(dash, |keys| format!("{mark}{}", units::count(keys))),
        row.bytes.map_or_else(dash, |bytes| format!("{mark}{}", units::bytes(bytes))),
        row.ttl.map_or_else(dash, |ttl| units::setting(Duration::from_secs_f64(ttl))),
        units::rate(traffic.fetches_per_second),
        row.marks.join(" "),
    ]
}

fn hot_key(row: &HotKeyFigures) -> Vec<String> {
    vec![
        row.namespace.clone(),
        row.key.clone(),
        format!("~{}", units::rate(row.reads_per_second)),
        format!("{} %", units::share(row.share)),
    ]
}

fn origin(row: &OriginFigures) -> Vec<String> {
    let latency = |seconds: Option<f64>| seconds.map_or_else(dash, units::latency);
    vec![
        row.namespace.clone(),
        units::rate(row.fetches_per_second),
        latency(row.fetch_latency.p50),
        latency(row.fetch_latency.p99),
        units::count(row.fetches_failed),
        row.state.replace('_', " "),
    ]
}

fn replica(row: &ReplicaFigures) -> Vec<String> {
    let uptime = row.uptime.map(|seconds| units::span(Duration::from_secs_f64(seconds)));
    let report = row.report.as_ref();
    let shown = |of: fn(&ReportFigures) -> String| report.map_or_else(dash, of);
    vec![
        row.id.clone(),
        row.version.clone(),
        uptime.unwrap_or_else(dash),
        shown(|report| report.host.clone()),
        shown(|report| units::rate(report.requests_per_second)),
        shown(|report| format!("{:.2}", report.cpus)),
        shown(|report| units::bytes(report.resident_bytes)),
        shown(|report| units::count(report.connections)),
        shown(|report| if report.store_available { "ok" } else { "down" }.to_owned()),
    ]
}
