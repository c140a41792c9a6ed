#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, sync::Arc};

use tokio::time::{Instant, sleep};

use super::*;
use crate::{
    cache::{
        Consistency,
        testing::{
            FakeOrigin, MILLISECOND, SECOND, TestCache, config, found, is_not_cached, key,
            new_entry, origin_config, request, retry_after, seen, value,
        },
    },
    config::{NamespaceConfig, OriginConfig},
    model::{FetchMetadata, FetchSource, NewEntry},
    origin::OriginErrorKind,
    stats::counters::Counter,
    store::{self, LeaseLoss},
};

/// Rules with an origin that is given up on after 100 ms while there is a stale value.
fn with_soft_timeout() -> NamespaceConfig {
    let origin = OriginConfig { soft_timeout: Some(100 * MILLISECOND), ..origin_config() };
    NamespaceConfig { origin: Some(origin), ..config() }
}

/// A value that is fresh for a second, and then only served if the origin fails.
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

/// A fresh value whose fetch took a minute.
fn slowly_fetched() -> NewEntry {
    let metadata = FetchMetadata { fetch_time: 60 * SECOND, ..FetchMetadata::default() };
    NewEntry { fetch_metadata: Some(Arc::new(metadata)), ..new_entry("old", 60 * SECOND) }
}

/// Rules under which an entry such as [`slowly_fetched`] is due for an early refresh.
fn always_early() -> NamespaceConfig {
    let origin = OriginConfig { early_refresh: 1e12, ..origin_config() };
    NamespaceConfig { origin: Some(origin), ..config() }
}

fn config_with_origin() -> NamespaceConfig {
    NamespaceConfig { origin: Some(origin_config()), ..config() }
}

fn waiting(wait: Duration) -> GetOrFetchRequest {
    GetOrFetchRequest { wait: Some(wait), ..request("k") }
}

fn in_mode(mode: FetchMode) -> GetOrFetchRequest {
    GetOrFetchRequest { mode, ..request("k") }
}

// === fetches ===

#[tokio::test(start_paused = true)]
async fn a_missing_value_is_fetched_and_stored() {
    let origin = FakeOrigin::slow("v", SECOND);
    let test = TestCache::of_origin(&origin, config());
    let params = Arc::new(BTreeMap::from([("id".to_owned(), "7".to_owned())]));
    let fetched = test.get_or_fetch(&GetOrFetchRequest { params, ..request("k") }).await;
    assert_eq!(value(&fetched), ("v", Outcome::Hit));
    assert_eq!(found(&fetched).tier, Tier::Origin { is_stored: true });
    assert_eq!((fetched.status, fetched.fill), (FetchStatus::Fetched, Some(FillOutcome::Stored)));
    assert!(!fetched.degraded);
    let asked = origin.last_request().unwrap();
    assert_eq!((&asked.key, asked.params["id"].as_str()), (&key("k"), "7"));
    assert_eq!(asked.deadline, Instant::now() + 119 * SECOND);

    let read = test.get_or_fetch(&request("k")).await;
    assert_eq!((value(&read), found(&read).tier), (("v", Outcome::Hit), Tier::Store));
    assert_eq!((read.status, read.fill), (FetchStatus::Read, None));
    assert_eq!(origin.fetches(), 1);
    let counted = [(Counter::Hits, 2), (Counter::Sets, 1), (Counter::Fetches, 1)];
    assert_eq!(test.all_counted(), counted);
}

#[tokio::test(start_paused = true)]
async fn calls_for_the_same_key_share_one_fetch() {
    let origin = FakeOrigin::slow("v", SECOND);
    let test = TestCache::of_origin(&origin, config());
    let request = request("k");
    let (first, second) = tokio::join!(test.get_or_fetch(&request), test.get_or_fetch(&request));
    assert_eq!((value(&first), value(&second)), (("v", Outcome::Hit), ("v", Outcome::Hit)));
    assert_eq!((first.status, second.status), (FetchStatus::Fetched, FetchStatus::Coalesced));
    assert_eq!(second.fill, Some(FillOutcome::Stored));
    assert_eq!((origin.fetches(), test.counted(Counter::FetchesCoalesced)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_value_fetched_by_another_replica_is_awaited() {
    let origin = FakeOrigin::fast("v");
    let test = TestCache::of_origin(&origin, config());
    let token = test.acquire("k").await;
    let other_replica = async {
        sleep(SECOND).await;
        let entry = new_entry("theirs", 60 * SECOND);
        test.memory.fill(&key("k"), token, &entry).await.unwrap().unwrap();
    };
    let request = request("k");
    let (result, ()) = tokio::join!(test.get_or_fetch(&request), other_replica);
    assert_eq!(value(&result), ("theirs", Outcome::Hit));
    assert_eq!(found(&result).tier, Tier::Store);
    assert_eq!((result.status, result.fill), (FetchStatus::Coalesced, None));
    assert_eq!(origin.fetches(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_absence_of_a_value_is_cached() {
    let origin = FakeOrigin::fast("");
    origin.lose_value();
    let test = TestCache::of_origin(&origin, config());
    let fetched = test.get_or_fetch(&request("k")).await;
    assert_eq!(found(&fetched).outcome, Outcome::Negative);
    assert_eq!((fetched.status, fetched.fill), (FetchStatus::Fetched, Some(FillOutcome::Stored)));
    let read = test.get_or_fetch(&request("k")).await;
    assert_eq!((found(&read).outcome, read.status), (Outcome::Negative, FetchStatus::Read));
    assert_eq!((origin.fetches(), test.counted(Counter::Negative)), (1, 2));
    sleep(10 * SECOND).await;
    test.get_or_fetch(&request("k")).await;
    assert_eq!(origin.fetches(), 2, "negative_ttl has passed");
}

#[tokio::test(start_paused = true)]
async fn an_uncacheable_value_is_answered() {
    let origin = FakeOrigin::uncacheable("v");
    let test = TestCache::of_origin(&origin, config());
    let result = test.get_or_fetch(&request("k")).await;
    assert_eq!(
        (value(&result), result.fill),
        (("v", Outcome::Hit), Some(FillOutcome::Uncacheable))
    );
    assert_eq!(found(&result).tier, Tier::Origin { is_stored: false });
    assert!(!result.degraded);
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_value_is_reported_as_revalidated() {
    let origin = FakeOrigin::revalidating("v");
    let test = TestCache::of_origin(&origin, config());
    test.get_or_fetch(&request("k")).await;
    let forced = in_mode(FetchMode::NoCache);
    let (first, second) = tokio::join!(test.get_or_fetch(&forced), test.get_or_fetch(&forced));
    assert_eq!(seen(&first), ("v", Outcome::Hit, FetchStatus::Revalidated));
    assert_eq!(first.fill, Some(FillOutcome::Stored));
    assert_eq!(second.status, FetchStatus::Coalesced);
}

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

#[tokio::test(start_paused = true)]
async fn a_deleted_value_is_answered_and_not_stored() {
    let origin = FakeOrigin::slow("v", SECOND);
    let test = TestCache::of_origin(&origin, config());
    let deleting = async {
        sleep(SECOND / 2).await;
        test.cache.delete(&key("k"), Duration::ZERO).await.unwrap();
    };
    let request = request("k");
    let (result, ()) = tokio::join!(test.get_or_fetch(&request), deleting);
    assert_eq!(value(&result), ("v", Outcome::Hit));
    assert_eq!(result.fill, Some(FillOutcome::LeaseLost(LeaseLoss::Invalidated)));
    assert_eq!(found(&result).tier, Tier::Origin { is_stored: false });
    assert!(test.stored("k").await.is_none());
}

// === stale values ===

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
    assert_eq!(test.all_counted(), [(Counter::FetchesFailed, 1)]);
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

// === time limits ===

#[tokio::test(start_paused = true)]
async fn a_stale_value_is_served_at_the_soft_timeout_and_the_fetch_continues() {
    let origin = FakeOrigin::slow("new", SECOND);
    let test = TestCache::of_origin(&origin, with_soft_timeout());
    test.put("k", &stale_if_error()).await;
    sleep(2 * SECOND).await;
    let asked = Instant::now();
    let result = test.get_or_fetch(&request("k")).await;
    assert_eq!(seen(&result), ("old", Outcome::Stale, FetchStatus::SoftTimeout));
    assert_eq!((asked.elapsed(), result.degraded), (100 * MILLISECOND, false));
    assert_eq!(test.counted(Counter::StaleSoftTimeout), 1);
    sleep(SECOND).await;
    assert_eq!(test.stored("k").await.unwrap().data, "new");
}

#[tokio::test(start_paused = true)]
async fn a_fetch_within_the_soft_timeout_is_answered() {
    let origin = FakeOrigin::slow("new", 50 * MILLISECOND);
    let test = TestCache::of_origin(&origin, with_soft_timeout());
    test.put("k", &stale_if_error()).await;
    sleep(2 * SECOND).await;
    assert_eq!(value(&test.get_or_fetch(&request("k")).await), ("new", Outcome::Hit));
}

#[tokio::test(start_paused = true)]
async fn without_a_stale_value_the_soft_timeout_does_not_apply() {
    let origin = FakeOrigin::slow("new", SECOND);
    let test = TestCache::of_origin(&origin, with_soft_timeout());
    let result = test.get_or_fetch(&request("k")).await;
    assert_eq!(seen(&result), ("new", Outcome::Hit, FetchStatus::Fetched));
}

#[tokio::test(start_paused = true)]
async fn a_stale_value_that_expires_before_the_soft_timeout_is_not_served() {
    let origin = FakeOrigin::slow("new", SECOND);
    let test = TestCache::of_origin(&origin, with_soft_timeout());
    let mut entry = stale_if_error();
    entry.lifetime.stale_if_error = SECOND;
    for (name, wait) in [("answered", 2 * SECOND), ("contended", SECOND / 2)] {
        test.put(name, &entry).await;
        sleep(2 * SECOND - 50 * MILLISECOND).await;
        let asked = Instant::now();
        let request = GetOrFetchRequest { wait: Some(wait), ..request(name) };
        let result = test.get_or_fetch(&request).await;
        assert_eq!(asked.elapsed(), wait.min(SECOND), "{name}: the whole wait");
        match name {
            "answered" => assert_eq!(value(&result), ("new", Outcome::Hit)),
            _ => assert_eq!(retry_after(&result), SECOND, "a fetch takes a second"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_shorter_than_the_soft_timeout_ends_first() {
    let origin = FakeOrigin::slow("new", SECOND);
    let test = TestCache::of_origin(&origin, with_soft_timeout());
    test.put("k", &stale_if_error()).await;
    sleep(2 * SECOND).await;
    let asked = Instant::now();
    let result = test.get_or_fetch(&waiting(30 * MILLISECOND)).await;
    assert_eq!(seen(&result), ("old", Outcome::Stale, FetchStatus::SoftTimeout));
    assert_eq!(asked.elapsed(), 30 * MILLISECOND);
}

#[tokio::test(start_paused = true)]
async fn without_a_soft_timeout_a_stale_value_is_served_when_the_wait_ends() {
    let origin = FakeOrigin::slow("new", 60 * SECOND);
    let test = TestCache::of_origin(&origin, config());
    test.put("k", &stale_if_error()).await;
    sleep(2 * SECOND).await;
    let asked = Instant::now();
    let result = test.get_or_fetch(&request("k")).await;
    assert_eq!(seen(&result), ("old", Outcome::Stale, FetchStatus::SoftTimeout));
    assert_eq!(asked.elapsed(), 5 * SECOND, "the namespace's lease_wait");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_not_wait_starts_the_fetch() {
    let origin = FakeOrigin::slow("v", SECOND);
    let test = TestCache::of_origin(&origin, config());
    let asked = Instant::now();
    let result = test.get_or_fetch(&waiting(Duration::ZERO)).await;
    assert_eq!((retry_after(&result), asked.elapsed()), (10 * MILLISECOND, Duration::ZERO));
    assert_eq!(test.cache.waiting(), 1, "the background refresh");
    sleep(2 * SECOND).await;
    assert_eq!((origin.fetches(), test.cache.waiting()), (1, 0));
    let later = test.get_or_fetch(&waiting(Duration::ZERO)).await;
    assert_eq!(value(&later), ("v", Outcome::Hit));
    assert_eq!(test.counted(Counter::Misses), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_not_wait_gets_the_stale_value() {
    let origin = FakeOrigin::slow("new", SECOND);
    let test = TestCache::of_origin(&origin, config());
    test.put("k", &stale_if_error()).await;
    sleep(2 * SECOND).await;
    let result = test.get_or_fetch(&waiting(Duration::ZERO)).await;
    assert_eq!(seen(&result), ("old", Outcome::Stale, FetchStatus::SoftTimeout));
    sleep(2 * SECOND).await;
    assert_eq!(origin.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_forced_fetch_that_is_not_awaited_begins_after_the_call() {
    let origin = FakeOrigin::slow("v", SECOND);
    let test = TestCache::of_origin(&origin, config());
    let forced = GetOrFetchRequest { mode: FetchMode::NoCache, ..waiting(Duration::ZERO) };
    test.get_or_fetch(&forced).await;
    sleep(SECOND / 2).await;
    test.get_or_fetch(&forced).await;
    sleep(3 * SECOND).await;
    assert_eq!(origin.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_answer_leaves_time_before_the_deadline() {
    let origin = FakeOrigin::slow("v", 60 * SECOND);
    let test = TestCache::of_origin(&origin, config());
    let asked = Instant::now();
    let deadline = Some(asked + 500 * MILLISECOND);
    let result = test.get_or_fetch(&GetOrFetchRequest { deadline, ..request("k") }).await;
    assert_eq!((retry_after(&result), asked.elapsed()), (10 * MILLISECOND, 400 * MILLISECOND));
}

#[tokio::test(start_paused = true)]
async fn retry_advice_follows_the_mean_fetch_time_and_the_holders_lease() {
    let origin = FakeOrigin::slow("v", 300 * MILLISECOND);
    let test = TestCache::of_origin(&origin, config());
    test.get_or_fetch(&request("other")).await;
    let not_waiting = test.get_or_fetch(&waiting(Duration::ZERO)).await;
    assert_eq!(retry_after(&not_waiting), 300 * MILLISECOND);
    let late = test.get_or_fetch(&waiting(10 * MILLISECOND)).await;
    assert_eq!(retry_after(&late), 300 * MILLISECOND);
    test.acquire("held").await;
    let waiting = GetOrFetchRequest { wait: Some(10 * MILLISECOND), ..request("held") };
    assert_eq!(retry_after(&test.get_or_fetch(&waiting).await), SECOND, "at most");
}

#[tokio::test(start_paused = true)]
async fn a_call_over_the_limit_of_waiters_does_not_wait() {
    let origin = FakeOrigin::slow("v", SECOND);
    let test = TestCache::new([("ns", config(), Some(&origin))], 0);
    let request = request("k");
    let asked = Instant::now();
    let second = async {
        let result = test.get_or_fetch(&request).await;
        (result, asked.elapsed())
    };
    let (first, (second, elapsed)) = tokio::join!(test.get_or_fetch(&request), second);
    assert_eq!(value(&first), ("v", Outcome::Hit), "the call that starts the fetch may wait");
    assert_eq!((retry_after(&second), elapsed), (10 * MILLISECOND, Duration::ZERO));
}

// === modes ===

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

// === a store that fails ===

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
async fn answers_without_a_value_say_whether_the_store_failed() {
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

// === changes of the configuration, and shutdown ===

#[tokio::test(start_paused = true)]
async fn a_shutdown_answers_calls_whose_fetch_is_aborted() {
    let origin = FakeOrigin::slow("v", 60 * SECOND);
    let test = TestCache::of_origin(&origin, config());
    let shutdown = async {
        sleep(SECOND).await;
        test.cache.close();
        sleep(SECOND).await;
        test.cache.give_up().await;
        test.cache.giving_up().await;
    };
    let (request, asked) = (request("k"), Instant::now());
    let (result, ()) = tokio::join!(test.get_or_fetch(&request), shutdown);
    assert_eq!(retry_after(&result), 10 * MILLISECOND);
    assert_eq!(asked.elapsed(), 2 * SECOND, "close() does not end a fetch, give_up() does");
    assert!(!test.is_held("k").await);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_while_its_origin_is_removed_is_contended_and_holds_no_lease() {
    let origin = FakeOrigin::fast("v");
    let test = TestCache::of_origin(&origin, config());
    let token = test.acquire("k").await;
    let reload = async {
        sleep(SECOND).await;
        test.reload(config(), None);
        // Its job tells the flight of the new rules.
        let later = test.get_or_fetch(&waiting(3 * SECOND)).await;
        assert!(later.is_lease(), "{later:?}");
    };
    let release = async {
        sleep(2 * SECOND).await;
        test.memory.abandon(&key("k"), token, Duration::ZERO, "").await.unwrap();
    };
    let request = request("k");
    let (result, (), ()) = tokio::join!(test.get_or_fetch(&request), reload, release);
    assert_eq!(retry_after(&result), 10 * MILLISECOND);
    assert_eq!(origin.fetches(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_while_its_origin_is_removed_gets_the_stale_value_of_a_back_off() {
    let origin = FakeOrigin::fast("v");
    let test = TestCache::of_origin(&origin, config());
    test.put("k", &stale_if_error()).await;
    sleep(2 * SECOND).await;
    let token = test.acquire("k").await;
    let reload = async {
        sleep(SECOND).await;
        test.reload(config(), None);
        test.get_or_fetch(&waiting(3 * SECOND)).await
    };
    let fail = async {
        sleep(2 * SECOND).await;
        test.memory.abandon(&key("k"), token, 60 * SECOND, "down").await.unwrap();
    };
    let request = request("k");
    let (result, _, ()) = tokio::join!(test.get_or_fetch(&request), reload, fail);
    assert_eq!(seen(&result), ("old", Outcome::Stale, FetchStatus::Failed(None)));
}
