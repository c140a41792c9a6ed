#![allow(clippy::unwrap_used)]

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::*;
use crate::{
    cache::testing::{
        FakeOrigin, SECOND, TestCache, config, key, namespace, new_entry, origin_config,
    },
    config::{NamespaceConfig, OriginConfig},
    model::Kind,
    origin, store,
};

/// A plan without a noticeable limit of its rate.
fn plan(names: &[&str], refresh: bool) -> WarmPlan {
    let keys = names.iter().map(|name| (key(name), BTreeMap::new())).collect();
    WarmPlan { namespace: namespace(), keys, refresh, rate: NonZeroU32::new(1_000_000).unwrap() }
}

/// Rules with an origin that takes this many fetches at once.
fn concurrency(max_concurrency: u32) -> NamespaceConfig {
    let origin = OriginConfig { max_concurrency, ..origin_config() };
    NamespaceConfig { origin: Some(origin), ..config() }
}

/// Warms, and returns every report.
async fn warm(test: &TestCache, plan: WarmPlan) -> Result<Vec<WarmProgress>, Error> {
    let mut reports = Vec::new();
    test.cache.warm(plan, |progress| reports.push(progress.clone())).await?;
    Ok(reports)
}

async fn last(test: &TestCache, plan: WarmPlan) -> WarmProgress {
    warm(test, plan).await.unwrap().pop().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn missing_entries_are_fetched_and_stored() {
    let origin = FakeOrigin::fast("v");
    let test = TestCache::of_origin(&origin, config());
    let mut plan = plan(&["a"], false);
    plan.keys[0].1.insert("id".to_owned(), "7".to_owned());
    let expected = WarmProgress { done: 1, stored: 1, ..WarmProgress::default() };
    assert_eq!(last(&test, plan).await, expected);
    assert_eq!(test.stored("a").await.unwrap().data, "v");
    assert_eq!(origin.last_request().unwrap().params["id"], "7");
}

#[tokio::test(start_paused = true)]
async fn fresh_entries_are_fetched_only_to_refresh_them() {
    let origin = FakeOrigin::fast("new");
    let test = TestCache::of_origin(&origin, config());
    test.put("a", &new_entry("old", 60 * SECOND)).await;
    let negative = crate::model::NewEntry { kind: Kind::Negative, ..new_entry("", 60 * SECOND) };
    test.put("b", &negative).await;
    let fresh = WarmProgress { done: 2, fresh: 2, ..WarmProgress::default() };
    assert_eq!((last(&test, plan(&["a", "b"], false)).await, origin.fetches()), (fresh, 0));
    let stored = WarmProgress { done: 2, stored: 2, ..WarmProgress::default() };
    assert_eq!((last(&test, plan(&["a", "b"], true)).await, origin.fetches()), (stored, 2));
}

#[tokio::test(start_paused = true)]
async fn stale_entries_are_fetched() {
    let origin = FakeOrigin::fast("new");
    let test = TestCache::of_origin(&origin, config());
    let mut entry = new_entry("old", SECOND);
    entry.lifetime.stale_while_revalidate = 60 * SECOND;
    test.put("a", &entry).await;
    sleep(2 * SECOND).await;
    let stored = WarmProgress { done: 1, stored: 1, ..WarmProgress::default() };
    assert_eq!(last(&test, plan(&["a"], false)).await, stored);
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_is_fetched_elsewhere_counts_as_fresh() {
    let origin = FakeOrigin::fast("v");
    let test = TestCache::of_origin(&origin, config());
    let token = test.acquire("a").await;
    let filling = async {
        sleep(SECOND).await;
        let entry = new_entry("theirs", 60 * SECOND);
        test.memory.fill(&key("a"), token, &entry).await.unwrap().unwrap();
    };
    let (progress, ()) = tokio::join!(last(&test, plan(&["a"], false)), filling);
    assert_eq!(progress, WarmProgress { done: 1, fresh: 1, ..WarmProgress::default() });
    assert_eq!(origin.fetches(), 0);
}

#[tokio::test(start_paused = true)]
async fn values_that_must_not_be_stored_are_distinguished() {
    let origin = FakeOrigin::uncacheable("v");
    let test = TestCache::of_origin(&origin, config());
    let progress = last(&test, plan(&["a"], false)).await;
    assert_eq!(progress, WarmProgress { done: 1, not_stored: 1, ..WarmProgress::default() });
}

#[tokio::test(start_paused = true)]
async fn failures_are_reported_with_the_last_cause() {
    let origin = FakeOrigin::failing(origin::OriginErrorKind::Refused);
    let test = TestCache::of_origin(&origin, config());
    let progress = last(&test, plan(&["a", "b"], false)).await;
    assert_eq!((progress.done, progress.failed), (2, 2));
    assert_eq!(
        progress.last_error,
        "the origin of namespace ns: the origin refused the request: scripted"
    );
    assert_eq!((progress.stored, progress.fresh, progress.not_stored), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_stale_value_is_no_success() {
    let origin = FakeOrigin::failing(origin::OriginErrorKind::Refused);
    let test = TestCache::of_origin(&origin, config());
    let mut entry = new_entry("old", SECOND);
    entry.lifetime.stale_if_error = 60 * SECOND;
    test.put("a", &entry).await;
    sleep(2 * SECOND).await;
    assert_eq!(last(&test, plan(&["a"], false)).await.failed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_lease_is_held_fails_after_the_timeout_of_the_origin() {
    let origin = FakeOrigin::fast("v");
    let timeout = OriginConfig { timeout: 3 * SECOND, ..origin_config() };
    let test = TestCache::of_origin(&origin, NamespaceConfig { origin: Some(timeout), ..config() });
    test.acquire("a").await;
    let began = Instant::now();
    let progress = last(&test, plan(&["a"], false)).await;
    assert_eq!(
        (progress.failed, progress.last_error.as_str()),
        (1, "no answer within 3s (origin.timeout)")
    );
    assert_eq!(began.elapsed(), 3 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn without_the_store_values_are_fetched_and_not_stored() {
    let origin = FakeOrigin::fast("v");
    let test = TestCache::of_origin(&origin, config());
    test.store.fail(store::ErrorKind::Unreachable);
    let progress = last(&test, plan(&["a"], false)).await;
    assert_eq!(progress, WarmProgress { done: 1, not_stored: 1, ..WarmProgress::default() });
}

#[tokio::test(start_paused = true)]
async fn progress_is_reported_after_each_entry() {
    let origin = FakeOrigin::fast("v");
    let test = TestCache::of_origin(&origin, config());
    let reports = warm(&test, plan(&["a", "b", "c"], false)).await.unwrap();
    let done: Vec<u64> = reports.iter().map(|progress| progress.done).collect();
    assert_eq!(done, [1, 2, 3]);
    assert!(warm(&test, plan(&[], false)).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn half_of_the_origins_concurrency_is_used_and_at_least_one_fetch() {
    for (max_concurrency, rounds) in [(1, 4), (3, 4), (4, 2), (64, 1)] {
        let origin = FakeOrigin::slow("v", 10 * SECOND);
        let test = TestCache::of_origin(&origin, concurrency(max_concurrency));
        let began = Instant::now();
        let progress = last(&test, plan(&["a", "b", "c", "d"], false)).await;
        assert_eq!(progress.stored, 4);
        let took = began.elapsed();
        assert!(took >= rounds * 10 * SECOND, "{max_concurrency}: {took:?}");
        assert!(took < (rounds + 1) * 10 * SECOND, "{max_concurrency}: {took:?}");
    }
}

#[tokio::test]
async fn fetches_do_not_exceed_the_rate() {
    let origin = FakeOrigin::fast("v");
    let test = TestCache::of_origin(&origin, config());
    let began = Instant::now();
    let rate = NonZeroU32::new(200).unwrap();
    last(&test, WarmPlan { rate, ..plan(&["a", "b", "c", "d"], false) }).await;
    assert!(began.elapsed() >= Duration::from_millis(14), "three pauses of 5 ms");
    let began = Instant::now();
    let rate = NonZeroU32::MIN;
    last(&test, WarmPlan { rate, ..plan(&["a", "b", "c", "d"], false) }).await;
    assert!(began.elapsed() < SECOND, "fresh entries need no fetch");
}

#[tokio::test(start_paused = true)]
async fn closing_ends_the_warming() {
    let origin = FakeOrigin::slow("v", 10 * SECOND);
    let test = TestCache::of_origin(&origin, concurrency(2));
    let closing = async {
        sleep(15 * SECOND).await;
        test.cache.close();
    };
    let mut done = 0;
    let began = Instant::now();
    let warming = test.cache.warm(plan(&["a", "b", "c"], false), |progress| done = progress.done);
    let (result, ()) = tokio::join!(warming, closing);
    assert!(matches!(result, Err(Error::ShuttingDown)), "{result:?}");
    assert_eq!((done, began.elapsed()), (1, 15 * SECOND));
    sleep(60 * SECOND).await;
    assert_eq!(origin.fetches(), 2, "the third is not begun");
}

#[tokio::test(start_paused = true)]
async fn only_a_known_namespace_with_an_origin_can_be_warmed() {
    let callers = TestCache::of_callers(config());
    assert!(matches!(warm(&callers, plan(&["a"], false)).await, Err(Error::NoOrigin(_))));
    assert!(matches!(callers.cache.warm_config(&namespace()), Err(Error::NoOrigin(_))));
    let other = Namespace::new("other").unwrap();
    let unknown = WarmPlan { namespace: other.clone(), ..plan(&["a"], false) };
    assert!(matches!(warm(&callers, unknown).await, Err(Error::UnknownNamespace(_))));
    assert!(matches!(callers.cache.warm_config(&other), Err(Error::UnknownNamespace(_))));
}

#[tokio::test(start_paused = true)]
async fn the_warm_list_of_the_namespace_is_returned() {
    let warm = WarmConfig { keys: vec!["a".to_owned()], rate: 7, ..WarmConfig::default() };
    let origin = OriginConfig { warm: warm.clone(), ..origin_config() };
    let rules = NamespaceConfig { origin: Some(origin), ..config() };
    let test = TestCache::of_origin(&FakeOrigin::fast("v"), rules);
    assert_eq!(test.cache.warm_config(&namespace()).unwrap(), warm);
}
