//! The replicas and the store.

use std::{sync::Arc, time::Duration};

use axum::{extract::State, response::Response};
use maud::{Markup, html};

use crate::{
    dashboard::{
        Dashboard,
        error::Error,
        figures::{Figures, Selection},
        layout::{self, Page, card, degraded_notice},
        numbers,
        query::link,
        replicas::{ReplicaNames, short_id},
        span::Span,
        text::visible,
        visitor::Visitor,
    },
    stats::replica_report::ReplicaReport,
};

/// The page of replicas and the store.
pub(in crate::dashboard) async fn replicas(
    State(dashboard): State<Arc<Dashboard>>,
    visitor: Visitor,
) -> Result<Response, Error> {
    let content = content(&dashboard).await?;
    let page = Page {
        title: "Replicas",
        path: "/replicas",
        span: None,
        live: Some(link("/live", &[("page", "replicas")])),
        refresh: None,
        visitor: &visitor,
    };
    Ok(layout::page(&page, &content))
}

/// Its content.
pub(in crate::dashboard) async fn content(dashboard: &Dashboard) -> Result<Markup, Error> {
    let figures = dashboard.figures(Span::Hour, Selection::All).await?;
    Ok(html! {
        h1.unseen { "Replicas" }
        (card("w12", "Replicas", &replica_table(&figures, true)))
        (card("w12", "Store", &html! { (store_table(&figures)) (store_facts(&figures)) }))
        (degraded_notice(figures.is_degraded))
    })
}

/// The replicas that have reported lately.
pub(super) fn replica_table(figures: &Figures, is_long: bool) -> Markup {
    let now = numbers::now_millis();
    let names = ReplicaNames::of(&figures.replicas);
    html! {
        table.dense.replicas {
            thead { tr {
                th scope="col" { "Replica" }
                @if is_long { th.mid scope="col" { "Version" } }
                th.n scope="col" { "Up" }
                th.n scope="col" { "Load" }
                th.n scope="col" { "CPU" }
                th.n.rss scope="col" { "RSS" }
                @if is_long {
                    th.n.wide scope="col" { "In flight" }
                    th.n.wide scope="col" { "Connections" }
                    th.n.wide scope="col" { "Near cache" }
                    th.n.wide scope="col" { "Reported" }
                }
            } }
            tbody {
                @for replica in &figures.replicas {
                    // The long table has the id of each.
                    @let host = &replica.state.host;
                    @let name = if is_long { host.clone() } else { names.name(replica) };
                    (replica_row(replica, &name, is_long, now))
                }
            }
        }
    }
}

fn replica_row(report: &ReplicaReport, name: &str, is_long: bool, now: u64) -> Markup {
    let ReplicaReport { replica, state, .. } = report;
    let age = |millis: u64| Duration::from_millis(now.saturating_sub(millis));
    let up = age(replica.started_at_ms);
    let class = if state.store_available { "dot ok" } else { "dot bad" };
    let id = short_id(report);
    let name = if name.is_empty() { &id } else { name };
    html! {
        tr data-key=(id) {
            th scope="row" title={ (state.host) " " (id) } {
                i class=(class) aria-hidden="true" {} bdi { (visible(name)) }
                @if is_long { " " span.soft { (id) } }
                @if !state.store_available { b.worse { " no store" } }
            }
            @if is_long { td.mid { (visible(&replica.version)) } }
            td.n { (if is_long { numbers::span(up) } else { numbers::rough_span(up) }) }
            td.n { (numbers::per_second(report.requests_per_second)) }
            td.n { (format!("{:.0} %", report.cpus * 100.0)) }
            td.n { (numbers::bytes(state.resident_bytes)) }
            @if is_long {
                td.n.wide { (numbers::count(state.in_flight)) }
                td.n.wide { (numbers::count(state.connections)) }
                td.n.wide { (numbers::bytes(state.near_cache_bytes)) }
                td.n.wide { (numbers::span(age(report.reported_at_ms))) " ago" }
            }
        }
    }
}

/// The store in one row.
pub(super) fn store_table(figures: &Figures) -> Markup {
    let overview = &figures.overview;
    let class = if overview.facts.is_some() { "dot ok" } else { "dot bad" };
    let state = if overview.facts.is_some() { "" } else { " (not available)" };
    html! {
        table.dense.stores {
            thead { tr {
                th scope="col" { "Store" }
                th.n scope="col" { "Ops" }
                th.n scope="col" { "Keys" }
                th.n scope="col" { "Memory" }
            } }
            tbody { tr {
                @let facts = overview.facts.as_ref();
                @let version = facts.map_or("", |facts| &*facts.server_version);
                @let name = if version.is_empty() { overview.store_kind } else { version };
                th scope="row" {
                    i class=(class) aria-hidden="true" {} (visible(name)) (state)
                }
                td.n { (facts.and_then(|facts| facts.ops_per_second)
                    .map_or("-".to_owned(), |rate| numbers::per_second(rate as f64))) }
                td.n { (facts.map_or("-".to_owned(), |facts| numbers::count(facts.keys))) }
                td.n { (facts.map_or("-".to_owned(), |facts| numbers::bytes(facts.used_bytes))) }
            } }
        }
    }
}

fn store_facts(figures: &Figures) -> Markup {
    let overview = &figures.overview;
    let Some(facts) = &overview.facts else {
        let trouble = overview.trouble.as_deref().unwrap_or("It does not answer.");
        return html! { p.worse role="alert" { (visible(trouble)) } };
    };
    let limit = match facts.max_bytes {
        0 => "no limit".to_owned(),
        limit => numbers::bytes(limit),
    };
    let topology = &overview.topology;
    let rows: [(&str, String); 11] = [
        ("Memory limit", limit),
        ("Peak", numbers::bytes(facts.peak_bytes)),
        ("Fragmentation", facts.fragmentation_ratio.map_or("-".into(), |it| format!("{it:.2}"))),
        ("Eviction policy", facts.eviction_policy.clone()),
        ("Evicted keys", numbers::count(facts.evicted_keys)),
        ("Expired keys", numbers::count(facts.expired_keys)),
        ("Clients", facts.clients.map_or("-".to_owned(), numbers::count)),
        ("Persistence", facts.persistence.clone()),
        ("Up", numbers::span(facts.uptime)),
        ("Topology", topology.name.to_owned()),
        ("Primary", topology.primary.clone()),
    ];
    html! {
        dl {
            @for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
                div { dt { (name) } dd { (visible(value)) } }
            }
        }
    }
}
