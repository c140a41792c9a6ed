//! Calls while the store fails.

use super::*;

#[tokio::test(start_paused = true)]
async fn without_the_store_every_caller_computes() {
    let test = callers();
    for (kind, degraded) in [(ErrorKind::Unreachable, true), (ErrorKind::Full, false)] {
        test.store.fail(kind);
        let result = test.get_or_fetch(&request("k")).await;
        assert_eq!((result.degraded, result.is_lease()), (degraded, !degraded));
        let offer = lease(result);
        assert_eq!((offer.expires_in, offer.stale.is_none()), (10 * SECOND, true));
        assert_eq!(fill(&test, offer).await, Err(LeaseLoss::Expired), "the lease is not real");
    }
    assert_eq!(test.store.acquires(), 0, "the store is not asked again");
    let expected = [(Counter::Misses, 2), (Counter::LeasesGranted, 2), (Counter::Degraded, 1)];
    assert_eq!(test.all_counted(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_failed_request_for_the_lease_lets_the_caller_compute_with_its_stale_value() {
    let test = callers();
    test.put("k", &stale_if_error()).await;
    sleep(2 * SECOND).await;
    for (kind, degraded) in [(ErrorKind::Timeout, true), (ErrorKind::Full, false)] {
        test.store.fail_leases(kind);
        let result = test.get_or_fetch(&request("k")).await;
        assert_eq!(result.degraded, degraded);
        assert_eq!(lease(result).stale.unwrap().entry.data, "old");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_value_is_served_if_its_lease_cannot_be_asked_for() {
    let test = callers();
    test.put("k", &stale_while_revalidate()).await;
    sleep(2 * SECOND).await;
    for (kind, degraded, refused) in [(ErrorKind::Timeout, true, 0), (ErrorKind::Full, false, 1)] {
        test.store.fail_leases(kind);
        let result = test.get_or_fetch(&request("k")).await;
        assert_eq!(seen(&result), ("old", Outcome::Stale, FetchStatus::Refreshing));
        assert_eq!(result.degraded, degraded);
        assert_eq!(test.counted(Counter::LeasesRefused), refused);
    }
}

#[tokio::test(start_paused = true)]
async fn not_cached_shows_whether_the_store_failed() {
    let test = callers();
    for (kind, degraded) in [(ErrorKind::Timeout, true), (ErrorKind::Full, false)] {
        test.store.fail(kind);
        let result = test.get_or_fetch(&in_mode(FetchMode::OnlyIfCached)).await;
        assert!(is_not_cached(&result));
        assert_eq!(result.degraded, degraded);
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiter_computes_when_the_store_fails() {
    let test = callers();
    test.acquire("k").await;
    let failing = async {
        sleep(MILLISECOND).await;
        test.store.fail(ErrorKind::BreakerOpen);
    };
    let request = request("k");
    let (result, ()) = tokio::join!(test.get_or_fetch(&request), failing);
    assert!(result.degraded);
    assert_eq!(lease(result).expires_in, 10 * SECOND);
}
