//! Fetches while the store fails.

use super::*;

#[tokio::test(start_paused = true)]
async fn without_the_store_the_value_is_fetched_and_the_answer_is_degraded() {
    let origin = FakeOrigin::fast("v");
    let test = TestCache::of_origin(&origin, config());
    test.store.fail(store::ErrorKind::Unreachable);
    let result = test.get_or_fetch(&request("k")).await;
    assert_eq!(seen(&result), ("v", Outcome::Hit, FetchStatus::Fetched));
    assert_eq!(result.fill, Some(FillOutcome::NotStored { degraded: true }));
    assert_eq!(found(&result).tier, Tier::Origin { is_stored: false });
    assert!(result.degraded);
    assert_eq!((test.counted(Counter::Degraded), test.store.acquires()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_full_store_is_asked_for_a_lease_and_is_not_degraded() {
    let origin = FakeOrigin::fast("v");
    let test = TestCache::of_origin(&origin, config());
    test.store.fail(store::ErrorKind::Full);
    let result = test.get_or_fetch(&request("k")).await;
    assert_eq!(result.fill, Some(FillOutcome::NotStored { degraded: false }));
    assert!(!result.degraded);
    assert_eq!((test.counted(Counter::Degraded), test.store.acquires()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn answers_without_a_value_show_whether_the_store_failed() {
    let origin = FakeOrigin::slow("v", 60 * SECOND);
    let test = TestCache::of_origin(&origin, config());
    for (kind, degraded) in [(store::ErrorKind::Timeout, true), (store::ErrorKind::Full, false)] {
        test.store.fail(kind);
        for wait in [Duration::ZERO, 10 * MILLISECOND] {
            let result = test.get_or_fetch(&waiting(wait)).await;
            assert_eq!((retry_after(&result), result.degraded), (10 * MILLISECOND, degraded));
        }
        let not_cached = test.get_or_fetch(&in_mode(FetchMode::OnlyIfCached)).await;
        assert!(is_not_cached(&not_cached));
        assert_eq!(not_cached.degraded, degraded, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_the_origin_without_the_store_is_an_error() {
    let origin = FakeOrigin::failing(OriginErrorKind::Failed);
    let test = TestCache::of_origin(&origin, config());
    test.put("k", &stale_if_error()).await;
    test.store.fail(store::ErrorKind::Unreachable);
    let result = test.cache.get_or_fetch(&request("k")).await;
    assert!(matches!(result, Err(Error::Origin { .. })), "{result:?}");
}
