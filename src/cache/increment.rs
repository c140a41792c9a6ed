//! Increment: adds to a counter.

use std::time::Duration;

use super::{Cache, Error, policy};
use crate::{
    model::{EntryKey, Lifetime, Version},
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
    /// `ttl`; without `initial` none is created, and the result is `None`.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`], [`Error::NotAnInteger`], [`Error::Overflow`],
    /// [`Error::QuotaExceeded`]; [`Error::StoreUnavailable`], after which the increment may or may
    /// not be applied.
    pub async fn increment(
        &self,
        key: &EntryKey,
        delta: i64,
        initial: Option<i64>,
        ttl: Option<Duration>,
    ) -> Result<Option<IncrementResult>, Error> {
        let context = self.context(key.namespace())?;
        let key = &*context.key(key);
        let version = Version::random();
        let lifetime = policy::lifetime(context.config(), ttl, rand::random());
        let increment = Increment { delta, initial, lifetime, version };
        let refused = || context.counters.count(Counter::SetsRefused);
        let incremented = self.store.increment(key, &increment).await.map_err(|error| {
            refused();
            context.store_failed(key.namespace(), error)
        });
        match incremented? {
            IncrementOutcome::Sum { value, ttl_remaining } => {
                context.counters.count(Counter::Sets);
                let lifetime = Lifetime { ttl: ttl_remaining, ..lifetime };
                context.follow_write(&*self.store, key, &lifetime, size_of_val(&value));
                Ok(Some(IncrementResult { value, version, ttl_remaining }))
            }
            IncrementOutcome::Missing => {
                refused();
                Ok(None)
            }
            IncrementOutcome::NotAnInteger => Err(Error::NotAnInteger),
            IncrementOutcome::Overflow => Err(Error::Overflow),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        cache::testing::{SECOND, TestCache, config, key, key_in, new_entry},
        store::ErrorKind,
    };

    #[tokio::test(start_paused = true)]
    async fn a_counter_starts_at_its_initial_value_and_keeps_its_ttl() {
        let test = TestCache::of_callers(config());
        let increment = async |delta| {
            test.cache
                .increment(&key("k"), delta, Some(10), Some(60 * SECOND))
                .await
                .unwrap()
                .unwrap()
        };
        let first = increment(5).await;
        assert_eq!((first.value, first.ttl_remaining), (15, 60 * SECOND));
        tokio::time::sleep(20 * SECOND).await;
        let second = increment(-7).await;
        assert_eq!((second.value, second.ttl_remaining), (8, 40 * SECOND));
        let stored = test.stored("k").await.unwrap();
        assert_eq!((stored.data.as_ref(), stored.version), (&b"8"[..], second.version));
        assert_ne!(first.version, second.version);
        assert_eq!(test.all_counted(), [(Counter::Sets, 2)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_counter_without_a_ttl_gets_that_of_the_namespace() {
        let test = TestCache::of_callers(config());
        let result = test.cache.increment(&key("k"), 1, Some(0), None).await.unwrap().unwrap();
        assert_eq!((result.value, result.ttl_remaining), (1, 1800 * SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_initial_value_no_counter_is_created() {
        let test = TestCache::of_callers(config());
        assert_eq!(test.cache.increment(&key("k"), 1, None, None).await.unwrap(), None);
        assert!(test.stored("k").await.is_none());
        assert_eq!(test.all_counted(), [(Counter::SetsRefused, 1)]);
        test.put("k", &new_entry("5", SECOND)).await;
        let result = test.cache.increment(&key("k"), 1, None, None).await.unwrap();
        assert_eq!(result.map(|sum| sum.value), Some(6));
        tokio::time::sleep(SECOND).await;
        assert_eq!(test.cache.increment(&key("k"), 1, None, None).await.unwrap(), None);
        assert_eq!(test.all_counted(), [(Counter::Sets, 1), (Counter::SetsRefused, 2)]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_counter_or_would_overflow_is_an_error() {
        let test = TestCache::of_callers(config());
        test.put("text", &new_entry("v", 60 * SECOND)).await;
        let text = test.cache.increment(&key("text"), 1, Some(0), None).await;
        assert!(matches!(text, Err(Error::NotAnInteger)), "{text:?}");
        let overflow = test.cache.increment(&key("k"), 1, Some(i64::MAX), None).await;
        assert!(matches!(overflow, Err(Error::Overflow)), "{overflow:?}");
        assert!(test.all_counted().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_unconfirmed_increment_is_an_error() {
        let test = TestCache::of_callers(config());
        test.store.fail(ErrorKind::Timeout);
        let result = test.cache.increment(&key("k"), 1, Some(0), None).await;
        assert!(matches!(result, Err(Error::StoreUnavailable(_))), "{result:?}");
        assert_eq!(test.all_counted(), [(Counter::SetsRefused, 1)]);
        let unknown = test.cache.increment(&key_in("other", "k"), 1, None, None).await;
        assert!(matches!(unknown, Err(Error::UnknownNamespace(_))));
    }
}
