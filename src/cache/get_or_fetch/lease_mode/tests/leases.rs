//! Leases for callers.

use super::*;

#[tokio::test(start_paused = true)]
async fn the_first_caller_is_offered_the_lease() {
    let test = TestCache::of_callers(NamespaceConfig { lease_ttl: 7 * SECOND, ..config() });
    let result = test.get_or_fetch(&request("k")).await;
    assert_eq!(
        (result.status.clone(), result.fill, result.degraded),
        (FetchStatus::Read, None, false)
    );
    assert!(result.is_lease());
    let offer = lease(result);
    assert_eq!((offer.expires_in, offer.stale.is_none()), (7 * SECOND, true));
    assert_eq!(test.all_counted(), [(Counter::Misses, 1), (Counter::LeasesGranted, 1)]);
    assert_eq!(fill(&test, offer).await, Ok(()));
    assert_eq!(value(&test.get_or_fetch(&request("k")).await), ("new", Outcome::Hit));
}

#[tokio::test(start_paused = true)]
async fn an_offered_lease_expires_after_the_namespaces_lease_ttl() {
    let test = TestCache::of_callers(NamespaceConfig { lease_ttl: 7 * SECOND, ..config() });
    let offer = lease(test.get_or_fetch(&request("k")).await);
    sleep(7 * SECOND).await;
    assert_eq!(fill(&test, offer).await, Err(LeaseLoss::Expired));
}

#[tokio::test(start_paused = true)]
async fn an_offer_that_is_dropped_gives_the_lease_back() {
    let test = callers();
    drop(test.get_or_fetch(&request("k")).await);
    sleep(MILLISECOND).await;
    assert!(!test.is_held("k").await);
}

#[tokio::test(start_paused = true)]
async fn the_other_callers_wait_for_the_value() {
    let test = callers();
    let offer = lease(test.get_or_fetch(&request("k")).await);
    let filling = async {
        sleep(SECOND).await;
        fill(&test, offer).await.unwrap();
    };
    let (request, asked) = (request("k"), Instant::now());
    let (second, third, ()) =
        tokio::join!(test.get_or_fetch(&request), test.get_or_fetch(&request), filling);
    for result in [&second, &third] {
        assert_eq!(seen(result), ("new", Outcome::Hit, FetchStatus::Coalesced));
        assert_eq!((found(result).tier, result.fill), (Tier::Store, None));
    }
    assert_eq!(asked.elapsed(), SECOND, "notified");
    assert_eq!((test.counted(Counter::LeasesRefused), test.counted(Counter::Hits)), (2, 0));
    assert_eq!(test.counted(Counter::FetchesCoalesced), 2);
    assert_eq!(test.counted(Counter::Misses), 3, "those that waited, and the holder");
}

#[tokio::test(start_paused = true)]
async fn a_caller_whose_wait_ends_gets_the_time_to_ask_again() {
    let test = callers();
    let _offer = test.get_or_fetch(&request("k")).await;
    for (wait, waited) in [(Some(2 * SECOND), 2 * SECOND), (None, 5 * SECOND)] {
        let asked = Instant::now();
        let result = test.get_or_fetch(&GetOrFetchRequest { wait, ..request("k") }).await;
        assert_eq!((retry_after(&result), asked.elapsed()), (SECOND, waited));
        assert!(!result.degraded);
    }
    assert_eq!((test.counted(Counter::LeasesRefused), test.counted(Counter::Misses)), (2, 3));
    assert_eq!(test.counted(Counter::FetchesCoalesced), 0, "nothing was saved");
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_may_not_wait_is_answered_at_once() {
    let test = callers();
    let _offer = test.get_or_fetch(&request("k")).await;
    sleep(10 * SECOND - 300 * MILLISECOND).await;
    let asked = Instant::now();
    let result = test.get_or_fetch(&waiting(Duration::ZERO)).await;
    assert_eq!(retry_after(&result), 300 * MILLISECOND, "until the lease expires");
    assert_eq!((asked.elapsed(), test.counted(Counter::LeasesRefused)), (Duration::ZERO, 1));
}

#[tokio::test(start_paused = true)]
async fn the_wait_leaves_time_before_the_deadline() {
    let test = callers();
    let _offer = test.get_or_fetch(&request("k")).await;
    let asked = Instant::now();
    let deadline = Some(asked + 500 * MILLISECOND);
    let result = test.get_or_fetch(&GetOrFetchRequest { deadline, ..request("k") }).await;
    assert_eq!((retry_after(&result), asked.elapsed()), (SECOND, 400 * MILLISECOND));
}

#[tokio::test(start_paused = true)]
async fn a_waiter_gets_the_lease_that_the_holder_gives_back() {
    let test = callers();
    test.put("k", &stale_if_error()).await;
    sleep(2 * SECOND).await;
    let token = test.acquire("k").await;
    let releasing = async {
        sleep(SECOND).await;
        test.memory.abandon(&key("k"), token, Duration::ZERO, "").await.unwrap();
    };
    let request = request("k");
    let (result, ()) = tokio::join!(test.get_or_fetch(&request), releasing);
    assert!(result.is_lease());
    let offer = lease(result);
    let stale = offer.stale.as_ref().unwrap();
    assert_eq!((stale.entry.data.as_ref(), stale.outcome), (&b"old"[..], Outcome::Stale));
    assert_eq!(offer.expires_in, 10 * SECOND);
    assert_eq!(fill(&test, offer).await, Ok(()));
    assert_eq!(test.counted(Counter::LeasesRefused), 1);
    assert_eq!(test.counted(Counter::LeasesGranted), 1);
}

#[tokio::test(start_paused = true)]
async fn a_flight_is_joined_without_another_request_for_the_lease() {
    let test = callers();
    test.acquire("k").await;
    let long = waiting(4 * SECOND);
    let short = async {
        sleep(SECOND).await;
        let before = test.store.acquires();
        test.get_or_fetch(&waiting(MILLISECOND)).await;
        assert_eq!(test.store.acquires(), before);
        test.get_or_fetch(&waiting(Duration::ZERO)).await;
        assert_eq!(test.store.acquires(), before + 1, "a caller that may not wait asks itself");
    };
    tokio::join!(test.get_or_fetch(&long), short);
}

#[tokio::test(start_paused = true)]
async fn a_caller_over_the_limit_of_waiters_is_contended_at_once() {
    let test = TestCache::new([("ns", config(), None)], 1);
    test.acquire("k").await;
    let asked = Instant::now();
    let second = async {
        sleep(MILLISECOND).await;
        let result = test.get_or_fetch(&request("k")).await;
        assert_eq!((retry_after(&result), asked.elapsed()), (10 * MILLISECOND, MILLISECOND));
    };
    let first = waiting(SECOND);
    tokio::join!(test.get_or_fetch(&first), second);
}

#[tokio::test(start_paused = true)]
async fn a_value_stored_after_the_read_is_found_instead_of_a_lease() {
    let test = callers();
    test.store.delay(SECOND);
    let other_replica = async {
        sleep(SECOND + SECOND / 2).await;
        test.put("k", &new_entry("theirs", 60 * SECOND)).await;
    };
    let request = request("k");
    let (result, ()) = tokio::join!(test.get_or_fetch(&request), other_replica);
    assert_eq!(seen(&result), ("theirs", Outcome::Hit, FetchStatus::Read));
    assert_eq!(test.all_counted(), [(Counter::Hits, 1)]);
}
