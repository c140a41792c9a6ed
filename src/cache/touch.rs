//! Touch: gives an entry a new TTL, on request or because it is read.

use std::time::Duration;

use super::{Cache, Error, Found, GetOrFetchResult, NamespaceContext, Outcome, policy};
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
        let key = &*context.key(key);
        let lifetime = policy::lifetime(context.config(), ttl, rand::random());
        let touched = match self.store.touch(key, lifetime).await {
            Ok(found) => TouchResult { ttl: found.then_some(lifetime.ttl), degraded: false },
            Err(error) => TouchResult { ttl: None, degraded: error.is_degraded() },
        };
        context.count_degraded(touched.degraded);
        if touched.ttl.is_some() {
            context.follow_touch(key, self.store.now(), &lifetime);
        }
        Ok(touched)
    }

    /// Extends the TTL of a value that a read has found fresh, so that it is fresh for `touch` from
    /// now; see `policy::slide`. A value whose extension the store does not take keeps its TTL.
    pub async fn slide(&self, key: &EntryKey, found: &mut Found, touch: Duration) {
        if found.outcome == Outcome::Hit
            && let Ok(context) = self.context(key.namespace())
        {
            self.slide_stored(&context, &context.key(key), found, touch).await;
        }
    }

    /// As [`Cache::slide`], for the answer to a GetOrFetch. A value that was computed for it keeps
    /// its TTL.
    pub async fn slide_fetched(
        &self,
        key: &EntryKey,
        result: &mut GetOrFetchResult,
        touch: Duration,
    ) {
        if let Some(found) = result.cached() {
            self.slide(key, found, touch).await;
        }
    }

    /// As [`Cache::slide`], for the name of an entry in the store.
    pub(super) async fn slide_stored(
        &self,
        context: &NamespaceContext,
        key: &EntryKey,
        found: &mut Found,
        touch: Duration,
    ) {
        if found.outcome != Outcome::Hit {
            return;
        }
        let now = self.store.now();
        let Some(lifetime) = policy::slide(context.config(), &found.entry, touch, now) else {
            return;
        };
        if let Ok(true) = self.store.prolong(key, found.entry.version, lifetime).await {
            found.entry.reschedule(&lifetime, now);
            found.ttl_remaining = lifetime.ttl;
            context.follow_touch(key, now, &lifetime);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::time::sleep;

    use super::*;
    use crate::{
        cache::{
            Consistency, FetchStatus,
            testing::{SECOND, TestCache, config, key, key_in, new_entry, request},
        },
        config::NamespaceConfig,
        stats::counters::Counter,
        store::ErrorKind,
    };

    #[tokio::test(start_paused = true)]
    async fn a_fresh_entry_gets_a_new_ttl_from_now() {
        let rules = NamespaceConfig { ttl: 90 * SECOND, max_ttl: 600 * SECOND, ..config() };
        let test = TestCache::of_callers(rules);
        for (asked, expected) in [(None, 90), (Some(20), 20), (Some(1000), 600)] {
            test.put("k", &new_entry("v", 10 * SECOND)).await;
            sleep(5 * SECOND).await;
            let touched = test.cache.touch(&key("k"), asked.map(Duration::from_secs)).await;
            let ttl = Some(Duration::from_secs(expected));
            assert_eq!(touched.unwrap(), TouchResult { ttl, degraded: false });
            let stored = test.stored("k").await.unwrap();
            assert_eq!(Some(stored.fresh_until.since(test.memory.now())), ttl);
        }
        assert!(test.all_counted().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_that_is_not_fresh_is_not_touched() {
        let test = TestCache::of_callers(config());
        let mut entry = new_entry("v", SECOND);
        entry.lifetime.stale_while_revalidate = 60 * SECOND;
        test.put("stale", &entry).await;
        sleep(2 * SECOND).await;
        for name in ["stale", "missing"] {
            let touched = test.cache.touch(&key(name), None).await.unwrap();
            assert_eq!(touched, TouchResult { ttl: None, degraded: false }, "{name}");
        }
    }

    /// Reads the value as a Get with `touch`, and returns its remaining TTL.
    async fn read(test: &TestCache, touch: Duration) -> Duration {
        let read = test.cache.get(&key("k"), None, Consistency::Near).await.unwrap();
        let mut found = read.found.unwrap();
        test.cache.slide(&key("k"), &mut found, touch).await;
        found.ttl_remaining
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_that_is_read_stays_fresh_until_the_maximum() {
        let rules = NamespaceConfig { max_ttl: 25 * SECOND, ..config() };
        let test = TestCache::of_callers(rules);
        test.put("k", &new_entry("v", 10 * SECOND)).await;
        for expected in [10, 10, 9, 3] {
            assert_eq!(read(&test, 10 * SECOND).await, expected * SECOND);
            let stored = test.stored("k").await.unwrap();
            assert_eq!(stored.fresh_until.since(test.memory.now()), expected * SECOND);
            sleep(if expected == 10 { 8 * SECOND } else { 6 * SECOND }).await;
        }
        assert!(test.stored("k").await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_that_was_computed_for_the_call_keeps_its_ttl() {
        let test = TestCache::of_callers(config());
        test.put("k", &new_entry("v", 10 * SECOND)).await;
        let fetched = async |status| {
            let mut result = test.get_or_fetch(&request("k")).await;
            result.status = status;
            test.cache.slide_fetched(&key("k"), &mut result, 60 * SECOND).await;
            test.stored("k").await.unwrap().fresh_until.since(test.memory.now())
        };
        assert_eq!(fetched(FetchStatus::Coalesced).await, 10 * SECOND);
        assert_eq!(fetched(FetchStatus::Read).await, 60 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_value_that_was_read_is_extended() {
        let test = TestCache::of_callers(config());
        let mut entry = new_entry("old", 10 * SECOND);
        entry.lifetime.stale_while_revalidate = 10 * SECOND;
        test.put("k", &entry).await;
        let read = test.cache.get(&key("k"), None, Consistency::Near).await.unwrap();
        let mut found = read.found.unwrap();
        test.put("k", &new_entry("new", 10 * SECOND)).await;
        test.cache.slide(&key("k"), &mut found, 60 * SECOND).await;
        assert_eq!(found.ttl_remaining, 10 * SECOND);
        let stored = test.stored("k").await.unwrap();
        assert_eq!(stored.fresh_until.since(test.memory.now()), 10 * SECOND);

        test.put("k", &entry).await;
        sleep(15 * SECOND).await;
        assert_eq!(self::read(&test, 60 * SECOND).await, Duration::ZERO, "a stale value");
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_fails_leaves_the_value_as_it_is() {
        let test = TestCache::of_callers(config());
        test.put("k", &new_entry("v", 10 * SECOND)).await;
        let read = test.cache.get(&key("k"), None, Consistency::Near).await.unwrap();
        let mut found = read.found.unwrap();
        test.store.fail(ErrorKind::Timeout);
        test.cache.slide(&key("k"), &mut found, 60 * SECOND).await;
        assert_eq!(found.ttl_remaining, 10 * SECOND);
        assert_eq!(test.counted(Counter::Degraded), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_fails_degrades_the_answer() {
        let test = TestCache::of_callers(config());
        for (kind, degraded) in [(ErrorKind::Timeout, true), (ErrorKind::Full, false)] {
            test.store.fail(kind);
            let touched = test.cache.touch(&key("k"), None).await.unwrap();
            assert_eq!(touched, TouchResult { ttl: None, degraded });
        }
        assert_eq!(test.all_counted(), [(Counter::Degraded, 1)]);
        let unknown = test.cache.touch(&key_in("other", "k"), None).await;
        assert!(matches!(unknown, Err(Error::UnknownNamespace(_))));
    }
}
