#![allow(clippy::unwrap_used)]

mod failing_store;
mod leases;
mod modes;
mod reload;
mod stale_values;

use tokio::time::{Instant, sleep};

use super::*;
use crate::{
    cache::{
        FillOutcome, GetOrFetchRequest, LeaseOffer, Tier,
        testing::{
            FakeOrigin, MILLISECOND, SECOND, TestCache, config, found, is_not_cached, key, lease,
            new_entry, request, retry_after, seen, value,
        },
    },
    config::NamespaceConfig,
    model::NewEntry,
    store::{ErrorKind, LeaseLoss},
};

fn callers() -> TestCache {
    TestCache::of_callers(config())
}

/// A value that is fresh for a second, and then only served if it cannot be computed.
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

fn waiting(wait: Duration) -> GetOrFetchRequest {
    GetOrFetchRequest { wait: Some(wait), ..request("k") }
}

fn in_mode(mode: FetchMode) -> GetOrFetchRequest {
    GetOrFetchRequest { mode, ..request("k") }
}

/// Fills the entry under an offered lease.
async fn fill(test: &TestCache, offer: LeaseOffer) -> Result<(), LeaseLoss> {
    let entry = new_entry("new", 60 * SECOND);
    test.memory.fill(&key("k"), offer.guard.into_token(), &entry).await.unwrap()
}
