//! One entry: what is stored, and why a read is answered as it is.

use std::{sync::Arc, time::Duration};

use axum::{extract::State, http::Uri, response::Response};
use maud::{Markup, html};

use super::keys::delete_link;
use crate::{
    cache::{BanPattern, EntryReport, LeaseInspectionState, Outcome, Tier},
    dashboard::{
        Dashboard,
        entry_name::{digest, key_of},
        error::Error,
        layout::{self, Page, card},
        numbers,
        query::{Query, link},
        text::{value, visible},
        visitor::Visitor,
    },
    model::{Entry, EntryKey, Kind, TargetKind, Timestamp},
};

/// The page of an entry.
pub(in crate::dashboard) async fn entry(
    State(dashboard): State<Arc<Dashboard>>,
    visitor: Visitor,
    uri: Uri,
) -> Result<Response, Error> {
    Error::unless_operator(&visitor)?;
    let query = Query::of(&uri);
    let key = key_of(&query)?;
    dashboard.record_view(&visitor, "GET /entry", |record| {
        record.touched().target(TargetKind::Key, key.namespace(), Some(key.key()));
    });
    let directory = &dashboard.parts.directory;
    let report = if key.params().is_some() {
        directory.inspect_stored(&key).await?
    } else {
        directory.inspect(&key).await?
    };
    let name = visible(key.key());
    let content = html! {
        section.card.w12 {
            h1.key { bdi { (name) } }
            p.soft {
                "in " a href={ "/namespaces/" (key.namespace()) } { (key.namespace()) }
                @if key.params().is_some() { ", params " code { (digest(&key)) } }
            }
            p.verdict { (verdict(&report)) }
            p.actions { (delete_link(&key)) " " (copies_link(&key)) }
        }
        @if let Some(entry) = &report.stored.entry {
            (card("w6", "Times", &times(&report, entry)))
            (card("w6", "Entry", &facts(&report, entry)))
            (card("w12", "Value", &shown_value(entry)))
        }
        (card("w12", "Lease and bans", &html! { (lease(&report)) (bans(&report)) }))
    };
    let page = Page {
        title: &name,
        path: "/keys",
        span: None,
        live: None,
        refresh: None,
        visitor: &visitor,
    };
    Ok(layout::page(&page, &content))
}

fn copies_link(key: &EntryKey) -> Markup {
    let namespace = key.namespace().as_str();
    let target =
        link("/confirm", &[("action", "key"), ("namespace", namespace), ("key", key.key())]);
    html! { a.button.danger data-dialog href=(target) { "Invalidate with all schema versions" } }
}

/// One sentence about how a read is answered now.
fn verdict(report: &EntryReport) -> Markup {
    let stored = &report.stored;
    let from = match report.tier {
        Some(Tier::Near) => " from the near cache of this replica",
        Some(Tier::Store | Tier::Origin { .. }) => " from the store",
        None => "",
    };
    html! {
        @match (&stored.entry, report.outcome) {
            (None, _) => {
                b.chip.plain { "miss" } " There is no entry: a read computes the value."
            }
            (Some(_), _) if stored.is_invalidated => {
                b.chip.worse { "invalidated" }
                " The entry was invalidated after it was written: no read returns it, and its \
                 memory is freed later."
            }
            (Some(_), Some(Outcome::Hit)) => {
                b.chip.better { "hit" } " Fresh: a read returns it" (from) "."
            }
            (Some(_), Some(Outcome::Negative)) => {
                b.chip.better { "negative" }
                " The origin had no value: a read returns that" (from) "."
            }
            (Some(entry), Some(Outcome::Stale)) => {
                b.chip.mid { "stale" }
                " Its TTL ended " (ago(report, entry)) " ago, within stale_while_revalidate ("
                (numbers::span(entry.stale_while_revalidate))
                "): a read returns it" (from) ", and one caller refreshes it."
            }
            (Some(_), None) if report.is_of_other_source => {
                b.chip.worse { "miss" }
                " It was fetched from another URL, or with other headers, than the configuration \
                 of the origin has now: a read fetches the value again."
            }
            (Some(entry), None) => {
                b.chip.worse { "miss" }
                " Its TTL ended " (ago(report, entry)) " ago. "
                @if report.now < entry.expires_at() {
                    "It is served only if the origin fails, or kept for revalidation."
                } @else {
                    "All its windows are over."
                }
            }
        }
    }
}

fn ago(report: &EntryReport, entry: &Entry) -> String {
    numbers::span(report.now.since(entry.fresh_until))
}

fn list(rows: &[(&str, Markup)]) -> Markup {
    html! {
        dl { @for (name, value) in rows { div { dt { (name) } dd { (value) } } } }
    }
}

fn times(report: &EntryReport, entry: &Entry) -> Markup {
    let time = |time: Duration| html! { (numbers::span(time)) };
    let now = report.now.max(entry.created_at);
    let left = |end| {
        let left = numbers::span(Timestamp::since(end, now));
        if end > now {
            format!("in {left}")
        } else {
            format!("{} ago", numbers::span(now.since(end)))
        }
    };
    list(&[
        (
            "Written",
            html! { (numbers::date_time(entry.created_at.0)) ", "
            (numbers::span(now.since(entry.created_at))) " ago" },
        ),
        (
            "Fresh until",
            html! { (numbers::date_time(entry.fresh_until.0)) ", " (left(entry.fresh_until)) },
        ),
        ("TTL", time(entry.fresh_until.since(entry.created_at))),
        ("Then stale-while-revalidate", time(entry.stale_while_revalidate)),
        ("Then stale-if-error", time(entry.stale_if_error)),
        ("Then kept for revalidation", time(entry.revalidation_window)),
        ("Removed", html! { (left(entry.expires_at())) }),
    ])
}

fn facts(report: &EntryReport, entry: &Entry) -> Markup {
    let kind = match entry.kind {
        Kind::Bytes => "bytes",
        Kind::Text => "text",
        Kind::Json => "JSON",
        Kind::Negative => "negative",
    };
    let metadata = entry.fetch_metadata.as_ref();
    let etag = metadata.and_then(|metadata| metadata.validators.etag.as_deref()).unwrap_or("-");
    list(&[
        ("Kind", html! { (kind) }),
        ("Value", html! { (numbers::bytes(entry.data.len() as u64)) }),
        ("In the store", html! { (numbers::bytes(report.stored.stored_bytes)) }),
        ("Version", html! { code { (entry.version.to_text()) } }),
        (
            "Near cache",
            html! {
                @match report.near {
                    None => "no copy in this replica",
                    Some(version) if version == entry.version => "the same version in this replica",
                    Some(_) => b.worse { "another version in this replica" },
                }
            },
        ),
        (
            "From",
            html! {
                @match metadata {
                    None => "a caller",
                    Some(metadata) => {
                    "the origin, in " (numbers::millis(metadata.fetch_time)) " ms"
                }
                }
            },
        ),
        ("ETag", html! { code { bdi { (visible(etag)) } } }),
        (
            "Tags",
            html! {
                @if entry.tags.is_empty() { "none" }
                ul.tags { @for tag in entry.tags.iter() { li { bdi { (visible(tag)) } } } }
            },
        ),
    ])
}

fn shown_value(entry: &Entry) -> Markup {
    let (shown, is_whole) = value(&entry.data);
    html! {
        @if entry.data.is_empty() { p.none { "The value is empty." } }
        @else { pre.value tabindex="0" aria-label="Value" { (shown) } }
        @if !is_whole {
            p.soft { "The first 4 KiB of " (numbers::bytes(entry.data.len() as u64)) "." }
        }
    }
}

fn lease(report: &EntryReport) -> Markup {
    let Some(lease) = &report.stored.lease else {
        return html! { p { "No lease: the next caller that misses computes the value." } };
    };
    let rest = numbers::span(lease.remaining);
    html! {
        p {
            @match &lease.state {
                LeaseInspectionState::Held => {
                    "A caller or a replica computes the value, for " (rest) " at most."
                }
                LeaseInspectionState::Voided => {
                    "The entry was changed since the lease was granted: the holder's value is "
                    "refused, for " (rest) "."
                }
                LeaseInspectionState::BackedOff(cause) => {
                    "The last holder gave up, and no lease is granted for " (rest) ": "
                    bdi { (visible(cause)) }
                }
                LeaseInspectionState::HeldOff => {
                    "No value is accepted for " (rest) ", since a delete with a hold-off."
                }
            }
        }
    }
}

fn bans(report: &EntryReport) -> Markup {
    html! {
        @if report.stored.bans.is_empty() {
            p { "No tag or pattern was banned since it was written." }
        } @else {
            p { "Banned since it was written:" }
            ul {
                @for ban in &report.stored.bans {
                    li {
                        @match &ban.pattern {
                            BanPattern::Tag(tag) => { "tag " code { bdi { (visible(tag)) } } }
                            BanPattern::Glob(glob) => {
                                "pattern " code { bdi { (visible(glob)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}
