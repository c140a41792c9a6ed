//! The table of namespaces.

use maud::{Markup, html};

use crate::{
    dashboard::{
        attention::low_hit_rate,
        charts::{share_bar, spark},
        figures::NamespaceFigures,
        numbers,
        query::link,
        span::Span,
    },
    stats::counters::{Counter, LatencyKind},
};

/// A column: its name, the class of its cells, and how it is sorted at first.
type Column = (&'static str, &'static str, Option<&'static str>);

const COLUMNS: [Column; 10] = [
    ("Namespace", "name", Some("ascending")),
    ("Reads/s", "n", Some("descending")),
    ("Trend", "trend wide", None),
    ("Hit rate", "n rate", Some("ascending")),
    ("p50 ms", "n wide", Some("descending")),
    ("p99 ms", "n", Some("descending")),
    ("Keys", "n mid", Some("descending")),
    ("Bytes", "n mid", Some("descending")),
    ("TTL", "n wide", Some("descending")),
    ("Advice", "advice wide", None),
];

/// Namespaces as one table, sortable by each column of numbers.
pub(super) fn namespace_table(namespaces: &[NamespaceFigures], span: Span) -> Markup {
    html! {
        table.dense.namespaces data-sortable {
            thead {
                tr {
                    @for (name, class, sort) in COLUMNS {
                        th scope="col" class=(class) data-sort=[sort] {
                            @if name == "Trend" { (span.label()) } @else { (name) }
                        }
                    }
                }
            }
            tbody {
                @for namespace in namespaces { (row(namespace, span)) }
                @if namespaces.is_empty() {
                    tr { td.none colspan="10" { "No namespace has been used yet." } }
                }
            }
        }
    }
}

fn row(namespace: &NamespaceFigures, span: Span) -> Markup {
    let NamespaceFigures { name, config, counters, usage, course, .. } = namespace;
    let rate = namespace.rate();
    let latency = |quantile| counters.latency(LatencyKind::Hit, quantile);
    let cell = |class: &str, sorted: f64, shown: &str| {
        html! { td class=(class) data-value=(sorted) { (shown) } }
    };
    let latency_cell = |class: &str, quantile| {
        let time = latency(quantile);
        let shown = time.map_or("-".to_owned(), numbers::millis);
        cell(class, time.map_or(-1.0, |time| time.as_secs_f64()), &shown)
    };
    let number = |number: Option<u64>, shown: fn(u64) -> String| {
        let text = number.map_or("-".to_owned(), shown);
        cell("n mid", number.map_or(-1.0, |number| number as f64), &text)
    };
    let target = link(&format!("/namespaces/{name}"), &[(Span::FIELD, span.name())]);
    html! {
        tr data-key=(name) {
            th.name scope="row" data-value=(name) { a href=(target) { (name) } }
            (cell("n", rate, &numbers::per_second(rate)))
            td.trend.wide { (spark(course)) }
            (hit_rate(counters.hit_rate()))
            (latency_cell("n wide", 0.5))
            (latency_cell("n", 0.99))
            (number(usage.as_ref().map(|usage| usage.keys), numbers::count))
            (number(usage.as_ref().map(|usage| usage.bytes), numbers::bytes))
            @match config {
                Some(config) => {
                    (cell("n wide", config.ttl.as_secs_f64(), &numbers::span(config.ttl)))
                }
                None => td.n.wide data-value="-1" { "-" },
            }
            td.advice.wide { (advice(namespace)) }
        }
    }
}

fn hit_rate(rate: Option<f64>) -> Markup {
    let Some(rate) = rate else {
        return html! { td.n.rate data-value="2" { "-" } };
    };
    let class = match rate {
        rate if rate >= 0.9 => "good",
        rate if rate >= 0.5 => "mid",
        _ => "bad",
    };
    html! {
        td.n.rate data-value=(rate) {
            (share_bar(rate, class)) span.share { (numbers::percent(rate)) }
        }
    }
}

/// The gravest thing about a namespace.
fn advice(namespace: &NamespaceFigures) -> Markup {
    let counters = &namespace.counters;
    let failed = counters.get(Counter::FetchesFailed);
    html! {
        @if namespace.config.is_none() {
            span.chip.worse { "refused: not configured" }
        } @else if failed > 0 {
            span.chip.worse { (numbers::count(failed)) " fetches failed" }
        } @else if low_hit_rate(counters).is_some() {
            span.chip.mid { "low hit rate" }
        }
    }
}
