#![allow(clippy::unwrap_used)]

mod failing_store;
mod fetches;
mod modes;
mod reload;
mod sources;
mod stale_values;
mod time_limits;

use std::{collections::BTreeMap, sync::Arc};

use tokio::time::{Instant, sleep};

use super::*;
use crate::{
    cache::{
        Consistency,
        testing::{
            FakeOrigin, MILLISECOND, SECOND, TestCache, config, found, is_not_cached, key,
            new_entry, origin_config, request, retry_after, seen, value,
        },
    },
    config::{NamespaceConfig, OriginConfig},
    model::{FetchMetadata, FetchSource, NewEntry},
    origin::OriginErrorKind,
    stats::counters::Counter,
    store::{self, LeaseLoss},
};

/// Rules with an origin that is given up on after 100 ms while there is a stale value.
fn with_soft_timeout() -> NamespaceConfig {
    let origin = OriginConfig { soft_timeout: Some(100 * MILLISECOND), ..origin_config() };
    NamespaceConfig { origin: Some(origin), ..config() }
}

/// A value that is fresh for a second, and then only served if the origin fails.
fn stale_if_error() -> NewEntry {
    let mut entry = new_entry("old", SECOND);
    entry.lifetime.stale_if_error = 60 * SECOND;
    entry
}

/// A value that is fresh for a second, and then served while it is refreshed.
fn stale_while_revalidate() -> NewEntry {
    let mut entry = new_entry("old", SECOND);
    entry.lifetime.stale_while_revalidate = 60 * SECOND;
    entry
}

/// A fresh value whose fetch took a minute.
fn slowly_fetched() -> NewEntry {
    let metadata = FetchMetadata { fetch_time: 60 * SECOND, ..FetchMetadata::default() };
    NewEntry { fetch_metadata: Some(Arc::new(metadata)), ..new_entry("old", 60 * SECOND) }
}

/// Rules under which an entry such as [`slowly_fetched`] is due for an early refresh.
fn always_early() -> NamespaceConfig {
    let origin = OriginConfig { early_refresh: 1e12, ..origin_config() };
    NamespaceConfig { origin: Some(origin), ..config() }
}

fn config_with_origin() -> NamespaceConfig {
    NamespaceConfig { origin: Some(origin_config()), ..config() }
}

fn waiting(wait: Duration) -> GetOrFetchRequest {
    GetOrFetchRequest { wait: Some(wait), ..request("k") }
}

fn in_mode(mode: FetchMode) -> GetOrFetchRequest {
    GetOrFetchRequest { mode, ..request("k") }
}
