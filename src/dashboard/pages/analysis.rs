//! How well namespaces are cached, and what to change.

use std::sync::Arc;

use axum::{extract::State, http::Uri, response::Response};
use maud::html;

use super::overview::attention_list;
use crate::dashboard::{
    Dashboard, attention,
    layout::{self, Page, card},
    query::Query,
    span::Span,
    visitor::Visitor,
};

/// The page of the analysis.
pub(in crate::dashboard) async fn analysis(
    State(dashboard): State<Arc<Dashboard>>,
    visitor: Visitor,
    uri: Uri,
) -> Response {
    let query = Query::of(&uri);
    let chosen = query.text("namespace");
    let mut items = attention::items(&dashboard.figures(Span::Day).await, visitor.is_operator);
    items.retain(|item| {
        chosen.is_empty() || item.namespace.as_deref().is_none_or(|name| name == chosen)
    });
    let content = html! {
        h1.unseen { "Analysis" }
        (card("w12", "Findings of the last 24 h", &attention_list(&items)))
    };
    let page = Page {
        title: "Analysis",
        path: "/analysis",
        span: None,
        live: None,
        refresh: None,
        visitor: &visitor,
    };
    layout::page(&page, &content)
}
