//! The table of namespaces.

use maud::{Markup, html};

use crate::{
    cache::{FindingKind, Severity, low_hit_rate},
    dashboard::{
        attention::failing,
        charts::{share_bar, spark},
        figures::NamespaceFigures,
        findings::{self, Examined},
        numbers,
        query::link,
        span::Span,
    },
    model::Namespace,
    stats::counters::{Counter, Counters, LatencyKind},
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
pub(super) fn namespace_table(
    namespaces: &[NamespaceFigures],
    examined: &Examined,
    span: Span,
) -> Markup {
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
                @for namespace in namespaces { (row(namespace, examined, span)) }
                @if namespaces.is_empty() {
                    tr { td.none colspan="10" { "No namespace has been used yet." } }
                }
            }
        }
    }
}

fn row(namespace: &NamespaceFigures, examined: &Examined, span: Span) -> Markup {
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
            td.advice.wide { (advice(namespace, examined)) }
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
            (share_bar(rate.max(f64::MIN_POSITIVE), class)) span.share { (numbers::percent(rate)) }
        }
    }
}

/// The gravest thing about a namespace.
fn advice(namespace: &NamespaceFigures, examined: &Examined) -> Markup {
    let gravest = chips(&namespace.name, &namespace.counters, examined)
        .into_iter()
        // Of equally grave ones, the first.
        .rev()
        .max_by_key(|chip| chip.severity);
    html! {
        @if namespace.config.is_none() {
            span.chip.worse { "refused: not configured" }
        } @else if let Some(Chip { severity, text, address }) = gravest {
            a class=(chip_class(severity)) href=(address) title=(findings::word(severity)) {
                (text)
            }
        }
    }
}

/// Something about a namespace, and where there is more about it.
#[derive(Debug)]
struct Chip {
    severity: Severity,
    text: String,
    address: String,
}

fn chips(name: &Namespace, counters: &Counters, examined: &Examined) -> Vec<Chip> {
    let mut chips = Vec::new();
    if let Some(severity) = failing(counters) {
        let text = match counters.get(Counter::FetchesFailed) {
            1 => "1 fetch failed".to_owned(),
            failed => format!("{} fetches failed", numbers::count(failed)),
        };
        chips.push(Chip { severity, text, address: "/origins".to_owned() });
    }
    let found = examined.findings().iter().filter(|finding| finding.namespace == *name);
    chips.extend(found.map(|finding| Chip {
        severity: finding.severity,
        text: findings::name(finding.kind),
        address: findings::address(finding),
    }));
    if !examined.has(name.as_str())
        && let Some((_, severity)) = low_hit_rate(counters)
    {
        let text = findings::name(FindingKind::LowHitRate);
        let address = link("/analysis", &[("namespace", name.as_str())]);
        chips.push(Chip { severity, text, address });
    }
    chips
}

fn chip_class(severity: Severity) -> &'static str {
    match severity {
        Severity::Notice => "chip",
        Severity::Warning => "chip mid",
        Severity::Critical => "chip worse",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn fetches_that_fail_are_named_if_they_are_many() {
        let name = Namespace::new("ns").unwrap();
        let chips = |counts: &[(Counter, u64)]| -> Vec<(Severity, String)> {
            let mut counters = Counters::default();
            counts.iter().for_each(|(counter, count)| counters.0[*counter as usize] = *count);
            let chips = chips(&name, &counters, &Examined::default()).into_iter();
            chips.map(|chip| (chip.severity, chip.text)).collect()
        };
        let misses = (Counter::Misses, 1900);
        let (failed, fetched) = (Counter::FetchesFailed, Counter::Fetches);
        let low = (Severity::Warning, "low hit rate".to_owned());
        assert_eq!(chips(&[misses, (failed, 1), (fetched, 1899)]), std::slice::from_ref(&low));
        let one = (Severity::Warning, "1 fetch failed".to_owned());
        assert_eq!(chips(&[(failed, 1), (fetched, 9)]), [one]);
        let many = (Severity::Critical, "60 fetches failed".to_owned());
        assert_eq!(chips(&[misses, (failed, 60), (fetched, 40)]), [many, low]);
    }

    #[test]
    fn a_low_hit_rate_is_seen_in_its_bar() {
        let width = |rate| {
            let cell = hit_rate(Some(rate)).into_string();
            let width = cell.split("class=\"bad\" width=\"").nth(1).unwrap();
            width.split('"').next().unwrap().parse::<f64>().unwrap()
        };
        assert!(width(0.002) >= 20.0 && width(0.0) >= 20.0);
        assert!((width(0.4) - 400.0).abs() < 1.0);
    }
}
