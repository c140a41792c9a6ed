//! Large values do not go through scripts, and nobody can tell.

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

struct Stored {
    redis: RedisServer,
    connection: MultiplexedConnection,
    larder: Larder,
    cache: Cache,
}

impl Stored {
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

    /// Names of everything that waits to be stored.
    async fn aside(&mut self) -> Vec<String> {
        self.connection.keys("larder:w:*").await.unwrap()
    }

    async fn ttl(&mut self) -> i64 {
        self.connection.pttl(ENTRY).await.unwrap()
    }

    async fn stored(&mut self) -> Vec<u8> {
        self.connection.get(ENTRY).await.unwrap()
    }
}

fn large(letter: &str) -> String {
    letter.repeat(300_000)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_stored_like_a_small_one() {
    let mut env = Stored::start().await;
    env.cache.set(set_for("k", text("small"), 60_000)).await.unwrap();
    let small = env.stored().await;
    for value in [large("a"), "b".repeat(4095), "c".repeat(4096), large("d")] {
        let stored = env.cache.set(set_for("k", text(&value), 60_000)).await.unwrap();
        assert_eq!(stored.result(), SetResult::Stored);
        assert_eq!(env.cache.read("k").await.as_deref(), Some(value.as_str()));
        let entry = env.stored().await;
        // Format and generation; kind, flags and extensions.
        assert_eq!((&entry[..17], &entry[57..61]), (&small[..17], &small[57..61]));
        assert_eq!(&entry[61..], value.as_bytes());
        assert!((50_000..=60_000).contains(&env.ttl().await));
        assert_eq!(env.aside().await, Vec::<String>::new());
    }
    env.redis.reset_counts().await;
    env.cache.set(set("k", text(&large("e")))).await.unwrap();
    let counts = env.redis.counts().await;
    assert_eq!((counts["evalsha"], counts["set"], counts["rename"]), (1, 1, 1), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_filled_with_one() {
    let mut env = Stored::start().await;
    let lease = env.cache.lease("k").await;
    let waiting = {
        let rpc = env.larder.client().await;
        tokio::spawn(async move { rpc.get_or_fetch(fetch("k", 30_000)).await })
    };
    let stored = env.cache.set(fill("k", text(&large("a")), &lease)).await.unwrap();
    assert_eq!(stored.result(), SetResult::Stored);
    let answer = waiting.await.unwrap().unwrap();
    let found = answer.expect_found();
    assert_eq!(as_text(found.value), Some(large("a")));
    assert_eq!(env.cache.read("k").await, Some(large("a")));
    assert_eq!(env.aside().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_leaves_nothing_behind() {
    let mut env = Stored::start().await;
    env.cache.put("k", &large("a")).await;
    let absent =
        SetRequest { condition: Some(Condition::IfAbsent(true)), ..set("k", text(&large("b"))) };
    assert_eq!(env.cache.set(absent).await.unwrap().result(), SetResult::ConditionNotMet);
    assert_eq!(env.aside().await, Vec::<String>::new());

    let lease = env.cache.lease("leased").await;
    env.cache.delete(delete("leased")).await.unwrap();
    let refused = env.cache.set(fill("leased", text(&large("c")), &lease)).await.unwrap();
    assert_eq!(refused.result(), SetResult::Invalidated);
    assert_eq!(env.cache.read("leased").await, None);
    assert_eq!(env.aside().await, Vec::<String>::new());
    assert_eq!(env.cache.read("k").await, Some(large("a")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_lifetime_changes_without_it() {
    let mut env = Stored::start().await;
    let version = env.cache.put("k", &large("a")).await;
    let before = env.stored().await;
    assert!(env.cache.touch(touch("k", 3_600_000)).await.unwrap().found);
    let after = env.stored().await;
    // All but the time until which it is fresh.
    assert_eq!((&after[..25], &after[33..]), (&before[..25], &before[33..]));
    assert_ne!(after[25..33], before[25..33]);
    assert!(env.ttl().await > 3_000_000);
    let read = env.cache.get(get("k")).await.unwrap();
    assert_eq!(read.entry.unwrap().version, version);
    assert_eq!(as_text(read.value), Some(large("a")));
    env.cache.invalidate_namespace(invalidate("ns")).await.unwrap();
    assert!(!env.cache.touch(touch("k", 3_600_000)).await.unwrap().found);
    assert!(!env.cache.delete(delete("k")).await.unwrap().existed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_forgets_its_scripts_is_told_again() {
    let mut env = Stored::start().await;
    for letter in ["a", "b"] {
        redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut env.connection).await.unwrap();
        env.cache.put("k", &large(letter)).await;
        assert_eq!(env.cache.read("k").await, Some(large(letter)));
        assert_eq!(env.aside().await, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_memory_says_so() {
    let mut env = Stored::start().await;
    env.cache.put("k", "small").await;
    redis::cmd("CONFIG")
        .arg("SET")
        .arg("maxmemory")
        .arg("1")
        .exec_async(&mut env.connection)
        .await
        .unwrap();
    let refused = env.cache.set(set("k", text(&large("a")))).await.unwrap();
    assert_eq!((refused.result(), refused.degraded), (SetResult::NotStored, false));
    assert_eq!(env.aside().await, Vec::<String>::new());
    assert_eq!(env.cache.read("k").await.as_deref(), Some("small"));
    redis::cmd("CONFIG")
        .arg("SET")
        .arg("maxmemory")
        .arg("0")
        .exec_async(&mut env.connection)
        .await
        .unwrap();
    env.cache.put("k", &large("a")).await;
}

/// Memory ends before it, in the middle of it, or between it and the script that takes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_stored_whole_or_not_at_all_wherever_memory_ends() {
    let mut env = Stored::start().await;
    env.cache.put("k", "small").await;
    let used: redis::InfoDict =
        redis::cmd("INFO").arg("memory").query_async(&mut env.connection).await.unwrap();
    let used: u64 = used.get("used_memory").unwrap();
    let mut current = "small".to_owned();
    let (mut stored, mut refused) = (0, 0);
    for (step, letter) in (0..200).zip(["a", "b", "c"].into_iter().cycle()) {
        let limit = used + step * 10_000;
        redis::cmd("CONFIG")
            .arg("SET")
            .arg("maxmemory")
            .arg(limit)
            .exec_async(&mut env.connection)
            .await
            .unwrap();
        match env.cache.set(set("k", text(&large(letter)))).await.unwrap().result() {
            SetResult::Stored => {
                current = large(letter);
                stored += 1;
            }
            SetResult::NotStored => refused += 1,
            other => panic!("{other:?}"),
        }
        assert!(
            env.cache.read("k").await.as_deref() == Some(current.as_str()),
            "{limit}: something else is stored"
        );
        assert_eq!(env.aside().await, Vec::<String>::new(), "{limit}");
    }
    assert!(stored > 0 && refused > 0, "{stored} {refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_not_read_to_learn_who_computes_the_next() {
    let env = Stored::start().await;
    env.cache.put("k", &large("a")).await;
    let anew = || GetOrFetchRequest { no_cache: true, ..fetch("k", 0) };
    let lease = env.cache.get_or_fetch(anew()).await.unwrap().expect_lease();
    env.redis.reset_counts().await;
    env.cache.get_or_fetch(anew()).await.unwrap().expect_contended();
    let counts = env.redis.counts().await;
    // Marker and lease.
    assert_eq!((counts["evalsha"], counts["get"], counts["getrange"]), (1, 2, 1), "{counts:?}");

    let refused = env.cache.increment(increment("k", 1)).await;
    expect_error(refused, Code::FailedPrecondition, "NOT_AN_INTEGER");
    assert_eq!(env.redis.counts().await.get("getrange"), Some(&3));
    let filled = env.cache.set(fill("k", text(&large("b")), &lease)).await.unwrap();
    assert_eq!(filled.result(), SetResult::Stored);
}

/// The server is stopped, so the entry and the script that takes it lie in its socket until their time is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_comes_too_late_is_not_stored() {
    let mut env = Stored::start().await;
    env.cache.put("k", "small").await;
    env.redis.pause();
    let set = env.cache.set(set("k", text(&large("a")))).await.unwrap();
    assert_eq!(set.result(), SetResult::NotStored);
    env.redis.resume();
    eventually("the store is back", SOON, async || {
        (!env.cache.get(get("k")).await.unwrap().degraded).then_some(())
    })
    .await;
    throughout(Duration::from_millis(300), async || {
        assert_eq!(env.cache.read("k").await.as_deref(), Some("small"));
    })
    .await;
    assert_eq!(env.aside().await, Vec::<String>::new());
}

/// It comes into its place under another name, which those who remember entries must notice, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_remember_one_hear_of_the_next() {
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
        eventually("the other replica reads and remembers it", SOON, async || {
            let read = reader.get(get("k")).await.unwrap();
            let tier = read.entry.as_ref().map(|entry| entry.tier());
            (as_text(read.value) == Some(large(letter)) && tier == Some(Tier::Near)).then_some(())
        })
        .await;
    }
}
