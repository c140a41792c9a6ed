//! The clock of Redis is set while entries, leases and back-offs depend on it.

use std::time::Duration;

use larder::pb::v1::{Lease, SetResult, get_or_fetch_response::Outcome as Answer};

use crate::support::{
    client::{Cache, delete, fetch, fill, get, increment, set, set_for, text},
    fleet::metric,
    redis::RedisServer,
    server::{Builder, Larder},
    wait::{SOON, eventually},
};

const HOUR: i64 = 3600;
/// Most of the lifetimes in these tests are 3 s.
const BOUND: Duration = Duration::from_secs(8);

fn replica(redis: &RedisServer) -> Builder {
    Larder::redis(&redis.url())
        .env("LARDER_DEFAULTS__TTL_JITTER", 0)
        .env("LARDER_DEFAULTS__LEASE_TTL", "3s")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_lasts_longer_when_the_clock_is_set_back() {
    let redis = RedisServer::start_with_settable_clock().await;
    let [here, there] = [replica(&redis).start().await, replica(&redis).start().await];
    let (writer, reader) = (here.client().await, there.client().await);
    depend_on_the_clock(&writer).await;
    redis.set_clock(-HOUR);
    // A replica that starts after the step learns about it from Redis.
    let late = replica(&redis).start().await;
    assert_nothing_lasts(&[&writer, &reader, &late.client().await]).await;

    for larder in [&here, &there, &late] {
        eventually("the replicas agree about the clock", SOON, async || {
            let ahead = metric(larder, "larder_store_clock_ahead_seconds").await;
            (ahead - 3600.0).abs().lt(&2.0).then_some(())
        })
        .await;
    }
    // Entries that are written from now on have the intended lifetime.
    writer.set(set_for("after", text("v"), 60_000)).await.unwrap();
    assert_eq!(reader.read("after").await.as_deref(), Some("v"));
    let lease = reader.lease("after lease").await;
    let filled = reader.set(fill("after lease", text("v"), &lease)).await.unwrap();
    assert_eq!(filled.result(), SetResult::Stored);
    assert_eq!(writer.read("after lease").await.as_deref(), Some("v"));
    depend_on_the_clock(&writer).await;
    assert_nothing_lasts(&[&writer, &reader]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_lasts_longer_when_the_clock_is_set_back_while_no_replica_runs() {
    let redis = RedisServer::start_with_settable_clock().await;
    let before = replica(&redis).start().await;
    depend_on_the_clock(&before.client().await).await;
    drop(before);
    redis.set_clock(-HOUR);
    let after = replica(&redis).start().await;
    assert_nothing_lasts(&[&after.client().await]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn step_without_any_record_of_the_time_is_bounded() {
    let redis = RedisServer::start_with_settable_clock().await;
    let before = replica(&redis).start().await;
    depend_on_the_clock(&before.client().await).await;
    drop(before);
    let mut keys = redis.connection().await;
    redis::cmd("DEL").arg("larder:{clock}").exec_async(&mut keys).await.unwrap();
    redis.set_clock(-HOUR);
    let after = replica(&redis).start().await;
    let cache = after.client().await;
    // The age of the entry is unknown, so it is not used at all.
    assert_eq!(cache.read("entry").await, None);
    assert_nothing_lasts(&[&cache]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clock_that_is_set_forward_costs_hits_and_no_writes_for_long() {
    let redis = RedisServer::start_with_settable_clock().await;
    let larder = replica(&redis).start().await;
    let cache = larder.client().await;
    cache.put("k", "v").await;
    redis.set_clock(HOUR);
    eventually("writes are stored", SOON, async || {
        let answer = cache.set(set("k", text("new"))).await.unwrap();
        (answer.result() == SetResult::Stored).then_some(())
    })
    .await;
    assert_eq!(cache.read("k").await.as_deref(), Some("new"));
    redis.set_clock(0);
    eventually("the step back is noticed", SOON, async || {
        (metric(&larder, "larder_store_clock_steps_total").await >= 2.0).then_some(())
    })
    .await;
    assert_eq!(cache.read("k").await.as_deref(), Some("new"));
    cache.put("k", "newer").await;
    assert_eq!(cache.read("k").await.as_deref(), Some("newer"));
}

/// An entry, a lease whose holder is gone, and a hold-off, each for 3 s.
async fn depend_on_the_clock(cache: &Cache) {
    cache.set(set_for("entry", text("v"), 3_000)).await.unwrap();
    cache.lease("lease").await;
    let mut held_off = delete("hold-off");
    held_off.hold_off = crate::support::client::ms(3_000);
    cache.delete(held_off).await.unwrap();
}

async fn assert_nothing_lasts(caches: &[&Cache]) {
    for cache in caches {
        eventually("the entry expires", BOUND, async || {
            let answer = cache.get(get("entry")).await.unwrap();
            (answer.value.is_none() && !answer.degraded).then_some(())
        })
        .await;
    }
    for key in ["lease", "hold-off"] {
        // During a hold-off, callers get leases under which nothing is stored.
        eventually("a fill is accepted", BOUND, async || {
            let lease = lease(caches[0], key).await?;
            let filled = caches[0].set(fill(key, text("v"), &lease)).await.unwrap();
            (filled.result() == SetResult::Stored).then_some(())
        })
        .await;
        caches[0].delete(delete(key)).await.unwrap();
    }
}

async fn lease(cache: &Cache, key: &str) -> Option<Lease> {
    match cache.get_or_fetch(fetch(key, 0)).await.unwrap().outcome {
        Some(Answer::Lease(lease)) => Some(lease),
        _ => None,
    }
}

/// A replica writes what it has read before, and another one may have written meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_write_of_the_shared_clock_takes_nothing_back() {
    const SCRIPT: &str = include_str!("../../../src/store/redis/scripts/share_clock.lua");
    let redis = RedisServer::start().await;
    let mut connection = redis.connection().await;
    for (ahead, latest, shards) in [(100, 1_800_000_000_000_u64, 64), (50, 1_800_000_000_001, 32)] {
        let mut write = redis::cmd("EVAL");
        write.arg(SCRIPT).arg(1).arg("clock").arg(ahead).arg(latest).arg(shards).arg(60_000);
        write.exec_async(&mut connection).await.unwrap();
    }
    let state: std::collections::BTreeMap<String, u64> =
        redis::cmd("HGETALL").arg("clock").query_async(&mut connection).await.unwrap();
    let expected = [("ahead", 100), ("latest", 1_800_000_000_001), ("shards", 64)];
    assert!(state.iter().map(|(name, value)| (name.as_str(), *value)).eq(expected), "{state:?}");
}

/// A replica that starts while Redis has a fault must learn of the steps before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_is_shared_while_a_fault_lasts() {
    let redis = RedisServer::start_with_settable_clock().await;
    let larder = replica(&redis).start().await;
    let cache = larder.client().await;
    cache.put("k", "v").await;
    let mut connection = redis.connection().await;
    let mut deny = redis::cmd("ACL");
    deny.arg(&["SETUSER", "default", "-incrby"]).exec_async(&mut connection).await.unwrap();
    cache.increment(increment("n", 1)).await.unwrap_err();
    let lasts = async || metric(&larder, "larder_store_fault_lasting").await >= 1.0;
    assert!(lasts().await, "{}", larder.logs());
    redis.set_clock(-HOUR);
    eventually("the step is shared", SOON, async || {
        let mut read = redis::cmd("HGET");
        read.arg("larder:{clock}").arg("ahead");
        let ahead: Option<u64> = read.query_async(&mut connection).await.unwrap();
        (ahead? >= 3_590_000).then_some(())
    })
    .await;
    assert!(lasts().await, "{}", larder.logs());
}
