//! Reading what the replica remembers, where the namespace allows that.

use tokio::time::Instant;

use super::{
    Cache, Found, NamespaceContext, Outcome, Tier,
    get_or_fetch::{FetchMode, GetOrFetchOutcome, GetOrFetchRequest, GetOrFetchResult},
    policy,
    policy::Verdict,
};
use crate::{
    model::{EntryKey, Timestamp},
    stats::counters::{Counter, LatencyKind},
};

/// How recent an answer must be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Consistency {
    /// As recent as the namespace's near cache, if it has one.
    #[default]
    Near,
    /// As recent as the store.
    Store,
}

impl Cache {
    /// What the replica remembers of an entry, if that is fresh. Anything else is for the store to answer: another replica may have
    /// refreshed it.
    pub(super) fn nearby(
        &self,
        scope: &NamespaceContext,
        key: &EntryKey,
        consistency: Consistency,
        now: Timestamp,
        started: Instant,
    ) -> Option<Found> {
        if scope.rules.near_cache.is_none() || consistency == Consistency::Store {
            return None;
        }
        let entry = self.store.near(key, started)?;
        let outcome = match policy::judge(&entry, now, None) {
            Verdict::Fresh => Outcome::Hit,
            Verdict::Negative => Outcome::Negative,
            Verdict::Stale | Verdict::StaleIfError | Verdict::Gone => return None,
        };
        scope.counts.count(Counter::NearHits);
        Some(Found { tier: Tier::Near, ..Self::found_at(now, entry, outcome) })
    }

    /// Answers from what the replica remembers.
    pub(super) fn fetch_nearby(
        &self,
        scope: &NamespaceContext,
        request: &GetOrFetchRequest,
    ) -> Option<GetOrFetchResult> {
        if request.mode == FetchMode::NoCache {
            return None;
        }
        let started = Instant::now();
        let found =
            self.nearby(scope, &request.key, request.consistency, self.store.now(), started)?;
        scope.counts.time(LatencyKind::Hit, started.elapsed());
        let Some(source) = scope.rules.source().filter(|_| found.outcome == Outcome::Hit) else {
            return Some(GetOrFetchOutcome::Found(found).into());
        };
        let mut fetched = self.serve_fresh(scope, source, request, found.entry);
        if let GetOrFetchOutcome::Found(found) = &mut fetched.answer {
            found.tier = Tier::Near;
        }
        Some(fetched)
    }
}
