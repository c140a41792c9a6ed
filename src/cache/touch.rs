//! Touch: gives an entry a new TTL.

use std::time::Duration;

use super::{Cache, Error, policy};
use crate::model::EntryKey;

/// Answer to a touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TouchResult {
    /// The applied TTL; `None` if there was no fresh entry.
    pub ttl: Option<Duration>,
    /// Whether the store could not be asked.
    pub degraded: bool,
}

impl Cache {
    /// Gives a fresh entry a new TTL from now.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`].
    pub async fn touch(&self, key: &EntryKey, ttl: Option<Duration>) -> Result<TouchResult, Error> {
        let context = self.context(key.namespace())?;
        let lifetime = policy::lifetime(context.config(), ttl, rand::random());
        let touched = match self.store.touch(key, lifetime).await {
            Ok(found) => TouchResult { ttl: found.then_some(lifetime.ttl), degraded: false },
            Err(error) => TouchResult { ttl: None, degraded: error.is_degraded() },
        };
        context.count_degraded(touched.degraded);
        Ok(touched)
    }
}
