//! Parts that follow Redis across a failover: the near cache, watches, leases and event streams.

use std::time::Duration;

use larder::pb::v1::ResetReason;

use crate::support::{
    client::{Cache, Fetched as _, fetch, fill, set, text},
    fleet::metric,
    sentinel::{FAILOVER, Service},
    server::Larder,
    wait::{eventually, throughout},
    watch::Watch,
};

const RULES: &str = r#"
[[events.changed]]
namespace = "ns"
pattern = "{id}:*"
"#;

async fn is_coherent(larder: &Larder) {
    eventually("the near cache is coherent", FAILOVER, async || {
        (metric(larder, "larder_near_coherent").await == 1.0).then_some(())
    })
    .await;
}

async fn stored(cache: &Cache, key: &str, value: &str) {
    eventually("a value is stored", FAILOVER, async || {
        (!cache.set(set(key, text(value))).await.unwrap().degraded).then_some(())
    })
    .await;
}

/// The near cache keeps nothing that the former primary announced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn near_copies_do_not_outlive_a_failover() {
    let service = Service::start().await;
    let config = "[namespaces.ns.near_cache]\nmax_bytes = '1MiB'\nmax_staleness = '2s'\n";
    let reader = service.larder().config(config).start().await;
    let writer = service.larder().start().await;
    let (reader_cache, writer_cache) = (reader.client().await, writer.client().await);
    is_coherent(&reader).await;
    stored(&reader_cache, "k", "old").await;
    assert_eq!(reader_cache.read("k").await.as_deref(), Some("old"));
    service.is_in_sync().await;
    let flushes = metric(&reader, "larder_near_flushes_total").await;
    // It is paused, so that it cannot announce anything of the failover.
    service.servers[0].pause();
    service.promoted().await;
    stored(&writer_cache, "k", "new").await;
    service.servers[0].resume();
    eventually("the new value is read", FAILOVER, async || {
        (reader_cache.read("k").await.as_deref() == Some("new")).then_some(())
    })
    .await;
    is_coherent(&reader).await;
    throughout(Duration::from_secs(2), async || {
        assert_eq!(reader_cache.read("k").await.as_deref(), Some("new"));
    })
    .await;
    assert!(metric(&reader, "larder_near_flushes_total").await > flushes);
    // Changes of the new primary are announced.
    stored(&writer_cache, "k", "newer").await;
    eventually("the newest value is read", FAILOVER, async || {
        (reader_cache.read("k").await.as_deref() == Some("newer")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_and_waiters_follow_the_new_primary() {
    let service = Service::start().await;
    let (one, two) = (service.larder().start().await, service.larder().start().await);
    let (one_cache, two_cache) = (one.client().await, two.client().await);
    stored(&one_cache, "k", "old").await;
    service.is_in_sync().await;
    let mut watch = Watch::of_ns(&one_cache, true).await;
    service.sentinels[0].fail_over().await;
    service.promoted().await;
    assert_eq!(watch.reset().await, ResetReason::FeedLost);
    watch.ready().await;
    stored(&two_cache, "k", "new").await;
    assert_eq!(one_cache.read("k").await.as_deref(), Some("new"));
    watch.expect_keys(&["k"]).await;
    // The end of a lease is announced by the new primary.
    let lease = two_cache.lease("leased").await;
    let waiter = one_cache.clone();
    let waiting = tokio::spawn(async move { waiter.get_or_fetch(fetch("leased", 20_000)).await });
    two_cache.set(fill("leased", text("v"), &lease)).await.unwrap();
    waiting.await.unwrap().unwrap().expect_found();
}

/// Events that are published to the new primary are applied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_streams_follow_the_new_primary() {
    let service = Service::start().await;
    let config = format!("{RULES}[[event_sources]]\nredis_stream = 'events'\n");
    let larder = service.larder().config(&config).start().await;
    let cache = larder.client().await;
    stored(&cache, "1:a", "old").await;
    service.is_in_sync().await;
    service.servers[0].pause();
    let (primary, _) = service.promoted().await;
    stored(&cache, "1:a", "new").await;
    service.servers[0].resume();
    // A group that begins before the failover may be lost with it, so events are repeated.
    eventually("an event is applied", FAILOVER, async || {
        let mut connection = service.server_connection(primary).await;
        let mut publish = redis::cmd("XADD");
        publish.arg("events").arg("*").arg("event").arg("changed").arg("id").arg("1");
        publish.exec_async(&mut connection).await.ok()?;
        cache.read("1:a").await.is_none().then_some(())
    })
    .await;
}
