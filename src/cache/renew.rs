//! What the holder of a lease can do with it, beside filling.

use std::time::Duration;

use super::{Cache, Error, is_degraded};
use crate::{
    model::EntryKey,
    stats::counters::Counter,
    store::{LeaseStatus, LeaseToken},
};

/// The answer to a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RenewResult {
    /// Whether the lease holds; unknown if the store could not be asked.
    pub hold: Option<LeaseStatus>,
    /// For how long it holds from now, if it does.
    pub expires_in: Duration,
}

impl Cache {
    /// Makes a lease hold for another `lease_ttl` of its namespace from now.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`].
    pub async fn renew(&self, key: &EntryKey, token: LeaseToken) -> Result<RenewResult, Error> {
        let scope = self.scope(key.namespace())?;
        let expires_in = scope.rules.lease_ttl;
        let hold = match self.store.extend(key, token, expires_in).await {
            Ok(hold) => Some(hold),
            Err(error) => {
                scope.count_degraded(is_degraded(&error));
                None
            }
        };
        Ok(RenewResult { hold, expires_in })
    }

    /// Gives a lease back without a value. Nobody is granted another for the namespace's `abandon_backoff`, and those who
    /// ask meanwhile are told `cause`.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`].
    pub async fn abandon(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        cause: &str,
    ) -> Result<(), Error> {
        let scope = self.scope(key.namespace())?;
        match self.store.abandon(key, token, scope.rules.abandon_backoff, cause).await {
            Ok(true) => scope.counts.count(Counter::LeasesAbandoned),
            Ok(false) => {}
            // The lease will expire.
            Err(error) => scope.count_degraded(is_degraded(&error)),
        }
        Ok(())
    }

    /// How long a caller may hold the lease of a key that it holds by a stream.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`].
    pub fn lease_max(&self, key: &EntryKey) -> Result<Duration, Error> {
        let scope = self.scope(key.namespace())?;
        Ok(scope.rules.lease_max.max(scope.rules.lease_ttl))
    }
}
