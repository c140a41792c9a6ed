use std::time::Duration;

use larder::pb::v1::Durability;

use super::{await_metric, await_replayed, await_store, deleted, journaled};
use crate::support::{
    client::{Cache, get},
    fleet::metric,
    proxy::Proxy,
    redis::RedisServer,
    server::Larder,
    wait::{SOON, eventually, throughout},
};

/// A replica with its own connection to Redis.
struct Replica {
    proxy: Proxy,
    larder: Larder,
    cache: Cache,
    _directory: tempfile::TempDir,
}

impl Replica {
    async fn start(redis: &RedisServer, quarantine: &str) -> Self {
        let proxy = Proxy::start(redis.upstream()).await;
        let directory = tempfile::tempdir().unwrap();
        let builder = journaled(&proxy.redis_url(), directory.path());
        let larder = builder.env("LARDER_JOURNAL__QUARANTINE", quarantine).start().await;
        let cache = larder.client().await;
        await_store(&cache, "other").await;
        Self { proxy, larder, cache, _directory: directory }
    }

    /// The store is away, and the replica has seen it.
    async fn cut(&mut self) {
        self.proxy.cut().await;
        eventually("the breaker opens", Duration::from_secs(20), async || {
            self.cache.get(get("other")).await.unwrap();
            (metric(&self.larder, "larder_store_breaker_open").await == 1.0).then_some(())
        })
        .await;
    }

    /// The replica is in quarantine for a second at least, although the store is back.
    async fn reads_nothing(&self) {
        await_metric(&self.larder, "larder_store_breaker_open", 0.0).await;
        throughout(Duration::from_secs(1), async || {
            let answer = self.cache.get(get("k")).await.unwrap();
            assert!(answer.value.is_none() && answer.degraded, "{answer:?}");
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_saw_the_outage_waits_for_the_journals_of_the_others() {
    let redis = RedisServer::start().await;
    let mut writer = Replica::start(&redis, "60s").await;
    let mut reader = Replica::start(&redis, "60s").await;
    writer.cache.put("k", "old").await;
    assert_eq!(reader.cache.read("k").await.as_deref(), Some("old"));
    writer.cut().await;
    reader.cut().await;
    assert_eq!(deleted(&writer.cache, "k").await, Durability::Queued);
    reader.proxy.restore().await;
    reader.reads_nothing().await;
    assert_eq!(metric(&reader.larder, "larder_journal_quarantine_active").await, 1.0);
    writer.proxy.restore().await;
    await_store(&reader.cache, "other").await;
    assert_eq!(reader.cache.read("k").await, None);
    await_replayed(&writer.larder).await;
    assert_eq!(metric(&reader.larder, "larder_journal_quarantine_expired_total").await, 0.0);
    assert!(reader.larder.logs().contains("the quarantine is over: every journal is replayed"));
}

/// The outage of the writer begins after its report in the outage of the reader.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_waits_for_a_journal_that_was_empty_in_its_outage() {
    let redis = RedisServer::start().await;
    let mut writer = Replica::start(&redis, "60s").await;
    let mut reader = Replica::start(&redis, "60s").await;
    writer.cache.put("k", "old").await;
    reader.cut().await;
    let mut connection = redis.connection().await;
    let (seconds, _): (u64, u64) = redis::cmd("TIME").query_async(&mut connection).await.unwrap();
    eventually("the writer reports an empty journal", SOON, async || {
        let reports: Vec<u64> =
            redis::cmd("HVALS").arg("larder:{journals}").query_async(&mut connection).await.ok()?;
        reports.iter().any(|empty_at| *empty_at > (seconds + 1) * 1000).then_some(())
    })
    .await;
    writer.cut().await;
    assert_eq!(deleted(&writer.cache, "k").await, Durability::Queued);
    reader.proxy.restore().await;
    reader.reads_nothing().await;
    writer.proxy.restore().await;
    await_store(&reader.cache, "other").await;
    assert_eq!(reader.cache.read("k").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quarantine_ends_after_its_time_if_a_replica_is_gone() {
    let redis = RedisServer::start().await;
    let mut writer = Replica::start(&redis, "1s").await;
    let mut reader = Replica::start(&redis, "1s").await;
    writer.cache.put("k", "old").await;
    writer.cut().await;
    reader.cut().await;
    assert_eq!(deleted(&writer.cache, "k").await, Durability::Queued);
    writer.larder.kill();
    reader.proxy.restore().await;
    await_store(&reader.cache, "other").await;
    assert_eq!(metric(&reader.larder, "larder_journal_quarantine_expired_total").await, 1.0);
    assert!(reader.larder.logs().contains("journals are not replayed"));
    // The price of an end after a time, which the documentation names.
    assert_eq!(reader.cache.read("k").await.as_deref(), Some("old"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_saw_no_outage_serves_until_the_replay() {
    let redis = RedisServer::start().await;
    let mut writer = Replica::start(&redis, "60s").await;
    let reader = Replica::start(&redis, "60s").await;
    writer.cache.put("k", "old").await;
    writer.cut().await;
    assert_eq!(deleted(&writer.cache, "k").await, Durability::Queued);
    assert_eq!(reader.cache.read("k").await.as_deref(), Some("old"));
    writer.proxy.restore().await;
    await_replayed(&writer.larder).await;
    assert_eq!(reader.cache.read("k").await, None);
    // The journal of the other replica has reported meanwhile.
    await_store(&writer.cache, "other").await;
}
