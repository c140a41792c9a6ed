//! Values that were fetched from another URL or with other headers.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_value_of_another_url_is_missing_and_fetched_again() {
    let origin = FakeOrigin::revalidating("v");
    let test = TestCache::of_origin(&origin, config());
    test.get_or_fetch(&request("k")).await;
    origin.change_source(FetchSource { target: 1, headers: 0 });
    test.reload(config_with_origin(), Some(&origin));
    let read = test.cache.get(&key("k"), None, Consistency::Near).await.unwrap();
    assert!(read.found.is_none());
    assert!(is_not_cached(&test.get_or_fetch(&in_mode(FetchMode::OnlyIfCached)).await));
    // Its validators belong to the other URL.
    let fetched = test.get_or_fetch(&request("k")).await;
    assert_eq!((fetched.status, fetched.fill), (FetchStatus::Fetched, Some(FillOutcome::Stored)));
    assert!(origin.last_request().unwrap().validators.is_empty());
    assert_eq!(test.get_or_fetch(&request("k")).await.status, FetchStatus::Read);
    assert_eq!(origin.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_value_that_was_fetched_with_other_headers_is_revalidated() {
    let origin = FakeOrigin::revalidating("v");
    let test = TestCache::of_origin(&origin, config());
    test.get_or_fetch(&request("k")).await;
    origin.change_source(FetchSource { target: 0, headers: 1 });
    test.reload(config_with_origin(), Some(&origin));
    let read = test.cache.get(&key("k"), None, Consistency::Near).await.unwrap();
    assert!(read.found.is_none());
    let fetched = test.get_or_fetch(&request("k")).await;
    assert_eq!(seen(&fetched), ("v", Outcome::Hit, FetchStatus::Revalidated));
    assert_eq!(test.get_or_fetch(&request("k")).await.status, FetchStatus::Read);
    assert_eq!(origin.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_value_of_another_source_does_not_stand_in_for_a_failed_fetch() {
    let origin = FakeOrigin::failing(OriginErrorKind::Failed);
    let test = TestCache::of_origin(&origin, config());
    let source = Some(FetchSource { target: 0, headers: 1 });
    let metadata = FetchMetadata { source, ..FetchMetadata::default() };
    let entry = NewEntry { fetch_metadata: Some(Arc::new(metadata)), ..stale_if_error() };
    test.put("k", &entry).await;
    sleep(2 * SECOND).await;
    assert!(test.cache.get_or_fetch(&request("k")).await.is_err());
    test.put("k", &stale_if_error()).await;
    sleep(2 * SECOND).await;
    assert!(test.cache.get_or_fetch(&request("k")).await.is_ok(), "without a source it does");
}

#[tokio::test(start_paused = true)]
async fn a_value_that_another_replica_fetched_from_another_source_is_not_an_answer() {
    let origin = FakeOrigin::fast("v");
    let test = TestCache::of_origin(&origin, config());
    let source = Some(FetchSource { target: 1, headers: 0 });
    let metadata = FetchMetadata { source, ..FetchMetadata::default() };
    let fresh = |ttl| NewEntry {
        fetch_metadata: Some(Arc::new(metadata.clone())),
        ..new_entry("old", ttl)
    };
    let context = test.context();
    let request = request("k");
    test.put("k", &fresh(60 * SECOND)).await;
    let read = FetchContext::read(&test.cache, &context, &request).await;
    test.put("k", &fresh(90 * SECOND)).await;
    let fetched = read.compute().await.unwrap();
    assert_eq!(value(&fetched), ("v", Outcome::Hit));
    assert_eq!(fetched.fill, Some(FillOutcome::NotStored { degraded: false }));
}
