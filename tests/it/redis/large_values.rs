//! Large values bypass the Lua scripts and behave like small ones.

use std::time::Duration;

use larder::pb::v1::{GetOrFetchRequest, SetRequest, SetResult, Tier, set_request::Condition};
use redis::{AsyncCommands as _, aio::MultiplexedConnection};
use tonic::Code;

use crate::support::{
    client::{
        Cache, Fetched as _, as_text, delete, fetch, fill, get, increment, invalidate, set,
        set_for, text, touch,
    },
    redis::RedisServer,
    server::Larder,
    status::expect_error,
    wait::{SOON, eventually, throughout},
};

const ENTRY: &str = "larder:{ns:0}:k:k";

struct Setup {
    redis: RedisServer,
    connection: MultiplexedConnection,
    larder: Larder,
    cache: Cache,
}

impl Setup {
    async fn start() -> Self {
        let redis = RedisServer::start().await;
        let connection = redis.connection().await;
        let larder = Larder::redis(&redis.url())
            .env("LARDER_STORE__SHARDS", "1")
            .env("LARDER_STATS__FLUSH_INTERVAL", "1h");
        let larder = larder
            .env("LARDER_STORE__TIMEOUT", "1s")
            .env("LARDER_NAMESPACES__NS__TTL_JITTER", "0")
            .start()
            .await;
        let cache = larder.client().await;
        Self { redis, connection, larder, cache }
    }

    /// Names of staged values, which are written but not yet moved to their key.
    async fn staged_names(&mut self) -> Vec<String> {
        self.connection.keys("larder:w:*").await.unwrap()
    }

    async fn ttl(&mut self) -> i64 {
        self.connection.pttl(ENTRY).await.unwrap()
    }

    async fn entry_bytes(&mut self) -> Vec<u8> {
        self.connection.get(ENTRY).await.unwrap()
    }
}

fn large(letter: &str) -> String {
    letter.repeat(300_000)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_value_is_stored_like_a_small_one() {
    let mut setup = Setup::start().await;
    setup.cache.set(set_for("k", text("small"), 60_000)).await.unwrap();
    let small = setup.entry_bytes().await;
    for value in [large("a"), "b".repeat(4095), "c".repeat(4096), large("d")] {
        let stored = setup.cache.set(set_for("k", text(&value), 60_000)).await.unwrap();
        assert_eq!(stored.result(), SetResult::Stored);
        assert_eq!(setup.cache.read("k").await.as_deref(), Some(value.as_str()));
        let entry = setup.entry_bytes().await;
        // A large entry has room for a position.
        let shift = if value.len() < 4096 { 0 } else { 24 };
        assert_eq!(entry[0], if shift == 0 { 2 } else { 3 });
        // Generation; kind, flags and extensions.
        assert_eq!(entry[1..17], small[1..17]);
        assert_eq!(entry[57 + shift..61 + shift], small[57..61]);
        // The checksum of the value.
        let rest = &entry[61 + shift..];
        assert_eq!((&rest[..3], &rest[11..]), (&[7, 0, 8][..], value.as_bytes()));
        assert!((50_000..=60_000).contains(&setup.ttl().await));
        assert_eq!(setup.staged_names().await, Vec::<String>::new());
    }
    setup.redis.reset_counts().await;
    setup.cache.set(set("k", text(&large("e")))).await.unwrap();
    let counts = setup.redis.counts().await;
    assert_eq!((counts["evalsha"], counts["set"], counts["rename"]), (1, 1, 1), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_filled_with_a_large_value() {
    let mut setup = Setup::start().await;
    let lease = setup.cache.lease("k").await;
    let waiting = {
        let rpc = setup.larder.client().await;
        tokio::spawn(async move { rpc.get_or_fetch(fetch("k", 30_000)).await })
    };
    let stored = setup.cache.set(fill("k", text(&large("a")), &lease)).await.unwrap();
    assert_eq!(stored.result(), SetResult::Stored);
    let answer = waiting.await.unwrap().unwrap();
    let found = answer.expect_found();
    assert_eq!(as_text(found.value), Some(large("a")));
    assert_eq!(setup.cache.read("k").await, Some(large("a")));
    assert_eq!(setup.staged_names().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_writes_leave_no_staged_value() {
    let mut setup = Setup::start().await;
    setup.cache.put("k", &large("a")).await;
    let absent =
        SetRequest { condition: Some(Condition::IfAbsent(true)), ..set("k", text(&large("b"))) };
    assert_eq!(setup.cache.set(absent).await.unwrap().result(), SetResult::ConditionNotMet);
    assert_eq!(setup.staged_names().await, Vec::<String>::new());

    let lease = setup.cache.lease("leased").await;
    setup.cache.delete(delete("leased")).await.unwrap();
    let refused = setup.cache.set(fill("leased", text(&large("c")), &lease)).await.unwrap();
    assert_eq!(refused.result(), SetResult::Invalidated);
    assert_eq!(setup.cache.read("leased").await, None);
    assert_eq!(setup.staged_names().await, Vec::<String>::new());
    assert_eq!(setup.cache.read("k").await, Some(large("a")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn touch_does_not_rewrite_the_value() {
    let mut setup = Setup::start().await;
    let version = setup.cache.put("k", &large("a")).await;
    let before = setup.entry_bytes().await;
    assert!(setup.cache.touch(touch("k", 3_600_000)).await.unwrap().found);
    let after = setup.entry_bytes().await;
    // Everything but the time until which the entry is fresh.
    assert_eq!((&after[..49], &after[57..]), (&before[..49], &before[57..]));
    assert_ne!(after[49..57], before[49..57]);
    assert!(setup.ttl().await > 3_000_000);
    let read = setup.cache.get(get("k")).await.unwrap();
    assert_eq!(read.entry.unwrap().version, version);
    assert_eq!(as_text(read.value), Some(large("a")));
    setup.cache.invalidate_namespace(invalidate("ns")).await.unwrap();
    assert!(!setup.cache.touch(touch("k", 3_600_000)).await.unwrap().found);
    assert!(!setup.cache.delete(delete("k")).await.unwrap().existed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushed_scripts_are_loaded_again() {
    let mut setup = Setup::start().await;
    for letter in ["a", "b"] {
        redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut setup.connection).await.unwrap();
        setup.cache.put("k", &large(letter)).await;
        assert_eq!(setup.cache.read("k").await, Some(large(letter)));
        assert_eq!(setup.staged_names().await, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_redis_refuses_a_large_value() {
    let mut setup = Setup::start().await;
    setup.cache.put("k", "small").await;
    redis::cmd("CONFIG")
        .arg("SET")
        .arg("maxmemory")
        .arg("1")
        .exec_async(&mut setup.connection)
        .await
        .unwrap();
    let refused = setup.cache.set(set("k", text(&large("a")))).await.unwrap();
    assert_eq!((refused.result(), refused.degraded), (SetResult::NotStored, false));
    assert_eq!(setup.staged_names().await, Vec::<String>::new());
    assert_eq!(setup.cache.read("k").await.as_deref(), Some("small"));
    redis::cmd("CONFIG")
        .arg("SET")
        .arg("maxmemory")
        .arg("0")
        .exec_async(&mut setup.connection)
        .await
        .unwrap();
    setup.cache.put("k", &large("a")).await;
}

/// Memory runs out before the value, within it, or between it and the script that moves it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_is_stored_whole_or_not_at_all_when_memory_runs_out() {
    let mut setup = Setup::start().await;
    setup.cache.put("k", "small").await;
    let used: redis::InfoDict =
        redis::cmd("INFO").arg("memory").query_async(&mut setup.connection).await.unwrap();
    let used: u64 = used.get("used_memory").unwrap();
    let mut current = "small".to_owned();
    let (mut stored, mut refused) = (0, 0);
    for (step, letter) in (0..200).zip(["a", "b", "c"].into_iter().cycle()) {
        let limit = used + step * 10_000;
        redis::cmd("CONFIG")
            .arg("SET")
            .arg("maxmemory")
            .arg(limit)
            .exec_async(&mut setup.connection)
            .await
            .unwrap();
        match setup.cache.set(set("k", text(&large(letter)))).await.unwrap().result() {
            SetResult::Stored => {
                current = large(letter);
                stored += 1;
            }
            SetResult::NotStored => refused += 1,
            other => panic!("{other:?}"),
        }
        assert!(
            setup.cache.read("k").await.as_deref() == Some(current.as_str()),
            "{limit}: another value is stored"
        );
        assert_eq!(setup.staged_names().await, Vec::<String>::new(), "{limit}");
    }
    assert!(stored > 0 && refused > 0, "{stored} {refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn granting_a_lease_does_not_read_the_value() {
    let setup = Setup::start().await;
    setup.cache.put("k", &large("a")).await;
    let forced = || GetOrFetchRequest { no_cache: true, ..fetch("k", 0) };
    let lease = setup.cache.get_or_fetch(forced()).await.unwrap().expect_lease();
    setup.redis.reset_counts().await;
    setup.cache.get_or_fetch(forced()).await.unwrap().expect_contended();
    let counts = setup.redis.counts().await;
    // The two GETs read the marker and the lease.
    assert_eq!((counts["evalsha"], counts["get"], counts["getrange"]), (1, 2, 1), "{counts:?}");

    let refused = setup.cache.increment(increment("k", 1)).await;
    expect_error(refused, Code::FailedPrecondition, "NOT_AN_INTEGER");
    assert_eq!(setup.redis.counts().await.get("getrange"), Some(&3));
    let filled = setup.cache.set(fill("k", text(&large("b")), &lease)).await.unwrap();
    assert_eq!(filled.result(), SetResult::Stored);
}

/// Redis is paused, so the value and the script that moves it stay in the socket past the timeout.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_value_is_not_stored() {
    let mut setup = Setup::start().await;
    setup.cache.put("k", "small").await;
    setup.redis.pause();
    let set = setup.cache.set(set("k", text(&large("a")))).await.unwrap();
    assert_eq!(set.result(), SetResult::NotStored);
    setup.redis.resume();
    eventually("Redis answers again", SOON, async || {
        (!setup.cache.get(get("k")).await.unwrap().degraded).then_some(())
    })
    .await;
    throughout(Duration::from_millis(300), async || {
        assert_eq!(setup.cache.read("k").await.as_deref(), Some("small"));
    })
    .await;
    assert_eq!(setup.staged_names().await, Vec::<String>::new());
}

/// The value is renamed to its key, which must invalidate near caches as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_value_invalidates_near_caches() {
    let redis = RedisServer::start().await;
    let start = || {
        Larder::redis(&redis.url())
            .env("LARDER_NAMESPACES__NS__NEAR_CACHE__MAX_STALENESS", "10m")
            .start()
    };
    let (here, there) = (start().await, start().await);
    let (writer, reader) = (here.client().await, there.client().await);
    for letter in ["a", "b", "c"] {
        writer.put("k", &large(letter)).await;
        eventually("the other replica reads and caches the value", SOON, async || {
            let read = reader.get(get("k")).await.unwrap();
            let tier = read.entry.as_ref().map(|entry| entry.tier());
            (as_text(read.value) == Some(large(letter)) && tier == Some(Tier::Near)).then_some(())
        })
        .await;
    }
}
