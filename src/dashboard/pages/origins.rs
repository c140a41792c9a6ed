//! The origins of namespaces: how fast they answer, and how they fail.

use std::{sync::Arc, time::Duration};

use axum::{extract::State, http::Uri, response::Response};
use maud::{Markup, html};

use super::outcomes::fetches;
use crate::{
    dashboard::{
        Dashboard,
        attention::failing,
        error::Error,
        figures::{NamespaceFigures, Selection},
        layout::{self, Page, card, degraded_notice},
        numbers,
        query::{Query, link},
        replicas::{ReplicaNames, breaker_changes, was_open},
        span::Span,
        text::visible,
        visitor::Visitor,
    },
    stats::{
        counters::{Counter, LatencyKind},
        replica_report::{OriginReport, ReplicaReport, ReportedBreaker},
    },
};

/// The page of origins.
pub(in crate::dashboard) async fn origins(
    State(dashboard): State<Arc<Dashboard>>,
    visitor: Visitor,
    uri: Uri,
) -> Result<Response, Error> {
    let span = Span::of(&Query::of(&uri));
    if visitor.is_operator {
        dashboard.record_view(&visitor, "GET /origins", |_| {});
    }
    let content = content(&dashboard, span, visitor.is_operator).await?;
    let page = Page {
        title: "Origins",
        path: "/origins",
        span: Some((span, "/origins".to_owned())),
        live: Some(link("/live", &[("page", "origins"), (Span::FIELD, span.name())])),
        refresh: None,
        visitor: &visitor,
    };
    Ok(layout::page(&page, &content))
}

/// Its content.
pub(in crate::dashboard) async fn content(
    dashboard: &Dashboard,
    span: Span,
    shows_keys: bool,
) -> Result<Markup, Error> {
    let figures = dashboard.figures(span, Selection::WithOrigin).await?;
    let origins = &figures.namespaces;
    let events = figures.course.marks(breaker_changes(&figures.replicas));
    Ok(html! {
        h1.unseen { "Origins" }
        (card("w12", "Fetches by outcome", &fetches(&figures.course, &events)))
        (card("w12", &format!("Origins, {}", span.label()), &html! {
            (table(origins))
            @if figures.namespace_count > origins.len() {
                p.more {
                    "The " (origins.len()) " with the most fetches, of " (figures.namespace_count)
                    " namespaces with an origin."
                }
            }
        }))
        (card("w12", "Circuit breakers by replica", &breakers(&figures.replicas, shows_keys)))
        (degraded_notice(figures.is_degraded))
    })
}

fn table(origins: &[NamespaceFigures]) -> Markup {
    html! {
        table.dense.origins data-sortable {
            thead { tr {
                th scope="col" data-sort="ascending" { "Namespace" }
                th.wide scope="col" { "Address" }
                th.n scope="col" data-sort="descending" { "Fetches/s" }
                th.n scope="col" data-sort="descending" { "Failed" }
                th.n.mid scope="col" data-sort="descending" { "p50 ms" }
                th.n scope="col" data-sort="descending" { "p99 ms" }
                th.n.mid scope="col" data-sort="descending" { "Stale instead" }
            } }
            tbody {
                @for namespace in origins { (row(namespace)) }
                @if origins.is_empty() {
                    tr { td.none colspan="7" {
                        "No namespace has an origin: callers compute the values."
                    } }
                }
            }
        }
    }
}

fn row(namespace: &NamespaceFigures) -> Markup {
    let counters = &namespace.counters;
    let (fetched, failed) = (counters.get(Counter::Fetches), counters.get(Counter::FetchesFailed));
    let rate = namespace.per_second(fetched + failed);
    let share = failed as f64 / (fetched + failed).max(1) as f64;
    let latency = |quantile| counters.latency(LatencyKind::Fetch, quantile);
    let stale = counters.get(Counter::StaleIfError);
    let address = namespace.config.as_ref().and_then(|config| config.origin.as_ref());
    html! {
        tr data-key=(namespace.name) {
            th scope="row" data-value=(namespace.name) {
                a href={ "/namespaces/" (namespace.name) } { (namespace.name) }
            }
            td.wide.key { @if let Some(origin) = address { (origin.target.shown()) } }
            td.n data-value=(rate) { (numbers::per_second(rate)) }
            td.n data-value=(share) {
                @if failing(counters).is_some() {
                    b.worse { (numbers::percent(share)) }
                } @else if failed > 0 {
                    (numbers::percent(share))
                } @else {
                    "0 %"
                }
            }
            @for (class, quantile) in [("n mid", 0.5), ("n", 0.99)] {
                @let time = latency(quantile);
                td class=(class) data-value=(time.map_or(-1.0, |time| time.as_secs_f64())) {
                    (time.map_or("-".to_owned(), numbers::millis))
                }
            }
            td.n.mid data-value=(stale) { (numbers::count(stale)) }
        }
    }
}

/// The state of each origin in each replica.
fn breakers(replicas: &[ReplicaReport], shows_keys: bool) -> Markup {
    let names = ReplicaNames::of(replicas);
    let origins = replicas
        .iter()
        .flat_map(|report| report.state.origins.iter().map(move |origin| (report, origin)));
    let mut origins: Vec<_> = origins.collect();
    origins
        .sort_by_key(|(_, origin)| (origin.breaker == ReportedBreaker::Closed, &origin.namespace));
    html! {
        table.dense.breakers {
            thead { tr {
                th scope="col" { "Namespace" }
                th.mid scope="col" { "Replica" }
                th scope="col" { "Breaker" }
                th.mid scope="col" { "Since" }
                th.n.mid scope="col" { "In flight" }
                th.failures scope="col" { "Failures since the start, by kind" }
                th.wide.failures scope="col" { "Last failure" }
            } }
            tbody {
                @for (report, origin) in &origins {
                    (breaker_row(&names.name(report), origin, shows_keys))
                }
                @if origins.is_empty() {
                    tr { td.none colspan="7" { "No replica has an origin." } }
                }
            }
        }
    }
}

fn breaker_row(replica: &str, origin: &OriginReport, shows_keys: bool) -> Markup {
    // An error of a fetch can name the address of a key.
    let last = if shows_keys { visible(&origin.last_error) } else { "-".into() };
    let (class, state) = match origin.breaker {
        ReportedBreaker::Closed if was_open(origin) => ("chip better", "closed again"),
        ReportedBreaker::Closed => ("chip better", "closed"),
        ReportedBreaker::Open => ("chip worse", "open"),
        ReportedBreaker::HalfOpen => ("chip mid", "half open"),
        ReportedBreaker::Unknown => ("chip", "not known"),
    };
    let since = Duration::from_millis(numbers::now_millis().saturating_sub(origin.since_ms));
    let kinds = origin.failures.iter().filter(|(_, count)| **count > 0);
    let kinds: Vec<String> =
        kinds.map(|(kind, count)| format!("{kind} {}", numbers::count(*count))).collect();
    html! {
        tr data-key={ (visible(&origin.namespace)) " " (visible(replica)) } {
            th scope="row" { (visible(&origin.namespace)) }
            td.mid { bdi { (visible(replica)) } }
            td { span class=(class) { (state) } " " span.soft { (numbers::span(since)) } }
            td.mid { (numbers::day_and_clock(origin.since_ms)) }
            td.n.mid { (numbers::count(origin.in_flight)) }
            td.failures { @if kinds.is_empty() { "none" } @else { (visible(&kinds.join(", "))) } }
            td.wide.failures title=(last) { bdi { (last) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_replicas_report_is_shown_as_text() {
        let hostile = "<script>alert(1)</script>\u{202e}";
        let origin = OriginReport {
            namespace: hostile.to_owned(),
            failures: [(hostile.to_owned(), 1)].into(),
            last_error: hostile.to_owned(),
            ..OriginReport::default()
        };
        for (shows_keys, expected) in [(true, 7), (false, 5)] {
            let shown = breaker_row(hostile, &origin, shows_keys).into_string();
            let escaped = shown.matches("&lt;script&gt;alert(1)&lt;/script&gt;\\u{202e}");
            assert_eq!(escaped.count(), expected, "{shown}");
            assert!(!shown.contains("<script") && !shown.contains('\u{202e}'), "{shown}");
        }
    }
}
