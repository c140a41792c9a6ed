//! Fixtures for the unit tests of the cache: entries, a scripted origin, and a store that fails.
#![allow(clippy::unwrap_used)]

mod answers;
mod failing_store;
mod fake_origin;
mod test_cache;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{Consistency, FetchMode, GetOrFetchRequest};
use crate::model::{Entry, EntryKey, Kind, Lifetime, Namespace, NewEntry, Timestamp, Version};

pub(super) use answers::{found, is_not_cached, lease, retry_after, seen, value};
pub(super) use failing_store::FailingStore;
pub(super) use fake_origin::{FakeOrigin, client, origin_config, rules};
pub(super) use test_cache::{TestCache, config, key_in};

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MILLISECOND: Duration = Duration::from_millis(1);

/// The namespace of the tests.
pub(super) fn namespace() -> Namespace {
    Namespace::new("ns").unwrap()
}

/// A key of the namespace.
pub(super) fn key(name: &str) -> EntryKey {
    EntryKey::new(namespace(), name, [].into_iter()).unwrap()
}

/// A value to be stored, fresh for `ttl`.
pub(super) fn new_entry(value: &'static str, ttl: Duration) -> NewEntry {
    NewEntry {
        kind: Kind::Text,
        data: Bytes::from_static(value.as_bytes()),
        version: Version::random(),
        lifetime: Lifetime { ttl, ..Lifetime::default() },
        tags: Vec::new().into(),
        fetch_metadata: None,
    }
}

/// A value stored at time zero, fresh for `ttl`.
pub(super) fn entry(value: &'static str, ttl: Duration) -> Entry {
    Entry::written(&new_entry(value, ttl), Timestamp(0))
}

/// A GetOrFetch without any options.
pub(super) fn request(name: &str) -> GetOrFetchRequest {
    GetOrFetchRequest {
        key: key(name),
        params: Arc::default(),
        max_stale: None,
        wait: None,
        deadline: None,
        mode: FetchMode::Normal,
        consistency: Consistency::Near,
    }
}
