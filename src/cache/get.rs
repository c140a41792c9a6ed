//! Reading one entry.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Cache, Consistency, Error, GetResult, NamespaceContext, Outcome, policy, policy::Verdict,
};
use crate::{
    model::{Entry, EntryKey, Timestamp},
    stats::counters::LatencyKind,
};

impl Cache {
    /// Reads one entry. A store that cannot be asked makes it a degraded miss.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`].
    pub async fn get(
        &self,
        key: &EntryKey,
        max_stale: Option<Duration>,
        consistency: Consistency,
    ) -> Result<GetResult, Error> {
        let scope = self.scope(key.namespace())?;
        let started = Instant::now();
        if let Some(found) = self.nearby(&scope, key, consistency, self.store.now(), started) {
            scope.count_outcome(Some(found.outcome));
            scope.counts.time(LatencyKind::Hit, started.elapsed());
            return Ok(GetResult { found: Some(found), degraded: false });
        }
        let stored = self.store.get(key).await;
        let (entry, degraded) = match stored {
            Ok(entry) => (entry, false),
            Err(_) => (None, true),
        };
        let read = self.read(&scope, entry, max_stale, degraded, self.store.now());
        scope.counts.time(read.timed(), started.elapsed());
        Ok(read)
    }

    /// Judges and counts what the store answered.
    pub(super) fn read(
        &self,
        scope: &NamespaceContext,
        entry: Option<Entry>,
        max_stale: Option<Duration>,
        degraded: bool,
        now: Timestamp,
    ) -> GetResult {
        let found = entry.and_then(|entry| {
            let outcome = match policy::judge(&entry, now, max_stale) {
                Verdict::Fresh => Outcome::Hit,
                Verdict::Stale => Outcome::Stale,
                Verdict::Negative => Outcome::Negative,
                Verdict::StaleIfError | Verdict::Gone => return None,
            };
            Some(Self::found_at(now, entry, outcome))
        });
        scope.count_outcome(found.as_ref().map(|found| found.outcome));
        scope.count_degraded(degraded);
        GetResult { found, degraded }
    }
}

impl GetResult {
    /// Under which its time is counted.
    pub(super) fn timed(&self) -> LatencyKind {
        if self.found.is_some() { LatencyKind::Hit } else { LatencyKind::Miss }
    }
}
