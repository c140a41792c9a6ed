//! Bans in Redis: several replicas, lost and evicted logs, markers that a failover has restored,
//! and the cost in commands.

use std::collections::BTreeMap;

use larder::pb::v1::{
    BatchSetRequest, IncrementRequest, SetRequest, SetResult, set_request::Condition,
};

use super::ban_setup::{LOG, Setup, log, put};
use crate::support::{
    client::{Cache, NS, batch_get, delete, fetch, get, key_ref, set, text, touch},
    redis::RedisServer,
    targets::{invalidate, pattern, tags},
    wait::{SOON, eventually},
};

fn increment(key: &str) -> IncrementRequest {
    let (namespace, key) = (NS.to_owned(), key.to_owned());
    IncrementRequest { namespace, key, delta: Some(1), ..IncrementRequest::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ban_holds_for_all_replicas_when_it_is_acknowledged() {
    let setup = Setup::start(3).await;
    for round in 0..60 {
        let (writer, banner) = (setup.cache(round % 3), setup.cache((round + 1) % 3));
        let (key, tag) = (format!("k{}", round % 7), format!("t{}", round % 5));
        put(writer, &key, "v", &tag).await;
        put(writer, "kept", "v", "other").await;
        assert_eq!(setup.read_by_all(&key).await, vec![Some("v".to_owned()); 3]);
        let target = if round % 2 == 0 { tags(&[&tag]) } else { pattern(&format!("{key}*")) };
        invalidate(banner, &[target]).await;
        assert_eq!(setup.read_by_all(&key).await, vec![None; 3], "round {round}");
        assert_eq!(setup.read_by_all("kept").await, vec![Some("v".to_owned()); 3]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_from_before_a_ban_that_do_not_match_are_read_and_changed() {
    let setup = Setup::start(1).await;
    let cache = setup.cache(0);
    cache.increment(increment("counter")).await.unwrap();
    let large = "x".repeat(10_000);
    for (key, value) in [("a", "small"), ("b", large.as_str()), ("c", "small"), ("d", "small")] {
        put(cache, key, value, "kept").await;
    }
    for _ in 0..2 {
        invalidate(cache, &[tags(&["other"]), pattern("none*")]).await;
        cache.increment(increment("counter")).await.unwrap();
        assert!(cache.touch(touch("a", 60_000)).await.unwrap().found);
        assert!(cache.touch(touch("b", 60_000)).await.unwrap().found);
        let present = Some(Condition::IfPresent(true));
        let replaced = SetRequest { condition: present, ..set("c", text("new")) };
        assert_eq!(cache.set(replaced).await.unwrap().result(), SetResult::Stored);
        assert_eq!(cache.read("b").await.as_deref(), Some(large.as_str()));
    }
    assert_eq!(cache.read("counter").await.as_deref(), Some("3"));
    assert!(cache.delete(delete("d")).await.unwrap().existed);
    let keys = ["a", "b", "c", "counter"].map(key_ref).to_vec();
    let chunks = cache.batch_get(batch_get(keys)).await.unwrap();
    assert!(chunks.iter().flat_map(|chunk| &chunk.results).all(|result| result.value.is_some()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn banned_entries_count_as_missing_in_every_operation() {
    let setup = Setup::start(1).await;
    let cache = setup.cache(0);
    cache.increment(increment("counter")).await.unwrap();
    cache.increment(increment("counter")).await.unwrap();
    for key in ["a", "b", "c"] {
        put(cache, key, "old", "t").await;
    }
    invalidate(cache, &[tags(&["t"]), pattern("count*")]).await;
    assert!(!cache.touch(touch("a", 60_000)).await.unwrap().found);
    let absent = SetRequest { condition: Some(Condition::IfAbsent(true)), ..set("b", text("new")) };
    assert_eq!(cache.set(absent).await.unwrap().result(), SetResult::Stored);
    assert!(!cache.delete(delete("c")).await.unwrap().existed);
    cache.increment(increment("counter")).await.unwrap();
    assert_eq!(cache.read("counter").await.as_deref(), Some("1"));
    assert!(cache.get(get("a")).await.unwrap().value.is_none());
    assert!(cache.get_or_fetch(fetch("a", 0)).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_bounded_and_forgotten_when_it_is_full() {
    let mut setup = Setup::start(2).await;
    put(setup.cache(0), "k", "v", "kept").await;
    let mut whole = 0;
    for number in 0..35 {
        let results = invalidate(setup.cache(number % 2), &[tags(&[&format!("t{number}")])]).await;
        whole += usize::from(results[0].namespace_invalidated);
        let known: u64 = redis::cmd("ZCARD").arg(LOG[1]).query_async(&mut setup.raw).await.unwrap();
        assert!(known <= 10, "{known}");
    }
    assert_eq!(whole, 3, "once for each ten tags, and one more");
    assert_eq!(setup.read_by_all("k").await, [None, None]);
    // Its marker is missing. A replica that has not read the last ban yet makes one that is older.
    eventually("an entry with the last tag stays", SOON, async || {
        put(setup.cache(1), "k", "v", "t34").await;
        (setup.read_by_all("k").await == vec![Some("v".to_owned()); 2]).then_some(())
    })
    .await;
    invalidate(setup.cache(0), &[tags(&["t34"])]).await;
    assert_eq!(setup.read_by_all("k").await, [None, None]);
}

/// Redis may evict the log. Then nothing is valid that was written before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_evicted_log_hides_the_entries_that_it_was_for() {
    for evicted in LOG {
        let mut setup = Setup::start(1).await;
        put(setup.cache(0), "banned", "old", "t").await;
        put(setup.cache(0), "other", "old", "u").await;
        invalidate(setup.cache(0), &[tags(&["t"]), pattern("none")]).await;
        redis::cmd("DEL").arg(evicted).exec_async(&mut setup.raw).await.unwrap();
        setup.add_replica().await;
        assert_eq!(setup.read_by_all("banned").await, [None, None], "without {evicted}");
        put(setup.cache(1), "banned", "new", "t").await;
        let new = vec![Some("new".to_owned()); 2];
        eventually("both replicas have read the log", SOON, async || {
            (setup.read_by_all("banned").await == new).then_some(())
        })
        .await;
        invalidate(setup.cache(1), &[tags(&["t"])]).await;
        assert_eq!(setup.read_by_all("banned").await, [None, None], "without {evicted}");
    }
}

/// Redis may evict several parts of the log. Those that are left are of no use, and must not be
/// taken for those of the log that begins anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bans_go_on_whatever_is_evicted_of_the_log() {
    let mut setup = Setup::start(2).await;
    for evicted in 1..1 << LOG.len() {
        // More than one, so that ids of several numbers are left.
        for number in 0..3 {
            invalidate(setup.cache(number % 2), &[tags(&[&format!("t{number}")])]).await;
        }
        let names = LOG.iter().enumerate().filter(|(part, _)| evicted & (1 << part) != 0);
        let names: Vec<&str> = names.map(|(_, name)| *name).collect();
        redis::cmd("DEL").arg(&names).exec_async(&mut setup.raw).await.unwrap();
        for round in 0..4 {
            // A replica that meets the loss later invalidates what was written meanwhile.
            eventually("the entry stays", SOON, async || {
                put(setup.cache(round % 2), "k", "v", "t").await;
                (setup.read_by_all("k").await == vec![Some("v".to_owned()); 2]).then_some(())
            })
            .await;
            invalidate(setup.cache((round + 1) % 2), &[tags(&["t"])]).await;
            assert_eq!(setup.read_by_all("k").await, [None, None], "without {names:?}");
        }
    }
}

/// A failover may restore a marker of a shard, and an entry with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_marker_does_not_undo_a_ban() {
    let mut setup = Setup::start(1).await;
    put(setup.cache(0), "k", "v", "t").await;
    let markers = setup.markers().await;
    let before = setup.dump(&markers).await;
    invalidate(setup.cache(0), &[tags(&["t"])]).await;
    let after = setup.dump(&markers).await;
    assert_ne!(before, after);
    setup.restore(&markers, before).await;
    setup.add_replica().await;
    assert_eq!(setup.read_by_all("k").await, [None, None]);
    eventually("the marker is moved forward", SOON, async || {
        setup.read_by_all("k").await;
        (setup.dump(&markers).await == after).then_some(())
    })
    .await;
}

/// A failover may lose bans that markers and entries refer to. Other bans get their numbers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_of_lost_bans_are_not_trusted() {
    let mut setup = Setup::start(1).await;
    put(setup.cache(0), "first", "v", "t").await;
    invalidate(setup.cache(0), &[tags(&["none"])]).await;
    let log = log();
    let before = setup.dump(&log).await;
    invalidate(setup.cache(0), &[tags(&["lost"])]).await;
    // Written after the lost ban, and thus not older than a ban with its number.
    put(setup.cache(0), "k", "v", "t").await;
    setup.restore(&log, before).await;
    setup.add_replica().await;
    invalidate(setup.cache(1), &[tags(&["t"])]).await;
    eventually("both replicas have read the ban", SOON, async || {
        (setup.read_by_all("k").await == [None, None]).then_some(())
    })
    .await;
    assert_eq!(setup.read_by_all("first").await, [None, None]);
    put(setup.cache(0), "k", "new", "t").await;
    assert_eq!(setup.read_by_all("k").await, vec![Some("new".to_owned()); 2]);
}

/// A million keys are as cheap: no command depends on their number. Larder has written 50,000 of
/// them, and Redis the others, which is faster.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cost_of_a_ban_is_independent_of_the_number_of_keys() {
    const MANY: usize = 50_000;
    const ALL: usize = 1_000_000;
    const QUIET: &[(&str, &str)] =
        &[("LARDER_STATS__FLUSH_INTERVAL", "1h"), ("LARDER_STORE__SWEEP_RATE", "0")];
    let redis = RedisServer::start_with(&["--enable-debug-command", "yes"]).await;
    let mut setup = Setup::start_on(redis, 1, QUIET).await;
    let cache = setup.cache(0).clone();
    let cache = &cache;
    let targets = [("a tag ban", tags(&["t"])), ("a glob ban", pattern("k*"))];
    // The first calls load the scripts.
    invalidate(cache, &[tags(&["x"]), pattern("x*")]).await;
    let mut costs: Vec<Vec<BTreeMap<String, u64>>> = Vec::new();
    // Each target is new to the log in the first round only.
    for keys in [2_000, 2_000, MANY] {
        let mut of_targets = Vec::new();
        if keys == MANY {
            let mut populate = redis::cmd("DEBUG");
            populate.arg("POPULATE").arg(ALL - MANY).arg("larder:{ns:17}:k:more");
            // Takes longer than the client waits for an answer.
            let _ = populate.exec_async(&mut setup.raw).await;
            eventually("the keys are there", 3 * SOON, async || {
                let size: u64 =
                    redis::cmd("DBSIZE").query_async(&mut setup.raw.clone()).await.ok()?;
                (size > (ALL - MANY) as u64).then_some(())
            })
            .await;
        }
        for (_, target) in &targets {
            put_many(cache, keys).await;
            setup.redis.reset_counts().await;
            invalidate(cache, std::slice::from_ref(target)).await;
            let mut counts = setup.redis.counts().await;
            // The shared clock is written every ten seconds. The keys of the log are extended.
            counts.retain(|name, _| name != "pexpire");
            of_targets.push(counts);
            assert_eq!(cache.read("k7").await, None);
        }
        costs.push(of_targets);
    }
    for ((name, _), counts) in targets.iter().zip(&costs[2]) {
        eprintln!("{name} with {ALL} keys: {counts:?}");
        assert_eq!(counts.get("scan"), None);
        // One read and one write of each of the 64 markers, and the log.
        assert!(counts.values().sum::<u64>() < 64 * 2 + 64, "{counts:?}");
    }
    let commands = |costs: &[BTreeMap<String, u64>]| -> Vec<u64> {
        costs.iter().map(|counts| counts.values().sum()).collect()
    };
    assert_eq!(commands(&costs[1]), commands(&costs[2]));
}

async fn put_many(cache: &Cache, keys: usize) {
    let numbers: Vec<usize> = (0..keys).collect();
    for numbers in numbers.chunks(1000) {
        let item = |number: &usize| SetRequest {
            tags: vec!["t".to_owned()],
            ..set(&format!("k{number}"), text("v"))
        };
        let items = numbers.iter().map(item).collect();
        let results = cache.batch_set(BatchSetRequest { items }).await.unwrap().results;
        assert!(results.iter().all(|result| result.result() == SetResult::Stored));
    }
}
