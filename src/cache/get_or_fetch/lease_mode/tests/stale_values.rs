//! Stale values, during a computation and after a failure.

use super::*;

#[tokio::test(start_paused = true)]
async fn one_caller_gets_the_stale_value_with_the_lease_and_the_others_without() {
    let test = callers();
    test.put("k", &stale_while_revalidate()).await;
    sleep(2 * SECOND).await;
    let asked = Instant::now();
    let offer = lease(test.get_or_fetch(&request("k")).await);
    let stale = offer.stale.as_ref().unwrap();
    assert_eq!((stale.entry.data.as_ref(), stale.outcome), (&b"old"[..], Outcome::Stale));
    assert_eq!((stale.age, stale.tier), (2 * SECOND, Tier::Store));
    let other = test.get_or_fetch(&request("k")).await;
    assert_eq!(seen(&other), ("old", Outcome::Stale, FetchStatus::Refreshing));
    assert!(!other.degraded);
    assert_eq!(asked.elapsed(), Duration::ZERO);
    assert_eq!(test.counted(Counter::LeasesRefused), 1);
    assert_eq!(test.counted(Counter::StaleWhileRevalidate), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stale_value_is_served_without_asking_for_the_lease_of_a_flight() {
    let test = callers();
    test.put("k", &stale_while_revalidate()).await;
    sleep(2 * SECOND).await;
    test.acquire("k").await;
    let strict = GetOrFetchRequest { max_stale: Some(Duration::ZERO), ..waiting(2 * SECOND) };
    let tolerant = async {
        sleep(SECOND).await;
        let before = test.store.acquires();
        let result = test.get_or_fetch(&request("k")).await;
        assert_eq!(seen(&result), ("old", Outcome::Stale, FetchStatus::Refreshing));
        assert_eq!((test.store.acquires(), test.counted(Counter::LeasesRefused)), (before, 2));
    };
    tokio::join!(test.get_or_fetch(&strict), tolerant);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_during_a_back_off_serves_the_stale_value() {
    let test = callers();
    test.put("k", &stale_while_revalidate()).await;
    sleep(2 * SECOND).await;
    let token = test.acquire("k").await;
    test.memory.abandon(&key("k"), token, 5 * SECOND, "down").await.unwrap();
    let result = test.get_or_fetch(&request("k")).await;
    assert_eq!(seen(&result), ("old", Outcome::Stale, FetchStatus::Refreshing));
    assert_eq!(test.counted(Counter::LeasesRefused), 1);
}

#[tokio::test(start_paused = true)]
async fn the_lease_comes_with_a_value_that_the_caller_accepts_on_error() {
    for (max_stale, has_stale) in [(None, true), (Some(60 * SECOND), true), (Some(SECOND), false)] {
        let test = callers();
        test.put("k", &stale_if_error()).await;
        sleep(2 * SECOND).await;
        let offer =
            lease(test.get_or_fetch(&GetOrFetchRequest { max_stale, ..request("k") }).await);
        assert_eq!(offer.stale.is_some(), has_stale, "{max_stale:?}");
        assert!(!offer.stale_while_revalidate);
    }
}

#[tokio::test(start_paused = true)]
async fn the_lease_distinguishes_a_value_for_the_meantime_from_a_substitute() {
    let mut both = stale_while_revalidate();
    both.lifetime.stale_while_revalidate = 2 * SECOND;
    both.lifetime.stale_if_error = 60 * SECOND;
    let demanded = || in_mode(FetchMode::NoCache);
    let strict = || GetOrFetchRequest { max_stale: Some(SECOND / 2), ..request("k") };
    for (request, age, stale, meanwhile) in [
        (request("k"), 2 * SECOND, true, true),
        (request("k"), 4 * SECOND, true, false),
        (demanded(), 2 * SECOND, true, false),
        (strict(), 2 * SECOND, false, false),
    ] {
        let test = callers();
        test.put("k", &both).await;
        sleep(age).await;
        let offer = lease(test.get_or_fetch(&request).await);
        let answer = (offer.stale.is_some(), offer.stale_while_revalidate);
        assert_eq!(answer, (stale, meanwhile), "{age:?} {:?}", request.mode);
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_the_stale_value_is_served_with_the_cause() {
    let test = callers();
    test.put("k", &stale_if_error()).await;
    sleep(2 * SECOND).await;
    let token = test.acquire("k").await;
    test.memory.abandon(&key("k"), token, 5 * SECOND, "down").await.unwrap();
    let asked = Instant::now();
    let result = test.get_or_fetch(&request("k")).await;
    let failed = FetchStatus::Failed(Some("down".to_owned()));
    assert_eq!(seen(&result), ("old", Outcome::Stale, failed));
    assert_eq!(asked.elapsed(), Duration::ZERO);
    assert_eq!(test.counted(Counter::LeasesRefused), 1, "once");
    assert_eq!(test.counted(Counter::StaleIfError), 1);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_gets_the_stale_value_when_the_holder_fails() {
    let test = callers();
    test.put("k", &stale_if_error()).await;
    sleep(2 * SECOND).await;
    let token = test.acquire("k").await;
    let failing = async {
        sleep(SECOND).await;
        test.memory.abandon(&key("k"), token, 5 * SECOND, "down").await.unwrap();
    };
    let request = request("k");
    let (result, ()) = tokio::join!(test.get_or_fetch(&request), failing);
    assert_eq!(
        seen(&result),
        ("old", Outcome::Stale, FetchStatus::Failed(Some("down".to_owned())))
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_stale_value_the_callers_get_the_failure_at_once() {
    let test = callers();
    let token = test.acquire("k").await;
    let failing = async {
        sleep(SECOND).await;
        test.memory.abandon(&key("k"), token, 5 * SECOND, "down").await.unwrap();
    };
    let (asked, request) = (Instant::now(), request("k"));
    let (first, second, ()) =
        tokio::join!(test.get_or_fetch(&request), test.get_or_fetch(&request), failing);
    let later = test.get_or_fetch(&request).await;
    let not_waiting = test.get_or_fetch(&waiting(Duration::ZERO)).await;
    for result in [first, second, later, not_waiting] {
        assert_eq!(retry_after(&result), 5 * SECOND, "the rest of the back-off");
        assert_eq!(result.status, FetchStatus::Failed(Some("down".to_owned())));
    }
    assert_eq!(asked.elapsed(), SECOND);
    assert_eq!((test.counted(Counter::LeasesRefused), test.counted(Counter::StaleIfError)), (4, 0));
    sleep(5 * SECOND).await;
    assert!(test.get_or_fetch(&request).await.is_lease());
}

#[tokio::test(start_paused = true)]
async fn a_forced_call_does_not_accept_the_stale_value_of_a_back_off() {
    let test = callers();
    test.put("k", &stale_if_error()).await;
    sleep(2 * SECOND).await;
    let token = test.acquire("k").await;
    test.memory.abandon(&key("k"), token, 2 * SECOND, "down").await.unwrap();
    let forced = in_mode(FetchMode::NoCache);
    assert_eq!(retry_after(&test.get_or_fetch(&forced).await), 2 * SECOND);
    sleep(2 * SECOND).await;
    assert!(test.get_or_fetch(&forced).await.is_lease());
}

#[tokio::test(start_paused = true)]
async fn during_a_hold_off_every_caller_may_compute_and_no_value_is_stored() {
    let test = callers();
    test.cache.delete(&key("k"), 60 * SECOND).await.unwrap();
    for _ in 0..2 {
        let result = test.get_or_fetch(&request("k")).await;
        assert!(result.is_lease());
        let offer = lease(result);
        assert_eq!((offer.expires_in, offer.stale.is_none()), (10 * SECOND, true));
        assert!(fill(&test, offer).await.is_err());
    }
    assert_eq!(test.counted(Counter::LeasesGranted), 2);
}
