#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use tokio::time::Instant;

use super::*;
use crate::{
    cache::testing::{SECOND, TestCache, config, key, key_in, namespace, new_entry},
    captured_log::CapturedLog,
    model::{Glob, NewEntry},
    stats::counters::Counter,
    store::{ErrorKind, LeaseLoss, LeaseToken},
};

fn tags(names: &[&str]) -> InvalidateTarget {
    InvalidateTarget::Tags(namespace(), names.iter().map(ToString::to_string).collect())
}

fn pattern(glob: &str) -> InvalidateTarget {
    InvalidateTarget::Pattern(namespace(), Glob::new(glob).unwrap())
}

fn tagged(tags: &[&str]) -> NewEntry {
    let tags = tags.iter().map(ToString::to_string).collect();
    NewEntry { tags, ..new_entry("v", 60 * SECOND) }
}

/// Keys of `names` that are stored.
async fn stored(test: &TestCache, names: &[&'static str]) -> Vec<&'static str> {
    let mut stored = Vec::new();
    for name in names {
        if test.stored(name).await.is_some() {
            stored.push(*name);
        }
    }
    stored
}

#[tokio::test(start_paused = true)]
async fn every_target_has_its_result_in_order() {
    let test = TestCache::of_callers(config());
    for (name, tag) in [("a", "x"), ("b", "y"), ("c1", "w"), ("d", "w")] {
        test.put(name, &tagged(&[tag])).await;
    }
    let targets = [
        InvalidateTarget::Key(key("d")),
        tags(&["x", "w", "y"]),
        InvalidateTarget::Key(key("none")),
        pattern("c*"),
        tags(&["x"]),
    ];
    let results = test.cache.invalidate(&targets, Duration::ZERO).await.unwrap();
    let expected = [
        TargetOutcome::Deleted { existed: true },
        TargetOutcome::Banned,
        TargetOutcome::Deleted { existed: false },
        TargetOutcome::Banned,
        TargetOutcome::Banned,
    ];
    assert_eq!(results, expected);
    assert!(stored(&test, &["a", "b", "c1", "d"]).await.is_empty());
    assert_eq!(test.all_counted(), [(Counter::Deletes, 2), (Counter::Bans, 4)]);
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_is_logged_only_if_it_is_applied() {
    let (log, test) = (CapturedLog::start(), TestCache::of_callers(config()));
    let targets = [InvalidateTarget::Key(key("k")), tags(&["x", "y"]), pattern("a*")];
    test.store.fail(ErrorKind::Timeout);
    test.cache.invalidate(&targets, Duration::ZERO).await.unwrap_err();
    test.cache.invalidate(&[], Duration::ZERO).await.unwrap();
    assert_eq!(log.lines_with("invalidated"), [""; 0]);
    test.store.recover();
    test.cache.invalidate(&targets, Duration::ZERO).await.unwrap();
    let lines = log.lines_with("INFO");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("whole=0 tags=2 patterns=1 keys=1"), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn a_namespace_covers_its_other_targets() {
    let test = TestCache::of_callers(config());
    test.put("a", &tagged(&["x"])).await;
    test.put("b", &tagged(&[])).await;
    let targets = [tags(&["x"]), InvalidateTarget::Namespace(namespace())];
    let results = test.cache.invalidate(&targets, Duration::ZERO).await.unwrap();
    assert_eq!(results, [TargetOutcome::NamespaceInvalidated; 2]);
    assert!(stored(&test, &["a", "b"]).await.is_empty());
    assert_eq!(test.all_counted(), [(Counter::Invalidations, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_hold_off_holds_for_every_target() {
    for target in [
        InvalidateTarget::Namespace(namespace()),
        pattern("k"),
        tags(&["x"]),
        InvalidateTarget::Key(key("k")),
    ] {
        let test = TestCache::of_callers(config());
        let fill = async || {
            let token = LeaseToken::random();
            let request = crate::store::AcquireRequest {
                token,
                ttl: 60 * SECOND,
                fresher_than: crate::model::Timestamp::default(),
            };
            test.memory.acquire(&key("k"), &request).await.unwrap();
            test.memory.fill(&key("k"), token, &tagged(&["x"])).await.unwrap()
        };
        test.cache.invalidate(std::slice::from_ref(&target), 5 * SECOND).await.unwrap();
        assert_eq!(fill().await, Err(LeaseLoss::Invalidated), "{target:?}");
        tokio::time::sleep(5 * SECOND).await;
        assert_eq!(fill().await, Ok(()), "{target:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn more_tags_than_the_limit_invalidate_the_namespace() {
    let mut config = config();
    (config.max_banned_tags, config.max_banned_patterns) = (2, 1);
    let test = TestCache::of_callers(config);
    test.put("k", &tagged(&[])).await;
    let results = test.cache.invalidate(&[tags(&["x", "y"])], Duration::ZERO).await.unwrap();
    assert_eq!(results, [TargetOutcome::Banned]);
    let targets = [tags(&["z"]), pattern("z*")];
    let results = test.cache.invalidate(&targets, Duration::ZERO).await.unwrap();
    assert_eq!(results, [TargetOutcome::NamespaceInvalidated; 2]);
    assert!(stored(&test, &["k"]).await.is_empty());
    assert_eq!(test.all_counted(), [(Counter::Invalidations, 1), (Counter::Bans, 4)]);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_namespace_fails_the_call_before_anything_is_invalidated() {
    let test = TestCache::of_callers(config());
    test.put("k", &tagged(&["x"])).await;
    let unknown = InvalidateTarget::Key(key_in("other", "k"));
    let result = test.cache.invalidate(&[tags(&["x"]), unknown], Duration::ZERO).await;
    assert!(matches!(result, Err(Error::UnknownNamespace(_))), "{result:?}");
    assert!(!stored(&test, &["k"]).await.is_empty() && test.all_counted().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_unconfirmed_target_is_an_error() {
    let test = TestCache::of_callers(config());
    test.store.fail(ErrorKind::Timeout);
    for target in [
        InvalidateTarget::Namespace(namespace()),
        pattern("k"),
        tags(&["x"]),
        InvalidateTarget::Key(key("k")),
    ] {
        let result = test.cache.invalidate(&[target], Duration::ZERO).await;
        assert!(matches!(result, Err(Error::StoreUnavailable(_))), "{result:?}");
    }
    assert!(test.all_counted().is_empty());
}

const WINDOW: Duration = Duration::from_millis(20);

fn with_window() -> TestCache {
    TestCache::of_callers(crate::config::NamespaceConfig {
        invalidation_window: Some(WINDOW),
        ..config()
    })
}

/// Invalidates in a task.
fn start(
    test: &TestCache,
    targets: Vec<InvalidateTarget>,
    hold_off: Duration,
) -> tokio::task::JoinHandle<Result<Vec<TargetOutcome>, Error>> {
    let cache = Arc::clone(&test.cache);
    tokio::spawn(async move { cache.invalidate(&targets, hold_off).await })
}

#[tokio::test(start_paused = true)]
async fn invalidations_within_a_window_are_applied_once_and_then_answered() {
    let test = with_window();
    let began = Instant::now();
    test.put("a", &tagged(&["x"])).await;
    let first = start(&test, vec![tags(&["x"]), pattern("k*")], Duration::ZERO);
    tokio::time::sleep(WINDOW / 2).await;
    assert_eq!(stored(&test, &["a"]).await, ["a"], "not applied yet");
    let second = start(&test, vec![tags(&["x", "y"]), pattern("k*")], Duration::ZERO);
    assert_eq!(first.await.unwrap().unwrap(), [TargetOutcome::Banned; 2]);
    assert!(stored(&test, &["a"]).await.is_empty(), "applied when it is answered");
    assert_eq!(second.await.unwrap().unwrap(), [TargetOutcome::Banned; 2]);
    assert_eq!(began.elapsed(), WINDOW);
    let counted = [(Counter::Bans, 3), (Counter::InvalidationsCoalesced, 1)];
    assert_eq!(test.all_counted(), counted);

    // A call after the window opens the next one.
    test.put("a", &tagged(&["x"])).await;
    start(&test, vec![tags(&["x"])], Duration::ZERO).await.unwrap().unwrap();
    assert!(stored(&test, &["a"]).await.is_empty());
    assert_eq!(began.elapsed(), 2 * WINDOW);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_in_a_window_counts_for_all_of_its_callers() {
    let test = with_window();
    let first = start(&test, vec![tags(&["x"])], Duration::ZERO);
    tokio::task::yield_now().await;
    test.cache.invalidate_namespace(&namespace()).await.unwrap();
    assert_eq!(first.await.unwrap().unwrap(), [TargetOutcome::NamespaceInvalidated]);
    let counted = [(Counter::Invalidations, 1), (Counter::InvalidationsCoalesced, 1)];
    assert_eq!(test.all_counted(), counted);
}

#[tokio::test(start_paused = true)]
async fn a_failed_window_is_an_error_for_all_of_its_callers() {
    let test = with_window();
    test.store.fail(ErrorKind::Timeout);
    let calls = [(); 2].map(|()| start(&test, vec![tags(&["x"])], Duration::ZERO));
    for call in calls {
        let result = call.await.unwrap();
        assert!(matches!(result, Err(Error::StoreUnavailable(_))), "{result:?}");
    }
    assert_eq!(test.all_counted(), [(Counter::InvalidationsCoalesced, 1)]);
}

#[tokio::test(start_paused = true)]
async fn hold_offs_of_other_lengths_and_keys_do_not_share_a_window() {
    let test = with_window();
    let began = Instant::now();
    test.cache.invalidate(&[InvalidateTarget::Key(key("k"))], Duration::ZERO).await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO, "a key has no window");
    let calls = [1, 2].map(|seconds| start(&test, vec![tags(&["x"])], seconds * SECOND));
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(test.all_counted(), [(Counter::Deletes, 1), (Counter::Bans, 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_window_is_applied_although_its_caller_has_left() {
    let test = with_window();
    test.put("a", &tagged(&["x"])).await;
    let call = start(&test, vec![tags(&["x"])], Duration::ZERO);
    tokio::task::yield_now().await;
    call.abort();
    tokio::time::sleep(2 * WINDOW).await;
    assert!(stored(&test, &["a"]).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_window_ends_early_at_shutdown_and_when_it_is_full() {
    let test = with_window();
    let began = Instant::now();
    let many = |first: usize| {
        let tags = (first..first + 6_000).map(|number| number.to_string()).collect();
        vec![InvalidateTarget::Tags(namespace(), tags)]
    };
    let calls = [start(&test, many(0), Duration::ZERO), start(&test, many(6_000), Duration::ZERO)];
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(test.counted(Counter::Bans), 12_000);
    // The timer of the first window does not end the next one.
    tokio::time::sleep(WINDOW / 2).await;
    start(&test, many(0), Duration::ZERO).await.unwrap().unwrap();
    assert_eq!(began.elapsed(), WINDOW + WINDOW / 2);

    let call = start(&test, many(0), Duration::ZERO);
    tokio::task::yield_now().await;
    test.cache.close();
    call.await.unwrap().unwrap();
    assert_eq!(began.elapsed(), WINDOW + WINDOW / 2);
}
