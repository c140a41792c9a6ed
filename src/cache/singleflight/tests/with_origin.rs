//! Flights of namespaces with an origin.

use super::*;

#[tokio::test(start_paused = true)]
async fn all_waiters_share_one_fetch() {
    let origin = FakeOrigin::slow("v", SECOND);
    let replica = Replica::of_origin(memory(), &origin);
    let (mut first, mut second) = (replica.join("k"), replica.join("k"));
    sleep(SECOND / 2).await;
    let mut late = replica.join("k");
    let (first, second, late) = tokio::join!(first.result(), second.result(), late.result());
    assert_eq!(stored_value(&late), b"v");
    assert_eq!(fill_of(&first), (FillOutcome::Stored, true));
    assert_eq!(fill_of(&second), (FillOutcome::Stored, false));
    assert_eq!((origin.fetches(), replica.counted(Counter::Fetches)), (1, 1));
    assert_eq!(replica.counted(Counter::Sets), 1);
    assert_eq!(replica.store.get(&key("k")).await.unwrap().unwrap().data, "v");
}

#[tokio::test(start_paused = true)]
async fn a_fresh_entry_is_not_fetched_again() {
    let origin = FakeOrigin::slow("new", SECOND);
    let replica = Replica::of_origin(memory(), &origin);
    replica.put("v").await;
    assert_eq!(stored_value(&replica.join("k").result().await), b"v");
    let newer = Requirement { fresher_than: Timestamp(u64::MAX), ..Requirement::default() };
    let mut handle = replica.group.join(replica.job("k"), newer).unwrap();
    assert_eq!(stored_value(&handle.result().await), b"new");
    assert_eq!(origin.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_forced_refresh_does_not_join_an_earlier_fetch() {
    let origin = FakeOrigin::slow("v", SECOND);
    let replica = Replica::of_origin(memory(), &origin);
    let mut first = replica.join("k");
    sleep(SECOND / 2).await;
    let (mut forced, started) = (replica.join_forced("k"), Instant::now());
    assert_eq!(fill_of(&first.result().await), (FillOutcome::Stored, true));
    assert_eq!(fill_of(&forced.result().await), (FillOutcome::Stored, true));
    assert!(started.elapsed() >= SECOND, "the second fetch began after the call");
    assert_eq!(origin.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_goes_on_without_waiters() {
    let origin = FakeOrigin::slow("v", SECOND);
    let replica = Replica::of_origin(memory(), &origin);
    let waiter = replica.join("k");
    sleep(SECOND / 2).await;
    drop(waiter);
    sleep(SECOND).await;
    assert_eq!(replica.store.get(&key("k")).await.unwrap().unwrap().data, "v");
}

#[tokio::test(start_paused = true)]
async fn a_fetch_keeps_its_lease() {
    let origin = FakeOrigin::slow("v", 30 * SECOND);
    let replica = Replica::of_origin(memory(), &origin);
    let mut waiter = replica.join("k");
    for _ in 0..29 {
        sleep(SECOND).await;
        assert!(replica.is_held().await);
    }
    assert_eq!(fill_of(&waiter.result().await), (FillOutcome::Stored, true));
    assert!(!replica.is_held().await);
}

#[tokio::test(start_paused = true)]
async fn a_value_fetched_before_an_invalidation_is_not_stored() {
    let origin = FakeOrigin::slow("old", SECOND);
    let replica = Replica::of_origin(memory(), &origin);
    let mut first = replica.join("k");
    sleep(SECOND / 2).await;
    replica.store.delete(&key("k"), Duration::ZERO).await.unwrap();
    let mut late = replica.join("k");
    let lost = FillOutcome::LeaseLost(LeaseLoss::Invalidated);
    assert_eq!(fill_of(&first.result().await), (lost, true), "the caller came before the delete");
    assert_eq!(fill_of(&late.result().await), (FillOutcome::Stored, true), "fetched again");
    assert_eq!((origin.fetches(), replica.counted(Counter::FillsInvalidated)), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn another_replicas_fetch_is_awaited() {
    let (store, origin) = (memory(), FakeOrigin::slow("v", SECOND));
    let [one, two] = [0; 2].map(|_| Replica::of_origin(store.clone(), &origin));
    let mut first = one.join("k");
    sleep(MILLISECOND).await;
    let mut second = two.join("k");
    assert_eq!(fill_of(&first.result().await), (FillOutcome::Stored, true));
    assert!(matches!(second.result().await, FlightResult::Stored(_)));
    assert_eq!(origin.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_fetch_backs_off_for_all_replicas() {
    let (store, origin) = (memory(), FakeOrigin::failing(OriginErrorKind::Refused));
    let [one, two] = [0; 2].map(|_| Replica::of_origin(store.clone(), &origin));
    let FlightResult::OriginFailed(error) = one.join("k").result().await else { panic!() };
    assert_eq!((error.kind, error.retry_after), (OriginErrorKind::Refused, Some(SECOND)));
    let FlightResult::OriginFailed(error) = two.join("k").result().await else { panic!() };
    assert_eq!(error.kind, OriginErrorKind::BackedOff);
    assert!(error.retry_after.is_some_and(|time| time <= SECOND && time > SECOND / 2));
    assert_eq!(origin.fetches(), 1);
    sleep(2 * SECOND).await;
    assert!(matches!(two.join("k").result().await, FlightResult::OriginFailed(_)));
    assert_eq!(origin.fetches(), 2);
    assert_eq!(one.counted(Counter::FetchesFailed), 1);
}

#[tokio::test(start_paused = true)]
async fn background_refreshes_cool_down_after_a_failure() {
    let origin = FakeOrigin::failing(OriginErrorKind::Refused);
    let replica = Replica::of_origin(memory(), &origin);
    assert!(replica.refresh("k"));
    sleep(MILLISECOND).await;
    assert!(!replica.group.is_in_flight(&key("k")), "the failed refresh is not repeated");
    assert!(replica.refresh("k"));
    for _ in 0..9 {
        sleep(100 * MILLISECOND).await;
        assert!(!replica.refresh("k"), "suppressed");
    }
    sleep(200 * MILLISECOND).await;
    assert!(replica.refresh("k"));
    assert_eq!(replica.group.waiting(), 1);
    sleep(MILLISECOND).await;
    assert_eq!(origin.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn one_refresh_runs_at_a_time_unless_it_is_forced() {
    let origin = FakeOrigin::slow("v", SECOND);
    let replica = Replica::of_origin(memory(), &origin);
    assert!(replica.refresh("k"));
    sleep(MILLISECOND).await;
    assert!(!replica.refresh("k"));
    let forced = Requirement { force_refresh: true, ..Requirement::default() };
    assert!(replica.group.refresh(replica.job("k"), forced));
    sleep(3 * SECOND).await;
    assert_eq!((origin.fetches(), replica.group.waiting()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn without_the_store_each_replica_fetches_once() {
    let store = Arc::new(FailingStore::new(memory()));
    let origin = FakeOrigin::slow("v", SECOND);
    let replica = Replica::of_origin(store.clone(), &origin);
    store.fail(store::ErrorKind::Unreachable);
    let (mut first, mut second) = (replica.join("k"), replica.join("k"));
    let not_stored = FillOutcome::NotStored { degraded: true };
    assert_eq!(fill_of(&first.result().await), (not_stored, true));
    assert_eq!(fill_of(&second.result().await), (not_stored, false));
    assert_eq!((origin.fetches(), replica.counted(Counter::FillsNotStored)), (1, 1));
    let before = store.acquires();
    let skip = Requirement { skip_store: true, ..Requirement::default() };
    let mut skipping = replica.group.join(replica.job("k"), skip).unwrap();
    assert_eq!(fill_of(&skipping.result().await), (not_stored, true));
    assert_eq!(store.acquires(), before, "the caller knew that the store is down");
}

#[tokio::test(start_paused = true)]
async fn late_waiters_do_not_share_a_value_that_was_not_stored() {
    let store = Arc::new(FailingStore::new(memory()));
    let origin = FakeOrigin::slow("v", SECOND);
    let replica = Replica::of_origin(store.clone(), &origin);
    store.fail(store::ErrorKind::Unreachable);
    let mut first = replica.join("k");
    sleep(SECOND / 2).await;
    let mut late = replica.join("k");
    assert!(fill_of(&first.result().await).1);
    assert!(fill_of(&late.result().await).1, "fetched for the late waiter");
    assert_eq!(origin.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_uncacheable_value_is_shared_and_not_stored() {
    let origin = FakeOrigin::uncacheable("v");
    let replica = Replica::of_origin(memory(), &origin);
    let (mut first, mut second) = (replica.join("k"), replica.join("k"));
    assert_eq!(fill_of(&first.result().await), (FillOutcome::Uncacheable, true));
    assert_eq!(fill_of(&second.result().await), (FillOutcome::Uncacheable, false));
    assert!(replica.store.get(&key("k")).await.unwrap().is_none());
    assert_eq!(replica.counted(Counter::Uncacheable), 1);
    assert!(!replica.is_held().await, "the lease is given back");
}

#[tokio::test(start_paused = true)]
async fn a_predicted_uncacheable_value_is_fetched_without_a_lease() {
    let store = Arc::new(FailingStore::new(memory()));
    let origin = FakeOrigin::uncacheable("v");
    let replica = Replica::of_origin(store.clone(), &origin);
    replica.join("k").result().await;
    let before = store.acquires();
    assert_eq!(fill_of(&replica.join("k").result().await).0, FillOutcome::Uncacheable);
    assert_eq!(store.acquires(), before, "a fresh prediction skips the store");
    sleep(2 * SECOND).await;
    let token = replica.acquire().await;
    let started = Instant::now();
    assert_eq!(fill_of(&replica.join("k").result().await).0, FillOutcome::Uncacheable);
    assert_eq!(started.elapsed(), Duration::ZERO, "a held lease is not awaited");
    replica.store.abandon(&key("k"), token, Duration::ZERO, "").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_value_that_became_cacheable_corrects_the_prediction() {
    let origin = FakeOrigin::uncacheable("v");
    let replica = Replica::of_origin(memory(), &origin);
    replica.join("k").result().await;
    origin.allow_caching();
    let unleased = FillOutcome::NotStored { degraded: false };
    assert_eq!(fill_of(&replica.join("k").result().await).0, unleased);
    assert_eq!(fill_of(&replica.join("k").result().await).0, FillOutcome::Stored);
}

#[tokio::test(start_paused = true)]
async fn a_hold_off_lets_the_origin_be_asked_without_storing() {
    let origin = FakeOrigin::slow("v", SECOND);
    let replica = Replica::of_origin(memory(), &origin);
    replica.store.delete(&key("k"), 60 * SECOND).await.unwrap();
    let lost = FillOutcome::LeaseLost(LeaseLoss::Invalidated);
    assert_eq!(fill_of(&replica.join("k").result().await).0, lost);
    assert!(replica.store.get(&key("k")).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_value_lives_on() {
    let origin = FakeOrigin::revalidating("v");
    let replica = Replica::of_origin(memory(), &origin);
    replica.join("k").result().await;
    let stored = replica.store.get(&key("k")).await.unwrap().unwrap();
    sleep(10 * SECOND).await;
    let result = replica.join_forced("k").result().await;
    let FlightResult::Fetched { fetched, .. } = &result else { panic!("{result:?}") };
    assert_eq!(
        (fetched.fill, fetched.kind),
        (FillOutcome::Stored, super::super::FetchKind::Revalidated)
    );
    let revalidated = replica.store.get(&key("k")).await.unwrap().unwrap();
    assert_eq!(revalidated.version, stored.version);
    assert_eq!(revalidated.created_at.since(stored.created_at), 10 * SECOND);
    let expected = (&revalidated.created_at, &revalidated.fresh_until);
    assert_eq!((&fetched.entry.created_at, &fetched.entry.fresh_until), expected);
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_value_that_is_gone_is_fetched_again() {
    let origin = FakeOrigin::revalidating("v");
    let replica = Replica::of_origin(memory(), &origin);
    replica.join("k").result().await;
    origin.delay(SECOND);
    let mut waiter = replica.join_forced("k");
    sleep(SECOND / 2).await;
    // Evicts the value that is being revalidated; the lease stays.
    let other = NewEntry { data: vec![b'x'; 10_000].into(), ..new_entry("", 60 * SECOND) };
    for number in 0..200 {
        replica.store.put(&key(&number.to_string()), &other, Condition::Always).await.unwrap();
    }
    assert!(replica.store.get(&key("k")).await.unwrap().is_none());
    let result = waiter.result().await;
    assert_eq!((stored_value(&result), fill_of(&result).0), (&b"v"[..], FillOutcome::Stored));
    assert_eq!(origin.fetches(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_is_reported_without_asking_the_store() {
    let store = Arc::new(FailingStore::new(memory()));
    let origin = FakeOrigin::failing(OriginErrorKind::Failed);
    let replica = Replica::of_origin(store.clone(), &origin);
    for number in 0..5 {
        replica.join(&number.to_string()).result().await;
    }
    let (fetches, acquires) = (origin.fetches(), store.acquires());
    let FlightResult::OriginFailed(error) = replica.join("k").result().await else { panic!() };
    assert_eq!(error.kind, OriginErrorKind::BreakerOpen);
    assert_eq!((origin.fetches(), store.acquires()), (fetches, acquires));
    assert_eq!(replica.counted(Counter::FetchesFailed), 6);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_aborts_fetches_and_gives_leases_back() {
    let (store, origin) = (memory(), FakeOrigin::slow("v", 60 * SECOND));
    let replica = Replica::of_origin(store.clone(), &origin);
    let mut waiter = replica.join("k");
    sleep(SECOND).await;
    assert!(replica.is_held().await);
    replica.group.close().await;
    replica.group.aborted().await;
    assert!(matches!(waiter.result().await, FlightResult::StoreFailed(_)));
    assert!(!replica.is_held().await);
    assert_eq!(replica.counted(Counter::FetchesFailed), 0, "an aborted fetch did not fail");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_guard_gives_its_lease_back() {
    let replica = Replica::of_callers(memory());
    let key = key("k");
    let acquire = || replica.group.acquire_lease(&key, 10 * SECOND, Timestamp::default());
    let (guard, outcome) = acquire().await;
    assert!(matches!(outcome.unwrap(), AcquireOutcome::Granted { .. }));
    let (refused, outcome) = acquire().await;
    assert!(matches!(outcome.unwrap(), AcquireOutcome::Held { .. }));
    drop(refused);
    sleep(MILLISECOND).await;
    assert!(replica.is_held().await, "a guard without a lease gives none back");
    drop(guard);
    sleep(MILLISECOND).await;
    assert!(!replica.is_held().await);
}

#[tokio::test(start_paused = true)]
async fn a_lease_acquired_for_a_caller_that_left_is_given_back() {
    let store = Arc::new(FailingStore::new(memory()));
    let replica = Replica::of_callers(store.clone());
    store.delay(SECOND);
    let key = key("k");
    let asking = replica.group.acquire_lease(&key, 10 * SECOND, Timestamp::default());
    assert!(timeout(SECOND / 2, asking).await.is_err());
    sleep(5 * SECOND).await;
    store.delay(Duration::ZERO);
    assert!(!replica.is_held().await);
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_fetched_in_one_request() {
    let origin = FakeOrigin::slow("v", SECOND).with_batches_of(2);
    let replica = Replica::of_origin(memory(), &origin);
    let (mut handles, mut flights) = (Vec::new(), Vec::new());
    for name in ["a", "b", "c"] {
        let (handle, flight) =
            replica.group.join_unstarted(replica.job(name), Requirement::default()).unwrap();
        handles.push(handle);
        flights.extend(flight);
    }
    replica.put("v").await;
    super::super::run_together(&replica.group, flights);
    for handle in &mut handles {
        assert_eq!(fill_of(&handle.result().await), (FillOutcome::Stored, true));
    }
    assert_eq!((origin.fetches(), origin.batches()), (3, 2));
    let stored: Vec<EntryKey> = ["a", "b", "c"].map(key).into();
    assert!(
        replica.store.get_many(&stored).await.unwrap().iter().all(|it| matches!(it, Ok(Some(_))))
    );
}
