//! The keys of a namespace that are read most.

use std::{sync::Arc, time::Duration};

use axum::{extract::State, http::Uri, response::Response};
use maud::{Markup, html};

use super::listing::key_link;
use crate::{
    cache::HotKeyReport,
    dashboard::{
        Dashboard,
        charts::share_bar,
        error::Error,
        figures::Selection,
        layout::{self, Page, card},
        numbers,
        query::{Query, link},
        span::Span,
        visitor::Visitor,
    },
    model::Namespace,
};

/// Keys of the page.
const MAX_KEYS: usize = 100;
/// The times that can be chosen, in minutes.
const MINUTES: [u64; 3] = [1, 5, 60];
const DEFAULT_MINUTES: u64 = 5;

/// The page of hot keys.
pub(in crate::dashboard) async fn hot_keys(
    State(dashboard): State<Arc<Dashboard>>,
    visitor: Visitor,
    uri: Uri,
) -> Result<Response, Error> {
    Error::unless_operator(&visitor)?;
    let query = Query::of(&uri);
    let minutes = query.text("minutes").parse().ok();
    let minutes = minutes.filter(|minutes| MINUTES.contains(minutes)).unwrap_or(DEFAULT_MINUTES);
    let figures = dashboard.figures(Span::Hour, Selection::All).await?;
    let busiest = figures.namespaces.first().map(|namespace| namespace.name.clone());
    let namespace = match query.text("namespace") {
        "" => busiest,
        name => Some(Namespace::new(name)?),
    };
    let found = match &namespace {
        None => html! { p.none { "No namespace has been used yet." } },
        Some(namespace) => {
            dashboard.record_view(&visitor, "GET /hot-keys", |record| {
                record.touched().namespace(namespace);
            });
            let window = Duration::from_secs(minutes * 60);
            let directory = &dashboard.parts.directory;
            table(&directory.hot_keys(namespace, window, MAX_KEYS).await?)
        }
    };
    let chosen = namespace.as_ref().map_or("", Namespace::as_str);
    let names: Vec<&str> = figures.namespaces.iter().map(|one| one.name.as_str()).collect();
    let content = html! {
        h1.unseen { "Hot keys" }
        (card("w12", &format!("Hot keys of {chosen}"), &html! {
            (form(&names, chosen, minutes))
            (found)
        }))
    };
    let page = Page {
        title: "Hot keys",
        path: "/hot-keys",
        span: None,
        live: None,
        refresh: None,
        visitor: &visitor,
    };
    Ok(layout::page(&page, &content))
}

fn form(names: &[&str], chosen: &str, minutes: u64) -> Markup {
    html! {
        form.inline action="/hot-keys" {
            label for="namespace" { "Namespace" }
            input #namespace name="namespace" value=(chosen) maxlength="64" list="names" required
                autocomplete="off" spellcheck="false";
            datalist #names { @for name in names { option value=(name) {} } }
            input type="hidden" name="minutes" value=(minutes);
            button type="submit" { "Show" }
        }
        div.spans role="group" aria-label="Time" {
            @for other in MINUTES {
                @let target = link("/hot-keys", &[
                    ("namespace", chosen), ("minutes", &other.to_string()),
                ]);
                a href=(target) aria-current=[(other == minutes).then_some("true")] {
                    (numbers::span(Duration::from_secs(other * 60)))
                }
            }
        }
    }
}

fn table(report: &HotKeyReport) -> Markup {
    let seconds = report.covered.as_secs_f64().max(1.0);
    let rate = |reads: u64| numbers::per_second(reads as f64 / seconds);
    html! {
        table.dense data-sortable {
            thead { tr {
                th scope="col" { "Key" }
                th.n scope="col" data-sort="descending" { "Reads/s" }
                th.n.mid scope="col" { "Error" }
                th.n.rate scope="col" data-sort="descending" { "Share" }
            } }
            tbody {
                @for hot in &report.keys {
                    @let share = hot.reads as f64 / report.reads.max(1) as f64;
                    tr {
                        td.key { (key_link(&hot.key)) }
                        td.n data-value=(hot.reads) { (rate(hot.reads)) }
                        td.n.mid.soft { "± " (rate(hot.error)) }
                        td.n.rate data-value=(share) {
                            (share_bar(share, "plain")) span.share { (numbers::percent(share)) }
                        }
                    }
                }
                @if report.keys.is_empty() {
                    tr { td.none colspan="4" { "No key was read often enough to be sampled." } }
                }
            }
        }
        p.soft {
            "Estimated from " (numbers::count(report.samples)) " sampled reads of "
            (report.replicas) " replicas; one in 128 is sampled."
        }
    }
}
