#![allow(clippy::unwrap_used)]

use super::*;
use crate::{
    cache::{
        Consistency, Tier,
        testing::{
            FakeOrigin, SECOND, TestCache, config, entry, found, key, key_in, new_entry,
            origin_config, request, retry_after,
        },
    },
    config::{NamespaceConfig, NearCacheConfig, OriginConfig},
    model::{Entry, FetchMetadata, Kind, Timestamp},
    origin, store,
};

/// Rules with a near cache, under which every fetched entry is due for an early refresh.
fn near_config() -> NamespaceConfig {
    let origin = OriginConfig { early_refresh: 1e12, ..origin_config() };
    NamespaceConfig {
        near_cache: Some(NearCacheConfig::default()),
        origin: Some(origin),
        ..config()
    }
}

/// A copy in the near cache, fresh for a minute.
fn copy(test: &TestCache, kind: Kind) -> Entry {
    let metadata = FetchMetadata { fetch_time: 60 * SECOND, ..FetchMetadata::default() };
    Entry {
        kind,
        created_at: test.memory.now(),
        fresh_until: test.memory.now().after(60 * SECOND),
        fetch_metadata: Some(metadata.into()),
        ..entry("near", SECOND)
    }
}

// === near cache ===

#[tokio::test(start_paused = true)]
async fn a_near_copy_answers_without_the_store() {
    let test = TestCache::of_callers(near_config());
    test.store.remember(key("k"), copy(&test, Kind::Text));
    test.store.fail(store::ErrorKind::Unreachable);
    let result = test.get_or_fetch(&request("k")).await;
    assert_eq!(
        (found(&result).entry.data.as_ref(), found(&result).tier),
        (&b"near"[..], Tier::Near)
    );
    assert_eq!((found(&result).outcome, result.status.clone()), (Outcome::Hit, FetchStatus::Read));
    assert!(!result.degraded && result.fill.is_none());
    assert_eq!(test.all_counted(), [(Counter::Hits, 1), (Counter::NearHits, 1)]);
    assert!(test.counters().latency(LatencyKind::Hit, 0.5).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_near_copy_is_refreshed_early_by_one_call() {
    let origin = FakeOrigin::slow("new", SECOND);
    let test = TestCache::of_origin(&origin, near_config());
    test.store.remember(key("k"), copy(&test, Kind::Text));
    let first = test.get_or_fetch(&request("k")).await;
    assert_eq!((found(&first).tier, first.status), (Tier::Near, FetchStatus::RefreshingEarly));
    let second = test.get_or_fetch(&request("k")).await;
    assert_eq!((found(&second).tier, second.status), (Tier::Near, FetchStatus::Read));
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!((origin.fetches(), test.counted(Counter::EarlyRefreshes)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_negative_near_copy_is_answered_and_not_refreshed() {
    let origin = FakeOrigin::fast("new");
    let test = TestCache::of_origin(&origin, near_config());
    test.store.remember(key("k"), copy(&test, Kind::Negative));
    let result = test.get_or_fetch(&request("k")).await;
    assert_eq!((found(&result).outcome, found(&result).tier), (Outcome::Negative, Tier::Near));
    assert_eq!(result.status, FetchStatus::Read);
    assert_eq!(test.all_counted(), [(Counter::Negative, 1), (Counter::NearHits, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_near_copy_is_not_used_for_no_cache_or_for_strict_consistency() {
    let origin = FakeOrigin::fast("new");
    let test = TestCache::of_origin(&origin, near_config());
    test.store.remember(key("k"), copy(&test, Kind::Text));
    let no_cache = GetOrFetchRequest { mode: FetchMode::NoCache, ..request("k") };
    assert_eq!(test.get_or_fetch(&no_cache).await.status, FetchStatus::Fetched);
    let strict = GetOrFetchRequest { consistency: Consistency::Store, ..request("k") };
    assert_eq!(found(&test.get_or_fetch(&strict).await).tier, Tier::Store);
    let only_if_cached = GetOrFetchRequest { mode: FetchMode::OnlyIfCached, ..request("k") };
    let near = test.get_or_fetch(&only_if_cached).await;
    assert_eq!((found(&near).tier, near.status), (Tier::Near, FetchStatus::Read));
}

// === answers ===

#[tokio::test(start_paused = true)]
async fn an_unknown_namespace_is_an_error() {
    let test = TestCache::of_callers(config());
    let key = key_in("other", "k");
    let result = test.cache.get_or_fetch(&GetOrFetchRequest { key, ..request("k") }).await;
    assert!(matches!(result, Err(Error::UnknownNamespace(_))), "{result:?}");
}

#[tokio::test(start_paused = true)]
async fn the_retry_advice_is_between_10_ms_and_1_s() {
    for (available_in, advice) in
        [(0, 10), (10, 10), (11, 11), (999, 999), (1000, 1000), (5000, 1000)]
    {
        let result = GetOrFetchResult::contended(Duration::from_millis(available_in));
        let advice = Duration::from_millis(advice);
        assert_eq!(retry_after(&result), advice, "available in {available_in} ms");
        assert!(!result.degraded && !result.is_lease());
    }
}

#[tokio::test(start_paused = true)]
async fn every_answer_is_counted() {
    let origin = FakeOrigin::fast("v");
    let hit = || {
        let found = Found::fresh(entry("v", SECOND), Timestamp(0));
        GetOrFetchResult::from(GetOrFetchOutcome::Found(found))
    };
    let stale = |status| {
        let found = Found::new(entry("v", SECOND), Outcome::Stale, Timestamp(5000));
        GetOrFetchResult { status, ..GetOrFetchOutcome::Found(found).into() }
    };
    let lease = |degraded| {
        let offer = LeaseOffer {
            guard: LeaseGuard::detached(),
            expires_in: SECOND,
            stale: None,
            stale_while_revalidate: false,
        };
        GetOrFetchResult { degraded, ..GetOrFetchOutcome::Lease(offer).into() }
    };
    use Counter::{Degraded, Hits, LeasesGranted, Misses, Stale};
    use FetchStatus::{
        Coalesced, Failed, Fetched, Refreshing, RefreshingEarly, Revalidated, SoftTimeout,
    };
    let cases = [
        (hit(), vec![Hits]),
        (GetOrFetchResult { status: Fetched, ..hit() }, vec![Misses]),
        (GetOrFetchResult { status: Revalidated, ..hit() }, vec![Misses]),
        (GetOrFetchResult { status: Coalesced, ..hit() }, vec![Misses, Counter::FetchesCoalesced]),
        (
            GetOrFetchResult { status: RefreshingEarly, ..hit() },
            vec![Hits, Counter::EarlyRefreshes],
        ),
        (GetOrFetchResult { degraded: true, ..hit() }, vec![Hits, Degraded]),
        (stale(Refreshing), vec![Stale, Counter::StaleWhileRevalidate]),
        (stale(SoftTimeout), vec![Stale, Counter::StaleSoftTimeout]),
        (stale(Failed(None)), vec![Stale, Counter::StaleIfError]),
        (lease(false), vec![Misses, LeasesGranted]),
        (lease(true), vec![Misses, LeasesGranted, Degraded]),
        (GetOrFetchResult::contended(SECOND), vec![Misses, Counter::Contended]),
        (GetOrFetchResult::backed_off(SECOND, "down".to_owned()), vec![Misses, Counter::Contended]),
        (GetOrFetchOutcome::NotCached.into(), vec![Misses]),
    ];
    for (result, expected) in cases {
        let test = TestCache::of_origin(&origin, config());
        let _ = result.count(&test.context());
        let expected: Vec<_> = expected.into_iter().map(|counter| (counter, 1)).collect();
        assert_eq!(test.all_counted(), expected, "{result:?}");
    }
    assert!(lease(false).is_lease() && !lease(true).is_lease() && !hit().is_lease());
}

#[tokio::test(start_paused = true)]
async fn without_an_origin_a_call_that_waited_for_the_value_counts_as_saved() {
    let test = TestCache::of_callers(config());
    let found = Found::fresh(entry("v", SECOND), Timestamp(0));
    let coalesced = GetOrFetchResult {
        status: FetchStatus::Coalesced,
        ..GetOrFetchOutcome::Found(found).into()
    };
    let _ = coalesced.count(&test.context());
    assert_eq!(test.all_counted(), [(Counter::Misses, 1), (Counter::FetchesCoalesced, 1)]);
}

#[tokio::test(start_paused = true)]
async fn reads_are_timed_as_hits_or_misses() {
    let origin = FakeOrigin::fast("v");
    let test = TestCache::of_origin(&origin, config());
    test.store.delay(3 * SECOND);
    let only_if_cached = GetOrFetchRequest { mode: FetchMode::OnlyIfCached, ..request("k") };
    test.get_or_fetch(&only_if_cached).await;
    let took_long = |kind| test.counters().latency(kind, 0.5).map(|median| median > 2 * SECOND);
    assert_eq!((took_long(LatencyKind::Hit), took_long(LatencyKind::Miss)), (None, Some(true)));
    test.put("k", &new_entry("v", 60 * SECOND)).await;
    test.get_or_fetch(&only_if_cached).await;
    assert_eq!(took_long(LatencyKind::Hit), Some(true));

    let failing = TestCache::of_origin(&origin, config());
    failing.store.fail(store::ErrorKind::Timeout);
    failing.get_or_fetch(&only_if_cached).await;
    let timed = |kind| failing.counters().latency(kind, 0.5).is_some();
    assert_eq!((timed(LatencyKind::Hit), timed(LatencyKind::Miss)), (false, true));
}

/// Otherwise the hit rate would be high while an origin is down.
#[tokio::test(start_paused = true)]
async fn a_call_that_fails_is_a_read_that_no_cache_answered() {
    let origin = FakeOrigin::failing(origin::OriginErrorKind::Unreachable);
    let test = TestCache::of_origin(&origin, config());
    for key in ["a", "b"] {
        assert!(test.cache.get_or_fetch(&request(key)).await.is_err());
    }
    assert_eq!((test.counted(Counter::Misses), test.counted(Counter::Hits)), (2, 0));
}
