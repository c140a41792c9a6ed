//! Reads from the near cache.

use tokio::time::Instant;

use super::{Cache, Consistency, Found, NamespaceContext, Outcome, Tier, policy::Verdict};
use crate::{
    model::{EntryKey, Timestamp},
    stats::counters::Counter,
};

/// Conditions of a read from the near cache.
#[derive(Clone, Copy)]
pub(super) struct NearRead {
    pub(super) consistency: Consistency,
    /// The store's clock, by which freshness is evaluated.
    pub(super) now: Timestamp,
    /// When the call began, by which the copy's staleness is bounded.
    pub(super) started: Instant,
}

impl Cache {
    /// The near cache's copy of an entry, if it is fresh. Any other copy is left to the store:
    /// another replica may have refreshed the entry.
    pub(super) fn read_near(
        &self,
        context: &NamespaceContext,
        key: &EntryKey,
        read: NearRead,
    ) -> Option<Found> {
        if context.config().near_cache.is_none() || read.consistency == Consistency::Store {
            return None;
        }
        let entry = self.store.near(key, read.started)?;
        let outcome = match context.rules.evaluate(&entry, read.now, None) {
            Verdict::Fresh => Outcome::Hit,
            Verdict::Negative => Outcome::Negative,
            Verdict::Stale | Verdict::StaleIfError | Verdict::Expired => return None,
        };
        context.counters.count(Counter::NearHits);
        Some(Found { tier: Tier::Near, ..Found::new(entry, outcome, read.now) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cache::testing::{SECOND, TestCache, config, entry, key},
        config::{NamespaceConfig, NearCacheConfig},
        model::{Entry, Kind},
    };

    const NOW: Timestamp = Timestamp(5000);

    fn with_near_cache() -> TestCache {
        let near_cache = Some(NearCacheConfig::default());
        TestCache::of_callers(NamespaceConfig { near_cache, ..config() })
    }

    fn read(test: &TestCache, consistency: Consistency) -> Option<Found> {
        let near_read = NearRead { consistency, now: NOW, started: Instant::now() };
        test.cache.read_near(&test.context(), &key("k"), near_read)
    }

    fn copy(kind: Kind, fresh_until: u64) -> Entry {
        let fresh_until = Timestamp(fresh_until);
        Entry { kind, fresh_until, stale_while_revalidate: SECOND, ..entry("v", SECOND) }
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_fresh_copy_is_an_answer() {
        let cases = [
            (Kind::Text, 5001, Some(Outcome::Hit)),
            (Kind::Negative, 5001, Some(Outcome::Negative)),
            (Kind::Text, 5000, None),
            (Kind::Negative, 5000, None),
            (Kind::Text, 1, None),
        ];
        for (kind, fresh_until, expected) in cases {
            let test = with_near_cache();
            test.store.remember(key("k"), copy(kind, fresh_until));
            let found = read(&test, Consistency::Near);
            assert_eq!(found.as_ref().map(|found| found.outcome), expected, "{kind:?}");
            assert_eq!(test.counted(Counter::NearHits), u64::from(expected.is_some()));
            if let Some(found) = found {
                assert_eq!((found.tier, found.age), (Tier::Near, 5 * SECOND));
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_without_a_near_cache_reads_no_copy() {
        let test = TestCache::of_callers(config());
        test.store.remember(key("k"), copy(Kind::Text, 9000));
        assert!(read(&test, Consistency::Near).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_of_the_store_reads_no_copy() {
        let test = with_near_cache();
        test.store.remember(key("k"), copy(Kind::Text, 9000));
        assert!(read(&test, Consistency::Store).is_none());
        assert!(read(&test, Consistency::Near).is_some());
    }
}
