//! Reading one entry.

use std::time::Duration;

use tokio::time::Instant;

use super::{Cache, Consistency, Error, Outcome, Read, Scope, policy, policy::Verdict};
use crate::{entry::Entry, key::EntryKey, stats::counts::Timed};

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
    ) -> Result<Read, Error> {
        let scope = self.scope(key.namespace())?;
        let started = Instant::now();
        if let Some(found) = self.nearby(&scope, key, consistency, started) {
            scope.count_outcome(Some(found.outcome));
            return Ok(Read { found: Some(found), degraded: false });
        }
        let stored = self.store.get(key).await;
        let (entry, degraded) = match stored {
            Ok(entry) => (entry, false),
            Err(_) => (None, true),
        };
        Ok(self.read(&scope, entry, max_stale, degraded, started))
    }

    /// Judges and counts what the store answered.
    pub(super) fn read(
        &self,
        scope: &Scope,
        entry: Option<Entry>,
        max_stale: Option<Duration>,
        degraded: bool,
        started: Instant,
    ) -> Read {
        let found = entry.and_then(|entry| {
            let outcome = match policy::judge(&entry, self.store.now(), max_stale) {
                Verdict::Fresh => Outcome::Hit,
                Verdict::Stale => Outcome::Stale,
                Verdict::Negative => Outcome::Negative,
                Verdict::StaleIfError | Verdict::Gone => return None,
            };
            Some(self.found(entry, outcome))
        });
        scope.count_outcome(found.as_ref().map(|found| found.outcome));
        scope.count_degraded(degraded);
        scope.counts.time(if found.is_some() { Timed::Hit } else { Timed::Miss }, started.elapsed());
        Read { found, degraded }
    }
}
