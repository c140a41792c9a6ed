//! The result of a flight for its waiters.

use std::time::Duration;

use super::{fill::FetchedEntry, lease_guard::LeaseGuard};
use crate::{model::Entry, origin, store};

/// Answer of a flight to one waiter.
#[derive(Debug)]
pub(in crate::cache) enum FlightResult {
    /// A fresh entry is in the store.
    Stored(Entry),
    /// The origin answered.
    Fetched {
        /// The entry, and the outcome of storing it.
        fetched: FetchedEntry,
        /// Whether this waiter is the one that the value was fetched for.
        is_first: bool,
    },
    /// The waiter computes the value. With a detached guard the value is not stored.
    LeaseGranted { guard: LeaseGuard, expires_in: Duration, previous: Option<Entry> },
    /// The last computation failed, and this entry may stand in for the value.
    Stale {
        /// The entry.
        entry: Entry,
        /// Why the computation failed.
        cause: String,
    },
    /// The last computation failed; no lease is granted until the back-off ends.
    BackedOff {
        /// Rest of the back-off.
        available_in: Duration,
        /// Why the computation failed.
        cause: String,
    },
    /// The fetch failed.
    OriginFailed(origin::Error),
    /// The store can no longer be asked.
    StoreFailed(store::Error),
}
