//! Flights of namespaces without an origin: a waiter computes the value.

use super::*;

#[tokio::test(start_paused = true)]
async fn the_first_waiter_gets_the_lease_and_the_others_get_its_value() {
    let replica = Replica::of_callers(memory());
    let (mut first, mut second, mut third) =
        (replica.join("k"), replica.join("k"), replica.join("k"));
    let FlightResult::LeaseGranted { guard, expires_in, previous: None } = first.result().await
    else {
        panic!("no lease")
    };
    assert_eq!(expires_in, 10 * SECOND);
    assert!(timeout(SECOND, second.result()).await.is_err(), "waits for the holder");
    let entry = new_entry("v", 60 * SECOND);
    replica.store.fill(&key("k"), guard.into_token(), &entry).await.unwrap().unwrap();
    let filled = Instant::now();
    assert_eq!(stored_value(&second.result().await), b"v");
    assert_eq!(stored_value(&third.result().await), b"v");
    assert_eq!(filled.elapsed(), Duration::ZERO, "notified, not polled");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_given_back_goes_to_the_next_waiter() {
    let replica = Replica::of_callers(memory());
    let (mut first, mut second) = (replica.join("k"), replica.join("k"));
    let granted = first.result().await;
    assert!(is_granted(&granted));
    drop(granted);
    assert!(is_granted(&second.result().await));
}

#[tokio::test(start_paused = true)]
async fn an_expired_lease_goes_to_a_waiter() {
    let replica = Replica::of_callers(memory());
    replica.acquire().await;
    let started = Instant::now();
    let mut waiter = replica.join("k");
    assert!(is_granted(&waiter.result().await));
    let waited = started.elapsed();
    assert!(waited >= 10 * SECOND && waited < 11 * SECOND, "{waited:?}");
    assert!(waiter.available_in() <= 10 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_left_gets_no_lease() {
    let replica = Replica::of_callers(memory());
    let token = replica.acquire().await;
    let (first, mut second) = (replica.join("k"), replica.join("k"));
    drop(first);
    replica.store.abandon(&key("k"), token, Duration::ZERO, "").await.unwrap();
    assert!(is_granted(&second.result().await));
}

#[tokio::test(start_paused = true)]
async fn a_flight_ends_with_its_last_waiter() {
    let replica = Replica::of_callers(memory());
    replica.acquire().await;
    let waiter = replica.join("k");
    sleep(MILLISECOND).await;
    assert!(replica.group.is_in_flight(&key("k")));
    assert_eq!(replica.group.waiting(), 1);
    drop(waiter);
    sleep(SECOND).await;
    assert!(!replica.group.is_in_flight(&key("k")));
    assert_eq!(replica.group.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn waiters_have_a_limit() {
    let replica = Replica::of_callers(memory());
    let waiters: Vec<_> = (0..4).map(|_| replica.join("k")).collect();
    assert!(replica.group.join(replica.job("k"), Requirement::default()).is_none());
    assert!(replica.group.join(replica.job("other"), Requirement::default()).is_none());
    assert!(!replica.refresh("other"));
    drop(waiters);
    assert!(replica.group.join(replica.job("k"), Requirement::default()).is_some());
}

#[tokio::test(start_paused = true)]
async fn callers_that_start_a_fetch_are_not_limited() {
    let origin = FakeOrigin::slow("v", SECOND);
    let replica = Replica::of_origin(memory(), &origin);
    let _waiters: Vec<_> = (0..5).map(|_| replica.join("k")).collect();
    assert!(replica.group.join(replica.job("k"), Requirement::default()).is_none());
    assert!(replica.group.join(replica.job("other"), Requirement::default()).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_failed_holder_makes_the_stale_value_available() {
    let replica = Replica::of_callers(memory());
    let mut entry = new_entry("old", SECOND);
    entry.lifetime.stale_if_error = 60 * SECOND;
    replica.store.put(&key("k"), &entry, Condition::Always).await.unwrap();
    sleep(2 * SECOND).await;
    let token = replica.acquire().await;
    replica.store.abandon(&key("k"), token, 5 * SECOND, "down").await.unwrap();
    let (mut tolerant, mut forced) = (replica.join("k"), replica.join_forced("k"));
    assert_eq!(stored_value(&tolerant.result().await), b"old");
    let FlightResult::BackedOff { available_in, cause } = forced.result().await else {
        panic!("no back-off")
    };
    assert_eq!((available_in, cause.as_str()), (5 * SECOND, "down"), "at once");
}

#[tokio::test(start_paused = true)]
async fn a_hold_off_lets_every_waiter_compute() {
    let replica = Replica::of_callers(memory());
    replica.store.delete(&key("k"), 60 * SECOND).await.unwrap();
    let mut waiters = [replica.join("k"), replica.join("k")];
    for waiter in &mut waiters {
        let FlightResult::LeaseGranted { guard, .. } = waiter.result().await else {
            panic!("no lease")
        };
        let filled =
            replica.store.fill(&key("k"), guard.token(), &new_entry("v", SECOND)).await.unwrap();
        assert!(filled.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_for_good_is_reported_to_the_waiters() {
    let store = Arc::new(FailingStore::new(memory()));
    let replica = Replica::of_callers(store.clone());
    store.fail(store::ErrorKind::Timeout);
    let started = Instant::now();
    let FlightResult::StoreFailed(error) = replica.join("k").result().await else {
        panic!("the store does not answer")
    };
    assert_eq!((error.kind, store.acquires()), (store::ErrorKind::Timeout, 4));
    assert!(started.elapsed() > 100 * MILLISECOND, "retried with pauses");
    store.fail(store::ErrorKind::BreakerOpen);
    assert!(matches!(replica.join("k").result().await, FlightResult::StoreFailed(_)));
    assert_eq!(store.acquires(), 5, "an open breaker is not retried");
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_of_the_store_is_retried() {
    let store = Arc::new(FailingStore::new(memory()));
    let replica = Replica::of_callers(store.clone());
    store.fail(store::ErrorKind::Late);
    let mut waiter = replica.join("k");
    sleep(20 * MILLISECOND).await;
    store.recover();
    assert!(is_granted(&waiter.result().await));
}

#[tokio::test(start_paused = true)]
async fn polls_become_rarer() {
    let store = Arc::new(FailingStore::new(memory()));
    let replica = Replica::of_callers(store.clone());
    replica.acquire().await;
    let before = store.acquires();
    let _waiter = replica.join("k");
    sleep(8 * SECOND).await;
    let polls = store.acquires() - before;
    assert!((18..=30).contains(&polls), "{polls}");
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_flight_is_a_failure_of_the_store() {
    let store = Arc::new(FailingStore::new(memory()));
    let replica = Replica::of_callers(store.clone());
    store.panic_at_next_acquire();
    assert!(matches!(replica.join("k").result().await, FlightResult::StoreFailed(_)));
    assert!(!replica.group.is_in_flight(&key("k")), "the key is not blocked");
    assert!(is_granted(&replica.join("k").result().await));
}
