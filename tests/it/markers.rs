//! What Redis may lose or mix up without anybody being told an old value.

use std::time::Duration;

use larder::pb::v1::{Outcome, SetResult};
use redis::{AsyncCommands as _, aio::MultiplexedConnection};

use crate::support::{
    client::{
        Cache, Fetched as _, delete, fetch, fill, get, increment, invalidate, key_ref, set, text,
        touch,
    },
    redis::RedisServer,
    server::Larder,
    wait::throughout,
};

/// One server on a Redis whose keys a test changes behind its back. One shard, so that one marker counts for all.
struct Scene {
    cache: Cache,
    keys: MultiplexedConnection,
    _larder: Larder,
    _redis: RedisServer,
}

const MARKER: &str = "larder:{ns:0}:g";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_marker_an_entry_is_a_miss() {
    let mut scene = Scene::start().await;
    scene.cache.put("old", "v").await;
    scene.cache.put("kept", "v").await;
    assert_eq!(scene.keys.del::<_, u64>(MARKER).await.unwrap(), 1);
    assert_eq!(scene.cache.read("old").await, None);
    assert!(!scene.cache.delete(delete("kept")).await.unwrap().existed);
    assert!(!scene.cache.touch(touch("old", 1_000)).await.unwrap().found);

    // A write makes a new marker, and does not bring the others back under it.
    scene.cache.put("new", "v").await;
    assert_eq!(scene.cache.read("new").await.as_deref(), Some("v"));
    assert_eq!(scene.cache.read("old").await, None);
    let lease = scene.cache.lease("old").await;
    scene.cache.set(fill("old", text("newer"), &lease)).await.unwrap();
    assert_eq!(scene.cache.read("old").await.as_deref(), Some("newer"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_write_makes_a_missing_marker() {
    let mut scene = Scene::start().await;
    for round in 0..3 {
        let key = format!("k{round}");
        scene.keys.del::<_, ()>(MARKER).await.unwrap();
        let lease = scene.cache.lease(&key).await;
        assert_eq!(
            scene.cache.set(fill(&key, text("v"), &lease)).await.unwrap().result(),
            SetResult::Stored
        );
        assert_eq!(scene.cache.read(&key).await.as_deref(), Some("v"));
        scene.keys.del::<_, ()>(MARKER).await.unwrap();
        assert_eq!(scene.cache.increment(increment(&key, 5)).await.unwrap().value, 5);
        assert_eq!(scene.cache.increment(increment(&key, 5)).await.unwrap().value, 10);
        scene.keys.del::<_, ()>(MARKER).await.unwrap();
        scene.cache.invalidate_namespace(invalidate("ns")).await.unwrap();
        assert_eq!(scene.cache.read(&key).await, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_does_not_survive_its_marker() {
    let mut scene = Scene::start().await;
    let lease = scene.cache.lease("k").await;
    // Whether the namespace was invalidated in between, nobody can tell any more.
    scene.keys.del::<_, ()>(MARKER).await.unwrap();
    let result = scene.cache.set(fill("k", text("v"), &lease)).await.unwrap().result();
    assert_ne!(result, SetResult::Stored);
    assert_eq!(scene.cache.read("k").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_of_an_earlier_generation_is_a_miss() {
    let mut scene = Scene::start().await;
    scene.cache.put("k", "old").await;
    let (name, old) = scene.entry().await;
    scene.cache.invalidate_namespace(invalidate("ns")).await.unwrap();
    scene.cache.put("other", "v").await;
    scene.keys.set::<_, _, ()>(&name, old.clone()).await.unwrap();
    assert_eq!(scene.cache.read("k").await, None);
    assert!(!scene.cache.delete(delete("k")).await.unwrap().existed);
    scene.keys.set::<_, _, ()>(&name, old.clone()).await.unwrap();
    scene.keys.del::<_, ()>(MARKER).await.unwrap();
    assert_eq!(scene.cache.read("k").await, None);
    scene.cache.lease("k").await;
    scene.keys.set::<_, _, ()>(&name, old).await.unwrap();
    assert_eq!(scene.cache.read("k").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generations_never_come_back() {
    let mut scene = Scene::start().await;
    let mut seen: Vec<Vec<u8>> = Vec::new();
    for round in 0..50 {
        scene.cache.put("k", "v").await;
        let marker: Vec<u8> = scene.keys.get(MARKER).await.unwrap();
        assert!(marker.len() >= 16, "{marker:?}");
        assert!(!seen.contains(&marker));
        seen.push(marker);
        if round % 2 == 0 {
            scene.cache.invalidate_namespace(invalidate("ns")).await.unwrap();
        } else {
            scene.keys.del::<_, ()>(MARKER).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_of_another_format_are_a_miss() {
    let mut scene = Scene::start().await;
    scene.cache.put("k", "value").await;
    let (name, good) = scene.entry().await;
    let mut damaged: Vec<Vec<u8>> = (0..good.len()).map(|length| good[..length].to_vec()).collect();
    for format in [0, 2, 127, 255] {
        // The first byte is the version of the format.
        let other = if format == good[0] { 99 } else { format };
        damaged.push([&[other], &good[1..]].concat());
    }
    damaged.push(vec![0xff; 300]);
    damaged.push(b"written by somebody else".to_vec());
    for bytes in damaged {
        scene.keys.set::<_, _, ()>(&name, &bytes).await.unwrap();
        let answer = scene.cache.get(get("k")).await.unwrap();
        let shortened =
            bytes.len() < good.len() && good.starts_with(&bytes) && bytes.len() + 5 >= good.len();
        // A value cut short within its last bytes cannot be told from a shorter one; its header is whole.
        if !shortened {
            assert_eq!((answer.outcome(), answer.degraded), (Outcome::Miss, false), "{bytes:?}");
        }
    }
    scene.keys.set::<_, _, ()>(&name, [&[99], &good[1..]].concat()).await.unwrap();
    let chunks =
        scene.cache.batch_get(crate::support::client::batch_get(vec![key_ref("k")])).await.unwrap();
    assert_eq!(chunks[0].results[0].outcome(), Outcome::Miss);
    assert_eq!(scene.cache.increment(increment("k", 3)).await.unwrap().value, 3);
    scene.keys.set::<_, _, ()>(&name, [&[99], &good[1..]].concat()).await.unwrap();
    let lease = scene.cache.lease("k").await;
    assert_eq!(
        scene.cache.set(fill("k", text("new"), &lease)).await.unwrap().result(),
        SetResult::Stored
    );
    assert_eq!(scene.cache.read("k").await.as_deref(), Some("new"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_another_type_is_a_miss_and_can_be_written() {
    let mut scene = Scene::start().await;
    scene.cache.put("k", "v").await;
    let (name, _) = scene.entry().await;
    scene.keys.del::<_, ()>(&name).await.unwrap();
    scene.keys.lpush::<_, _, ()>(&name, "element").await.unwrap();
    assert_eq!(scene.cache.read("k").await, None);
    scene.cache.delete(delete("k")).await.unwrap();
    scene.cache.put("k", "v").await;
    assert_eq!(scene.cache.read("k").await.as_deref(), Some("v"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_redis_is_an_empty_cache() {
    let mut scene = Scene::start().await;
    scene.cache.put("k", "v").await;
    let lease = scene.cache.lease("leased").await;
    redis::cmd("FLUSHALL").exec_async(&mut scene.keys).await.unwrap();
    redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut scene.keys).await.unwrap();
    assert_eq!(scene.cache.read("k").await, None);
    assert_ne!(
        scene.cache.set(fill("leased", text("v"), &lease)).await.unwrap().result(),
        SetResult::Stored
    );
    assert_eq!(scene.cache.read("leased").await, None);
    for _ in 0..3 {
        redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut scene.keys).await.unwrap();
        scene.cache.put("k", "new").await;
        redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut scene.keys).await.unwrap();
        assert!(scene.cache.delete(delete("k")).await.unwrap().existed);
        redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut scene.keys).await.unwrap();
        let lease = scene.cache.lease("k").await;
        redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut scene.keys).await.unwrap();
        scene.cache.set(fill("k", text("new"), &lease)).await.unwrap();
        assert_eq!(scene.cache.read("k").await.as_deref(), Some("new"));
        redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut scene.keys).await.unwrap();
        scene.cache.invalidate_namespace(invalidate("ns")).await.unwrap();
        assert_eq!(scene.cache.read("k").await, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_evicts_costs_hits_only() {
    let limit = ["--maxmemory", "4mb", "--maxmemory-policy", "allkeys-random"];
    let scene = Scene::start_on(RedisServer::start_with(&limit).await).await;
    let value = |number: usize| format!("{number}-{}", "v".repeat(10_000));
    for number in 0..1500 {
        let stored =
            scene.cache.set(set(&format!("k{number}"), text(&value(number)))).await.unwrap();
        assert!(!stored.degraded);
    }
    let mut hits = 0;
    for number in 0..1500 {
        if let Some(found) = scene.cache.read(&format!("k{number}")).await {
            assert_eq!(found, value(number));
            hits += 1;
        }
    }
    eprintln!("{hits} of 1500 values survived");
    scene.cache.invalidate_namespace(invalidate("ns")).await.unwrap();
    for number in 0..1500 {
        assert_eq!(scene.cache.read(&format!("k{number}")).await, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_redis_refuses_sets_and_obeys_deletes() {
    let limit = ["--maxmemory", "4mb", "--maxmemory-policy", "noeviction"];
    let scene = Scene::start_on(RedisServer::start_with(&limit).await).await;
    scene.cache.put("first", "v").await;
    let large = text(&"v".repeat(100_000));
    let mut results = Vec::new();
    for number in 0..60 {
        results.push(scene.cache.set(set(&format!("k{number}"), large.clone())).await.unwrap());
    }
    let refused = results.last().unwrap();
    assert_eq!(
        (refused.result(), refused.version.as_str(), refused.ttl),
        (SetResult::NotStored, "", None)
    );
    // The store answers; it only has no room.
    assert!(!refused.degraded);
    assert_eq!(scene.cache.read("first").await.as_deref(), Some("v"));
    assert_eq!(scene.cache.get(get("k0")).await.unwrap().value, Some(large));

    assert!(scene.cache.delete(delete("first")).await.unwrap().existed);
    assert_eq!(scene.cache.read("first").await, None);
    match scene.cache.invalidate_namespace(invalidate("ns")).await {
        Ok(_) => assert_eq!(scene.cache.read("k0").await, None),
        Err(status) => assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}"),
    }
    scene.cache.get_or_fetch(fetch("missing", 0)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_leave_redis_by_themselves() {
    let mut scene = Scene::start().await;
    for number in 0..20 {
        let request = crate::support::client::set_for(&format!("k{number}"), text("v"), 300);
        scene.cache.set(request).await.unwrap();
    }
    scene.cache.invalidate_namespace(invalidate("ns")).await.unwrap();
    let lease = scene.cache.lease("leased").await;
    drop(lease);
    for name in scene.names().await {
        let lifetime: i64 = scene.keys.pttl(&name).await.unwrap();
        let lasting = name.ends_with(":g") || name.contains("{stats}");
        assert!(lifetime > 0 || lasting, "{name} stays for ever");
    }
    scene.cache.get_or_fetch(fetch("leased", 0)).await.unwrap().expect_contended();
    throughout(Duration::from_millis(600), async || {}).await;
    assert!(
        !scene.names().await.iter().any(|name| name.contains(":k:k")),
        "expired entries are still there"
    );
}

impl Scene {
    async fn start() -> Self {
        Self::start_on(RedisServer::start().await).await
    }

    async fn start_on(redis: RedisServer) -> Self {
        let larder = Larder::redis(&redis.url()).env("LARDER_STORE__SHARDS", 1).start().await;
        Self {
            cache: larder.client().await,
            keys: redis.connection().await,
            _larder: larder,
            _redis: redis,
        }
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
