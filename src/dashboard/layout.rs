//! The frame of all pages.

use axum::{
    http::{HeaderValue, header},
    response::{Html, IntoResponse as _, Response},
};
use maud::{DOCTYPE, Markup, html};

use super::{assets, query::link, span::Span, visitor::Visitor};

/// All that a page may load and send. There is no style and no script in a page itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' \
                      data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; \
                      base-uri 'none'";

/// The pages in the navigation, with their paths.
const PAGES: [(&str, &str); 9] = [
    ("Overview", "/"),
    ("Namespaces", "/namespaces"),
    ("Keys", "/keys"),
    ("Hot keys", "/hot-keys"),
    ("Invalidations", "/invalidations"),
    ("Origins", "/origins"),
    ("Replicas", "/replicas"),
    ("Analysis", "/analysis"),
    ("Audit", "/audit"),
];

/// A page.
pub(super) struct Page<'a> {
    pub(super) title: &'a str,
    /// Path of its entry in the navigation.
    pub(super) path: &'static str,
    /// The time that it shows, and the address without it; none for a page about now.
    pub(super) span: Option<(Span, String)>,
    /// Address of the updates of its content; none if it has none.
    pub(super) live: Option<String>,
    /// Seconds after which a browser without scripts loads it again.
    pub(super) refresh: Option<u8>,
    pub(super) visitor: &'a Visitor,
}

/// Renders a page with its content.
pub(super) fn page(page: &Page<'_>, content: &Markup) -> Response {
    let visitor = page.visitor;
    let header = html! {
        @if let Some(live) = &page.live {
            span.live #live data-live=(live) role="status" { "not live" }
        }
        @if let Some((span, address)) = &page.span { (spans(*span, address)) }
        @if let Some(token) = visitor.csrf_token.as_ref().filter(|_| visitor.has_session) {
            form.logout method="post" action="/logout" {
                input type="hidden" name="csrf" value=(token);
                button type="submit" { "Log out" }
            }
        }
    };
    let notice = html! {
        @if !visitor.is_operator {
            aside.notice aria-label="Access" {
                p {
                    "Read only, and without keys: " code { "[auth]" } " is in force. "
                    a href="/login" { "Log in" } " with the token of a principal with the verb "
                    code { "admin" } "."
                }
            }
        }
    };
    document(page.title, page.refresh, &frame(page.path, &header, &notice, content))
}

/// A page without anything of its sender.
pub(super) fn plain_page(title: &str, content: &Markup) -> Response {
    document(title, None, &frame("", &html! {}, &html! {}, content))
}

fn frame(path: &str, controls: &Markup, notice: &Markup, content: &Markup) -> Markup {
    html! {
        a.skip href="#content" { "Skip to the content" }
        header {
            a.brand href="/" { "Larder" }
            nav aria-label="Pages" {
                @for (name, target) in PAGES {
                    @let is_current = target == path;
                    a href=(target) aria-current=[is_current.then_some("page")] { (name) }
                }
            }
            div.controls { (controls) }
        }
        (notice)
        main #content tabindex="-1" { (content) }
        footer {
            "Larder " (env!("CARGO_PKG_VERSION")) ". Times are in UTC. "
            a href="/metrics" { "Metrics" } " " a href="/readyz" { "Readiness" }
        }
        dialog #dialog aria-labelledby="dialog-title" {}
    }
}

/// Links to the other times.
fn spans(current: Span, address: &str) -> Markup {
    let (path, query) = address.split_once('?').unwrap_or((address, ""));
    html! {
        div.spans role="group" aria-label="Time" {
            @for span in Span::ALL {
                @let is_current = span == current;
                @let own = link(path, &[(Span::FIELD, span.name())]);
                @let target = if query.is_empty() { own } else { format!("{own}&{query}") };
                a href=(target) aria-current=[is_current.then_some("true")] { (span.label()) }
            }
        }
    }
}

fn document(title: &str, refresh: Option<u8>, body: &Markup) -> Response {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " - Larder" }
                @if let Some(seconds) = refresh {
                    noscript { meta http-equiv="refresh" content=(seconds); }
                }
                link rel="icon" href=(assets::ICON) type="image/svg+xml";
                link rel="stylesheet" href=(assets::STYLE);
                script src=(assets::SCRIPT) defer {}
            }
            body { (body) }
        }
    };
    let mut response = Html(page.into_string()).into_response();
    let policy = HeaderValue::from_static(POLICY);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

/// Shows that figures are those of one replica. It is the last part of the content, and sticks to
/// the lower edge of the screen, so that it moves nothing when it comes.
pub(super) fn degraded_notice(is_degraded: bool) -> Markup {
    html! {
        div.degraded role="status" {
            @if is_degraded {
                p.card.worse {
                    "The counts of the fleet cannot be read: the figures are of this replica alone."
                }
            }
        }
    }
}

/// A part of a page with live figures that stays as it is. The updates have its place only.
pub(super) fn still(name: &str, content: Option<&Markup>) -> Markup {
    html! {
        div.still data-key=(name) data-still { @if let Some(content) = content { (content) } }
    }
}

/// A box with a heading.
pub(super) fn card(class: &str, heading: &str, content: &Markup) -> Markup {
    html! {
        section class={ "card " (class) } { h2 { (heading) } (content) }
    }
}
