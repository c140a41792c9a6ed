//! A failover: the name leads to the new primary, and open connections stay with the former one,
//! which is a replica now.

use std::time::Duration;

use larder::pb::v1::ResetReason;

use crate::support::{
    client::{Cache, NS, delete, set, text},
    fleet::metric,
    proxy::Proxy,
    redis::RedisServer,
    server::Larder,
    targets,
    wait::{SOON, eventually, throughout},
    watch::{Watch, WatchEvent, watch_request},
};

/// Probes come once a second; each of two connections may need one.
const NOTICED: Duration = Duration::from_secs(5);

struct Setup {
    former: RedisServer,
    next: RedisServer,
    proxy: Proxy,
}

// === impl Setup ===

impl Setup {
    /// A primary behind a name, and its replica.
    async fn start() -> Self {
        let (former, next) = (RedisServer::start_tcp().await, RedisServer::start_tcp().await);
        let proxy = Proxy::start(former.upstream()).await;
        replicate(&next, Some(&former)).await;
        Self { former, next, proxy }
    }

    /// Waits until the replica has this many keys.
    async fn is_in_sync(&self, keys: u64) {
        let mut next = self.next.connection().await;
        eventually("the replica is in sync", SOON, async || {
            let count: u64 = redis::cmd("DBSIZE").query_async(&mut next).await.unwrap();
            (count >= keys).then_some(())
        })
        .await;
    }

    /// Makes the replica the primary. The former primary follows nothing, so it stays outdated.
    async fn fail_over(&self) {
        replicate(&self.next, None).await;
        self.proxy.redirect(self.next.upstream());
        let mut former = self.former.connection().await;
        redis::cmd("REPLICAOF").arg("127.0.0.1").arg(1).exec_async(&mut former).await.unwrap();
    }

    /// Writes another value of `k` to the new primary, through a replica of Larder of its own.
    async fn write_new(&self) -> (Larder, Cache) {
        let writer = Larder::redis(&self.next.url()).start().await;
        let cache = writer.client().await;
        eventually("the new value is stored", SOON, async || {
            (!cache.set(set("k", text("new"))).await.unwrap().degraded).then_some(())
        })
        .await;
        (writer, cache)
    }
}

async fn replicate(server: &RedisServer, primary: Option<&RedisServer>) {
    let (host, port) = match primary {
        Some(primary) => ("127.0.0.1", primary.url().rsplit(':').next().unwrap().to_owned()),
        None => ("NO", "ONE".to_owned()),
    };
    let mut connection = server.connection().await;
    redis::cmd("REPLICAOF").arg(host).arg(port).exec_async(&mut connection).await.unwrap();
}

/// A replica of Larder that only reads must notice the failover as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_follow_the_new_primary() {
    let setup = Setup::start().await;
    let reader =
        Larder::redis(&setup.proxy.redis_url()).env("LARDER_STORE__CONNECTIONS", 8).start().await;
    let reader_cache = reader.client().await;
    reader_cache.put("k", "old").await;
    setup.is_in_sync(2).await;
    setup.fail_over().await;
    let writer = Larder::redis(&setup.next.url()).start().await;
    let writer = writer.client().await;
    eventually("the value is deleted", SOON, async || {
        writer.delete(delete("k")).await.ok().filter(|answer| answer.existed).map(|_| ())
    })
    .await;
    eventually("the reader sees the delete", NOTICED, async || {
        reader_cache.read("k").await.is_none().then_some(())
    })
    .await;
    throughout(Duration::from_secs(1), async || {
        assert_eq!(reader_cache.read("k").await, None);
    })
    .await;
    assert!(reader.logs().contains("another Redis server answers"));
}

/// A write that the former primary refuses reaches the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_write_is_sent_to_the_new_primary() {
    let setup = Setup::start().await;
    let larder = Larder::redis(&setup.proxy.redis_url()).start().await;
    let cache = larder.client().await;
    cache.put("k", "old").await;
    setup.is_in_sync(2).await;
    throughout(Duration::from_millis(600), async || {}).await;
    setup.fail_over().await;
    let answer = cache.set(set("k", text("new"))).await.unwrap();
    assert!(!answer.degraded, "{answer:?}");
    throughout(Duration::from_secs(1), async || {
        assert_eq!(cache.read("k").await.as_deref(), Some("new"));
    })
    .await;
}

/// The near cache keeps no answer of the former primary.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn near_copies_follow_the_new_primary() {
    let setup = Setup::start().await;
    let config = "[namespaces.ns.near_cache]\nmax_bytes = '1MiB'\nmax_staleness = '2s'\n";
    let reader = Larder::redis(&setup.proxy.redis_url()).config(config).start().await;
    let reader_cache = reader.client().await;
    let is_coherent = async || {
        eventually("the near cache is coherent", SOON, async || {
            (metric(&reader, "larder_near_coherent").await == 1.0).then_some(())
        })
        .await;
    };
    is_coherent().await;
    reader_cache.put("k", "old").await;
    setup.is_in_sync(2).await;
    assert_eq!(reader_cache.read("k").await.as_deref(), Some("old"));
    setup.fail_over().await;
    let _writer = setup.write_new().await;
    eventually("the reader reads the new value", NOTICED, async || {
        (reader_cache.read("k").await.as_deref() == Some("new")).then_some(())
    })
    .await;
    is_coherent().await;
    throughout(Duration::from_secs(1), async || {
        assert_eq!(reader_cache.read("k").await.as_deref(), Some("new"));
    })
    .await;
}

/// Announcements of the former primary do not count, and changes of the new one are delivered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_follow_the_new_primary() {
    let setup = Setup::start().await;
    let watched = Larder::redis(&setup.proxy.redis_url()).default_timeouts().start().await;
    let cache = watched.client().await;
    cache.put("k", "old").await;
    setup.is_in_sync(2).await;
    let mut watch = Watch::of_ns(&cache, true).await;
    let token = watch.token().await;
    setup.fail_over().await;
    let (_writer, writer) = setup.write_new().await;
    assert_eq!(watch.reset().await, ResetReason::FeedLost);
    watch.ready().await;
    assert_eq!(cache.read("k").await.as_deref(), Some("new"));
    for key in ["a", "b"] {
        writer.put(key, "v").await;
        watch.expect_keys(&[key]).await;
    }
    targets::invalidate(&writer, &[targets::tags(&["t"])]).await;
    watch.expect(&WatchEvent::tag_of_ns("t")).await;
    // A token of the former primary proves nothing about the new one.
    let mut resumed = Watch::open(&cache, watch_request(&[NS], true, &token)).await.unwrap();
    assert_eq!(resumed.event().await, WatchEvent::Reset(ResetReason::NotResumable));
    resumed.ready().await;
}
