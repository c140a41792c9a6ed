#![allow(clippy::unwrap_used)]

use tokio::time::{Instant, sleep};

use super::*;
use crate::{
    cache::{
        FetchMode, GetOrFetchOutcome, GetOrFetchRequest, GetOrFetchResult,
        testing::{FakeOrigin, SECOND, TestCache, config, key, new_entry, request},
    },
    config::NamespaceConfig,
    model::Lifetime,
    store::ErrorKind,
};

/// The value of the revalidating origin, as it was fetched and stored some time ago.
fn stored_before() -> NewEntry {
    let validators = Validators { etag: Some("v".into()), last_modified: None };
    let metadata = FetchMetadata { validators, fetch_time: 9 * SECOND, source: None };
    NewEntry {
        lifetime: Lifetime {
            ttl: 20 * SECOND,
            stale_while_revalidate: 5 * SECOND,
            stale_if_error: 7 * SECOND,
            revalidation_window: SECOND,
        },
        tags: vec!["old".to_owned()].into(),
        fetch_metadata: Some(metadata.into()),
        ..new_entry("v", SECOND)
    }
}

/// Fetches the value, whether or not it is stored.
async fn fetch(test: &TestCache) -> GetOrFetchResult {
    let forced = GetOrFetchRequest { mode: FetchMode::NoCache, ..request("k") };
    test.get_or_fetch(&forced).await
}

fn lifetime(entry: &Entry) -> [Duration; 4] {
    [
        entry.fresh_until.since(entry.created_at),
        entry.stale_while_revalidate,
        entry.stale_if_error,
        entry.revalidation_window,
    ]
}

#[tokio::test(start_paused = true)]
async fn a_fetched_value_is_stored_with_the_origins_directives() {
    let origin = FakeOrigin::revalidating("v");
    origin.delay(3 * SECOND);
    origin.direct(CacheDirectives {
        ttl: Some(30 * SECOND),
        stale_while_revalidate: Some(SECOND),
        stale_if_error: Some(2 * SECOND),
        tags: Some(vec!["tag".to_owned()].into()),
        ..CacheDirectives::default()
    });
    let test = TestCache::of_origin(&origin, config());
    assert_eq!(fetch(&test).await.fill, Some(FillOutcome::Stored));
    let stored = test.stored("k").await.unwrap();
    assert_eq!(lifetime(&stored), [30 * SECOND, SECOND, 2 * SECOND, 600 * SECOND]);
    assert_eq!((stored.kind, &*stored.tags), (Kind::Text, &["tag".to_owned()][..]));
    let metadata = stored.fetch_metadata.unwrap();
    assert_eq!(metadata.validators.etag.as_deref(), Some("v"));
    assert_eq!(metadata.fetch_time, 3 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_value_declared_unchanged_keeps_what_the_origin_does_not_send_anew() {
    let origin = FakeOrigin::revalidating("v");
    origin.delay(3 * SECOND);
    let test = TestCache::of_origin(&origin, NamespaceConfig { ttl_jitter: 0.5, ..config() });
    test.put("k", &stored_before()).await;
    let version = test.stored("k").await.unwrap().version;
    sleep(10 * SECOND).await;
    let result = fetch(&test).await;
    assert_eq!(result.fill, Some(FillOutcome::Stored));
    let stored = test.stored("k").await.unwrap();
    assert_eq!((stored.version, stored.created_at), (version, test.memory.now()));
    assert_eq!(lifetime(&stored), [20 * SECOND, 5 * SECOND, 7 * SECOND, 600 * SECOND]);
    assert_eq!(&*stored.tags, ["old".to_owned()]);
    assert_eq!(stored.fetch_metadata.unwrap().fetch_time, 3 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_value_declared_unchanged_follows_new_directives() {
    let origin = FakeOrigin::revalidating("v");
    origin.direct(CacheDirectives {
        ttl: Some(30 * SECOND),
        stale_while_revalidate: Some(SECOND),
        stale_if_error: Some(2 * SECOND),
        tags: Some(vec!["new".to_owned()].into()),
        ..CacheDirectives::default()
    });
    let test = TestCache::of_origin(&origin, config());
    test.put("k", &stored_before()).await;
    let GetOrFetchOutcome::Found(answered) = fetch(&test).await.outcome else {
        panic!("no value is answered");
    };
    let stored = test.stored("k").await.unwrap();
    for entry in [&answered.entry, &stored] {
        assert_eq!(lifetime(entry), [30 * SECOND, SECOND, 2 * SECOND, 600 * SECOND]);
        assert_eq!(&*entry.tags, ["new".to_owned()]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_new_ttl_of_an_unchanged_value_is_jittered() {
    let origin = FakeOrigin::revalidating("v");
    let ttl = 1_000_000 * SECOND;
    origin.direct(CacheDirectives { ttl: Some(ttl), ..CacheDirectives::default() });
    let rules = NamespaceConfig { ttl_jitter: 0.99, max_ttl: ttl, ..config() };
    let test = TestCache::of_origin(&origin, rules);
    test.put("k", &stored_before()).await;
    fetch(&test).await;
    assert!(lifetime(&test.stored("k").await.unwrap())[0] < ttl);
}

#[tokio::test(start_paused = true)]
async fn an_uncacheable_value_removes_the_stored_one() {
    for origin in [FakeOrigin::uncacheable("new"), FakeOrigin::revalidating("v")] {
        origin.direct(CacheDirectives {
            ttl: Some(Duration::ZERO),
            stale_while_revalidate: Some(Duration::ZERO),
            stale_if_error: Some(Duration::ZERO),
            ..CacheDirectives::default()
        });
        let rules = crate::config::OriginConfig {
            keep: Duration::ZERO,
            ..crate::cache::testing::origin_config()
        };
        let rules = NamespaceConfig { origin: Some(rules), ..config() };
        let test = TestCache::of_origin(&origin, rules);
        test.put("k", &stored_before()).await;
        assert_eq!(fetch(&test).await.fill, Some(FillOutcome::Uncacheable));
        assert!(test.stored("k").await.is_none(), "it is not the origin's answer any more");
        assert!(!test.is_held("k").await);
        assert_eq!(test.counted(Counter::Uncacheable), 1);
        assert_eq!(test.counted(Counter::Sets), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_that_a_full_store_refuses_is_answered_and_its_lease_given_back() {
    let value: &'static str = Box::leak("x".repeat(17 << 20).into_boxed_str());
    let test = TestCache::of_origin(&FakeOrigin::fast(value), config());
    let result = fetch(&test).await;
    assert_eq!(result.fill, Some(FillOutcome::NotStored { degraded: false }));
    assert!(!result.degraded && !test.is_held("k").await);
    assert_eq!(test.counted(Counter::FillsNotStored), 1);
}

#[tokio::test(start_paused = true)]
async fn a_value_is_answered_if_the_store_fails_during_its_fetch() {
    for origin in [FakeOrigin::slow("v", 2 * SECOND), FakeOrigin::revalidating("v")] {
        origin.delay(2 * SECOND);
        let test = TestCache::of_origin(&origin, config());
        test.put("k", &stored_before()).await;
        let failing = async {
            sleep(SECOND).await;
            test.store.fail(ErrorKind::Timeout);
        };
        let (result, ()) = tokio::join!(fetch(&test), failing);
        assert_eq!(result.fill, Some(FillOutcome::NotStored { degraded: true }));
        assert!(result.degraded);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fetch_without_a_lease_asks_for_the_whole_value() {
    let test = TestCache::of_origin(&FakeOrigin::revalidating("v"), config());
    test.put("k", &stored_before()).await;
    test.cache.delete(&key("k"), 60 * SECOND).await.unwrap();
    let began = Instant::now();
    let result = fetch(&test).await;
    let invalidated = FillOutcome::LeaseLost(LeaseLoss::Invalidated);
    assert_eq!((result.fill, began.elapsed()), (Some(invalidated), Duration::ZERO));
    assert_eq!(test.counted(Counter::FillsInvalidated), 1);
}

#[test]
fn only_a_value_that_the_store_was_not_asked_for_is_degraded() {
    for (outcome, degraded) in [
        (FillOutcome::Stored, false),
        (FillOutcome::LeaseLost(LeaseLoss::Expired), false),
        (FillOutcome::Uncacheable, false),
        (FillOutcome::NotStored { degraded: false }, false),
        (FillOutcome::NotStored { degraded: true }, true),
    ] {
        assert_eq!(outcome.is_degraded(), degraded, "{outcome:?}");
    }
}
