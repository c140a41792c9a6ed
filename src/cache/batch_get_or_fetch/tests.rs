#![allow(clippy::unwrap_used)]

use tokio::time::sleep;

use super::*;
use crate::{
    cache::{
        FetchStatus, Outcome, Tier,
        testing::{
            FakeOrigin, MILLISECOND, SECOND, TestCache, config, entry, found, is_not_cached, key,
            key_in, lease, new_entry, request, retry_after, seen, value,
        },
    },
    config::{NamespaceConfig, NearCacheConfig, OriginConfig},
    model::NewEntry,
    origin,
    stats::counters::Counter,
    store::ErrorKind,
};

fn batch(test: &TestCache, names: &[&str]) -> BatchGetOrFetch {
    batch_of(test, names.iter().map(|name| key(name)), &request("any"))
}

/// A batch whose requests are like `template`.
fn batch_of(
    test: &TestCache,
    keys: impl IntoIterator<Item = EntryKey>,
    template: &GetOrFetchRequest,
) -> BatchGetOrFetch {
    let keys = keys.into_iter().map(|key| (key, BTreeMap::new())).collect();
    let request = |key, params| GetOrFetchRequest { key, params, ..template.clone() };
    BatchGetOrFetch::new(test.cache.clone(), keys, request).unwrap()
}

/// The sizes of all chunks, and their answers.
async fn run(mut batch: BatchGetOrFetch) -> (Vec<usize>, Vec<KeyResult>) {
    let (mut sizes, mut results) = (Vec::new(), Vec::new());
    while let Some(chunk) = batch.next_chunk().await {
        sizes.push(chunk.len());
        results.extend(chunk);
    }
    (sizes, results)
}

/// The answers of a batch in which no key fails.
async fn results(batch: BatchGetOrFetch) -> Vec<GetOrFetchResult> {
    run(batch).await.1.into_iter().map(Result::unwrap).collect()
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

fn large(bytes: usize) -> NewEntry {
    NewEntry { data: vec![b'x'; bytes].into(), ..new_entry("", 60 * SECOND) }
}

fn stale_if_error() -> NewEntry {
    let mut entry = new_entry("old", SECOND);
    entry.lifetime.stale_if_error = 60 * SECOND;
    entry
}

// === order and chunks ===

#[test]
fn a_chunk_holds_full_batches_of_the_origin_if_they_fit() {
    for (batch, max_by_size, expected) in [
        (1, 1000, 128),
        (100, 1000, 100),
        (25, 1000, 125),
        (500, 1000, 500),
        (500, 128, 128),
        (100, 64, 64),
        (30, 64, 60),
        (1, 0, 1),
    ] {
        assert_eq!(whole_batches(batch, max_by_size), expected, "{batch} of {max_by_size}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_fetched_values_of_a_chunk_are_bounded_in_bytes() {
    let origin = FakeOrigin::fast("v").with_batches_of(500);
    for (max_value_bytes, expected) in [(1024 * 1024, 128), (4 * 1024 * 1024, 32), (1, 500)] {
        let rules = NamespaceConfig { max_value_bytes, ..config() };
        let test = TestCache::of_origin(&origin, rules);
        assert_eq!(max_missing(&test.context()), expected, "values of {max_value_bytes}");
    }
    let callers = TestCache::of_callers(NamespaceConfig { max_value_bytes: 0, ..config() });
    assert_eq!(max_missing(&callers.context()), 128);
}

#[tokio::test(start_paused = true)]
async fn an_empty_batch_has_no_chunk() {
    let test = TestCache::of_callers(config());
    assert!(batch(&test, &[]).next_chunk().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn answers_are_in_the_order_of_the_keys() {
    let origin = FakeOrigin::slow("fetched", SECOND);
    let near = Some(NearCacheConfig::default());
    let test = TestCache::of_origin(&origin, NamespaceConfig { near_cache: near, ..config() });
    test.store.remember(key("near"), entry("near", 60 * SECOND));
    test.memory
        .put(&key("near"), &new_entry("", SECOND), crate::store::Condition::Always)
        .await
        .unwrap();
    let now = test.memory.now();
    let copy = crate::model::Entry { fresh_until: now.after(60 * SECOND), ..entry("near", SECOND) };
    test.store.remember(key("near"), copy);
    test.put("stored", &new_entry("stored", 60 * SECOND)).await;
    let results = results(batch(&test, &["a", "stored", "b", "near", "c", "stored"])).await;
    let values: Vec<&str> = results.iter().map(|result| value(result).0).collect();
    assert_eq!(values, ["fetched", "stored", "fetched", "near", "fetched", "stored"]);
    let tiers: Vec<Tier> = results.iter().map(|result| found(result).tier).collect();
    let fetched = Tier::Origin { is_stored: true };
    assert_eq!(tiers, [fetched, Tier::Store, fetched, Tier::Near, fetched, Tier::Store]);
    assert_eq!(test.store.take_reads(), [5], "one read, without the near hit");
    let counted =
        [Counter::Hits, Counter::NearHits, Counter::Fetches].map(|counter| test.counted(counter));
    assert_eq!(counted, [3, 1, 3]);
    assert_eq!(test.counted(Counter::Misses), 3, "those that were fetched");
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_near_hits_does_not_ask_the_store() {
    let near = Some(NearCacheConfig::default());
    let test = TestCache::of_callers(NamespaceConfig { near_cache: near, ..config() });
    let copy = crate::model::Entry {
        fresh_until: test.memory.now().after(60 * SECOND),
        ..entry("near", SECOND)
    };
    let names = numbered(40);
    names.iter().for_each(|name| test.store.remember(key(name), copy.clone()));
    test.store.fail(ErrorKind::Unreachable);
    let results =
        results(batch_of(&test, names.iter().map(|name| key(name)), &request("any"))).await;
    assert!(results.iter().all(|result| found(result).tier == Tier::Near && !result.degraded));
    assert_eq!(results.len(), 40);
    assert!(test.store.take_reads().is_empty());
}

#[tokio::test(start_paused = true)]
async fn reads_grow_while_values_are_small() {
    let test = TestCache::of_callers(config());
    let names = numbered(300);
    for name in &names {
        test.put(name, &new_entry("v", 60 * SECOND)).await;
    }
    let (sizes, results) =
        run(batch_of(&test, names.iter().map(|name| key(name)), &request("any"))).await;
    assert_eq!(results.len(), 300);
    assert_eq!(test.store.take_reads(), [16, 32, 64, 128, 60]);
    assert_eq!(sizes, [300], "small values are one chunk");
}

#[tokio::test(start_paused = true)]
async fn large_values_make_small_chunks() {
    let test = TestCache::of_callers(config());
    let names = numbered(24);
    for name in &names {
        test.put(name, &large(256 * 1024)).await;
    }
    let (sizes, results) =
        run(batch_of(&test, names.iter().map(|name| key(name)), &request("any"))).await;
    assert_eq!(results.len(), 24);
    // 16 keys have 4 MiB. From then on, 8 keys have 2 MiB.
    assert_eq!((test.store.take_reads(), sizes), (vec![16, 8], vec![16, 8]));
}

#[tokio::test(start_paused = true)]
async fn large_near_copies_end_a_chunk() {
    let near = Some(NearCacheConfig::default());
    let test = TestCache::of_callers(NamespaceConfig { near_cache: near, ..config() });
    let names = numbered(24);
    for name in &names {
        test.put(name, &large(256 * 1024)).await;
        test.store.remember(key(name), test.stored(name).await.unwrap());
    }
    let (sizes, _) =
        run(batch_of(&test, names.iter().map(|name| key(name)), &request("any"))).await;
    assert_eq!(sizes, [16, 8]);
}

#[tokio::test(start_paused = true)]
async fn a_chunk_ends_with_as_many_missing_values_as_are_fetched_at_once() {
    let origin = FakeOrigin::fast("v").with_batches_of(100);
    let test = TestCache::of_origin(&origin, config());
    test.put("0", &new_entry("v", 60 * SECOND)).await;
    let names = numbered(211);
    let (sizes, results) =
        run(batch_of(&test, names.iter().map(|name| key(name)), &request("any"))).await;
    assert_eq!(sizes, [101, 100, 10], "the stored value does not count");
    assert!(results.iter().all(|result| value(result.as_ref().unwrap()) == ("v", Outcome::Hit)));
    assert_eq!((origin.fetches(), origin.batches()), (210, 3));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_namespace_fails_the_batch() {
    let test = TestCache::of_callers(config());
    let keys = vec![(key("a"), BTreeMap::new()), (key_in("other", "b"), BTreeMap::new())];
    let request = |key, params| GetOrFetchRequest { key, params, ..request("any") };
    let batch = BatchGetOrFetch::new(test.cache.clone(), keys, request);
    assert!(matches!(batch.err(), Some(Error::UnknownNamespace(_))));
}

// === with an origin ===

#[tokio::test(start_paused = true)]
async fn missing_values_are_fetched_together() {
    let origin = FakeOrigin::slow("v", SECOND).with_batches_of(2);
    let test = TestCache::of_origin(&origin, config());
    let asked = Instant::now();
    let results = results(batch(&test, &["a", "b", "c"])).await;
    assert!(results.iter().all(|result| seen(result) == ("v", Outcome::Hit, FetchStatus::Fetched)));
    assert_eq!((origin.fetches(), origin.batches()), (3, 2));
    assert_eq!(asked.elapsed(), SECOND, "at the same time");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_occurs_twice_is_fetched_once() {
    let origin = FakeOrigin::slow("v", SECOND);
    let test = TestCache::of_origin(&origin, config());
    let results = results(batch(&test, &["a", "a"])).await;
    let statuses: Vec<_> = results.iter().map(|result| result.status.clone()).collect();
    assert_eq!(statuses, [FetchStatus::Fetched, FetchStatus::Coalesced]);
    assert_eq!(origin.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_fails_does_not_fail_the_others() {
    let origin = FakeOrigin::failing(origin::OriginErrorKind::Failed);
    let test = TestCache::of_origin(&origin, config());
    test.put("b", &new_entry("stored", 60 * SECOND)).await;
    test.put("c", &stale_if_error()).await;
    sleep(2 * SECOND).await;
    let (_, results) = run(batch(&test, &["a", "b", "c"])).await;
    assert!(matches!(&results[0], Err(Error::Origin { .. })));
    assert_eq!(value(results[1].as_ref().unwrap()), ("stored", Outcome::Hit));
    assert_eq!(value(results[2].as_ref().unwrap()), ("old", Outcome::Stale));
    assert_eq!((test.counted(Counter::Hits), test.counted(Counter::Misses)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn one_wait_bounds_the_whole_batch() {
    let origin = FakeOrigin::slow("v", 60 * SECOND);
    let test = TestCache::of_origin(&origin, config());
    let names = numbered(129);
    let keys = || names.iter().map(|name| key(name));
    let asked = Instant::now();
    let template = GetOrFetchRequest { wait: Some(3 * SECOND), ..request("any") };
    let (sizes, results) = run(batch_of(&test, keys(), &template)).await;
    assert_eq!((sizes.len(), results.len()), (2, 129));
    assert_eq!(asked.elapsed(), 3 * SECOND, "the second chunk does not wait again");
    assert!(results.iter().all(|result| retry_after(result.as_ref().unwrap()) >= 10 * MILLISECOND));
}

#[tokio::test(start_paused = true)]
async fn the_wait_is_the_longest_of_the_namespaces_and_at_most_a_minute() {
    let origin = FakeOrigin::slow("v", 110 * SECOND);
    let patient = NamespaceConfig { lease_wait: 20 * SECOND, ..config() };
    let test = TestCache::new([("ns", config(), Some(&origin)), ("patient", patient, None)], 8);
    let keys = [key("a"), key_in("patient", "b")];
    test.acquire("a").await;
    for (wait, expected) in [(None, 20), (Some(90 * SECOND), 60), (Some(SECOND), 1)] {
        let asked = Instant::now();
        let template = GetOrFetchRequest { wait, ..request("any") };
        let name = expected.to_string();
        let keys = [key(&name), keys[1].clone()];
        run(batch_of(&test, keys, &template)).await;
        assert_eq!(asked.elapsed(), expected * SECOND, "{wait:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_cache_reads_nothing_and_fetches_everything() {
    let origin = FakeOrigin::fast("new").with_batches_of(10);
    let test = TestCache::of_origin(&origin, config());
    test.put("a", &new_entry("old", 60 * SECOND)).await;
    let forced = GetOrFetchRequest { mode: FetchMode::NoCache, ..request("any") };
    let results = results(batch_of(&test, ["a", "b"].map(key), &forced)).await;
    assert!(results.iter().all(|result| value(result) == ("new", Outcome::Hit)));
    assert_eq!((test.store.take_reads(), origin.batches()), (Vec::new(), 1));
}

#[tokio::test(start_paused = true)]
async fn only_if_cached_fetches_nothing() {
    let origin = FakeOrigin::fast("new");
    let test = TestCache::of_origin(&origin, config());
    test.put("b", &new_entry("stored", 60 * SECOND)).await;
    let only_if_cached = GetOrFetchRequest { mode: FetchMode::OnlyIfCached, ..request("any") };
    let results = results(batch_of(&test, ["a", "b"].map(key), &only_if_cached)).await;
    assert!(is_not_cached(&results[0]));
    assert_eq!(value(&results[1]), ("stored", Outcome::Hit));
    assert_eq!(origin.fetches(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_failed_read_degrades_its_chunk() {
    let origin = FakeOrigin::fast("v").with_batches_of(10);
    let test = TestCache::of_origin(&origin, config());
    test.store.fail(ErrorKind::Timeout);
    let results = results(batch(&test, &["a", "b"])).await;
    assert!(results.iter().all(|result| value(result) == ("v", Outcome::Hit) && result.degraded));
    assert_eq!(test.store.take_reads(), [2]);
    assert_eq!((test.store.acquires(), test.counted(Counter::Degraded)), (0, 2));
}

// === without an origin ===

#[tokio::test(start_paused = true)]
async fn every_missing_key_is_leased_to_the_caller() {
    let test = TestCache::of_callers(config());
    test.put("b", &new_entry("stored", 60 * SECOND)).await;
    let mut results = results(batch(&test, &["a", "b", "c"])).await;
    assert_eq!(value(&results[1]), ("stored", Outcome::Hit));
    assert_eq!(test.counted(Counter::LeasesGranted), 2);
    let (last, first) = (results.pop().unwrap(), results.remove(0));
    assert_ne!(lease(first).guard.token(), lease(last).guard.token());
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_holds_a_lease_does_not_wait() {
    let test = TestCache::of_callers(config());
    test.acquire("held").await;
    let asked = Instant::now();
    let results = results(batch(&test, &["held", "free"])).await;
    assert_eq!((retry_after(&results[0]), results[1].is_lease()), (SECOND, true));
    assert_eq!((asked.elapsed(), test.counted(Counter::LeasesRefused)), (Duration::ZERO, 1));
}

#[tokio::test(start_paused = true)]
async fn a_lease_of_an_earlier_chunk_ends_the_waiting_too() {
    let test = TestCache::of_callers(config());
    let names = numbered(129);
    test.acquire("128").await;
    let asked = Instant::now();
    let mut batch = batch_of(&test, names.iter().map(|name| key(name)), &request("any"));
    let first = batch.next_chunk().await.unwrap();
    assert!(first.len() == 128 && first.iter().all(|result| result.as_ref().unwrap().is_lease()));
    let second = batch.next_chunk().await.unwrap();
    assert_eq!(retry_after(second[0].as_ref().unwrap()), SECOND);
    assert_eq!(asked.elapsed(), Duration::ZERO);
    assert!(batch.next_chunk().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn without_a_lease_the_caller_waits_for_all_values() {
    let test = TestCache::of_callers(config());
    let tokens = [test.acquire("a").await, test.acquire("b").await];
    let filling = async {
        for (name, token) in ["b", "a"].into_iter().zip([tokens[1], tokens[0]]) {
            sleep(SECOND).await;
            let entry = new_entry("new", 60 * SECOND);
            test.memory.fill(&key(name), token, &entry).await.unwrap().unwrap();
        }
    };
    let asked = Instant::now();
    let (results, ()) = tokio::join!(results(batch(&test, &["a", "b"])), filling);
    assert!(
        results.iter().all(|result| seen(result) == ("new", Outcome::Hit, FetchStatus::Coalesced))
    );
    assert_eq!((asked.elapsed(), test.counted(Counter::LeasesRefused)), (2 * SECOND, 2));
}

#[tokio::test(start_paused = true)]
async fn the_first_lease_ends_the_waiting_for_the_others() {
    let test = TestCache::of_callers(config());
    let token = test.acquire("a").await;
    test.acquire("b").await;
    let releasing = async {
        sleep(SECOND).await;
        test.memory.abandon(&key("a"), token, Duration::ZERO, "").await.unwrap();
    };
    let asked = Instant::now();
    let mut waiting = batch(&test, &["b", "a", "c"]);
    test.put("c", &new_entry("stored", 60 * SECOND)).await;
    let (chunk, ()) = tokio::join!(waiting.next_chunk(), releasing);
    let chunk: Vec<_> = chunk.unwrap().into_iter().map(Result::unwrap).collect();
    assert_eq!((retry_after(&chunk[0]), chunk[1].is_lease()), (SECOND, true));
    assert_eq!(value(&chunk[2]), ("stored", Outcome::Hit));
    assert_eq!(asked.elapsed(), SECOND);
    assert!(waiting.has_lease);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_ends_leaves_every_key_contended() {
    let test = TestCache::of_callers(config());
    test.acquire("a").await;
    test.acquire("b").await;
    let asked = Instant::now();
    let mut batch = batch(&test, &["a", "b"]);
    let chunk = batch.next_chunk().await.unwrap();
    assert!(chunk.iter().all(|result| retry_after(result.as_ref().unwrap()) == SECOND));
    assert_eq!((asked.elapsed(), batch.has_lease), (5 * SECOND, false));
}

#[tokio::test(start_paused = true)]
async fn a_degraded_offer_does_not_end_the_waiting() {
    let test = TestCache::of_callers(config());
    test.store.fail(ErrorKind::Timeout);
    let mut batch = batch(&test, &["a", "b"]);
    let chunk = batch.next_chunk().await.unwrap();
    for result in chunk {
        let result = result.unwrap();
        assert!(result.degraded && !result.is_lease());
        lease(result);
    }
    assert!(!batch.has_lease, "no other caller waits for it");
}

#[tokio::test(start_paused = true)]
async fn namespaces_with_and_without_an_origin_mix() {
    let origin = FakeOrigin::slow("fetched", SECOND);
    let test = TestCache::new([("ns", config(), Some(&origin)), ("callers", config(), None)], 8);
    let keys = [key_in("callers", "a"), key("b"), key_in("callers", "c"), key("d")];
    let asked = Instant::now();
    let results = results(batch_of(&test, keys, &request("any"))).await;
    assert!(results[0].is_lease() && results[2].is_lease());
    assert_eq!((value(&results[1]).0, value(&results[3]).0), ("fetched", "fetched"));
    assert_eq!(asked.elapsed(), SECOND);
    // The leases were granted after the fetches.
    sleep(9 * SECOND + 900 * MILLISECOND).await;
    let request = GetOrFetchRequest {
        key: key_in("callers", "a"),
        wait: Some(Duration::ZERO),
        ..request("any")
    };
    assert_eq!(retry_after(&test.get_or_fetch(&request).await), 100 * MILLISECOND);
}

#[tokio::test(start_paused = true)]
async fn the_answers_are_counted_by_namespace() {
    let origin = FakeOrigin::fast("fetched");
    let off = OriginConfig { early_refresh: 0.0, ..crate::cache::testing::origin_config() };
    let rules = NamespaceConfig { origin: Some(off), ..config() };
    let test = TestCache::new([("ns", rules, Some(&origin)), ("callers", config(), None)], 8);
    results(batch_of(
        &test,
        [key_in("callers", "a"), key("b"), key_in("callers", "c")],
        &request("any"),
    ))
    .await;
    assert_eq!((test.counted(Counter::Hits), test.counted(Counter::Misses)), (0, 1));
    assert_eq!(test.counted(Counter::LeasesGranted), 0);
}
