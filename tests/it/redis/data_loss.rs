//! Lost, evicted or corrupt data in Redis is a miss, and never an old value.

use std::time::Duration;

use larder::pb::v1::{Outcome, SetResult};
use redis::{AsyncCommands as _, aio::MultiplexedConnection};

use crate::support::{
    client::{
        Cache, Fetched as _, delete, fetch, fill, get, increment, invalidate, key_ref, set, text,
        touch,
    },
    fleet::metric,
    redis::RedisServer,
    server::Larder,
    wait::{SOON, eventually, throughout},
};

/// One server, and a direct connection to change its keys in Redis. With one shard, one marker
/// covers all keys.
struct Setup {
    cache: Cache,
    keys: MultiplexedConnection,
    larder: Larder,
    _redis: RedisServer,
}

const MARKER: &str = "larder:{ns:0}:g";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_without_its_marker_is_a_miss() {
    let mut setup = Setup::start().await;
    setup.cache.put("old", "v").await;
    setup.cache.put("kept", "v").await;
    assert_eq!(setup.keys.del::<_, u64>(MARKER).await.unwrap(), 1);
    assert_eq!(setup.cache.read("old").await, None);
    assert!(!setup.cache.delete(delete("kept")).await.unwrap().existed);
    assert!(!setup.cache.touch(touch("old", 1_000)).await.unwrap().found);

    // A write creates a new marker, which does not revive the other entries.
    setup.cache.put("new", "v").await;
    assert_eq!(setup.cache.read("new").await.as_deref(), Some("v"));
    assert_eq!(setup.cache.read("old").await, None);
    let lease = setup.cache.lease("old").await;
    setup.cache.set(fill("old", text("newer"), &lease)).await.unwrap();
    assert_eq!(setup.cache.read("old").await.as_deref(), Some("newer"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_write_creates_a_missing_marker() {
    let mut setup = Setup::start().await;
    for round in 0..3 {
        let key = format!("k{round}");
        setup.keys.del::<_, ()>(MARKER).await.unwrap();
        let lease = setup.cache.lease(&key).await;
        assert_eq!(
            setup.cache.set(fill(&key, text("v"), &lease)).await.unwrap().result(),
            SetResult::Stored
        );
        assert_eq!(setup.cache.read(&key).await.as_deref(), Some("v"));
        setup.keys.del::<_, ()>(MARKER).await.unwrap();
        assert_eq!(setup.cache.increment(increment(&key, 5)).await.unwrap().value, 5);
        assert_eq!(setup.cache.increment(increment(&key, 5)).await.unwrap().value, 10);
        setup.keys.del::<_, ()>(MARKER).await.unwrap();
        setup.cache.invalidate_namespace(invalidate("ns")).await.unwrap();
        assert_eq!(setup.cache.read(&key).await, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_lost_with_its_marker() {
    let mut setup = Setup::start().await;
    let lease = setup.cache.lease("k").await;
    // Without the marker, an invalidation in between would go unnoticed.
    setup.keys.del::<_, ()>(MARKER).await.unwrap();
    let result = setup.cache.set(fill("k", text("v"), &lease)).await.unwrap().result();
    assert_ne!(result, SetResult::Stored);
    assert_eq!(setup.cache.read("k").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_of_an_earlier_generation_is_a_miss() {
    let mut setup = Setup::start().await;
    setup.cache.put("k", "old").await;
    let (name, old) = setup.entry().await;
    setup.cache.invalidate_namespace(invalidate("ns")).await.unwrap();
    setup.cache.put("other", "v").await;
    setup.keys.set::<_, _, ()>(&name, old.clone()).await.unwrap();
    assert_eq!(setup.cache.read("k").await, None);
    assert!(!setup.cache.delete(delete("k")).await.unwrap().existed);
    setup.keys.set::<_, _, ()>(&name, old.clone()).await.unwrap();
    setup.keys.del::<_, ()>(MARKER).await.unwrap();
    assert_eq!(setup.cache.read("k").await, None);
    setup.cache.lease("k").await;
    setup.keys.set::<_, _, ()>(&name, old).await.unwrap();
    assert_eq!(setup.cache.read("k").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generations_are_never_reused() {
    let mut setup = Setup::start().await;
    let mut seen: Vec<Vec<u8>> = Vec::new();
    for round in 0..50 {
        setup.cache.put("k", "v").await;
        let marker: Vec<u8> = setup.keys.get(MARKER).await.unwrap();
        assert!(marker.len() >= 16, "{marker:?}");
        assert!(!seen.contains(&marker));
        seen.push(marker);
        if round % 2 == 0 {
            setup.cache.invalidate_namespace(invalidate("ns")).await.unwrap();
        } else {
            setup.keys.del::<_, ()>(MARKER).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_format_is_a_miss() {
    let mut setup = Setup::start().await;
    setup.cache.put("k", "value").await;
    let (name, good) = setup.entry().await;
    let mut damaged: Vec<Vec<u8>> = (0..good.len()).map(|length| good[..length].to_vec()).collect();
    for format in [0, 2, 127, 255] {
        // The first byte is the version of the format.
        let other = if format == good[0] { 99 } else { format };
        damaged.push([&[other], &good[1..]].concat());
    }
    damaged.push(vec![0xff; 300]);
    damaged.push(b"written by another program".to_vec());
    for bytes in damaged {
        setup.keys.set::<_, _, ()>(&name, &bytes).await.unwrap();
        let answer = setup.cache.get(get("k")).await.unwrap();
        assert_eq!((answer.outcome(), answer.degraded), (Outcome::Miss, false), "{bytes:?}");
    }
    setup.keys.set::<_, _, ()>(&name, [&[99], &good[1..]].concat()).await.unwrap();
    let chunks =
        setup.cache.batch_get(crate::support::client::batch_get(vec![key_ref("k")])).await.unwrap();
    assert_eq!(chunks[0].results[0].outcome(), Outcome::Miss);
    assert_eq!(setup.cache.increment(increment("k", 3)).await.unwrap().value, 3);
    setup.keys.set::<_, _, ()>(&name, [&[99], &good[1..]].concat()).await.unwrap();
    let lease = setup.cache.lease("k").await;
    assert_eq!(
        setup.cache.set(fill("k", text("new"), &lease)).await.unwrap().result(),
        SetResult::Stored
    );
    assert_eq!(setup.cache.read("k").await.as_deref(), Some("new"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_byte_is_a_miss_and_the_entry_is_removed() {
    let mut setup = Setup::start().await;
    let large = "v".repeat(100_000);
    for round in 0..5 {
        match round {
            0 => drop(setup.cache.put("k", "value").await),
            1 => drop(setup.cache.put("k", &large).await),
            2 => {
                let lease = setup.cache.lease("k").await;
                setup.cache.set(fill("k", text(&large), &lease)).await.unwrap();
            }
            3 => drop(setup.cache.increment(increment("k", 4)).await.unwrap()),
            _ => {
                setup.cache.put("k", "4").await;
                setup.cache.increment(increment("k", 4)).await.unwrap();
                setup.cache.touch(touch("k", 60_000)).await.unwrap();
            }
        }
        let (name, mut bytes) = setup.entry().await;
        assert!(setup.cache.read("k").await.is_some());
        *bytes.last_mut().unwrap() ^= 1;
        setup.keys.set::<_, _, ()>(&name, &bytes).await.unwrap();
        let answer = setup.cache.get(get("k")).await.unwrap();
        assert_eq!((answer.outcome(), answer.degraded), (Outcome::Miss, false), "round {round}");
        eventually("the entry is removed", SOON, async || {
            (!setup.keys.exists::<_, bool>(&name).await.unwrap()).then_some(())
        })
        .await;
        // A caller that asks for a lease at once does not find it either.
        setup.keys.set::<_, _, ()>(&name, &bytes).await.unwrap();
        let lease = setup.cache.lease("k").await;
        setup.cache.set(fill("k", text("new"), &lease)).await.unwrap();
        assert_eq!(setup.cache.read("k").await.as_deref(), Some("new"));
        setup.cache.delete(delete("k")).await.unwrap();
    }
    assert!(metric(&setup.larder, "larder_store_corrupt_entries_total").await >= 10.0);
    let logs = setup.larder.logs();
    let lines: Vec<&str> = logs.lines().filter(|line| line.contains("is corrupt")).collect();
    assert!(!lines.is_empty() && lines.len() < 5, "{lines:?}");
    assert!(lines[0].contains(r#""namespace":"ns""#) && !lines[0].contains(":k:k"), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_do_not_count_on_from_a_changed_byte() {
    let mut setup = Setup::start().await;
    setup.cache.increment(increment("k", 40)).await.unwrap();
    let (name, mut bytes) = setup.entry().await;
    *bytes.last_mut().unwrap() ^= 1;
    setup.keys.set::<_, _, ()>(&name, &bytes).await.unwrap();
    assert_eq!(setup.cache.increment(increment("k", 2)).await.unwrap().value, 2);
    assert_eq!(setup.cache.increment(increment("k", 2)).await.unwrap().value, 4);
    assert_eq!(setup.cache.read("k").await.as_deref(), Some("4"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_of_the_format_without_checksums_are_used() {
    let mut setup = Setup::start().await;
    setup.cache.put("k", "4").await;
    let (name, bytes) = setup.entry().await;
    // The header without extensions, and the value.
    let old = [&[1], &bytes[1..59], &[0, 0], b"4"].concat();
    setup.keys.set::<_, _, ()>(&name, &old).await.unwrap();
    assert_eq!(setup.cache.read("k").await.as_deref(), Some("4"));
    assert!(setup.cache.touch(touch("k", 60_000)).await.unwrap().found);
    assert_eq!(setup.cache.read("k").await.as_deref(), Some("4"));
    assert_eq!(setup.cache.get_or_fetch(fetch("k", 0)).await.unwrap().expect_found().value, {
        Some(text("4"))
    });
    assert_eq!(setup.cache.increment(increment("k", 1)).await.unwrap().value, 5);
    assert_eq!(setup.cache.read("k").await.as_deref(), Some("5"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_another_type_is_a_miss_and_can_be_overwritten() {
    let mut setup = Setup::start().await;
    setup.cache.put("k", "v").await;
    let (name, _) = setup.entry().await;
    setup.keys.del::<_, ()>(&name).await.unwrap();
    setup.keys.lpush::<_, _, ()>(&name, "element").await.unwrap();
    assert_eq!(setup.cache.read("k").await, None);
    setup.cache.delete(delete("k")).await.unwrap();
    setup.cache.put("k", "v").await;
    assert_eq!(setup.cache.read("k").await.as_deref(), Some("v"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flushed_redis_is_an_empty_cache() {
    let mut setup = Setup::start().await;
    setup.cache.put("k", "v").await;
    let lease = setup.cache.lease("leased").await;
    redis::cmd("FLUSHALL").exec_async(&mut setup.keys).await.unwrap();
    redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut setup.keys).await.unwrap();
    assert_eq!(setup.cache.read("k").await, None);
    assert_ne!(
        setup.cache.set(fill("leased", text("v"), &lease)).await.unwrap().result(),
        SetResult::Stored
    );
    assert_eq!(setup.cache.read("leased").await, None);
    for _ in 0..3 {
        redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut setup.keys).await.unwrap();
        setup.cache.put("k", "new").await;
        redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut setup.keys).await.unwrap();
        assert!(setup.cache.delete(delete("k")).await.unwrap().existed);
        redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut setup.keys).await.unwrap();
        let lease = setup.cache.lease("k").await;
        redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut setup.keys).await.unwrap();
        setup.cache.set(fill("k", text("new"), &lease)).await.unwrap();
        assert_eq!(setup.cache.read("k").await.as_deref(), Some("new"));
        redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut setup.keys).await.unwrap();
        setup.cache.invalidate_namespace(invalidate("ns")).await.unwrap();
        assert_eq!(setup.cache.read("k").await, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eviction_costs_only_hits() {
    let limit = ["--maxmemory", "4mb", "--maxmemory-policy", "allkeys-random"];
    let setup = Setup::start_on(RedisServer::start_with(&limit).await).await;
    let value = |number: usize| format!("{number}-{}", "v".repeat(10_000));
    for number in 0..1500 {
        let stored =
            setup.cache.set(set(&format!("k{number}"), text(&value(number)))).await.unwrap();
        assert!(!stored.degraded);
    }
    let mut hits = 0;
    for number in 0..1500 {
        if let Some(found) = setup.cache.read(&format!("k{number}")).await {
            assert_eq!(found, value(number));
            hits += 1;
        }
    }
    eprintln!("{hits} of 1500 values survived");
    setup.cache.invalidate_namespace(invalidate("ns")).await.unwrap();
    for number in 0..1500 {
        assert_eq!(setup.cache.read(&format!("k{number}")).await, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_redis_refuses_sets_and_accepts_deletes() {
    let limit = ["--maxmemory", "4mb", "--maxmemory-policy", "noeviction"];
    let setup = Setup::start_on(RedisServer::start_with(&limit).await).await;
    setup.cache.put("first", "v").await;
    let large = text(&"v".repeat(100_000));
    let mut results = Vec::new();
    for number in 0..60 {
        results.push(setup.cache.set(set(&format!("k{number}"), large.clone())).await.unwrap());
    }
    let refused = results.last().unwrap();
    assert_eq!(
        (refused.result(), refused.version.as_str(), refused.ttl),
        (SetResult::NotStored, "", None)
    );
    // Redis answers; it is only full.
    assert!(!refused.degraded);
    assert_eq!(setup.cache.read("first").await.as_deref(), Some("v"));
    assert_eq!(setup.cache.get(get("k0")).await.unwrap().value, Some(large));

    assert!(setup.cache.delete(delete("first")).await.unwrap().existed);
    assert_eq!(setup.cache.read("first").await, None);
    match setup.cache.invalidate_namespace(invalidate("ns")).await {
        Ok(_) => assert_eq!(setup.cache.read("k0").await, None),
        Err(status) => assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}"),
    }
    setup.cache.get_or_fetch(fetch("missing", 0)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_expire_in_redis() {
    let mut setup = Setup::start().await;
    for number in 0..20 {
        let request = crate::support::client::set_for(&format!("k{number}"), text("v"), 300);
        setup.cache.set(request).await.unwrap();
    }
    setup.cache.invalidate_namespace(invalidate("ns")).await.unwrap();
    let lease = setup.cache.lease("leased").await;
    drop(lease);
    for name in setup.names().await {
        let lifetime: i64 = setup.keys.pttl(&name).await.unwrap();
        let lasting = name.ends_with(":g") || name.contains("{stats}");
        // Without an expiry the answer is -1, and after it -2.
        assert!(lifetime != -1 || lasting, "{name} never expires");
    }
    setup.cache.get_or_fetch(fetch("leased", 0)).await.unwrap().expect_contended();
    throughout(Duration::from_millis(600), async || {}).await;
    assert!(
        !setup.names().await.iter().any(|name| name.contains(":k:k")),
        "expired entries are still there"
    );
}

impl Setup {
    async fn start() -> Self {
        Self::start_on(RedisServer::start().await).await
    }

    async fn start_on(redis: RedisServer) -> Self {
        let larder = Larder::redis(&redis.url()).env("LARDER_STORE__SHARDS", 1).start().await;
        Self { cache: larder.client().await, keys: redis.connection().await, larder, _redis: redis }
    }

    /// Name and bytes of the only entry.
    async fn entry(&mut self) -> (String, Vec<u8>) {
        let name = "larder:{ns:0}:k:k".to_owned();
        let bytes: Vec<u8> = self.keys.get(&name).await.unwrap();
        assert!(!bytes.is_empty());
        (name, bytes)
    }

    async fn names(&mut self) -> Vec<String> {
        self.keys.keys("*").await.unwrap()
    }
}
