//! The overview: whether the cache is worth it, and what is wrong.

use std::sync::Arc;

use axum::{extract::State, http::Uri, response::Response};
use maud::{Markup, html};

use super::{
    key_figures::key_figures,
    namespace_table::namespace_table,
    outcomes::{latencies, outcomes},
    replicas::{replica_table, store_table},
};
use crate::{
    dashboard::{
        Dashboard,
        attention::{Attention, attention},
        entry_name::digest,
        error::Error,
        figures::{HOT_WINDOW, HotKeyFigures, Selection},
        findings,
        layout::{self, Page, card, degraded_notice},
        numbers,
        query::{Query, link},
        span::Span,
        text::visible,
        visitor::Visitor,
    },
    stats::counters::LatencyKind,
};

/// Namespaces of the table.
const MAX_ROWS: usize = 20;

/// The first page.
pub(in crate::dashboard) async fn overview(
    State(dashboard): State<Arc<Dashboard>>,
    visitor: Visitor,
    uri: Uri,
) -> Result<Response, Error> {
    let span = Span::of(&Query::of(&uri));
    if visitor.is_operator {
        dashboard.record_view(&visitor, "GET /", |_| {});
    }
    let content = content(&dashboard, span, visitor.is_operator).await?;
    let page = Page {
        title: "Overview",
        path: "/",
        span: Some((span, "/".to_owned())),
        live: Some(link("/live", &[("page", "overview"), (Span::FIELD, span.name())])),
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
    let figures = dashboard.figures(span, Selection::All).await?;
    let hottest = if shows_keys { dashboard.hottest(&figures).await } else { Vec::new() };
    let examined = dashboard.examined().await;
    let attention = attention(&figures, &examined, shows_keys);
    let rows = &figures.namespaces[..figures.namespaces.len().min(MAX_ROWS)];
    Ok(html! {
        h1.unseen { "Overview" }
        (key_figures(&figures))
        (card("w8", "Reads by outcome", &outcomes(&figures.course, &figures.events)))
        (card("w4 attention", "Needs attention", &attention_list(&attention)))
        (card("w12", "Namespaces", &html! {
            (namespace_table(rows, &examined, span))
            @if figures.namespace_count > rows.len() {
                p.more { a href=(link("/namespaces", &[(Span::FIELD, span.name())])) {
                    "All " (figures.namespace_count) " namespaces"
                } }
            }
        }))
        (card("w4", "Latency of hits", &latencies(&figures.course, LatencyKind::Hit, "hits")))
        (hot_key_card(&hottest, shows_keys))
        (card("w4", "Replicas and store", &html! {
            (replica_table(&figures, false))
            (store_table(&figures))
        }))
        (degraded_notice(figures.is_degraded))
    })
}

fn attention_list(attention: &Attention) -> Markup {
    let Attention { items, left_out, is_complete, has_reads } = attention;
    html! {
        @if items.is_empty() && !has_reads {
            p.none { "Nothing. There were no reads, so that hit rates are not known." }
        } @else if items.is_empty() && *is_complete {
            p.none { "Nothing. Hit rates, origins and the store are as they should be." }
        } @else if items.is_empty() {
            p.none { "Nothing among the namespaces that are counted on their own." }
        }
        ul.items tabindex="0" aria-label="Needs attention" {
            @for item in items {
                li data-key={ (item.cause) " " (item.namespace.as_deref().unwrap_or_default()) } {
                    i class=(findings::dot(item.severity)) aria-hidden="true" {}
                    div {
                        p {
                            span.unseen { (findings::word(item.severity)) ": " }
                            @if let Some(namespace) = &item.namespace {
                                a href={ "/namespaces/" (namespace) } { (namespace) } ": "
                            }
                            (item.cause)
                        }
                        p.evidence { (item.evidence) " " a href=(item.act.0) { (item.act.1) } }
                    }
                }
            }
            @if *left_out > 0 {
                li { i {} p.evidence {
                    "And " (left_out) " more: see " a href="/analysis" { "Analysis" } " and "
                    a href="/origins" { "Origins" } "."
                } }
            }
        }
    }
}

fn hot_key_card(hottest: &[HotKeyFigures], shows_keys: bool) -> Markup {
    let content = html! {
        @if !shows_keys {
            p.none { "Keys are shown after a login only." }
        } @else if hottest.is_empty() {
            p.none { "No key was read often enough to be sampled." }
        } @else {
            table.dense.hot {
                thead { tr {
                    th scope="col" { "Namespace" }
                    th scope="col" { "Key" }
                    th.n scope="col" { "Reads" }
                } }
                tbody { @for hot in hottest { (hot_row(hot)) } }
            }
        }
    };
    card("w4", &format!("Hot keys, {}", numbers::span(HOT_WINDOW)), &content)
}

fn hot_row(hot: &HotKeyFigures) -> Markup {
    let key = &hot.key.key;
    html! {
        tr data-key={ (key.namespace()) " " (digest(key)) " " (visible(key.key())) } {
            td.soft { (key.namespace()) }
            td.key { (super::listing::key_link(key)) }
            td.n { (numbers::per_second(hot.rate)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_reads_no_hit_rate_is_as_it_should_be() {
        let shown = |has_reads| {
            let items = Vec::new();
            let attention = Attention { items, left_out: 0, is_complete: true, has_reads };
            attention_list(&attention).into_string()
        };
        assert!(shown(true).contains("Hit rates, origins and the store are as they should be"));
        let idle = shown(false);
        assert!(idle.contains("There were no reads") && !idle.contains("should be"), "{idle}");
    }
}
