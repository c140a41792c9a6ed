//! Renew and Abandon: a holder extends its lease, or gives it back without a value.

use std::time::Duration;

use super::{Cache, Error};
use crate::{
    model::EntryKey,
    stats::counters::Counter,
    store::{LeaseStatus, LeaseToken},
};

/// Answer to a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RenewResult {
    /// Whether the lease is held; `None` if the store could not be asked.
    pub status: Option<LeaseStatus>,
    /// Time until the lease expires, if it is held.
    pub expires_in: Duration,
}

impl Cache {
    /// Makes a lease last for another `lease_ttl` of its namespace from now.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`].
    pub async fn renew(&self, key: &EntryKey, token: LeaseToken) -> Result<RenewResult, Error> {
        let context = self.context(key.namespace())?;
        let expires_in = context.config().lease_ttl;
        let status = match self.store.extend(key, token, expires_in).await {
            Ok(status) => Some(status),
            Err(error) => {
                context.count_degraded(error.is_degraded());
                None
            }
        };
        Ok(RenewResult { status, expires_in })
    }

    /// Gives a lease back without a value. No other lease is granted for the namespace's
    /// `abandon_backoff`, and callers that ask in the meantime are told `cause`.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`].
    pub async fn abandon(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        cause: &str,
    ) -> Result<(), Error> {
        let context = self.context(key.namespace())?;
        match self.store.abandon(key, token, context.config().abandon_backoff, cause).await {
            Ok(true) => context.counters.count(Counter::LeasesAbandoned),
            Ok(false) => {}
            // The lease expires by itself.
            Err(error) => context.count_degraded(error.is_degraded()),
        }
        Ok(())
    }

    /// The longest that a caller may hold a lease through a stream.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`].
    pub fn lease_max(&self, key: &EntryKey) -> Result<Duration, Error> {
        let context = self.context(key.namespace())?;
        let config = context.config();
        Ok(config.lease_max.max(config.lease_ttl))
    }
}
