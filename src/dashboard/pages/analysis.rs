//! How well namespaces are cached, and what to change: findings with their figures, and the hit
//! rate that other TTLs would have.

use std::{sync::Arc, time::Duration};

use axum::{extract::State, http::Uri, response::Response};
use maud::{Markup, html};

use crate::{
    cache::{Analysis, AnalyzedNamespace, Figure, Finding, Severity},
    dashboard::{
        Dashboard,
        charts::share_bar,
        error::Error,
        figures::{in_time, reads},
        layout::{self, Page, card},
        numbers,
        query::{Query, link},
        text::visible,
        visitor::Visitor,
    },
    model::Namespace,
};

/// Fewest reads of followed keys for a curve.
const ENOUGH_SEEN: u64 = 100;
/// Namespaces among the best, and among the worst.
const MAX_RATED: usize = 5;
/// Fewest reads for a comparison of hit rates.
const ENOUGH: u64 = 100;

/// The page of the analysis.
pub(in crate::dashboard) async fn analysis(
    State(dashboard): State<Arc<Dashboard>>,
    visitor: Visitor,
    uri: Uri,
) -> Result<Response, Error> {
    let query = Query::of(&uri);
    let named = match query.text("namespace") {
        "" => Vec::new(),
        name => vec![Namespace::new(name)?],
    };
    let analysis = in_time(dashboard.parts.directory.analyze(&named, None)).await??;
    let content = html! {
        h1.unseen { "Analysis" }
        (card("w12", "Findings of the last 24 h", &findings(&analysis)))
        @if named.is_empty() { (best_and_worst(&analysis.namespaces)) }
        @for namespace in &analysis.namespaces {
            @if has_curve(namespace) { (curve(namespace)) }
        }
    };
    let page = Page {
        title: "Analysis",
        path: "/analysis",
        span: None,
        live: None,
        refresh: None,
        visitor: &visitor,
    };
    Ok(layout::page(&page, &content))
}

fn findings(analysis: &Analysis) -> Markup {
    html! {
        @if analysis.degraded {
            p.worse { "The counts of the fleet cannot be read: they are of this replica alone." }
        }
        @if analysis.findings.is_empty() { p.none { "Nothing to change." } }
        ul.findings { @for finding in &analysis.findings { (shown(finding)) } }
    }
}

fn shown(finding: &Finding) -> Markup {
    let (class, word) = match finding.severity {
        Severity::Notice => ("dot plain", "Notice"),
        Severity::Warning => ("dot mid", "Warning"),
        Severity::Critical => ("dot bad", "Critical"),
    };
    let figure = |one: &Figure| format!("{}: {}", one.name.replace('_', " "), with_unit(one));
    let figures: Vec<String> = finding.figures.iter().map(figure).collect();
    html! {
        li {
            i class=(class) aria-hidden="true" {}
            div {
                p {
                    b { (word) } " "
                    a href={ "/namespaces/" (finding.namespace) } { (finding.namespace) } ": "
                    (visible(&finding.summary))
                }
                p.evidence { (figures.join(", ")) }
                @if !finding.suggestion.is_empty() {
                    pre.suggestion tabindex="0" aria-label="Suggested configuration" {
                        (finding.suggestion)
                    }
                }
            }
        }
    }
}

fn with_unit(figure: &Figure) -> String {
    match figure.unit {
        "1" => numbers::percent(figure.value),
        "s" => numbers::span(Duration::from_secs_f64(figure.value.max(0.0))),
        // Counts and sizes are far below the largest number.
        "bytes" => numbers::bytes(figure.value as u64),
        unit => format!("{} {unit}", numbers::count(figure.value as u64)),
    }
}

/// The namespaces with the highest and the lowest hit rate, of those with enough reads.
fn best_and_worst(namespaces: &[AnalyzedNamespace]) -> Markup {
    let judged = namespaces.iter().filter(|one| reads(&one.counters) >= ENOUGH);
    let rated = judged.filter_map(|one| Some((one, one.counters.hit_rate()?)));
    let mut rated: Vec<_> = rated.collect();
    rated.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    // None is among both.
    let best = &rated[..rated.len().div_ceil(2).min(MAX_RATED)];
    let worst: Vec<_> = rated.iter().rev().take(MAX_RATED.min(rated.len() / 2)).copied().collect();
    html! {
        (card("w6", "Best hit rates, 24 h", &rates(best)))
        (card("w6", "Worst hit rates, 24 h", &rates(&worst)))
    }
}

fn rates(rated: &[(&AnalyzedNamespace, f64)]) -> Markup {
    html! {
        table.dense {
            thead { tr {
                th scope="col" { "Namespace" }
                th.n scope="col" { "Reads" }
                th.n.rate scope="col" { "Hit rate" }
            } }
            tbody {
                @for (namespace, rate) in rated {
                    tr {
                        th scope="row" {
                            a href={ "/namespaces/" (namespace.name) } { (namespace.name) }
                        }
                        td.n { (numbers::count(reads(&namespace.counters))) }
                        td.n.rate {
                            (share_bar(*rate, "plain"))
                            span.share { (numbers::percent(*rate)) }
                        }
                    }
                }
                @if rated.is_empty() {
                    tr { td.none colspan="3" { "No namespace had " (ENOUGH) " reads." } }
                }
            }
        }
    }
}

/// Whether enough reads of followed keys were seen for a curve.
pub(super) fn has_curve(namespace: &AnalyzedNamespace) -> bool {
    let counts = namespace.reuse.as_ref().map(|reuse| &reuse.counts);
    counts.is_some_and(|counts| counts.seen_hits + counts.seen_misses >= ENOUGH_SEEN)
}

/// The hit rate of a namespace by its TTL.
pub(super) fn curve(namespace: &AnalyzedNamespace) -> Markup {
    let ttls = namespace.reuse.as_ref().map(|reuse| &*reuse.ttls).unwrap_or_default();
    let heading = format!("Hit rate of {} by TTL", namespace.name);
    card(
        "w6",
        &heading,
        &html! {
            table.histogram {
                caption {
                    "Now: " (numbers::span(namespace.config.ttl)) ", "
                    (namespace.counters.hit_rate().map_or("no reads".to_owned(), numbers::percent))
                    ". " a href=(link("/analysis", &[("namespace", namespace.name.as_str())])) {
                        "This namespace only"
                    }
                }
                thead.unseen { tr {
                    th scope="col" { "TTL" }
                    th scope="col" { "Share" }
                    th scope="col" { "Hit rate" }
                } }
                tbody {
                    @for ttl in ttls {
                        tr {
                            th scope="row" { (numbers::span(ttl.ttl)) }
                            td.bars { (share_bar(ttl.hit_rate.value, "plain")) }
                            td.n title={ "± " (numbers::percent(ttl.hit_rate.error)) } {
                                (numbers::percent(ttl.hit_rate.value.clamp(0.0, 1.0)))
                            }
                        }
                    }
                }
            }
        },
    )
}
