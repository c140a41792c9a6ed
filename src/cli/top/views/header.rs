//! The lines at the top: the server, the traffic of the fleet, and the store.

use std::time::Duration;

use ratatui::text::{Line, Span};

use super::{
    Scene,
    line::{fitting, two_sided},
};
use crate::cli::{
    figures::{dash, escape},
    top::{
        figures::{Severity, StoreFigures, TopFigures},
        units,
    },
};

/// Number of lines.
pub(super) const LINES: u16 = 3;
/// Columns of the bar of the memory.
const BAR: usize = 20;
/// Positions of the time in a timestamp of RFC 3339.
const TIME: std::ops::Range<usize> = 11..19;

pub(super) fn lines(scene: &Scene<'_>, width: u16) -> Vec<Line<'static>> {
    vec![server(scene, width), traffic(scene, width), store(scene, width)]
}

fn server(scene: &Scene<'_>, width: u16) -> Line<'static> {
    let (figures, theme) = (scene.figures, scene.theme);
    let replicas = match figures.replicas.len() {
        1 => "1 replica".to_owned(),
        number => format!("{number} replicas"),
    };
    let left = vec![
        vec![Span::styled("larder top", theme.heading())],
        vec![Span::raw(escape(&figures.address))],
        vec![Span::raw(replicas)],
        store_state(scene),
    ];
    let mut right = Vec::new();
    if scene.state.is_paused {
        right.push(vec![Span::styled("paused", theme.severity(Severity::Warning))]);
    }
    let time = figures.collected_at.as_deref().and_then(|at| at.get(TIME)).unwrap_or("-");
    right.push(vec![Span::raw(format!("{time} UTC"))]);
    two_sided(fitting(left, width), fitting(right, width), width)
}

fn store_state(scene: &Scene<'_>) -> Vec<Span<'static>> {
    let store = &scene.figures.store;
    let name = store.name();
    let (state, style) = if !store.reachable {
        ("down", scene.theme.severity(Severity::Critical))
    } else if store.trouble.is_some() {
        ("trouble", scene.theme.severity(Severity::Critical))
    } else {
        ("ok", scene.theme.good())
    };
    vec![Span::raw(format!("{} ", escape(&name))), Span::styled(state, style)]
}

fn traffic(scene: &Scene<'_>, width: u16) -> Line<'static> {
    let totals = &scene.figures.totals;
    let percent = |share: Option<f64>| share.map_or_else(dash, |share| units::share(share) + " %");
    let latency = |seconds: Option<f64>| seconds.map_or_else(dash, units::latency);
    let part = |name: &'static str, value: String| {
        vec![
            Span::styled(format!("{name} "), scene.theme.dim()),
            Span::styled(value, scene.theme.heading()),
        ]
    };
    let mut fetches = part("fetches", format!("{}/s", units::rate(totals.fetches_per_second)));
    if let Some(saved) = totals.fetches_saved {
        fetches.push(Span::raw(format!(" (saved {} %)", units::share(saved))));
    }
    let parts = vec![
        part("reads", format!("{}/s", units::rate(totals.reads_per_second))),
        part("hit", percent(totals.shown_hit_rate())),
        part("stale", percent(totals.shown_stale_rate())),
        part("p50", latency(totals.hit_latency.p50)),
        part("p99", latency(totals.hit_latency.p99)),
        fetches,
        part("sets", format!("{}/s", units::rate(totals.sets_per_second))),
        part("rates of", units::span(Duration::from_secs_f64(totals.rate_window))),
    ];
    fitting(parts, width)
}

fn store(scene: &Scene<'_>, width: u16) -> Line<'static> {
    let TopFigures { store, totals, .. } = scene.figures;
    let columns = if width < 80 { 15 } else { 30 };
    let hour: Vec<f64> = scene.figures.last_hour.iter().map(|step| step.reads_per_second).collect();
    let (name, values) =
        if hour.is_empty() { ("1 m ", totals.trail.clone()) } else { ("1 h ", hour) };
    let graph = units::sparkline(&units::resampled(&values, columns), columns);
    let mut parts = Vec::new();
    if !graph.is_empty() {
        parts.push(vec![
            Span::styled(name, scene.theme.dim()),
            Span::styled(graph, scene.theme.graph()),
        ]);
    }
    if store.reachable {
        parts.push(memory(scene, store));
        let evictions = store.evictions_per_second.unwrap_or_default();
        parts.push(vec![
            Span::styled("evictions ", scene.theme.dim()),
            Span::raw(format!("{}/s", units::rate(evictions))),
        ]);
        parts.push(vec![
            Span::styled("keys ", scene.theme.dim()),
            Span::raw(units::count(store.keys)),
        ]);
    }
    fitting(parts, width)
}

fn memory(scene: &Scene<'_>, store: &StoreFigures) -> Vec<Span<'static>> {
    let name = Span::styled("memory ", scene.theme.dim());
    let Some(limit) = store.max_bytes else {
        return vec![name, Span::raw(format!("{}, no limit", units::bytes(store.used_bytes)))];
    };
    let share = store.used_bytes as f64 / limit as f64;
    let style =
        if share < 0.9 { scene.theme.graph() } else { scene.theme.severity(Severity::Warning) };
    let numbers = format!("{} ", units::bytes_of(store.used_bytes, limit));
    vec![name, Span::raw(numbers), Span::styled(units::bar(share, BAR), style)]
}
