#![allow(clippy::unwrap_used)]

use tokio::time::{Instant, sleep};

use super::*;
use crate::{
    cache::{
        FillOutcome, GetOrFetchRequest, LeaseOffer, Tier,
        testing::{
            FakeOrigin, MILLISECOND, SECOND, TestCache, config, found, is_not_cached, key, lease,
            new_entry, request, retry_after, seen, value,
        },
    },
    config::NamespaceConfig,
    model::NewEntry,
    store::{ErrorKind, LeaseLoss},
};

fn callers() -> TestCache {
    TestCache::of_callers(config())
}

/// A value that is fresh for a second, and then only served if it cannot be computed.
fn stale_if_error() -> NewEntry {
    let mut entry = new_entry("old", SECOND);
    entry.lifetime.stale_if_error = 60 * SECOND;
    entry
}

/// A value that is fresh for a second, and then served while it is refreshed.
fn stale_while_revalidate() -> NewEntry {
    let mut entry = new_entry("old", SECOND);
    entry.lifetime.stale_while_revalidate = 60 * SECOND;
    entry
}

fn waiting(wait: Duration) -> GetOrFetchRequest {
    GetOrFetchRequest { wait: Some(wait), ..request("k") }
}

fn in_mode(mode: FetchMode) -> GetOrFetchRequest {
    GetOrFetchRequest { mode, ..request("k") }
}

/// Fills the entry under an offered lease.
async fn fill(test: &TestCache, offer: LeaseOffer) -> Result<(), LeaseLoss> {
    let entry = new_entry("new", 60 * SECOND);
    test.memory.fill(&key("k"), offer.guard.into_token(), &entry).await.unwrap()
}

// === leases ===

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
    assert_eq!((test.counted(Counter::LeasesRefused), test.counted(Counter::Hits)), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_caller_whose_wait_ends_is_told_when_to_ask_again() {
    let test = callers();
    let _offer = test.get_or_fetch(&request("k")).await;
    for (wait, waited) in [(Some(2 * SECOND), 2 * SECOND), (None, 5 * SECOND)] {
        let asked = Instant::now();
        let result = test.get_or_fetch(&GetOrFetchRequest { wait, ..request("k") }).await;
        assert_eq!((retry_after(&result), asked.elapsed()), (SECOND, waited));
        assert!(!result.degraded);
    }
    assert_eq!((test.counted(Counter::LeasesRefused), test.counted(Counter::Misses)), (2, 3));
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

// === stale values ===

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
    assert_eq!(seen(&result), ("old", Outcome::Stale, FetchStatus::Failed(None)));
}

#[tokio::test(start_paused = true)]
async fn without_a_stale_value_the_end_of_the_back_off_is_awaited() {
    let test = callers();
    let token = test.acquire("k").await;
    test.memory.abandon(&key("k"), token, 2 * SECOND, "down").await.unwrap();
    let asked = Instant::now();
    let not_waiting = test.get_or_fetch(&waiting(Duration::ZERO)).await;
    assert_eq!((retry_after(&not_waiting), asked.elapsed()), (SECOND, Duration::ZERO));
    let result = test.get_or_fetch(&request("k")).await;
    assert!(result.is_lease());
    let waited = asked.elapsed();
    assert!(waited >= 2 * SECOND && waited < 3 * SECOND, "{waited:?}");
    assert_eq!(test.counted(Counter::LeasesRefused), 2);
}

#[tokio::test(start_paused = true)]
async fn a_forced_call_does_not_accept_the_stale_value_of_a_back_off() {
    let test = callers();
    test.put("k", &stale_if_error()).await;
    sleep(2 * SECOND).await;
    let token = test.acquire("k").await;
    test.memory.abandon(&key("k"), token, 2 * SECOND, "down").await.unwrap();
    assert!(test.get_or_fetch(&in_mode(FetchMode::NoCache)).await.is_lease());
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

// === modes ===

#[tokio::test(start_paused = true)]
async fn only_if_cached_asks_for_no_lease() {
    let test = callers();
    let only_if_cached = in_mode(FetchMode::OnlyIfCached);
    assert!(is_not_cached(&test.get_or_fetch(&only_if_cached).await));
    test.put("k", &stale_while_revalidate()).await;
    sleep(2 * SECOND).await;
    let stale = test.get_or_fetch(&only_if_cached).await;
    assert_eq!(seen(&stale), ("old", Outcome::Stale, FetchStatus::Read));
    assert_eq!((test.store.acquires(), test.counted(Counter::LeasesRefused)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn no_cache_offers_the_lease_of_a_fresh_entry() {
    let test = callers();
    test.put("k", &new_entry("old", 60 * SECOND)).await;
    let result = test.get_or_fetch(&in_mode(FetchMode::NoCache)).await;
    assert!(result.is_lease() && test.store.take_reads().is_empty());
    assert!(lease(result).stale.is_none(), "a fresh value does not stand in for a new one");
}

#[tokio::test(start_paused = true)]
async fn a_forced_call_accepts_no_value_that_was_begun_before() {
    let test = callers();
    let offer = lease(test.get_or_fetch(&request("k")).await);
    let filling = async {
        sleep(SECOND).await;
        fill(&test, offer).await.unwrap();
    };
    let forced = in_mode(FetchMode::NoCache);
    let (result, ()) = tokio::join!(test.get_or_fetch(&forced), filling);
    assert!(result.is_lease(), "{result:?}");
}

// === a store that fails ===

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
async fn not_cached_says_whether_the_store_failed() {
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

// === shutdown, and changes of the configuration ===

#[tokio::test(start_paused = true)]
async fn closing_answers_waiters_at_once() {
    let test = callers();
    test.acquire("k").await;
    let closing = async {
        sleep(SECOND).await;
        test.cache.close();
        test.cache.closing().await;
    };
    let (request, asked) = (request("k"), Instant::now());
    let (result, ()) = tokio::join!(test.get_or_fetch(&request), closing);
    assert_eq!((retry_after(&result), asked.elapsed()), (SECOND, SECOND));
    let later = test.get_or_fetch(&request).await;
    assert_eq!((retry_after(&later), asked.elapsed()), (SECOND, SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_call_joins_a_fetch_of_an_origin_that_was_removed() {
    let origin = FakeOrigin::slow("fetched", 2 * SECOND);
    let test = TestCache::of_origin(&origin, config());
    let reload = async {
        sleep(SECOND).await;
        test.reload(config(), None);
        test.get_or_fetch(&request("k")).await
    };
    let request = request("k");
    let (fetched, joined) = tokio::join!(test.get_or_fetch(&request), reload);
    assert_eq!(fetched.fill, Some(FillOutcome::Stored));
    assert_eq!(seen(&joined), ("fetched", Outcome::Hit, FetchStatus::Coalesced));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_while_a_failing_origin_is_configured_is_contended() {
    let test = callers();
    let token = test.acquire("k").await;
    let origin = FakeOrigin::failing(crate::origin::OriginErrorKind::Refused);
    let reload = async {
        sleep(SECOND).await;
        test.reload(config(), Some(&origin));
        test.cache.get_or_fetch(&waiting(3 * SECOND)).await.unwrap_err();
    };
    let release = async {
        sleep(2 * SECOND).await;
        test.memory.abandon(&key("k"), token, Duration::ZERO, "").await.unwrap();
    };
    let (request, asked) = (request("k"), Instant::now());
    let (result, (), ()) = tokio::join!(test.get_or_fetch(&request), reload, release);
    assert_eq!((retry_after(&result), asked.elapsed()), (SECOND, 2 * SECOND));
    assert_eq!(origin.fetches(), 1);
}
