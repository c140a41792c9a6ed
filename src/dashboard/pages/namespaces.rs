//! All namespaces, the busiest first, page by page.

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

/// Name of the parameter with the number of the page.
const PART: &str = "part";

/// A part of all namespaces, from 1 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::dashboard) struct Part(usize);

impl Part {
    /// Number of the last part that a link can have.
    const MAX: usize = 10_000;

    /// That of a request. Any other text is the first: it comes from links only.
    pub(in crate::dashboard) fn of(query: &Query) -> Self {
        Self(query.text(PART).parse().unwrap_or(1).clamp(1, Self::MAX))
    }

    fn skipped(self) -> usize {
        (self.0 - 1) * MAX_NAMESPACES
    }

    /// Its parameter in a link; empty for the first.
    fn text(self) -> String {
        if self.0 > 1 { self.0.to_string() } else { String::new() }
    }

    fn link(self, span: Span) -> String {
        link("/namespaces", &[(Span::FIELD, span.name()), (PART, &self.text())])
    }
}

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
    let (span, part) = (Span::of(&query), Part::of(&query));
    let content = content(&dashboard, span, part).await?;
    let text = part.text();
    let live = [("page", "namespaces"), (Span::FIELD, span.name()), (PART, text.as_str())];
    let page = Page {
        title: "Namespaces",
        path: "/namespaces",
        span: Some((span, link("/namespaces", &[(PART, &text)]))),
        live: Some(link("/live", &live)),
        refresh: None,
        visitor: &visitor,
    };
    Ok(layout::page(&page, &content))
}

/// Its content.
pub(in crate::dashboard) async fn content(
    dashboard: &Dashboard,
    span: Span,
    part: Part,
) -> Result<Markup, Error> {
    let skipped = part.skipped();
    let figures = dashboard.figures(span, Selection::From(skipped)).await?;
    let examined = dashboard.examined().await;
    let (shown, count) = (figures.namespaces.len(), figures.namespace_count);
    Ok(html! {
        h1.unseen { "Namespaces" }
        (card("w12", &format!("Namespaces, {}", span.label()), &html! {
            @if shown > 0 || skipped == 0 {
                (namespace_table(&figures.namespaces, &examined, span))
            } @else {
                p.none { "There are " (count) " namespaces: none on this page." }
            }
            @if count > shown { (further(span, part, shown, count)) }
        }))
        (degraded_notice(figures.is_degraded))
    })
}

/// Links to other parts, and the form that opens a namespace.
fn further(span: Span, part: Part, shown: usize, count: usize) -> Markup {
    let skipped = part.skipped();
    html! {
        p.pages {
            @if skipped == 0 {
                "The " (shown) " busiest of " (count) ". "
            } @else {
                @if shown > 0 { (skipped + 1) " to " (skipped + shown) " of " (count) ". " }
                a href=(Part(1).link(span)) { "First page" } " "
            }
            @if skipped + shown < count {
                a rel="next" href=(Part(part.0 + 1).link(span)) { "Next page" }
            }
        }
        form.inline action="/namespaces" {
            label for="name" { "Open by name" }
            input #name name="name" maxlength="64" required;
            button type="submit" { "Open" }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_bounded() {
        let part = |query: &str| Part::of(&Query::of(&format!("/?{query}").parse().unwrap())).0;
        let parts = ["", "part=2", "part=0", "part=x", "part=99999999"].map(part);
        assert_eq!(parts, [1, 2, 1, 1, Part::MAX]);
        assert_eq!(Part(1).link(Span::Day), "/namespaces?span=24h");
        assert_eq!(Part(3).link(Span::Hour), "/namespaces?span=1h&part=3");
    }
}
