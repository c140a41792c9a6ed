//! Increment: adds to a counter.

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
    /// The counter's new value.
    pub value: i64,
    /// Version of the entry.
    pub version: Version,
    /// Time for which the counter is fresh.
    pub ttl_remaining: Duration,
}

impl Cache {
    /// Adds `delta` to a counter. A counter that does not exist starts at `initial` and lives for
    /// `ttl`.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`], [`Error::NotAnInteger`], [`Error::Overflow`];
    /// [`Error::StoreUnavailable`], after which the increment may or may not be applied.
    pub async fn increment(
        &self,
        key: &EntryKey,
        delta: i64,
        initial: i64,
        ttl: Option<Duration>,
    ) -> Result<IncrementResult, Error> {
        let context = self.context(key.namespace())?;
        let version = Version::random();
        let lifetime = policy::lifetime(context.config(), ttl, rand::random());
        let increment = Increment { delta, initial, lifetime, version };
        match self.store.increment(key, &increment).await? {
            IncrementOutcome::Sum { value, ttl_remaining } => {
                context.counters.count(Counter::Sets);
                Ok(IncrementResult { value, version, ttl_remaining })
            }
            IncrementOutcome::NotAnInteger => Err(Error::NotAnInteger),
            IncrementOutcome::Overflow => Err(Error::Overflow),
        }
    }
}
