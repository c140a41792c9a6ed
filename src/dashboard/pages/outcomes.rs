//! Charts of outcomes and latencies over time.

use std::time::Duration;

use maud::Markup;

use crate::{
    dashboard::{
        charts::{Form, Line, TimeChart, time_chart},
        course::Course,
        numbers,
    },
    stats::counters::{Counter, LatencyKind},
};

/// Reads by outcome, with events.
pub(super) fn outcomes(course: &Course, events: &[(usize, String)]) -> Markup {
    let rates = |counters: &[Counter]| course.rates(counters);
    let lines = [
        Line { name: "hit", class: "hit", numbers: rates(&[Counter::Hits, Counter::Negative]) },
        Line { name: "stale", class: "stale", numbers: rates(&[Counter::Stale]) },
        Line { name: "miss", class: "miss", numbers: rates(&[Counter::Misses]) },
    ];
    let mean = |line: &Line| {
        let sum: f64 = line.numbers.iter().flatten().sum();
        format!("{} {}", line.name, numbers::per_second(sum / line.numbers.len().max(1) as f64))
    };
    let means: Vec<String> = lines.iter().map(mean).collect();
    time_chart(&TimeChart {
        label: format!("Reads per second over time, on average: {}", means.join(", ")),
        form: Form::Stacked,
        lines: &lines,
        times: &course.times(),
        events,
        unit: numbers::per_second,
    })
}

/// Fetches from origins by their outcome, with events.
pub(super) fn fetches(course: &Course, events: &[(usize, String)]) -> Markup {
    let line = |name, class, counter| Line { name, class, numbers: course.rates(&[counter]) };
    let lines =
        [line("answered", "hit", Counter::Fetches), line("failed", "miss", Counter::FetchesFailed)];
    let largest = |line: &Line| line.numbers.iter().flatten().copied().fold(0.0, f64::max);
    let label = format!(
        "Fetches per second over time, at most: answered {}, failed {}",
        numbers::per_second(largest(&lines[0])),
        numbers::per_second(largest(&lines[1]))
    );
    time_chart(&TimeChart {
        label,
        form: Form::Stacked,
        lines: &lines,
        times: &course.times(),
        events,
        unit: numbers::per_second,
    })
}

/// Quantiles of a latency.
pub(super) fn latencies(course: &Course, kind: LatencyKind, of: &str) -> Markup {
    let line =
        |name, class, quantile| Line { name, class, numbers: course.latencies(kind, quantile) };
    let lines = [line("p50", "p50", 0.5), line("p99", "p99", 0.99)];
    let last = |line: &Line| line.numbers.iter().rev().flatten().next().copied();
    let shown = |line: &Line| last(line).map_or("none".to_owned(), milliseconds);
    let label = format!(
        "Latency of {of} over time; last: p50 {}, p99 {}",
        shown(&lines[0]),
        shown(&lines[1])
    );
    time_chart(&TimeChart {
        label,
        form: Form::Lines,
        lines: &lines,
        times: &course.times(),
        events: &[],
        unit: milliseconds,
    })
}

fn milliseconds(millis: f64) -> String {
    numbers::latency(Duration::from_secs_f64(millis.max(0.0) / 1e3))
}
