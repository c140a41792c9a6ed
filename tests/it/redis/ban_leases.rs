//! Leases that a pattern bans, and hold-offs of patterns.

use std::time::{Duration, Instant};

use larder::pb::v1::SetResult;

use super::ban_setup::{LOG, Setup, put};
use crate::support::{
    client::{Fetched as _, abandon, fetch, fill, text},
    observe::waiting,
    targets::{hold_off, invalidate, pattern, tags},
};

/// The lease is held through one replica, the waiters ask two, and the ban comes through any.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lease_of_a_banned_key_ends_at_once_and_a_waiter_receives_it() {
    for banner in 0..3 {
        let setup = Setup::start(3).await;
        let held = setup.cache(0).lease("user:1").await;
        let unaffected = setup.cache(0).lease("other").await;
        let waiter = setup.cache(1).clone();
        let waits = tokio::spawn(async move {
            (waiter.get_or_fetch(fetch("user:1", 8_000)).await.unwrap(), Instant::now())
        });
        waiting(&setup.replicas[1].0, 1).await;
        let banned_at = Instant::now();
        invalidate(setup.cache(banner), &[pattern("user:*")]).await;
        let (answer, answered_at) = waits.await.unwrap();
        let granted = answer.expect_lease();
        let late = answered_at.saturating_duration_since(banned_at);
        assert!(late < Duration::from_secs(2), "the waiter learns of it: {late:?}");
        let old = setup.cache(0).set(fill("user:1", text("old"), &held)).await.unwrap();
        assert!(matches!(old.result(), SetResult::LeaseLost | SetResult::Invalidated), "{old:?}");
        let new = setup.cache(2).set(fill("user:1", text("new"), &granted)).await.unwrap();
        assert_eq!(new.result(), SetResult::Stored, "the lease is newer than the ban");
        let kept = setup.cache(1).set(fill("other", text("v"), &unaffected)).await.unwrap();
        assert_eq!(kept.result(), SetResult::Stored);
        assert_eq!(setup.read_by_all("user:1").await, vec![Some("new".to_owned()); 3]);
    }
}

/// The holder asks for nothing else until its fill.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fill_under_a_banned_lease_is_invalidated_and_other_tags_are_not_concerned() {
    let setup = Setup::start(2).await;
    let (banned, kept) = (setup.cache(0).lease("k1").await, setup.cache(0).lease("l1").await);
    invalidate(setup.cache(1), &[pattern("k?"), tags(&["t"])]).await;
    let answer = setup.cache(0).set(fill("k1", text("v"), &banned)).await.unwrap();
    assert_eq!(answer.result(), SetResult::Invalidated);
    let again = setup.cache(1).get_or_fetch(fetch("l1", 0)).await.unwrap();
    again.expect_contended();
    let answer = setup.cache(0).set(fill("l1", text("v"), &kept)).await.unwrap();
    assert_eq!(answer.result(), SetResult::Stored);
}

/// Every caller computes for itself, as after a Delete with a hold-off. A replica that has not read
/// the ban yet reads it when it is asked for a lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_off_of_a_pattern_grants_no_lease() {
    let setup = Setup::start(2).await;
    put(setup.cache(0), "user:0", "v", "t").await;
    assert!(setup.cache(1).read("user:0").await.is_some());
    hold_off(setup.cache(0), &[pattern("user:*")], 60_000).await;
    for replica in [1, 0, 1, 0] {
        // A lease that is granted is exclusive, so that the second caller would be contended.
        let lease = setup.cache(replica).lease("user:1").await;
        let answer = setup.cache(replica).set(fill("user:1", text("v"), &lease)).await.unwrap();
        assert_ne!(answer.result(), SetResult::Stored);
        setup.cache(replica).lease("user:1").await;
    }
    let _held = setup.cache(0).lease("other").await;
    setup.cache(1).get_or_fetch(fetch("other", 0)).await.unwrap().expect_contended();
    // A fresh entry is found nevertheless.
    put(setup.cache(0), "user:2", "v", "t").await;
    let found = setup.cache(1).get_or_fetch(fetch("user:2", 0)).await.unwrap().expect_found();
    assert!(found.value.is_some());
}

/// A failover may restore a marker that agrees with an entry that a ban hides. No operation goes by
/// them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_under_a_restored_marker_is_not_found_by_an_acquisition() {
    let mut setup = Setup::start(2).await;
    let keys: Vec<String> = (0..20).map(|number| format!("k{number}")).collect();
    for key in &keys {
        put(setup.cache(0), key, "old", "t").await;
    }
    let markers = setup.markers().await;
    let before = setup.dump(&markers).await;
    invalidate(setup.cache(0), &[tags(&["t"])]).await;
    for (number, key) in keys.iter().enumerate() {
        setup.restore(&markers, before.clone()).await;
        // The second replica has read the log when it answered first.
        setup.cache(number % 2).get_or_fetch(fetch(key, 0)).await.unwrap().expect_lease();
    }
}

/// The ban has ended the lease, so that its holder cannot begin a back-off for later callers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_back_off_begins_under_a_banned_lease() {
    const BACK_OFF: &[(&str, &str)] = &[("LARDER_DEFAULTS__ABANDON_BACKOFF", "60s")];
    let setup = Setup::start_with(2, BACK_OFF).await;
    for (replica, key) in [(0, "user:1"), (1, "user:2")] {
        let held = setup.cache(0).lease(key).await;
        invalidate(setup.cache(1), &[pattern("user:*")]).await;
        setup.cache(replica).abandon(abandon(key, &held)).await.unwrap();
        let granted = setup.cache(1 - replica).lease(key).await;
        let stored = setup.cache(0).set(fill(key, text("v"), &granted)).await.unwrap();
        assert_eq!(stored.result(), SetResult::Stored);
    }
    // A pattern that does not match leaves the back-off as it is.
    let held = setup.cache(0).lease("other").await;
    invalidate(setup.cache(1), &[pattern("user:*")]).await;
    setup.cache(0).abandon(abandon("other", &held)).await.unwrap();
    setup.cache(1).get_or_fetch(fetch("other", 0)).await.unwrap().expect_contended();
}

/// Held-off patterns stay in the log until their hold-off ends, and may fill it. Then the hold-off
/// is one of all keys, and the ban is answered at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hold_offs_that_have_no_place_hold_for_the_whole_namespace() {
    const ONE: &[(&str, &str)] = &[("LARDER_DEFAULTS__MAX_BANNED_PATTERNS", "1")];
    let mut setup = Setup::start_with(2, ONE).await;
    put(setup.cache(0), "kept", "v", "t").await;
    assert_eq!(setup.read_by_all("kept").await, vec![Some("v".to_owned()); 2]);
    let results = hold_off(setup.cache(0), &[pattern("a*")], 3_600_000).await;
    assert!(!results[0].namespace_invalidated);
    for (replica, glob) in [(1, "b*"), (0, "c*")] {
        let target = [pattern(glob)];
        let banned = hold_off(setup.cache(replica), &target, 60_000);
        let results = tokio::time::timeout(Duration::from_secs(5), banned).await.unwrap();
        assert_eq!(results[0].namespace_invalidated, glob == "b*", "{glob} has a place again");
        assert!(setup.logged_bans().await <= 2);
    }
    assert_eq!(setup.read_by_all("kept").await, [None, None]);
    for (replica, key) in [(0, "a1"), (1, "b1"), (0, "other"), (1, "another")] {
        let lease = setup.cache(replica).lease(key).await;
        let answer = setup.cache(replica).set(fill(key, text("v"), &lease)).await.unwrap();
        assert_ne!(answer.result(), SetResult::Stored, "{key}");
    }
    // The longest of the hold-offs counts.
    let held_off: Vec<(String, f64)> = redis::cmd("ZRANGEBYSCORE")
        .arg(LOG[3])
        .arg(1)
        .arg("+inf")
        .arg("WITHSCORES")
        .query_async(&mut setup.raw)
        .await
        .unwrap();
    let of_all = held_off.iter().find(|(name, _)| name == "g*").unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert!(of_all.1 > now.as_millis() as f64 + 3_000_000.0, "{held_off:?}");
    // A Set is stored nevertheless, and bans work.
    put(setup.cache(0), "kept", "new", "t").await;
    assert_eq!(setup.read_by_all("kept").await, vec![Some("new".to_owned()); 2]);
    invalidate(setup.cache(1), &[tags(&["t"])]).await;
    assert_eq!(setup.read_by_all("kept").await, [None, None]);
}

/// A replica that has not met the ban learns of the hold-off with the lease, also in a shard that
/// had no marker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_off_reaches_shards_without_a_marker() {
    let mut setup = Setup::start(1).await;
    hold_off(setup.cache(0), &[pattern("user:*")], 60_000).await;
    assert_eq!(setup.markers().await.len(), 64);
    put(setup.cache(0), "kept", "v", "t").await;
    invalidate(setup.cache(0), &[pattern("none")]).await;
    assert_eq!(setup.read_by_all("kept").await, [Some("v".to_owned())]);
}
