//! Get: reads one entry.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Cache, Consistency, Error, Found, NamespaceContext, Outcome, follow::FollowedRead,
    near_read::NearRead, policy::Verdict,
};
use crate::{
    model::{Entry, EntryKey, Timestamp},
    stats::counters::LatencyKind,
};

/// Answer to a read.
#[derive(Debug, Clone, Default)]
pub struct GetResult {
    /// The entry; `None` is a miss.
    pub found: Option<Found>,
    /// Whether the store could not be asked.
    pub degraded: bool,
}

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
    ) -> Result<GetResult, Error> {
        let context = self.context(key.namespace())?;
        let key = &*context.key(key);
        let started = Instant::now();
        let near_read = NearRead { consistency, now: self.store.now(), started };
        if let Some(found) = self.read_near(&context, key, near_read) {
            self.sample(context.count_outcome(Some(found.outcome)), key);
            let followed = context.followed_at(key, || near_read.now);
            context.follow_read(followed, FollowedRead::Hit(&found));
            context.counters.time(LatencyKind::Hit, started.elapsed());
            return Ok(GetResult { found: Some(found), degraded: false });
        }
        let (entry, degraded) = match self.store.get(key).await {
            Ok(entry) => (entry, false),
            Err(_) => (None, true),
        };
        let now = self.store.now();
        let read = GetResult::of(entry, &context, max_stale, degraded, now);
        self.sample(read.count(&context), key);
        context.follow_read(context.followed_at(key, || now), read.followed());
        context.counters.time(read.latency_kind(), started.elapsed());
        Ok(read)
    }
}

impl GetResult {
    /// The answer to a read for which the store returned `entry`.
    pub(super) fn of(
        entry: Option<Entry>,
        context: &NamespaceContext,
        max_stale: Option<Duration>,
        degraded: bool,
        now: Timestamp,
    ) -> Self {
        let found = entry.and_then(|entry| {
            let outcome = match context.rules.evaluate(&entry, now, max_stale) {
                Verdict::Fresh => Outcome::Hit,
                Verdict::Stale => Outcome::Stale,
                Verdict::Negative => Outcome::Negative,
                Verdict::StaleIfError | Verdict::Expired => return None,
            };
            Some(Found::new(entry, outcome, now))
        });
        Self { found, degraded }
    }

    /// Counts the answer. Returns whether the read is to be sampled.
    #[must_use]
    pub(super) fn count(&self, context: &NamespaceContext) -> bool {
        context.count_degraded(self.degraded);
        context.count_outcome(self.found.as_ref().map(|found| found.outcome))
    }

    /// The read, for the key that was read.
    pub(super) fn followed(&self) -> FollowedRead<'_> {
        FollowedRead::of(self.found.as_ref(), self.degraded)
    }

    /// The histogram for the latency of this read.
    pub(super) fn latency_kind(&self) -> LatencyKind {
        if self.found.is_some() { LatencyKind::Hit } else { LatencyKind::Miss }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::time::sleep;

    use super::*;
    use crate::{
        cache::{
            Tier,
            testing::{MILLISECOND, SECOND, TestCache, config, entry, key, key_in, new_entry},
        },
        config::{NamespaceConfig, NearCacheConfig},
        model::{Kind, NewEntry},
        stats::counters::Counter,
        store::ErrorKind,
    };

    /// Reads the key without bounds on staleness.
    async fn get(test: &TestCache) -> GetResult {
        test.cache.get(&key("k"), None, Consistency::Near).await.unwrap()
    }

    /// A value that is fresh for a second, then stale in two windows of two seconds.
    fn windows() -> NewEntry {
        let mut entry = new_entry("v", SECOND);
        entry.lifetime.stale_while_revalidate = 2 * SECOND;
        entry.lifetime.stale_if_error = 2 * SECOND;
        entry
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_reports_the_state_of_the_entry() {
        let test = TestCache::of_callers(config());
        assert!(get(&test).await.found.is_none());
        test.put("k", &windows()).await;
        let hit = get(&test).await.found.unwrap();
        assert_eq!((hit.entry.data.as_ref(), hit.outcome), (&b"v"[..], Outcome::Hit));
        assert_eq!((hit.tier, hit.age, hit.ttl_remaining), (Tier::Store, Duration::ZERO, SECOND));
        sleep(2 * SECOND).await;
        assert_eq!(get(&test).await.found.unwrap().outcome, Outcome::Stale);
        sleep(2 * SECOND).await;
        assert!(get(&test).await.found.is_none(), "a read is no failure");
        test.put("k", &NewEntry { kind: Kind::Negative, ..windows() }).await;
        assert_eq!(get(&test).await.found.unwrap().outcome, Outcome::Negative);
        let counted =
            [Counter::Hits, Counter::Stale, Counter::Negative].map(|counter| (counter, 1));
        assert_eq!(test.all_counted(), [&counted[..], &[(Counter::Misses, 2)]].concat());
    }

    #[tokio::test(start_paused = true)]
    async fn some_reads_of_each_kind_are_sampled() {
        let test = TestCache::of_callers(config());
        test.put("hit", &new_entry("v", 600 * SECOND)).await;
        for _ in 0..5000 {
            test.cache.get(&key("hit"), None, Consistency::Near).await.unwrap();
            test.cache.get(&key("miss"), None, Consistency::Near).await.unwrap();
        }
        let samples = test.cache.stats.read_samples().take();
        let count = |name: &str| samples.iter().filter(|sample| sample.key() == name).count();
        // 39 on average, with a standard deviation of 6.
        for name in ["hit", "miss"] {
            assert!((5..100).contains(&count(name)), "{} {name}", count(name));
        }
        assert_eq!(samples.len(), count("hit") + count("miss"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_can_limit_the_staleness() {
        let test = TestCache::of_callers(config());
        test.put("k", &windows()).await;
        sleep(2 * SECOND).await;
        for (max_stale, is_found) in [(SECOND, false), (SECOND + MILLISECOND, true)] {
            let read = test.cache.get(&key("k"), Some(max_stale), Consistency::Near).await.unwrap();
            assert_eq!(read.found.is_some(), is_found, "{max_stale:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_fails_makes_a_degraded_miss() {
        let test = TestCache::of_callers(config());
        test.put("k", &windows()).await;
        assert!(!get(&test).await.degraded);
        test.store.fail(ErrorKind::Timeout);
        let read = get(&test).await;
        assert!(read.degraded && read.found.is_none());
        let counted = [(Counter::Hits, 1), (Counter::Misses, 1), (Counter::Degraded, 1)];
        assert_eq!(test.all_counted(), counted);
    }

    #[tokio::test(start_paused = true)]
    async fn reads_are_timed_as_hits_or_misses() {
        let test = TestCache::of_callers(config());
        test.store.delay(3 * SECOND);
        get(&test).await;
        let took_long = |kind| test.counters().latency(kind, 0.5).map(|median| median > 2 * SECOND);
        assert_eq!((took_long(LatencyKind::Hit), took_long(LatencyKind::Miss)), (None, Some(true)));
        test.put("k", &new_entry("v", 60 * SECOND)).await;
        get(&test).await;
        assert_eq!(took_long(LatencyKind::Hit), Some(true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_near_copy_is_read_without_the_store() {
        let near_cache = Some(NearCacheConfig::default());
        let test = TestCache::of_callers(NamespaceConfig { near_cache, ..config() });
        let fresh_until = test.memory.now().after(60 * SECOND);
        test.store.remember(key("k"), Entry { fresh_until, ..entry("near", SECOND) });
        test.store.fail(ErrorKind::Unreachable);
        let read = get(&test).await;
        let found = read.found.unwrap();
        assert_eq!((found.outcome, found.tier, read.degraded), (Outcome::Hit, Tier::Near, false));
        assert_eq!(test.all_counted(), [(Counter::Hits, 1), (Counter::NearHits, 1)]);
        assert!(test.counters().latency(LatencyKind::Hit, 0.5).is_some());
        let strict = test.cache.get(&key("k"), None, Consistency::Store).await.unwrap();
        assert!(strict.found.is_none() && strict.degraded);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_namespace_is_an_error() {
        let test = TestCache::of_callers(config());
        let read = test.cache.get(&key_in("other", "k"), None, Consistency::Near).await;
        assert!(matches!(read, Err(Error::UnknownNamespace(_))));
    }
}
