//! The last records of the audit log of this replica.

use std::sync::Arc;

use axum::{extract::State, http::Uri, response::Response};
use maud::{Markup, html};
use serde_json::Value;

use crate::{
    audit::AuditLog,
    dashboard::{
        Dashboard,
        error::Error,
        layout::{self, Page, card},
        query::{Query, link},
        text::visible,
        visitor::Visitor,
    },
    model::Violation,
};

/// Records that are read, and those that are shown.
const MAX_READ: u64 = 2000;
const MAX_SHOWN: usize = 200;
/// Targets of a record that are shown.
const MAX_TARGETS: usize = 3;
/// The kinds of records that can be chosen.
const KINDS: [&str; 8] =
    ["invalidate", "delete", "event", "admin", "inspect", "refused", "reload", "server"];

/// The page of the audit log.
pub(in crate::dashboard) async fn audit(
    State(dashboard): State<Arc<Dashboard>>,
    visitor: Visitor,
    uri: Uri,
) -> Result<Response, Error> {
    Error::unless_operator(&visitor)?;
    let query = Query::of(&uri);
    let kind = KINDS.into_iter().find(|kind| *kind == query.text("event"));
    let before = before(&query)?;
    let is_wanted = |event: &str| kind.is_none_or(|kind| kind == event);
    let found = records(&dashboard.parts.audit, is_wanted, before).await;
    // After the records are read, so that the page does not begin with itself.
    dashboard.record_view(&visitor, "GET /audit", |_| {});
    let content = html! {
        h1.unseen { "Audit" }
        (card("w12", "Audit log of this replica", &html! {
            div.spans role="group" aria-label="Kind of record" {
                a href="/audit" aria-current=[kind.is_none().then_some("true")] { "all" }
                @for other in KINDS {
                    a href=(link("/audit", &[("event", other)]))
                        aria-current=[(kind == Some(other)).then_some("true")] { (other) }
                }
            }
            (table(found.as_ref().map(|found| &*found.records)))
            @if let Some(found) = &found { (further(kind, before, found.older)) }
        }))
    };
    let page = Page {
        title: "Audit",
        path: "/audit",
        span: None,
        live: None,
        refresh: None,
        visitor: &visitor,
    };
    Ok(layout::page(&page, &content))
}

/// Some records.
pub(in crate::dashboard) struct Records {
    /// The newest first.
    pub(in crate::dashboard) records: Vec<Value>,
    /// The position before which the older ones are; none if there are none.
    older: Option<u64>,
}

/// The position before which a page has records; none for the newest.
fn before(query: &Query) -> Result<Option<u64>, Violation> {
    let malformed = |_| Violation::new("before", "must be that of a link of this page");
    let text = query.text("before");
    (!text.is_empty()).then(|| text.parse().map_err(malformed)).transpose()
}

/// The last records before a position whose kind is wanted; none without an audit log.
pub(in crate::dashboard) async fn records(
    audit: &AuditLog,
    is_wanted: impl Fn(&str) -> bool,
    before: Option<u64>,
) -> Option<Records> {
    let mut tail = audit.before(before.unwrap_or(u64::MAX), MAX_READ)?;
    let mut first = tail.position();
    let mut found = Vec::new();
    while let Some(part) = tail.next().await {
        let begin = tail.position() - part.records.len() as u64;
        let records = (begin..).zip(&part.records);
        let records =
            records.filter_map(|(at, line)| Some((at, serde_json::from_str::<Value>(line).ok()?)));
        found.extend(records.filter(|(_, record)| is_wanted(text(record, "event"))));
    }
    found.reverse();
    if let Some((last, _)) = found.get(MAX_SHOWN - 1).filter(|_| found.len() > MAX_SHOWN) {
        first = *last;
    }
    found.truncate(MAX_SHOWN);
    let has_older = match audit.before(first, 1) {
        Some(mut older) => older.next().await.is_some(),
        None => false,
    };
    let records = found.into_iter().map(|(_, record)| record).collect();
    Some(Records { records, older: has_older.then_some(first) })
}

/// Links to older records and to the newest.
fn further(kind: Option<&str>, before: Option<u64>, older: Option<u64>) -> Markup {
    let event = ("event", kind.unwrap_or_default());
    html! {
        p.pages {
            @if before.is_some() { a href=(link("/audit", &[event])) { "Newest records" } " " }
            @match older {
                Some(older) => {
                    a rel="next" href=(link("/audit", &[event, ("before", &older.to_string())])) {
                        "Older records"
                    }
                }
                None => "Older records are not in memory.",
            }
        }
    }
}

/// Records as a table.
pub(super) fn table(records: Option<&[Value]>) -> Markup {
    let Some(records) = records else {
        return html! {
            p.none {
                "There is no audit log: set " code { "audit.to" } ", for example to "
                code { "\"stderr\"" } "."
            }
        };
    };
    html! {
        table.dense.records {
            thead { tr {
                th scope="col" { "Time" }
                th scope="col" { "Event" }
                th.mid scope="col" { "Action" }
                th scope="col" { "Target" }
                th.wide scope="col" { "Caller" }
                th scope="col" { "Result" }
            } }
            tbody {
                @for record in records { (row(record)) }
                @if records.is_empty() {
                    tr { td.none colspan="6" { "None among " (MAX_READ) " records." } }
                }
            }
        }
    }
}

fn row(record: &Value) -> Markup {
    let time = text(record, "time");
    let shown_time = time.get(5..19).unwrap_or(time).replace('T', " ");
    let code = text(record, "code");
    let is_bad = !matches!(code, "" | "OK");
    html! {
        tr {
            td { time datetime=(time) title=(time) { (shown_time) } }
            td { (visible(text(record, "event"))) }
            td.mid { bdi { (visible(text(record, "action"))) } }
            td.key { (targets(record)) }
            td.wide { bdi { (visible(&caller(record))) } }
            td {
                @if is_bad { b.worse { (visible(code)) } } @else { (visible(code)) }
                (counts(record))
            }
        }
    }
}

/// Begin of the list of targets.
fn targets(record: &Value) -> Markup {
    let none = Vec::new();
    let targets = record["targets"].as_array().unwrap_or(&none);
    let all = record["target_count"].as_u64().unwrap_or(targets.len() as u64);
    let namespaces = record["namespaces"].as_array().unwrap_or(&none);
    html! {
        @for field in ["what", "event_name", "job"] {
            @if !text(record, field).is_empty() {
                span.target { bdi { (visible(text(record, field))) } }
            }
        }
        @for target in targets.iter().take(MAX_TARGETS) {
            @let name = [text(target, "name"), text(target, "hash")].join("");
            span.target {
                (visible(text(target, "kind"))) " " (visible(text(target, "namespace")))
                @if !name.is_empty() { " " bdi { (visible(&name)) } }
            }
        }
        @if targets.is_empty() {
            @for namespace in namespaces.iter().take(MAX_TARGETS) {
                span.target { (namespace.as_str().unwrap_or_default()) }
            }
            @for field in ["reason", "error"] {
                @if !text(record, field).is_empty() {
                    span.target { bdi { (visible(text(record, field))) } }
                }
            }
        }
        (more(all))
        (texts(record, "changed", "changed"))
        (texts(record, "needs_restart", "needs a restart"))
    }
}

/// Begin of a list of texts.
fn texts(record: &Value, field: &str, title: &str) -> Markup {
    let texts = record[field].as_array().map(Vec::as_slice).unwrap_or_default();
    html! {
        @if !texts.is_empty() {
            span.target {
                (title)
                @for text in texts.iter().take(MAX_TARGETS) {
                    " " bdi { (visible(text.as_str().unwrap_or_default())) }
                }
            }
            (more(texts.len() as u64))
        }
    }
}

fn more(all: u64) -> Markup {
    let further = all.saturating_sub(MAX_TARGETS as u64);
    html! { @if further > 0 { span.soft { " and " (further) " more" } } }
}

fn caller(record: &Value) -> String {
    let parts = ["principal", "identity", "peer"].map(|field| text(record, field));
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(" ")
}

fn counts(record: &Value) -> Markup {
    html! {
        @if let Some(counts) = record["counts"].as_object() {
            @for (name, count) in counts.iter().filter(|(_, count)| count.as_u64() != Some(0)) {
                span.soft { " " (visible(name)) " " (count) }
            }
        }
    }
}

fn text<'a>(record: &'a Value, field: &str) -> &'a str {
    record[field].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn records_are_escaped() {
        let record = json!({
            "time": "2026-11-30T09:30:00.000000Z", "event": "delete", "action": "<b>",
            "principal": "<i>", "code": "UNAVAILABLE", "counts": { "existed": 2, "queued": 0 },
            "targets": [{ "kind": "key", "namespace": "ns", "name": "<script>\u{202e}" }],
            "target_count": 5,
        });
        let shown = table(Some(&[record])).into_string();
        for part in ["&lt;script&gt;\\u{202e}", "&lt;b&gt;", "&lt;i&gt;", "and 2 more", "existed 2"]
        {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(!shown.contains("<script") && !shown.contains("queued"), "{shown}");
        let none = table(Some(&[])).into_string();
        assert!(none.contains("None among 2000 records"), "{none}");
        assert!(table(None).into_string().contains("audit.to"));
    }

    #[test]
    fn records_without_targets_have_their_fields() {
        for (record, expected) in [
            (json!({ "what": "flush" }), "<bdi>flush</bdi>"),
            (json!({ "what": "flush", "namespaces": ["shop"] }), "<bdi>flush</bdi></span><span"),
            (json!({ "job": "00ff" }), "<bdi>00ff</bdi>"),
            (json!({ "event_name": "sale", "targets": [{ "kind": "tag" }] }), "<bdi>sale</bdi>"),
            (json!({ "reason": "no_permission" }), "<bdi>no_permission</bdi>"),
            (json!({ "changed": ["a.b", "<c>"] }), "changed <bdi>a.b</bdi> <bdi>&lt;c&gt;</bdi>"),
            (json!({ "changed": ["a", "b", "c", "d", "e"] }), "and 2 more"),
            (json!({ "needs_restart": ["listen"] }), "needs a restart <bdi>listen</bdi>"),
        ] {
            let shown = table(Some(std::slice::from_ref(&record))).into_string();
            assert!(shown.contains(expected), "{record}: {shown}");
        }
    }
}
