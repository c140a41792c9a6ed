//! The sweep of Redis: banned entries go, and then the bans.

use std::time::{Duration, Instant};

use larder::pb::v1::{SetRequest, SetResult};
use nix::sys::signal::Signal;

use super::ban_setup::{LOG, Setup, log, put};
use crate::support::{
    client::{Fetched as _, fetch, fill, text},
    targets::{invalidate, pattern, tags},
    wait::{SOON, eventually, throughout},
};

const OFTEN: &[(&str, &str)] =
    &[("LARDER_STORE__SWEEP_INTERVAL", "30ms"), ("LARDER_STORE__SWEEP_RATE", "100000")];
const ENTRIES: &str = "larder:{ns:*}:k:*";

/// Waits for two more passes that begin after now.
async fn two_passes(setup: &Setup) {
    let before = setup.metric("larder_store_sweep_passes_total").await;
    eventually("two passes", SOON, async || {
        let passes = setup.metric("larder_store_sweep_passes_total").await;
        (passes >= before + 2.0).then_some(())
    })
    .await;
}

async fn bans_go(setup: &mut Setup) {
    eventually("the bans are dropped", SOON, async || {
        (setup.logged_bans().await == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn banned_entries_are_removed_and_bans_go_when_no_entry_is_older() {
    let mut setup = Setup::start_with(3, OFTEN).await;
    for number in 0..300 {
        put(setup.cache(0), &format!("b{number}"), "v", "banned").await;
    }
    for number in 0..20 {
        put(setup.cache(1), &format!("o{number}"), "v", "other").await;
    }
    invalidate(setup.cache(1), &[tags(&["banned"]), pattern("none*")]).await;
    eventually("the banned entries are removed", SOON, async || {
        (setup.names(ENTRIES).await.len() == 20).then_some(())
    })
    .await;
    assert_eq!(setup.metric("larder_store_sweep_removed_total").await, 300.0);
    two_passes(&setup).await;
    assert_eq!(setup.logged_bans().await, 2, "the other entries are older than the bans");
    assert_eq!(setup.metric("larder_store_sweep_renewed_total").await, 0.0);
    for number in 0..20 {
        let name = format!("o{number}");
        assert_eq!(setup.read_by_all(&name).await, vec![Some("v".to_owned()); 3]);
        put(setup.cache(2), &name, "new", "banned").await;
    }
    bans_go(&mut setup).await;
    assert_eq!(setup.metric("larder_store_sweep_dropped_bans_total").await, 2.0);
    assert!(setup.metric("larder_store_sweep_examined_total").await >= 320.0);
    assert!(setup.metric("larder_store_sweep_duration_seconds_total").await > 0.0);
    setup.add_replica().await;
    for number in 0..20 {
        let read = setup.read_by_all(&format!("o{number}")).await;
        assert_eq!(
            read,
            vec![Some("new".to_owned()); 4],
            "a ban that is dropped hides nothing new"
        );
    }
}

/// Many bans would make reads of old entries slow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_are_renewed_and_bans_dropped_if_there_are_many() {
    let mut setup = Setup::start_with(1, OFTEN).await;
    for number in 0..30 {
        put(setup.cache(0), &format!("k{number}"), &"v".repeat(number * 200), "kept").await;
    }
    for number in 0..20 {
        invalidate(setup.cache(0), &[pattern(&format!("none{number}*"))]).await;
    }
    bans_go(&mut setup).await;
    assert!(setup.metric("larder_store_sweep_renewed_total").await >= 30.0);
    setup.add_replica().await;
    for number in 0..30 {
        let read = setup.read_by_all(&format!("k{number}")).await;
        assert_eq!(read, vec![Some("v".repeat(number * 200)); 2]);
    }
    // A replica checks entries until it has read the log.
    let checks = setup.metric("larder_store_ban_checks_total").await;
    assert!(checks <= 2.0, "all entries are current: {checks}");
}

/// A failover may bring back entries, markers and the log as they were before the bans were
/// dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_failover_brings_back_stays_banned_although_the_bans_are_dropped() {
    for with_log in [false, true] {
        let mut setup = Setup::start_with(1, OFTEN).await;
        put(setup.cache(0), "k", "old", "t").await;
        let mut names = setup.names(ENTRIES).await;
        names.extend(setup.markers().await);
        let before = setup.dump(&names).await;
        invalidate(setup.cache(0), &[tags(&["t"])]).await;
        let log_before = setup.dump(&log()).await;
        bans_go(&mut setup).await;
        setup.restore(&names, before).await;
        if with_log {
            setup.restore(&log(), log_before).await;
        }
        setup.add_replica().await;
        assert_eq!(setup.read_by_all("k").await, [None, None], "with the log: {with_log}");
        setup.cache(1).get_or_fetch(fetch("k", 0)).await.unwrap().expect_lease();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_keeps_the_bans_that_its_fill_is_checked_against() {
    let mut setup = Setup::start_with(2, OFTEN).await;
    let [banned, other] = ["a", "b"].map(str::to_owned);
    let leases = [setup.cache(0).lease(&banned).await, setup.cache(1).lease(&other).await];
    invalidate(setup.cache(0), &[tags(&["t"])]).await;
    two_passes(&setup).await;
    assert_eq!(setup.logged_bans().await, 1);
    let [first, second] = leases;
    let fills =
        [(banned, first, "t", SetResult::Invalidated), (other, second, "u", SetResult::Stored)];
    for (key, lease, tag, expected) in fills {
        let request = SetRequest { tags: vec![tag.to_owned()], ..fill(&key, text("v"), &lease) };
        let answer = setup.cache(1).set(request).await.unwrap();
        assert_eq!(answer.result(), expected, "{key}");
    }
    bans_go(&mut setup).await;
    assert_eq!(setup.read_by_all("b").await, vec![Some("v".to_owned()); 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_write_is_never_removed() {
    const ALWAYS: &[(&str, &str)] =
        &[("LARDER_STORE__SWEEP_INTERVAL", "10ms"), ("LARDER_STORE__SWEEP_RATE", "1000000")];
    let setup = Setup::start_with(2, ALWAYS).await;
    let mut round = 0;
    throughout(Duration::from_secs(3), async || {
        round += 1;
        let keys = ["a", "b", "c", "d"];
        for (number, key) in keys.into_iter().enumerate() {
            put(setup.cache((round + number) % 2), key, &format!("{round}"), "t").await;
        }
        for key in keys {
            assert_eq!(setup.read_by_all(key).await, vec![Some(round.to_string()); 2]);
        }
        invalidate(setup.cache(round % 2), &[tags(&["t"])]).await;
        assert_eq!(setup.read_by_all("a").await, [None, None]);
    })
    .await;
    assert!(setup.metric("larder_store_sweep_passes_total").await > 5.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_swept_without_bans_and_without_a_rate() {
    const OFF: &[(&str, &str)] =
        &[("LARDER_STORE__SWEEP_INTERVAL", "10ms"), ("LARDER_STORE__SWEEP_RATE", "0")];
    for (variables, bans) in [(OFTEN, false), (OFF, true)] {
        let setup = Setup::start_with(1, variables).await;
        put(setup.cache(0), "k", "v", "t").await;
        if bans {
            invalidate(setup.cache(0), &[tags(&["t"])]).await;
        }
        setup.redis.reset_counts().await;
        throughout(Duration::from_millis(300), async || {
            setup.cache(0).read("k").await;
        })
        .await;
        let counts = setup.redis.counts().await;
        assert!(!counts.contains_key("scan") && !counts.contains_key("set"), "{counts:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pass_is_paced_and_ends_with_the_replica() {
    const SLOWLY: &[(&str, &str)] =
        &[("LARDER_STORE__SWEEP_INTERVAL", "10ms"), ("LARDER_STORE__SWEEP_RATE", "20")];
    let mut setup = Setup::start_with(1, SLOWLY).await;
    for number in 0..400 {
        put(setup.cache(0), &format!("k{number}"), "v", "t").await;
    }
    invalidate(setup.cache(0), &[tags(&["t"])]).await;
    eventually("a pass runs", SOON, async || {
        let is_running = setup.metric("larder_store_sweep_running").await;
        let removed = setup.metric("larder_store_sweep_removed_total").await;
        (is_running == 1.0 && removed > 0.0).then_some(())
    })
    .await;
    assert!(setup.names(ENTRIES).await.len() > 200, "400 keys take 20 seconds");
    let began_at = Instant::now();
    setup.replicas[0].0.signal(Signal::SIGTERM);
    setup.replicas[0].0.wait_exit(SOON).await;
    assert!(began_at.elapsed() < Duration::from_secs(3), "{:?}", began_at.elapsed());
}

/// Another replica goes on when the one that held the lock is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_replica_sweeps_at_a_time() {
    let mut setup = Setup::start_with(2, OFTEN).await;
    redis::cmd("SET").arg("larder:{sweep}").arg("other").exec_async(&mut setup.raw).await.unwrap();
    put(setup.cache(0), "k", "v", "t").await;
    invalidate(setup.cache(0), &[tags(&["t"])]).await;
    throughout(Duration::from_millis(300), async || {
        assert_eq!(setup.metric("larder_store_sweep_passes_total").await, 0.0);
    })
    .await;
    redis::cmd("DEL").arg("larder:{sweep}").exec_async(&mut setup.raw).await.unwrap();
    bans_go(&mut setup).await;
    let left: u64 = redis::cmd("EXISTS").arg(LOG[0]).query_async(&mut setup.raw).await.unwrap();
    assert_eq!(left, 1, "the head has the number of dropped bans");
}

/// An evicted part of the log must be noticed, and a lost log must not lose the bans of another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_log_is_not_repaired_by_the_sweep() {
    let mut setup = Setup::start_with(1, OFTEN).await;
    put(setup.cache(0), "old", "v", "t").await;
    invalidate(setup.cache(0), &[tags(&["t", "u"]), pattern("none*")]).await;
    put(setup.cache(0), "k", "v", "t").await;
    redis::cmd("DEL").arg(LOG[4]).exec_async(&mut setup.raw).await.unwrap();
    setup.add_replica().await;
    eventually("the namespace is invalidated", SOON, async || {
        (setup.cache(1).read("k").await.is_none() || setup.logged_bans().await == 0).then_some(())
    })
    .await;
    assert_eq!(setup.read_by_all("old").await, [None, None]);
    put(setup.cache(0), "k", "new", "t").await;
    eventually("both replicas go by the log as it is", SOON, async || {
        (setup.read_by_all("k").await == vec![Some("new".to_owned()); 2]).then_some(())
    })
    .await;
    invalidate(setup.cache(1), &[tags(&["t"])]).await;
    assert_eq!(setup.read_by_all("k").await, [None, None]);
}
