use std::sync::Arc;

use tokio::time::sleep;

use super::*;
use crate::{
    cache::{
        BatchGetOrFetch, GetOrFetchRequest,
        testing::{FakeOrigin, SECOND, TestCache, config, key, lease, request},
    },
    config::NamespaceConfig,
    stats::reuse::{
        TTLS_MS,
        counts::{ReuseCounts, ReuseFigures},
        table::ReuseTable,
    },
};

/// A key; all are followed at first.
fn followed_key() -> String {
    "k".to_owned()
}

/// The counts of all events so far, where each followed key counts once.
fn counts(test: &TestCache) -> ReuseCounts {
    let (mut table, mut figures) = (ReuseTable::default(), ReuseFigures::default());
    let events = test.context().counters.reuse().take();
    table.apply(events.into_iter().collect(), &mut figures);
    let sum = figures.sum();
    let weight = table.weight();
    let missed = sum.missed.map(|count| count / weight);
    let [misses, evicted, ended] = [sum.misses, sum.evicted, sum.ended].map(|it| it / weight);
    ReuseCounts { misses, evicted, ended, missed, ..ReuseCounts::default() }
}

fn missed(counts: &ReuseCounts, seconds: u64) -> u64 {
    let place = TTLS_MS.iter().position(|ttl| *ttl == seconds * 1000);
    place.map_or(u64::MAX, |ttl| counts.missed[ttl])
}

fn rules() -> NamespaceConfig {
    NamespaceConfig { ttl: 30 * SECOND, ..config() }
}

#[tokio::test(start_paused = true)]
async fn miss_comes_before_the_write_of_the_value_that_it_fetches() {
    let test = TestCache::of_origin(&FakeOrigin::slow("v", SECOND), rules());
    let request = request(&followed_key());
    for _ in 0..3 {
        // Of two calls at once, one waits for the fetch of the other.
        tokio::join!(test.get_or_fetch(&request), test.get_or_fetch(&request));
        sleep(31 * SECOND).await;
    }
    let counts = counts(&test);
    assert_eq!((counts.misses, counts.evicted, counts.ended), (6, 0, 2));
    // With 30 s each is missed, with 10 minutes the first two.
    assert_eq!((missed(&counts, 30), missed(&counts, 600)), (6, 2));
}

#[tokio::test(start_paused = true)]
async fn misses_of_a_batch_come_before_the_writes_of_the_values_that_it_fetches() {
    let test = TestCache::of_origin(&FakeOrigin::slow("v", SECOND), rules());
    let name = followed_key();
    for _ in 0..3 {
        let keys = vec![(key(&name), Default::default())];
        let fetch = |key, params| GetOrFetchRequest { key, params, ..request("k") };
        let mut batch = BatchGetOrFetch::new(Arc::clone(&test.cache), keys, fetch).unwrap();
        assert!(batch.next_chunk().await.is_some());
        sleep(31 * SECOND).await;
    }
    let counts = counts(&test);
    assert_eq!((counts.misses, counts.evicted), (3, 0));
    assert_eq!((missed(&counts, 30), missed(&counts, 600)), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn miss_comes_before_the_write_of_the_caller_that_it_waits_for() {
    let test = TestCache::of_callers(rules());
    let name = followed_key();
    let request = GetOrFetchRequest { wait: Some(10 * SECOND), ..request(&name) };
    let token = lease(test.get_or_fetch(&request).await).guard.into_token();
    let holder = async {
        sleep(SECOND).await;
        let set = crate::cache::SetCommand {
            key: key(&name),
            kind: crate::model::Kind::Text,
            data: "v".into(),
            ttl: None,
            tags: Vec::new().into(),
            mode: crate::cache::SetMode::Under(token),
        };
        test.cache.set(&set).await.unwrap();
    };
    let (waiter, ()) = tokio::join!(test.get_or_fetch(&request), holder);
    assert!(waiter.status.is_miss(), "{waiter:?}");
    let counts = counts(&test);
    assert_eq!((counts.misses, counts.evicted, missed(&counts, 30)), (2, 0, 2));
}

#[test]
fn time_that_a_value_is_stored_after_its_ttl_is_followed() {
    let mut new = crate::cache::testing::new_entry("v", SECOND);
    new.lifetime.stale_while_revalidate = 2 * SECOND;
    new.lifetime.stale_if_error = 3 * SECOND;
    new.lifetime.revalidation_window = 4 * SECOND;
    let entry = followed(&Entry::written(&new, Timestamp(1000)));
    assert_eq!((entry.ttl, entry.window, entry.kept), (1000, 2000, 9000));
}
