//! Outages of Redis, of its announcements and of their connection.

use std::time::{Duration, Instant};

use larder::pb::v1::{ResetReason, SetRequest};
use nix::sys::signal::Signal;

use crate::{
    near::kill_tracking_connections,
    support::{
        client::{NS, set, text},
        fleet::{Fleet, metric},
        redis::RedisServer,
        server::Larder,
        wait::{SOON, eventually, throughout},
        watch::{Watch, WatchEvent, watch_request},
    },
};

const CONFIG: &str = "[watch]\nheartbeat = '300ms'\n";
const MAX_DELAY: Duration = Duration::from_secs(1);
/// Tolerance for a slow machine.
const SLACK: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_redis_is_a_reset_within_the_promised_time() {
    let fleet = Fleet::start(1, CONFIG).await;
    let mut watch = Watch::of_ns(&fleet.caches[0], true).await;
    for _ in 0..2 {
        fleet.redis.pause();
        let paused = Instant::now();
        assert_eq!(watch.reset().await, ResetReason::FeedLost);
        assert!(paused.elapsed() < MAX_DELAY + SLACK, "{:?}", paused.elapsed());
        // The stream stays alive.
        assert!(matches!(watch.event().await, WatchEvent::Reset(_)));
        fleet.redis.resume();
        watch.ready().await;
        eventually("the store answers", SOON, async || {
            let answer = fleet.caches[0].set(set("k", text("v"))).await.unwrap();
            (!answer.version.is_empty()).then_some(())
        })
        .await;
        watch.expect_keys(&["k"]).await;
    }
    let resets = metric(&fleet.servers[0], "larder_watch_resets_total").await;
    assert!(resets >= 4.0, "{resets}");
    assert!(fleet.servers[0].logs().contains("watches are reset: Redis cannot be followed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_is_a_reset_and_changes_meanwhile_need_not_be_delivered() {
    let fleet = Fleet::start(2, CONFIG).await;
    let mut watch = Watch::of_ns(&fleet.caches[0], true).await;
    let mut connection = fleet.redis.connection().await;
    for round in 0..5 {
        kill_tracking_connections(&mut connection).await;
        fleet.caches[1].put("meanwhile", "v").await;
        assert_eq!(watch.reset().await, ResetReason::FeedLost);
        watch.ready().await;
        let key = format!("k{round}");
        fleet.caches[1].put(&key, "v").await;
        watch.expect_keys(&[&key]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_redis_is_a_reset() {
    let mut fleet = Fleet::start(1, CONFIG).await;
    let mut watch = Watch::of_ns(&fleet.caches[0], true).await;
    fleet.redis.kill();
    assert_eq!(watch.reset().await, ResetReason::FeedLost);
    fleet.redis.restart().await;
    watch.ready().await;
    eventually("the store answers", SOON, async || {
        let answer = fleet.caches[0].set(set("k", text("v"))).await.unwrap();
        (!answer.version.is_empty()).then_some(())
    })
    .await;
    watch.expect_keys(&["k"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_of_redis_is_a_reset() {
    let fleet = Fleet::start(1, CONFIG).await;
    let mut watch = Watch::of_ns(&fleet.caches[0], false).await;
    let mut connection = fleet.redis.connection().await;
    redis::cmd("FLUSHALL").exec_async(&mut connection).await.unwrap();
    assert_eq!(watch.reset().await, ResetReason::StoreFlushed);
    watch.ready().await;
    fleet.caches[0].invalidate_namespace(crate::support::client::invalidate(NS)).await.unwrap();
    watch.expect(&WatchEvent::all_of_ns()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_begins_when_redis_is_there() {
    let mut redis = RedisServer::stopped();
    let larder = Larder::redis(&redis.url()).config(CONFIG).start().await;
    let cache = larder.client().await;
    let mut watch = Watch::open(&cache, watch_request(&[NS], true, b"")).await.unwrap();
    assert_eq!(watch.event().await, WatchEvent::Reset(ResetReason::StoreUnavailable));
    assert_eq!(watch.event().await, WatchEvent::Reset(ResetReason::StoreUnavailable));
    redis.restart().await;
    watch.ready().await;
}

/// Announcements made while the replica did not run arrive too late to count.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_suspended_resets_its_watches() {
    let fleet = Fleet::start(2, CONFIG).await;
    let mut watch = Watch::of_ns(&fleet.caches[0], true).await;
    for round in 0..2 {
        fleet.servers[0].signal(Signal::SIGSTOP);
        fleet.caches[1].put("meanwhile", "v").await;
        throughout(2 * MAX_DELAY, async || {}).await;
        fleet.servers[0].signal(Signal::SIGCONT);
        assert_eq!(watch.reset().await, ResetReason::FeedLost);
        watch.ready().await;
        let key = format!("k{round}");
        fleet.caches[1].put(&key, "v").await;
        watch.expect_keys(&[&key]).await;
    }
}

/// Other namespaces need another connection, which takes over without a gap.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn further_watches_do_not_reset_others() {
    let fleet = Fleet::start(2, CONFIG).await;
    let mut watch = Watch::of_ns(&fleet.caches[0], true).await;
    let mut others = Vec::new();
    // More than Redis is asked to announce one by one.
    for number in 0..40 {
        let name = format!("other-{number}");
        let request = watch_request(&[&name], true, b"");
        let mut other = Watch::open(&fleet.caches[0], request).await.unwrap();
        let key = format!("k{number}");
        fleet.caches[1].put(&key, "v").await;
        watch.expect_keys(&[&key]).await;
        other.ready().await;
        others.push((name, other));
    }
    for (name, other) in &mut others {
        let request = SetRequest { namespace: name.clone(), ..set("k", text("v")) };
        fleet.caches[1].set(request).await.unwrap();
        other.expect(&WatchEvent::Keys(name.clone(), vec![("k".to_owned(), String::new())])).await;
    }
    fleet.caches[1].put("last", "v").await;
    watch.expect_keys(&["last"]).await;
}
