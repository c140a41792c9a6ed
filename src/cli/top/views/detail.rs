//! One namespace: its policy, counters, latencies and hot keys.

use ratatui::{
    Frame,
    layout::Rect,
    style::Style,
    text::{Line, Span},
    widgets::Paragraph,
};

use super::{
    Scene,
    line::{fitting, padded, shortened},
};
use crate::{
    cli::{
        figures::{dash, escape},
        top::{
            model::{NamespaceDetail, percentiles},
            state::DrawnRows,
            units,
        },
    },
    pb::{
        self,
        v1::{Counters, Latency, NamespacePolicy},
    },
};

/// Width of the counters, at the left of the rest.
const LEFT: usize = 42;
/// Width from which the rest is at the right of the counters.
const TWO_SIDES: u16 = 78;

/// A counter and its name.
type CounterRow = (&'static str, fn(&Counters) -> u64);

/// All counters of the statistics.
const COUNTERS: [CounterRow; 28] = [
    ("hits", |counters| counters.hits),
    ("near hits", |counters| counters.near_hits),
    ("stale", |counters| counters.stale),
    ("revalidating", |counters| counters.stale_while_revalidate),
    ("if error", |counters| counters.stale_if_error),
    ("soft timeout", |counters| counters.stale_soft_timeout),
    ("negative", |counters| counters.negative),
    ("misses", |counters| counters.misses),
    ("degraded", |counters| counters.degraded),
    ("sets", |counters| counters.sets),
    ("sets refused", |counters| counters.sets_refused),
    ("deletes", |counters| counters.deletes),
    ("invalidated", |counters| counters.invalidations),
    ("banned", |counters| counters.bans),
    ("windowed", |counters| counters.invalidations_coalesced),
    ("leases", |counters| counters.leases_granted),
    ("no lease", |counters| counters.leases_refused),
    ("abandoned", |counters| counters.leases_abandoned),
    ("contended", |counters| counters.contended),
    ("fetches", |counters| counters.fetches),
    ("fetch errors", |counters| counters.fetches_failed),
    ("coalesced", |counters| counters.fetches_coalesced),
    ("early", |counters| counters.early_refreshes),
    ("uncacheable", |counters| counters.uncacheable),
    ("fills lost", |counters| counters.fills_lost),
    ("fills invalid.", |counters| counters.fills_invalidated),
    ("fills supersed.", |counters| counters.fills_superseded),
    ("fills not stored", |counters| counters.fills_not_stored),
];

pub(super) fn draw(frame: &mut Frame<'_>, scene: &Scene<'_>, name: &str, area: Rect) -> DrawnRows {
    let Some(detail) = scene.detail else { return DrawnRows::default() };
    let mut lines = summary(scene, name, detail, area.width);
    lines.push(Line::default());
    let (left, right) = (counters(scene, detail), right_side(scene, detail, area.width));
    if area.width >= TWO_SIDES {
        lines.extend(side_by_side(left, right));
    } else {
        lines.extend(left);
        lines.push(Line::default());
        lines.extend(right);
    }
    let all = lines.len();
    let shown: Vec<Line<'static>> = lines.into_iter().skip(scene.panel_offset()).collect();
    frame.render_widget(Paragraph::new(shown), area);
    DrawnRows { fitting: usize::from(area.height), all }
}

fn summary(
    scene: &Scene<'_>,
    name: &str,
    detail: &NamespaceDetail,
    width: u16,
) -> Vec<Line<'static>> {
    let part = |name: &'static str, value: String| {
        vec![Span::styled(format!("{name} "), scene.theme.dim()), Span::raw(value)]
    };
    let percent = |share: Option<f64>| share.map_or_else(dash, |share| units::share(share) + " %");
    let traffic = &detail.traffic;
    let name = shortened(&escape(name), usize::from(width / 2));
    let mut first = vec![
        vec![Span::styled(format!("NAMESPACE {name}"), scene.theme.heading())],
        part("reads", format!("{}/s", units::rate(traffic.reads_per_second))),
        part("hit", percent(traffic.shown_hit_rate())),
        part("stale", percent(traffic.shown_stale_rate())),
    ];
    if let Some(size) = &detail.size {
        let mark = if size.sampled { "~" } else { "" };
        first.push(part("keys", format!("{mark}{}", units::count(size.keys))));
        first.push(part("bytes", format!("{mark}{}", units::bytes(size.bytes))));
    }
    let trail = units::sparkline(&traffic.trail, usize::from(width));
    first.push(vec![Span::styled(trail, scene.theme.graph())]);
    let mut lines = vec![fitting(first, width)];
    match (&detail.policy, detail.is_configured) {
        (Some(policy), is_configured) => {
            lines.extend(policy_lines(scene, policy, is_configured == Some(true), width));
        }
        (None, Some(_)) => lines.push(Line::raw("requests are refused (strict_namespaces)")),
        (None, None) => {}
    }
    lines
}

fn policy_lines(
    scene: &Scene<'_>,
    policy: &NamespacePolicy,
    is_configured: bool,
    width: u16,
) -> Vec<Line<'static>> {
    let time = |time: Option<prost_types::Duration>| {
        time.and_then(pb::duration).map_or_else(dash, units::setting)
    };
    let part = |name: &'static str, value: String| {
        vec![Span::styled(format!("{name} "), scene.theme.dim()), Span::raw(value)]
    };
    let size = |bytes: u64| if bytes == 0 { "no".to_owned() } else { units::bytes(bytes) };
    let origin = if policy.has_origin { "yes" } else { "no" };
    let source = if is_configured { "of its own" } else { "the defaults" };
    let parts = vec![
        vec![
            part("policy", source.to_owned()),
            part("ttl", time(policy.ttl)),
            part("max ttl", time(policy.max_ttl)),
            part("jitter", format!("{} %", units::share(policy.ttl_jitter))),
        ],
        vec![
            part("stale while revalidate", time(policy.stale_while_revalidate)),
            part("if error", time(policy.stale_if_error)),
            part("lease", time(policy.lease_ttl)),
        ],
        vec![
            part("origin", origin.to_owned()),
            part("near cache", size(policy.near_cache_bytes)),
            part("longest value", size(policy.max_value_bytes)),
        ],
    ];
    parts.into_iter().map(|parts| fitting(parts, width)).collect()
}

/// Counters that are not zero in all windows.
fn counters(scene: &Scene<'_>, detail: &NamespaceDetail) -> Vec<Line<'static>> {
    let title = format!("{:<17}{:>8}{:>8}{:>8}", "COUNTERS", "1 HOUR", "1 DAY", "TOTAL");
    let mut lines = vec![Line::styled(title, scene.theme.heading())];
    let windows = [&detail.last_hour, &detail.last_day, &detail.total];
    for (name, of) in COUNTERS {
        let numbers = windows.map(of);
        if numbers.iter().any(|number| *number > 0) {
            let [hour, day, total] = numbers.map(units::count);
            lines.push(Line::raw(format!("{name:<17}{hour:>8}{day:>8}{total:>8}")));
        }
    }
    lines
}

fn right_side(scene: &Scene<'_>, detail: &NamespaceDetail, width: u16) -> Vec<Line<'static>> {
    let title = format!("{:<12}{:>8}{:>8}{:>8}", "LATENCY 1 H", "P50", "P95", "P99");
    let mut lines = vec![Line::styled(title, scene.theme.heading())];
    let counters = &detail.last_hour;
    let latencies: [(&str, Option<&Latency>); 4] = [
        ("hit", counters.hit_latency.as_ref()),
        ("miss", counters.miss_latency.as_ref()),
        ("fetch", counters.fetch_latency.as_ref()),
        ("compute", counters.compute_latency.as_ref()),
    ];
    for (name, latency) in latencies {
        if latency.is_some() {
            let of = percentiles(latency);
            let [p50, p95, p99] =
                [of.p50, of.p95, of.p99].map(|time| time.map_or_else(dash, units::latency));
            lines.push(Line::raw(format!("{name:<12}{p50:>8}{p95:>8}{p99:>8}")));
        }
    }
    lines.push(Line::default());
    let width = usize::from(width);
    let key_width = if width >= usize::from(TWO_SIDES) { width - LEFT - 17 } else { width - 17 };
    let title = format!("{}{:>8}{:>9}", padded("HOT KEYS", key_width), "READS/S", "SHARE %");
    lines.push(Line::styled(title, scene.theme.heading()));
    if detail.hot_keys.is_empty() {
        lines.push(Line::styled("no key is read often", scene.theme.dim()));
    }
    for hot in &detail.hot_keys {
        let key = padded(&shortened(&escape(&hot.key), key_width), key_width);
        let (reads, share) = (units::rate(hot.reads_per_second), units::share(hot.share));
        lines.push(Line::raw(format!("{key}{reads:>8}{share:>9}")));
    }
    lines.push(Line::default());
    lines.extend(steps(scene, detail));
    lines
}

/// The last hour, the newest minute first.
fn steps(scene: &Scene<'_>, detail: &NamespaceDetail) -> Vec<Line<'static>> {
    let title = format!("{:<8}{:>8}{:>7}{:>6}{:>7}", "MINUTE", "READS/S", "HIT %", "P99", "ERRORS");
    let mut lines = vec![Line::styled(title, scene.theme.heading())];
    if detail.steps.is_empty() {
        lines.push(Line::styled("no history", scene.theme.dim()));
    }
    lines.extend(detail.steps.iter().rev().map(|step| {
        let minute = step.start.as_deref().and_then(|start| start.get(11..16)).unwrap_or("-");
        let reads = units::rate(step.reads_per_second);
        let hit = step.hit_rate.map_or_else(dash, units::share);
        let p99 = step.hit_latency.p99.map_or_else(dash, units::millis);
        let errors = units::count(step.fetches_failed);
        Line::raw(format!("{minute:<8}{reads:>8}{hit:>7}{p99:>6}{errors:>7}"))
    }));
    lines
}

fn side_by_side(left: Vec<Line<'static>>, right: Vec<Line<'static>>) -> Vec<Line<'static>> {
    let rows = left.len().max(right.len());
    let (mut left, mut right) = (left.into_iter(), right.into_iter());
    let mut lines = Vec::with_capacity(rows);
    for _ in 0..rows {
        let mut line = left.next().unwrap_or_default();
        // The style of a line becomes that of its parts, so that both sides keep theirs.
        let style = line.style;
        line.spans.iter_mut().for_each(|span| span.style = style.patch(span.style));
        line.style = Style::default();
        let gap = LEFT.saturating_sub(line.width());
        line.push_span(" ".repeat(gap));
        let other = right.next().unwrap_or_default();
        let style = other.style;
        line.extend(other.spans.into_iter().map(|span| {
            let style = style.patch(span.style);
            span.style(style)
        }));
        lines.push(line);
    }
    lines
}
