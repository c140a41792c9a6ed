//! Names of entries in links and forms.

use super::query::{Query, link};
use crate::model::{EntryKey, Namespace, Violation};

/// The digest of the params of a key, as text; empty without params.
pub(super) fn digest(key: &EntryKey) -> String {
    let mut digest = String::new();
    if let Some(params) = key.params() {
        params.write_to(&mut digest);
    }
    digest
}

/// The key that parameters name: with a digest as the store names it, and as callers do without.
pub(super) fn key_of(query: &Query) -> Result<EntryKey, Violation> {
    let namespace = Namespace::new(query.text("namespace"))?;
    let (key, digest) = (query.text("key"), query.text("digest"));
    if digest.is_empty() {
        return EntryKey::new(namespace, key, [].into_iter());
    }
    EntryKey::restored(namespace.as_str(), key, Some(digest))
        .ok_or_else(|| Violation::new("digest", "must be that of a listed key"))
}

/// The address of the page of an entry.
pub(super) fn entry_link(key: &EntryKey) -> String {
    let namespace = key.namespace().as_str();
    let digest = digest(key);
    link("/entry", &[("namespace", namespace), ("key", key.key()), ("digest", &digest)])
}
