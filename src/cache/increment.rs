//! Counting.

use std::time::Duration;

use super::{Cache, Error, policy};
use crate::{
    model::{EntryKey, Version},
    stats::counters::Counter,
    store::{Increment, IncrementOutcome},
};

/// A counter after an increment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IncrementResult {
    /// The sum.
    pub value: i64,
    /// Id of the write.
    pub version: Version,
    /// For how long the counter is fresh.
    pub ttl_remaining: Duration,
}

impl Cache {
    /// Adds `delta` to a counter. A missing one counts from `initial` and lives for `ttl`.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`], [`Error::NotAnInteger`], [`Error::Overflow`]; [`Error::StoreUnavailable`], and then it is
    /// not known whether the sum was applied.
    pub async fn increment(
        &self,
        key: &EntryKey,
        delta: i64,
        initial: i64,
        ttl: Option<Duration>,
    ) -> Result<IncrementResult, Error> {
        let scope = self.scope(key.namespace())?;
        let version = Version::random();
        let lifetime = policy::lifetime(&scope.rules, ttl, rand::random());
        let increment = Increment { delta, initial, lifetime, version };
        match self.store.increment(key, &increment).await? {
            IncrementOutcome::Sum { value, ttl_remaining } => {
                scope.counts.count(Counter::Sets);
                Ok(IncrementResult { value, version, ttl_remaining })
            }
            IncrementOutcome::NotAnInteger => Err(Error::NotAnInteger),
            IncrementOutcome::Overflow => Err(Error::Overflow),
        }
    }
}
