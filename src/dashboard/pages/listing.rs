//! Links to entries, and the form that finds keys.

use maud::{Markup, html};

use crate::{
    dashboard::{
        entry_name::{digest, entry_link},
        text::visible,
    },
    model::EntryKey,
};

/// Length of the text of a link, in characters. The page of the entry has all of it.
const MAX_CHARACTERS: usize = 120;

/// A key as a link to its entry.
pub(in crate::dashboard) fn key_link(key: &EntryKey) -> Markup {
    let shown = visible(key.key());
    let is_long = shown.chars().count() > MAX_CHARACTERS;
    let text: String = shown.chars().take(MAX_CHARACTERS).collect();
    let digest = digest(key);
    html! {
        a href=(entry_link(key)) {
            bdi { (text) @if is_long { "…" } }
            @if let Some(short) = digest.get(..6) { " " span.soft { "#" (short) } }
        }
    }
}

/// The fields for a namespace and a glob.
pub(super) fn search_form(namespace: &str, glob: &str) -> Markup {
    html! {
        form.inline action="/keys" {
            label for="namespace" { "Namespace" }
            input #namespace name="namespace" value=(namespace) maxlength="64" required
                autocomplete="off" spellcheck="false";
            label for="glob" { "Glob" }
            input #glob name="glob" value=(glob) maxlength="1024" placeholder="*"
                autocomplete="off" spellcheck="false";
            button type="submit" { "Search" }
        }
    }
}
