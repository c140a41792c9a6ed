//! All namespaces.

use std::sync::Arc;

use axum::{
    extract::State,
    http::Uri,
    response::{IntoResponse as _, Redirect, Response},
};
use maud::{Markup, html};
use url::form_urlencoded::byte_serialize;

use super::namespace_table::namespace_table;
use crate::dashboard::{
    Dashboard,
    error::Error,
    figures::{MAX_NAMESPACES, Selection},
    layout::{self, Page, card, degraded_notice},
    query::{Query, link},
    span::Span,
    visitor::Visitor,
};

/// The page of all namespaces.
pub(in crate::dashboard) async fn namespaces(
    State(dashboard): State<Arc<Dashboard>>,
    visitor: Visitor,
    uri: Uri,
) -> Result<Response, Error> {
    let query = Query::of(&uri);
    if query.is_set("name") {
        let name: String = byte_serialize(query.text("name").as_bytes()).collect();
        return Ok(Redirect::to(&format!("/namespaces/{name}")).into_response());
    }
    let span = Span::of(&query);
    let content = content(&dashboard, span).await?;
    let page = Page {
        title: "Namespaces",
        path: "/namespaces",
        span: Some((span, "/namespaces".to_owned())),
        live: Some(link("/live", &[("page", "namespaces"), (Span::FIELD, span.name())])),
        refresh: None,
        visitor: &visitor,
    };
    Ok(layout::page(&page, &content))
}

/// Its content.
pub(in crate::dashboard) async fn content(
    dashboard: &Dashboard,
    span: Span,
) -> Result<Markup, Error> {
    let figures = dashboard.figures(span, Selection::All).await?;
    Ok(html! {
        h1.unseen { "Namespaces" }
        (card("w12", &format!("Namespaces, {}", span.label()), &html! {
            (namespace_table(&figures.namespaces, span))
            @if figures.namespace_count > MAX_NAMESPACES {
                p.more {
                    "The " (MAX_NAMESPACES) " busiest of " (figures.namespace_count) ". "
                    "Open another one by its name:"
                }
                form.inline action="/namespaces" {
                    label for="name" { "Namespace" }
                    input #name name="name" maxlength="64" required;
                    button type="submit" { "Open" }
                }
            }
        }))
        (degraded_notice(figures.is_degraded))
    })
}
