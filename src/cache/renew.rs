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
        let key = &*context.key(key);
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
    /// `abandon_backoff`, and calls in the meantime are answered with `cause`.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`].
    pub async fn abandon(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        cause: &str,
    ) -> Result<(), Error> {
        if self.release(key, token, None, cause).await? {
            self.abandon_log.abandoned(key.namespace(), cause);
        }
        Ok(())
    }

    /// Gives a lease back without a value and without a failure: the next caller, also one that
    /// waits, receives it at once.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`].
    pub async fn pass_on(&self, key: &EntryKey, token: LeaseToken) -> Result<(), Error> {
        self.release(key, token, Some(Duration::ZERO), "").await?;
        Ok(())
    }

    /// Returns whether the lease was held. `backoff` is the namespace's if it is `None`.
    async fn release(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        backoff: Option<Duration>,
        cause: &str,
    ) -> Result<bool, Error> {
        let context = self.context(key.namespace())?;
        let key = &*context.key(key);
        let backoff = backoff.unwrap_or(context.config().abandon_backoff);
        match self.store.abandon(key, token, backoff, cause).await {
            Ok(held) => {
                if held {
                    context.counters.count(Counter::LeasesAbandoned);
                }
                Ok(held)
            }
            // The lease expires by itself.
            Err(error) => {
                context.count_degraded(error.is_degraded());
                Ok(false)
            }
        }
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::time::sleep;

    use super::*;
    use crate::{
        cache::testing::{SECOND, TestCache, config, key, key_in, lease, new_entry, request},
        config::NamespaceConfig,
        store::{ErrorKind, LeaseLoss},
    };

    fn leases_of_4_s() -> TestCache {
        TestCache::of_callers(NamespaceConfig { lease_ttl: 4 * SECOND, ..config() })
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewed_lease_lasts_for_another_lease_ttl() {
        let test = leases_of_4_s();
        let token = lease(test.get_or_fetch(&request("k")).await).guard.into_token();
        for _ in 0..3 {
            sleep(3 * SECOND).await;
            let renewed = test.cache.renew(&key("k"), token).await.unwrap();
            let expires_in = 4 * SECOND;
            assert_eq!(renewed, RenewResult { status: Some(Ok(())), expires_in });
        }
        sleep(4 * SECOND).await;
        let expired = test.cache.renew(&key("k"), token).await.unwrap();
        assert_eq!(expired.status, Some(Err(LeaseLoss::Expired)));
        assert_eq!(test.counted(Counter::Degraded), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_fails_leaves_the_status_unknown() {
        let test = leases_of_4_s();
        let token = test.acquire("k").await;
        for (kind, degraded) in [(ErrorKind::Full, 0), (ErrorKind::Timeout, 1)] {
            test.store.fail(kind);
            assert_eq!(test.cache.renew(&key("k"), token).await.unwrap().status, None);
            assert_eq!(test.counted(Counter::Degraded), degraded, "{kind:?}");
        }
        let unknown = test.cache.renew(&key_in("other", "k"), token).await;
        assert!(matches!(unknown, Err(Error::UnknownNamespace(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn an_abandoned_key_is_not_leased_during_the_back_off() {
        let rules = NamespaceConfig { abandon_backoff: 2 * SECOND, ..config() };
        let test = TestCache::of_callers(rules);
        let mut entry = new_entry("old", SECOND);
        entry.lifetime.stale_if_error = 60 * SECOND;
        test.put("k", &entry).await;
        sleep(SECOND).await;
        let token = test.acquire("k").await;
        test.cache.abandon(&key("k"), token, "down").await.unwrap();
        assert_eq!(test.all_counted(), [(Counter::LeasesAbandoned, 1)]);
        let during = test.get_or_fetch(&request("k")).await;
        let failed = crate::cache::FetchStatus::Failed(Some("down".to_owned()));
        assert_eq!(during.status, failed);
        sleep(2 * SECOND).await;
        assert!(test.get_or_fetch(&request("k")).await.is_lease());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_is_passed_on_is_granted_again_at_once() {
        let test = leases_of_4_s();
        let token = test.acquire("k").await;
        test.cache.pass_on(&key("k"), token).await.unwrap();
        assert_eq!(test.all_counted(), [(Counter::LeasesAbandoned, 1)]);
        test.cache.pass_on(&key("k"), token).await.unwrap();
        assert_eq!(test.counted(Counter::LeasesAbandoned), 1, "it is not held any more");
        assert!(test.get_or_fetch(&request("k")).await.is_lease());
        test.store.fail(ErrorKind::Timeout);
        test.cache.pass_on(&key("k"), token).await.unwrap();
        assert_eq!(test.counted(Counter::Degraded), 1);
        let unknown = test.cache.pass_on(&key_in("other", "k"), token).await;
        assert!(matches!(unknown, Err(Error::UnknownNamespace(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_is_not_held_is_not_counted_as_abandoned() {
        let test = leases_of_4_s();
        let token = LeaseToken::random();
        test.cache.abandon(&key("k"), token, "down").await.unwrap();
        test.store.fail(ErrorKind::Full);
        test.cache.abandon(&key("k"), token, "down").await.unwrap();
        assert!(test.all_counted().is_empty());
        test.store.fail(ErrorKind::Timeout);
        test.cache.abandon(&key("k"), token, "down").await.unwrap();
        assert_eq!(test.all_counted(), [(Counter::Degraded, 1)]);
        let unknown = test.cache.abandon(&key_in("other", "k"), token, "down").await;
        assert!(matches!(unknown, Err(Error::UnknownNamespace(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_may_hold_a_lease_for_at_least_one_lease_ttl() {
        for (lease_max, expected) in [(60, 60), (1, 10)] {
            let rules = NamespaceConfig { lease_max: lease_max * SECOND, ..config() };
            let test = TestCache::of_callers(rules);
            assert_eq!(test.cache.lease_max(&key("k")).unwrap(), expected * SECOND);
            let unknown = test.cache.lease_max(&key_in("other", "k"));
            assert!(matches!(unknown, Err(Error::UnknownNamespace(_))));
        }
    }
}
