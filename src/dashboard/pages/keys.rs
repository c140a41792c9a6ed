//! Keys of a namespace, by glob, page by page.

use std::sync::Arc;

use axum::{extract::State, http::Uri, response::Response};
use maud::{Markup, html};

use super::listing::{key_link, search_form};
use crate::{
    cache::{KeyListPosition, KeyQuery},
    dashboard::{
        Dashboard,
        entry_name::digest,
        error::Error,
        layout::{self, Page, card},
        query::{Query, link},
        visitor::Visitor,
    },
    model::{EntryKey, Glob, Namespace, TargetKind, Violation},
};

/// Keys at which a page ends.
const PAGE_SIZE: usize = 100;

/// The page of keys.
pub(in crate::dashboard) async fn keys(
    State(dashboard): State<Arc<Dashboard>>,
    visitor: Visitor,
    uri: Uri,
) -> Result<Response, Error> {
    Error::unless_operator(&visitor)?;
    let query = Query::of(&uri);
    let (namespace, glob) = (query.text("namespace"), query.text("glob"));
    let found = if namespace.is_empty() {
        html! { p.none { "Enter a namespace, and a glob such as " code { "user:47*" } "." } }
    } else {
        let wanted = key_query(&query)?;
        dashboard.record_view(&visitor, "GET /keys", |record| {
            let glob = (!glob.is_empty()).then_some(glob);
            record.touched().target(TargetKind::Glob, &wanted.namespace, glob);
        });
        let _permit = dashboard.begin_listing(&visitor).await?;
        let (keys, next) = dashboard.parts.directory.list_keys(wanted, PAGE_SIZE).await?;
        listed(&query, &keys, next)
    };
    let content = html! {
        h1.unseen { "Keys" }
        (card("w12", "Keys", &html! { (search_form(namespace, glob)) (found) }))
    };
    let page = Page {
        title: "Keys",
        path: "/keys",
        span: None,
        live: None,
        refresh: None,
        visitor: &visitor,
    };
    Ok(layout::page(&page, &content))
}

/// The keys that a page lists.
fn key_query(query: &Query) -> Result<KeyQuery, Violation> {
    let (glob, after) = (query.text("glob"), query.text("after"));
    let malformed = || Violation::new("after", "must be that of a link of this page");
    let position = if after.is_empty() {
        KeyListPosition::default()
    } else {
        position(after).ok_or_else(malformed)?
    };
    let glob = if glob.is_empty() { None } else { Some(Glob::new(glob)?) };
    Ok(KeyQuery { namespace: Namespace::new(query.text("namespace"))?, glob, position })
}

fn position(text: &str) -> Option<KeyListPosition> {
    let (origin, cursor) = text.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    Some(KeyListPosition { origin: number(origin)?, cursor: number(cursor)? })
}

fn listed(query: &Query, keys: &[EntryKey], next: Option<KeyListPosition>) -> Markup {
    let (namespace, glob) = (query.text("namespace"), query.text("glob"));
    let next = next.map(|KeyListPosition { origin, cursor }| {
        let after = format!("{origin:x}-{cursor:x}");
        link("/keys", &[("namespace", namespace), ("glob", glob), ("after", &after)])
    });
    let mut keys: Vec<&EntryKey> = keys.iter().collect();
    keys.sort_unstable();
    html! {
        table.dense {
            thead { tr { th scope="col" { "Key" } th.n scope="col" { "Actions" } } }
            tbody {
                @for key in &keys {
                    tr {
                        td.key { (key_link(key)) }
                        td.n { (delete_link(key)) }
                    }
                }
                @if keys.is_empty() {
                    tr { td.none colspan="2" {
                        @if next.is_some() { "No key on this part of the list." }
                        @else { "No key matches." }
                    } }
                }
            }
        }
        p.pages {
            (keys.len()) " keys, in no order between pages. "
            @if query.is_set("after") {
                a href=(link("/keys", &[("namespace", namespace), ("glob", glob)])) {
                    "First page"
                } " "
            }
            @match next {
                Some(next) => a rel="next" href=(next) { "Next page" },
                None => "This is the end of the list.",
            }
        }
        @if !glob.is_empty() {
            p.actions {
                a.button.danger data-dialog href=(link("/confirm", &[
                    ("action", "glob"), ("namespace", namespace), ("glob", glob),
                ])) { "Invalidate all that match" }
            }
        }
    }
}

/// The link to the confirmation of a delete.
pub(super) fn delete_link(key: &EntryKey) -> Markup {
    let digest = digest(key);
    let target = link(
        "/confirm",
        &[
            ("action", "delete"),
            ("namespace", key.namespace().as_str()),
            ("key", key.key()),
            ("digest", &digest),
        ],
    );
    html! { a.button.danger data-dialog href=(target) { "Delete" } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_of_links_are_read() {
        let expected = KeyListPosition { origin: u64::MAX, cursor: 10 };
        assert_eq!(position("ffffffffffffffff-a"), Some(expected));
        for malformed in ["", "a", "-", "x-1", "1-2-3", "11111111111111111-1"] {
            assert_eq!(position(malformed), None, "{malformed}");
        }
    }
}
