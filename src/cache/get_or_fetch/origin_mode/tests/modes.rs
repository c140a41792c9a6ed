//! `no_cache` and `only_if_cached`.

use super::*;

#[tokio::test(start_paused = true)]
async fn only_if_cached_fetches_nothing() {
    let origin = FakeOrigin::fast("new");
    let test = TestCache::of_origin(&origin, always_early());
    let only_if_cached = in_mode(FetchMode::OnlyIfCached);
    let missing = test.get_or_fetch(&only_if_cached).await;
    assert!(is_not_cached(&missing), "{missing:?}");
    test.put("k", &slowly_fetched()).await;
    let fresh = test.get_or_fetch(&only_if_cached).await;
    assert_eq!(seen(&fresh), ("old", Outcome::Hit, FetchStatus::Read));
    test.put("k", &stale_while_revalidate()).await;
    sleep(2 * SECOND).await;
    let stale = test.get_or_fetch(&only_if_cached).await;
    assert_eq!(seen(&stale), ("old", Outcome::Stale, FetchStatus::Read));
    test.put("k", &stale_if_error()).await;
    sleep(2 * SECOND).await;
    let too_stale = test.get_or_fetch(&only_if_cached).await;
    assert!(is_not_cached(&too_stale), "{too_stale:?}");
    sleep(SECOND).await;
    assert_eq!(origin.fetches(), 0);
}

#[tokio::test(start_paused = true)]
async fn no_cache_fetches_a_value_that_is_fresh() {
    let origin = FakeOrigin::fast("new");
    let test = TestCache::of_origin(&origin, config());
    test.put("k", &new_entry("old", 60 * SECOND)).await;
    let result = test.get_or_fetch(&in_mode(FetchMode::NoCache)).await;
    assert_eq!(seen(&result), ("new", Outcome::Hit, FetchStatus::Fetched));
    assert_eq!(test.stored("k").await.unwrap().data, "new");
    assert!(test.store.take_reads().is_empty(), "the store is not read");
}

#[tokio::test(start_paused = true)]
async fn no_cache_is_not_answered_with_a_stale_value() {
    let origin = FakeOrigin::failing(OriginErrorKind::Refused);
    let test = TestCache::of_origin(&origin, config());
    test.put("k", &stale_if_error()).await;
    sleep(2 * SECOND).await;
    let result = test.cache.get_or_fetch(&in_mode(FetchMode::NoCache)).await;
    assert!(matches!(result, Err(Error::Origin { .. })), "{result:?}");
}

#[tokio::test(start_paused = true)]
async fn a_value_is_refreshed_early_by_one_call() {
    let origin = FakeOrigin::slow("new", SECOND);
    let test = TestCache::of_origin(&origin, always_early());
    test.put("k", &slowly_fetched()).await;
    let first = test.get_or_fetch(&request("k")).await;
    assert_eq!(seen(&first), ("old", Outcome::Hit, FetchStatus::RefreshingEarly));
    let second = test.get_or_fetch(&request("k")).await;
    assert_eq!(seen(&second), ("old", Outcome::Hit, FetchStatus::Read));
    sleep(2 * SECOND).await;
    assert_eq!(test.stored("k").await.unwrap().data, "new");
    assert_eq!((origin.fetches(), test.counted(Counter::EarlyRefreshes)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_value_is_not_refreshed_early_where_that_is_off() {
    let origin = FakeOrigin::fast("new");
    let off = OriginConfig { early_refresh: 0.0, ..origin_config() };
    let test = TestCache::of_origin(&origin, NamespaceConfig { origin: Some(off), ..config() });
    test.put("k", &slowly_fetched()).await;
    assert_eq!(test.get_or_fetch(&request("k")).await.status, FetchStatus::Read);
}

#[tokio::test(start_paused = true)]
async fn a_negative_entry_is_not_refreshed_early() {
    let origin = FakeOrigin::fast("new");
    let test = TestCache::of_origin(&origin, always_early());
    test.put("k", &NewEntry { kind: crate::model::Kind::Negative, ..slowly_fetched() }).await;
    assert_eq!(test.get_or_fetch(&request("k")).await.status, FetchStatus::Read);
    sleep(SECOND).await;
    assert_eq!(origin.fetches(), 0);
}
