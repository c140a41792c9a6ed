//! The six figures at the top of the overview, each with what it is compared to.

use std::time::Duration;

use maud::{Markup, html};

use crate::{
    dashboard::{
        figures::{Figures, compute_time, reads, saved, stale_share},
        numbers,
        span::Span,
    },
    stats::counters::{Counter, Counters, LatencyKind},
};

/// Smallest difference of two shares that is shown as one.
const SMALL: f64 = 0.0005;

/// One figure.
struct KeyFigure {
    name: &'static str,
    value: String,
    comparison: Markup,
}

/// The six figures.
pub(super) fn key_figures(figures: &Figures) -> Markup {
    let all =
        [hit_rate(figures), requests(figures), latency(figures), savings(figures), stale(figures)];
    html! {
        @for KeyFigure { name, value, comparison } in all.into_iter().chain([store(figures)]) {
            section.card.kpi {
                h2 { (name) }
                p.value { (value) }
                p.detail { (comparison) }
            }
        }
    }
}

/// The time that a figure is compared with.
fn compared_with(span: Span) -> &'static str {
    match span {
        Span::Hour => "24 h",
        Span::Day | Span::Week => "all time",
    }
}

/// The time in which the fleet has counted.
fn covered(figures: &Figures) -> String {
    let Figures { span, covered, .. } = figures;
    if *covered == span.length() { span.label().to_owned() } else { numbers::span(*covered) }
}

/// The difference of a share to that of the time before. `is_better`: if it is the larger one.
fn difference(
    figures: &Figures,
    share: impl Fn(&Counters) -> Option<f64>,
    is_better: bool,
) -> Markup {
    let with = compared_with(figures.span);
    let Some(now) = share(&figures.sum) else { return html! { "no reads" } };
    let before = figures.before.as_ref().and_then(share);
    match before.map(|before| now - before) {
        // Both times are the same.
        None => html! { "in " (covered(figures)) },
        Some(difference) if difference.abs() < SMALL => html! { "as in " (with) },
        Some(difference) => {
            let class = if (difference > 0.0) == is_better { "better" } else { "worse" };
            html! { b class=(class) { (numbers::points(difference)) " points" } " against " (with) }
        }
    }
}

fn hit_rate(figures: &Figures) -> KeyFigure {
    KeyFigure {
        name: "Hit rate",
        value: figures.sum.hit_rate().map_or("-".to_owned(), numbers::percent),
        comparison: difference(figures, Counters::hit_rate, true),
    }
}

fn requests(figures: &Figures) -> KeyFigure {
    let rates = figures.course.rates(&Counter::READS);
    let mean = reads(&figures.sum) as f64 / figures.covered.as_secs_f64();
    let peak = rates.iter().flatten().copied().fold(mean, f64::max);
    let last = rates.last().copied().flatten();
    KeyFigure {
        name: "Reads",
        value: numbers::per_second(last.unwrap_or(mean)),
        comparison: html! {
            "mean " (numbers::per_second(mean)) ", peak " (numbers::per_second(peak))
        },
    }
}

fn latency(figures: &Figures) -> KeyFigure {
    let of = |quantile| figures.sum.latency(LatencyKind::Hit, quantile);
    let shown = |time: Option<Duration>| time.map_or("-".to_owned(), numbers::latency);
    let before = figures.before.as_ref().map(|before| before.latency(LatencyKind::Hit, 0.99));
    KeyFigure {
        name: "p99 of a hit",
        value: shown(of(0.99)),
        comparison: html! {
            "p50 " (shown(of(0.5)))
            @if let Some(before) = before {
                "; " (compared_with(figures.span)) ": " (shown(before))
            }
        },
    }
}

fn savings(figures: &Figures) -> KeyFigure {
    let saved = saved(&figures.sum);
    let time = compute_time(&figures.sum).map(|time| time.as_secs_f64() * saved as f64);
    KeyFigure {
        name: "Computations saved",
        value: numbers::count(saved),
        comparison: html! {
            "in " (covered(figures))
            @if let Some(seconds) = time {
                "; " (numbers::span(Duration::from_secs_f64(seconds))) " of computing"
            }
        },
    }
}

fn stale(figures: &Figures) -> KeyFigure {
    KeyFigure {
        name: "Answered stale",
        value: stale_share(&figures.sum).map_or("-".to_owned(), numbers::percent),
        comparison: difference(figures, stale_share, false),
    }
}

fn store(figures: &Figures) -> KeyFigure {
    let name = "Store";
    let Some(store) = &figures.overview.facts else {
        return KeyFigure {
            name,
            value: "down".to_owned(),
            comparison: html! { b.worse { "not available" } },
        };
    };
    let used = numbers::bytes(store.used_bytes);
    let evicted = numbers::count(store.evicted_keys);
    if store.max_bytes == 0 {
        return KeyFigure {
            name,
            value: used,
            comparison: html! { "no limit; " (evicted) " evicted" },
        };
    }
    let share = store.used_bytes as f64 / store.max_bytes as f64;
    KeyFigure {
        name,
        value: numbers::percent(share),
        comparison: html! {
            (used) " of " (numbers::bytes(store.max_bytes)) "; " (evicted) " evicted"
        },
    }
}
