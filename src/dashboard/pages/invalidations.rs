//! The forms of actions, and what was invalidated lately.

use std::sync::Arc;

use axum::{extract::State, http::Uri, response::Response};
use maud::{Markup, html};

use super::audit::{records, table};
use crate::dashboard::{
    Dashboard,
    error::Error,
    layout::{self, Page, card},
    query::Query,
    visitor::Visitor,
};

/// Kinds of records that show what was changed.
const CHANGES: [&str; 4] = ["invalidate", "delete", "event", "admin"];

/// A field of a form.
struct Field {
    name: &'static str,
    label: &'static str,
    hint: &'static str,
    kind: FieldKind,
}

#[derive(PartialEq, Eq)]
enum FieldKind {
    Line,
    /// One that may stay empty.
    OptionalLine,
    Lines,
    OptionalLines,
    Check,
}

/// The page of the actions.
pub(in crate::dashboard) async fn invalidations(
    State(dashboard): State<Arc<Dashboard>>,
    visitor: Visitor,
    uri: Uri,
) -> Result<Response, Error> {
    Error::unless_operator(&visitor)?;
    let query = Query::of(&uri);
    let namespace = query.text("namespace");
    dashboard.record_view(&visitor, "GET /invalidations", |_| {});
    let is_change = |event: &str| CHANGES.contains(&event);
    let recent = records(&dashboard.parts.audit, is_change, None).await;
    let recent = recent.as_ref().map(|recent| &*recent.records);
    let content = html! {
        h1.unseen { "Invalidations" }
        (forms(namespace))
        (card("w12", "Actions since the start of this replica", &jobs(&dashboard)))
        (card("w12", "Recent changes of this replica", &table(recent)))
    };
    let page = Page {
        title: "Invalidations",
        path: "/invalidations",
        span: None,
        live: None,
        refresh: None,
        visitor: &visitor,
    };
    Ok(layout::page(&page, &content))
}

fn forms(namespace: &str) -> Markup {
    let line = |name, label, hint| Field { name, label, hint, kind: FieldKind::Line };
    let space = || line("namespace", "Namespace", "user");
    let lines = |name, label, hint| Field { name, label, hint, kind: FieldKind::Lines };
    let optional = |name, label, hint, kind| Field { name, label, hint, kind };
    let forms = [
        ("key", "By key", vec![space(), line("key", "Key", "4711:profile")]),
        ("tag", "By tag", vec![space(), lines("tags", "Tags, one in each line", "customer:4711")]),
        ("glob", "By glob", vec![space(), line("glob", "Glob", "4711:*")]),
        ("namespace", "A whole namespace", vec![space()]),
        (
            "event",
            "By event",
            vec![
                line("name", "Name", "user.changed"),
                optional(
                    "attributes",
                    "Attributes, one name=value in each line",
                    "id=4711",
                    FieldKind::OptionalLines,
                ),
            ],
        ),
        (
            "warm",
            "Warm",
            vec![
                space(),
                optional(
                    "keys",
                    "Keys, one in each line; none: the warm list",
                    "4711:profile",
                    FieldKind::OptionalLines,
                ),
                optional("refresh", "Also fetch fresh entries", "", FieldKind::Check),
            ],
        ),
        (
            "flush",
            "Flush the near cache",
            vec![optional("namespace", "Namespace; none: all", "user", FieldKind::OptionalLine)],
        ),
    ];
    html! {
        @for (action, heading, fields) in &forms {
            (card("w4 form", heading, &form(action, fields, namespace)))
        }
    }
}

fn form(action: &str, fields: &[Field], namespace: &str) -> Markup {
    html! {
        form action="/confirm" data-dialog {
            input type="hidden" name="action" value=(action);
            @for Field { name, label, hint, kind } in fields {
                @let id = format!("{action}-{name}");
                @let value = if *name == "namespace" && action != "flush" { namespace } else { "" };
                @match kind {
                    FieldKind::Check => label.check {
                        input id=(id) type="checkbox" name=(name); (label)
                    },
                    FieldKind::Lines | FieldKind::OptionalLines => {
                        label for=(id) { (label) }
                        textarea id=(id) name=(name) rows="2" placeholder=(hint) spellcheck="false"
                            required[*kind == FieldKind::Lines] {}
                    }
                    FieldKind::Line | FieldKind::OptionalLine => {
                        label for=(id) { (label) }
                        input id=(id) name=(name) value=(value) placeholder=(hint)
                            spellcheck="false" maxlength="1024" autocomplete="off"
                            required[*kind == FieldKind::Line];
                    }
                }
            }
            button type="submit" { "Preview" }
        }
    }
}

fn jobs(dashboard: &Dashboard) -> Markup {
    let jobs = dashboard.jobs.all();
    html! {
        @if jobs.is_empty() { p.none { "None yet." } }
        ul.jobs {
            @for job in &jobs {
                li { a href={ "/jobs/" (job.id()) } { (job.title()) } " " (job.state().name()) }
            }
        }
    }
}
