//! Counting.

use std::time::Duration;

use super::{Cache, Error, policy};
use crate::{
    entry::Version,
    key::EntryKey,
    stats::counts::Counter,
    store::{Increment, Incremented},
};

/// A counter after an increment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sum {
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
    ) -> Result<Sum, Error> {
        let scope = self.scope(key.namespace())?;
        let version = Version::random();
        let lifetime = policy::lifetime(&scope.rules, ttl, rand::random());
        let increment = Increment { delta, initial, lifetime, version };
        match self.store.increment(key, &increment).await? {
            Incremented::Sum { value, ttl_remaining } => {
                scope.counts.count(Counter::Sets);
                Ok(Sum { value, version, ttl_remaining })
            }
            Incremented::NotAnInteger => Err(Error::NotAnInteger),
            Incremented::Overflow => Err(Error::Overflow),
        }
    }
}
