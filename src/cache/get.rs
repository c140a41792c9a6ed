//! Get: reads one entry.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Cache, Consistency, Error, Found, NamespaceContext, Outcome,
    near_read::NearRead,
    policy::{self, Verdict},
};
use crate::{
    model::{Entry, EntryKey, Timestamp},
    stats::counters::LatencyKind,
};

/// Answer to a read.
#[derive(Debug, Clone, Default)]
pub struct GetResult {
    /// The entry; `None` is a miss.
    pub found: Option<Found>,
    /// Whether the store could not be asked.
    pub degraded: bool,
}

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
        let context = self.context(key.namespace())?;
        let started = Instant::now();
        let near_read = NearRead { consistency, now: self.store.now(), started };
        if let Some(found) = self.read_near(&context, key, near_read) {
            context.count_outcome(Some(found.outcome));
            context.counters.time(LatencyKind::Hit, started.elapsed());
            return Ok(GetResult { found: Some(found), degraded: false });
        }
        let (entry, degraded) = match self.store.get(key).await {
            Ok(entry) => (entry, false),
            Err(_) => (None, true),
        };
        let read = GetResult::of(entry, max_stale, degraded, self.store.now());
        read.count(&context);
        context.counters.time(read.latency_kind(), started.elapsed());
        Ok(read)
    }
}

impl GetResult {
    /// The answer to a read for which the store returned `entry`.
    pub(super) fn of(
        entry: Option<Entry>,
        max_stale: Option<Duration>,
        degraded: bool,
        now: Timestamp,
    ) -> Self {
        let found = entry.and_then(|entry| {
            let outcome = match policy::evaluate(&entry, now, max_stale) {
                Verdict::Fresh => Outcome::Hit,
                Verdict::Stale => Outcome::Stale,
                Verdict::Negative => Outcome::Negative,
                Verdict::StaleIfError | Verdict::Expired => return None,
            };
            Some(Found::new(entry, outcome, now))
        });
        Self { found, degraded }
    }

    pub(super) fn count(&self, context: &NamespaceContext) {
        context.count_outcome(self.found.as_ref().map(|found| found.outcome));
        context.count_degraded(self.degraded);
    }

    /// The histogram for the latency of this read.
    pub(super) fn latency_kind(&self) -> LatencyKind {
        if self.found.is_some() { LatencyKind::Hit } else { LatencyKind::Miss }
    }
}
