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
        entry_name::digest,
        error::Error,
        figures::{Selection, in_time},
        layout::{self, Page, card, still},
        numbers,
        query::{Query, link},
        span::Span,
        text::visible,
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
    let minutes = minutes(&query);
    let figures = dashboard.figures(Span::Hour, Selection::All).await?;
    let busiest = figures.namespaces.first().map(|namespace| namespace.name.clone());
    let namespace = match query.text("namespace") {
        "" => busiest,
        name => Some(Namespace::new(name)?),
    };
    let chosen = namespace.as_ref().map_or("", Namespace::as_str);
    let names: Vec<&str> = figures.namespaces.iter().map(|one| one.name.as_str()).collect();
    let form = form(&names, chosen, minutes);
    let content = match &namespace {
        None => framed("", Some(&form), &html! { p.none { "No namespace has been used yet." } }),
        Some(namespace) => {
            dashboard.record_view(&visitor, "GET /hot-keys", |record| {
                record.touched().namespace(namespace);
            });
            framed(chosen, Some(&form), &found(&dashboard, namespace, minutes).await?)
        }
    };
    let minutes = minutes.to_string();
    let live = namespace.as_ref().map(|name| {
        let chosen =
            [("page", "hot-keys"), ("namespace", name.as_str()), ("minutes", minutes.as_str())];
        link("/live", &chosen)
    });
    let page = Page {
        title: "Hot keys",
        path: "/hot-keys",
        span: None,
        live,
        refresh: None,
        visitor: &visitor,
    };
    Ok(layout::page(&page, &content))
}

/// The time that a request asks for. Any other is the default: it comes from links only.
pub(in crate::dashboard) fn minutes(query: &Query) -> u64 {
    let minutes = query.text("minutes").parse().ok();
    minutes.filter(|minutes| MINUTES.contains(minutes)).unwrap_or(DEFAULT_MINUTES)
}

/// The content of an update.
pub(in crate::dashboard) async fn update(
    dashboard: &Dashboard,
    namespace: &Namespace,
    minutes: u64,
) -> Result<Markup, Error> {
    let found = in_time(found(dashboard, namespace, minutes)).await??;
    Ok(framed(namespace.as_str(), None, &found))
}

async fn found(
    dashboard: &Dashboard,
    namespace: &Namespace,
    minutes: u64,
) -> Result<Markup, Error> {
    let window = Duration::from_secs(minutes * 60);
    Ok(table(&dashboard.parts.directory.hot_keys(namespace, window, MAX_KEYS).await?))
}

/// The content with what was found. An update is without the form.
fn framed(chosen: &str, form: Option<&Markup>, found: &Markup) -> Markup {
    html! {
        h1.unseen { "Hot keys" }
        (card("w12", &format!("Hot keys of {chosen}"), &html! {
            (still("form", form))
            (found)
        }))
    }
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
        p.soft {
            "Estimated from " (numbers::count(report.samples)) " sampled reads of "
            (report.replicas) " replicas; one in 128 is sampled."
        }
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
                    tr data-key={ (digest(&hot.key)) " " (visible(hot.key.key())) } {
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
    }
}
