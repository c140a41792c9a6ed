//! How well namespaces are cached, and what to change: findings with their figures, and the hit
//! rate that other TTLs would have.

use std::{sync::Arc, time::Duration};

use axum::{extract::State, http::Uri, response::Response};
use maud::{Markup, html};

use crate::{
    cache::{Analysis, AnalyzedNamespace, Finding, TtlEstimate},
    dashboard::{
        Dashboard,
        charts::share_bar,
        error::Error,
        figures::{in_time, reads},
        findings,
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
/// Fewest TTLs of a curve.
const MIN_POINTS: usize = 2;
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
        (card("w12", "Findings of the last 24 h", &finding_list(&analysis)))
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

fn finding_list(analysis: &Analysis) -> Markup {
    html! {
        @if analysis.degraded {
            p.worse { "The counts of the fleet cannot be read: they are of this replica alone." }
        }
        @if analysis.findings.is_empty() { p.none { "Nothing to change." } }
        ul.findings { @for finding in &analysis.findings { (shown(finding)) } }
    }
}

fn shown(finding: &Finding) -> Markup {
    html! {
        li id=(findings::id(finding)) {
            i class=(findings::dot(finding.severity)) aria-hidden="true" {}
            div {
                p {
                    b { (findings::word(finding.severity)) } " "
                    a href={ "/namespaces/" (finding.namespace) } { (finding.namespace) } ": "
                    (visible(&finding.summary))
                }
                p.evidence { (findings::figures(finding)) }
                @if !finding.suggestion.is_empty() {
                    pre.suggestion tabindex="0" aria-label="Suggested configuration" {
                        (finding.suggestion)
                    }
                }
            }
        }
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
    let no_other = if best.is_empty() { "No namespace" } else { "No other namespace" };
    let worst: Vec<_> = rated.iter().rev().take(MAX_RATED.min(rated.len() / 2)).copied().collect();
    html! {
        (card("w6", "Best hit rates, 24 h", &rates(best, "No namespace")))
        (card("w6", "Worst hit rates, 24 h", &rates(&worst, no_other)))
    }
}

/// `none`: the subject of the sentence if there is none.
fn rates(rated: &[(&AnalyzedNamespace, f64)], none: &str) -> Markup {
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
                    tr { td.none colspan="3" { (none) " had " (ENOUGH) " reads." } }
                }
            }
        }
    }
}

/// A row of a curve.
#[derive(Debug, PartialEq)]
struct Point {
    ttl: Duration,
    rate: f64,
    /// None for the rate that was counted with the TTL in force.
    error: Option<f64>,
    is_in_force: bool,
}

/// Whether enough reads of followed keys were seen for a curve.
pub(super) fn has_curve(namespace: &AnalyzedNamespace) -> bool {
    namespace.reuse.as_ref().is_some_and(|reuse| {
        let is_enough = reuse.counts.seen_hits + reuse.counts.seen_misses >= ENOUGH_SEEN;
        is_enough && known(&reuse.ttls).count() >= MIN_POINTS
    })
}

/// The estimates without those of a large error.
fn known(ttls: &[TtlEstimate]) -> impl Iterator<Item = &TtlEstimate> {
    ttls.iter().filter(|ttl| ttl.hit_rate.is_well_known())
}

/// The estimates, with the counted rate at the TTL in force, if that is not one of theirs.
fn points(ttls: &[TtlEstimate], in_force: Duration, counted: Option<f64>) -> Vec<Point> {
    let point = |ttl: &TtlEstimate| Point {
        ttl: ttl.ttl,
        rate: ttl.hit_rate.value,
        error: Some(ttl.hit_rate.error),
        is_in_force: ttl.ttl == in_force,
    };
    let mut points: Vec<Point> = known(ttls).map(point).collect();
    if let Some(rate) = counted.filter(|_| points.iter().all(|point| !point.is_in_force)) {
        let at = points.partition_point(|point| point.ttl < in_force);
        points.insert(at, Point { ttl: in_force, rate, error: None, is_in_force: true });
    }
    points
}

/// The hit rate of a namespace by its TTL.
pub(super) fn curve(namespace: &AnalyzedNamespace) -> Markup {
    let ttls = namespace.reuse.as_ref().map(|reuse| &*reuse.ttls).unwrap_or_default();
    let (in_force, counted) = (namespace.config.ttl, namespace.counters.hit_rate());
    let heading = format!("Hit rate of {} by TTL", namespace.name);
    card(
        "w6",
        &heading,
        &html! {
            table.histogram.curve {
                caption {
                    "Estimated from sampled keys. In force: " (numbers::span(in_force)) ", "
                    (counted.map_or("no reads".to_owned(), numbers::percent)) " counted in 24 h. "
                    a href=(link("/analysis", &[("namespace", namespace.name.as_str())])) {
                        "This namespace only"
                    }
                }
                thead.unseen { tr {
                    th scope="col" { "TTL" }
                    th scope="col" { "Share" }
                    th scope="col" { "Hit rate" }
                } }
                tbody { @for point in points(ttls, in_force, counted) { (point_row(&point)) } }
            }
        },
    )
}

fn point_row(point: &Point) -> Markup {
    let ttl = numbers::span(point.ttl);
    let class = if point.is_in_force { "good" } else { "plain" };
    html! {
        tr {
            th scope="row" {
                @if point.is_in_force { b { (ttl) ", in force" } } @else { (ttl) }
            }
            td.bars { (share_bar(point.rate, class)) }
            td.n {
                (numbers::percent(point.rate.clamp(0.0, 1.0)))
                @match point.error {
                    Some(error) => span.soft { " ± " (numbers::percent(error)) },
                    None => span.soft { " counted" },
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Share;

    #[test]
    fn a_curve_has_the_ttl_in_force_and_no_large_error() {
        let estimate = |seconds, value, error| TtlEstimate {
            ttl: Duration::from_secs(seconds),
            hit_rate: Share { value, error },
            saved: None,
            lost: None,
            freed: None,
        };
        let ttls = [estimate(1, 0.841, 0.3), estimate(5, 0.7, 0.06), estimate(30, 0.8, 0.02)];
        let shown = |in_force| -> Vec<(u64, bool, Option<f64>)> {
            let points = points(&ttls, Duration::from_secs(in_force), Some(0.793)).into_iter();
            points.map(|it| (it.ttl.as_secs(), it.is_in_force, it.error)).collect()
        };
        let (five, thirty) = (Some(0.06), Some(0.02));
        assert_eq!(shown(10), [(5, false, five), (10, true, None), (30, false, thirty)]);
        assert_eq!(shown(30), [(5, false, five), (30, true, thirty)]);
        let row = |error, is_in_force| {
            let ttl = Duration::from_secs(5);
            point_row(&Point { ttl, rate: 0.7, error, is_in_force }).into_string()
        };
        let estimated = row(Some(0.06), false);
        assert!(estimated.contains("± 6.0 %") && !estimated.contains("in force"), "{estimated}");
        assert!(row(None, true).contains("in force") && !row(None, true).contains('±'));
    }
}
