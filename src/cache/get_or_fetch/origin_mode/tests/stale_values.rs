//! Stale values, during a refresh and after a failure.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_stale_value_is_served_at_once_and_refreshed_once() {
    let origin = FakeOrigin::slow("new", SECOND);
    let test = TestCache::of_origin(&origin, config());
    test.put("k", &stale_while_revalidate()).await;
    sleep(2 * SECOND).await;
    let asked = Instant::now();
    for _ in 0..3 {
        let result = test.get_or_fetch(&request("k")).await;
        assert_eq!(seen(&result), ("old", Outcome::Stale, FetchStatus::Refreshing));
        assert_eq!(
            (found(&result).age, found(&result).ttl_remaining),
            (2 * SECOND, Duration::ZERO)
        );
    }
    assert_eq!(asked.elapsed(), Duration::ZERO);
    sleep(2 * SECOND).await;
    assert_eq!(value(&test.get_or_fetch(&request("k")).await), ("new", Outcome::Hit));
    assert_eq!(origin.fetches(), 1);
    assert_eq!(test.counted(Counter::StaleWhileRevalidate), 3);
    assert_eq!(test.counted(Counter::Stale), 3);
}

#[tokio::test(start_paused = true)]
async fn a_stale_value_replaces_one_that_the_origin_fails_to_send() {
    let origin = FakeOrigin::failing(OriginErrorKind::Failed);
    let test = TestCache::of_origin(&origin, config());
    test.put("k", &stale_if_error()).await;
    sleep(2 * SECOND).await;
    let result = test.get_or_fetch(&request("k")).await;
    assert_eq!(value(&result), ("old", Outcome::Stale));
    let cause = "the origin failed: scripted".to_owned();
    assert_eq!((result.status, result.degraded), (FetchStatus::Failed(Some(cause)), false));
    assert_eq!(test.counted(Counter::StaleIfError), 1);
    // The failure is shared with calls that come during the back-off.
    let during = test.get_or_fetch(&request("k")).await;
    let FetchStatus::Failed(Some(cause)) = &during.status else { panic!("{during:?}") };
    assert!(cause.contains("the last fetch of this key failed"), "{cause}");
    assert_eq!(origin.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stale_value_does_not_replace_a_refusal_and_is_removed() {
    for kind in [OriginErrorKind::Refused, OriginErrorKind::Invalid, OriginErrorKind::TooLarge] {
        let origin = FakeOrigin::failing(kind.clone());
        let test = TestCache::of_origin(&origin, config());
        test.put("k", &stale_if_error()).await;
        sleep(2 * SECOND).await;
        let error = test.cache.get_or_fetch(&request("k")).await.unwrap_err();
        assert!(matches!(&error, Error::Origin { error, .. } if error.kind == kind), "{error}");
        assert!(test.stored("k").await.is_none(), "{kind:?}");
        // The failure is still shared with calls that come during the back-off.
        let error = test.cache.get_or_fetch(&request("k")).await.unwrap_err();
        let Error::Origin { error, .. } = error else { panic!("{error}") };
        assert_eq!((error.kind, error.allows_stale), (OriginErrorKind::BackedOff, false));
        assert_eq!((origin.fetches(), test.counted(Counter::StaleIfError)), (1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_background_refresh_ends_the_stale_value() {
    let origin = FakeOrigin::failing(OriginErrorKind::Refused);
    let test = TestCache::of_origin(&origin, config());
    test.put("k", &stale_while_revalidate()).await;
    sleep(2 * SECOND).await;
    let first = test.get_or_fetch(&request("k")).await;
    assert_eq!(seen(&first), ("old", Outcome::Stale, FetchStatus::Refreshing));
    sleep(10 * MILLISECOND).await;
    assert!(test.stored("k").await.is_none());
    let error = test.cache.get_or_fetch(&request("k")).await.unwrap_err();
    assert!(matches!(error, Error::Origin { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_refused_early_refresh_keeps_the_fresh_value() {
    let origin = FakeOrigin::failing(OriginErrorKind::Refused);
    let test = TestCache::of_origin(&origin, always_early());
    test.put("k", &slowly_fetched()).await;
    test.get_or_fetch(&request("k")).await;
    sleep(10 * MILLISECOND).await;
    assert_eq!(origin.fetches(), 1);
    assert_eq!(test.stored("k").await.unwrap().data, "old");
}

#[tokio::test(start_paused = true)]
async fn a_failure_without_a_stale_value_is_an_error() {
    let origin = FakeOrigin::failing(OriginErrorKind::Refused);
    let test = TestCache::of_origin(&origin, config());
    let error = test.cache.get_or_fetch(&request("k")).await.unwrap_err();
    let Error::Origin { namespace, error } = error else { panic!("{error}") };
    assert_eq!((namespace.as_str(), error.kind), ("ns", OriginErrorKind::Refused));
    assert_eq!(test.all_counted(), [(Counter::Misses, 1), (Counter::FetchesFailed, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_accepts_no_stale_value_gets_the_failure() {
    let origin = FakeOrigin::failing(OriginErrorKind::Failed);
    let test = TestCache::of_origin(&origin, config());
    test.put("k", &stale_if_error()).await;
    sleep(2 * SECOND).await;
    let strict = GetOrFetchRequest { max_stale: Some(Duration::ZERO), ..request("k") };
    assert!(matches!(test.cache.get_or_fetch(&strict).await, Err(Error::Origin { .. })));
    let tolerant = GetOrFetchRequest { max_stale: Some(5 * SECOND), ..request("k") };
    assert_eq!(value(&test.get_or_fetch(&tolerant).await), ("old", Outcome::Stale));
}
