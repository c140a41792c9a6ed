//! Reads from the near cache.

use tokio::time::Instant;

use super::{
    Cache, Consistency, Found, NamespaceContext, Outcome, Tier,
    policy::{self, Verdict},
};
use crate::{
    model::{EntryKey, Timestamp},
    stats::counters::Counter,
};

/// Conditions of a read from the near cache.
#[derive(Clone, Copy)]
pub(super) struct NearRead {
    pub(super) consistency: Consistency,
    /// The store's clock, by which freshness is evaluated.
    pub(super) now: Timestamp,
    /// When the call began, by which the copy's staleness is bounded.
    pub(super) started: Instant,
}

impl Cache {
    /// The near cache's copy of an entry, if it is fresh. Any other copy is left to the store:
    /// another replica may have refreshed the entry.
    pub(super) fn read_near(
        &self,
        context: &NamespaceContext,
        key: &EntryKey,
        read: NearRead,
    ) -> Option<Found> {
        if context.config().near_cache.is_none() || read.consistency == Consistency::Store {
            return None;
        }
        let entry = self.store.near(key, read.started)?;
        let outcome = match policy::evaluate(&entry, read.now, None) {
            Verdict::Fresh => Outcome::Hit,
            Verdict::Negative => Outcome::Negative,
            Verdict::Stale | Verdict::StaleIfError | Verdict::Expired => return None,
        };
        context.counters.count(Counter::NearHits);
        Some(Found { tier: Tier::Near, ..Found::new(entry, outcome, read.now) })
    }
}
