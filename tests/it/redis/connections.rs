//! Connections to Redis: TCP, TLS with a private CA, and an ACL user with minimal permissions.

use std::time::Duration;

use larder::pb::v1::{
    AnalyzeRequest, DistributionsRequest, HotKeysRequest, ListKeysRequest, StatsRequest,
};

use crate::support::{
    client::{
        Cache, Fetched as _, abandon, batch_get, delete, fetch, fill, get, increment, invalidate,
        key_ref, set, text, touch,
    },
    redis::RedisServer,
    server::Larder,
    targets,
    tls::TlsRedisServer,
    wait::eventually,
};

/// The `ACL SETUSER` command of SECURITY.md, in words.
pub(crate) fn documented_acl_command() -> Vec<String> {
    let document = include_str!("../../../SECURITY.md");
    let line = document
        .lines()
        .find(|line| line.starts_with("ACL SETUSER larder"))
        .expect("an ACL SETUSER line in SECURITY.md");
    line.split(' ').map(str::to_owned).collect()
}

/// Makes one call of each kind; all of them must reach the store.
pub(crate) async fn exercise_all_calls(cache: &Cache) {
    cache.put("k", "v").await;
    assert_eq!(cache.read("k").await.as_deref(), Some("v"));
    assert_eq!(cache.increment(increment("n", 2)).await.unwrap().value, 2);
    assert!(cache.touch(touch("k", 60_000)).await.unwrap().found);
    // Large values bypass the scripts and need further permissions.
    cache.put("large", &"v".repeat(10_000)).await;
    let lease = cache.lease("leased large").await;
    cache.set(fill("leased large", text(&"v".repeat(10_000)), &lease)).await.unwrap();
    assert_eq!(cache.read("leased large").await.map(|value| value.len()), Some(10_000));
    let lease = cache.lease("leased").await;
    cache.abandon(abandon("leased", &lease)).await.unwrap();
    let lease = cache.lease("filled").await;
    cache.set(fill("filled", text("v"), &lease)).await.unwrap();
    assert!(!cache.get_or_fetch(fetch("filled", 0)).await.unwrap().degraded);
    assert!(cache.delete(delete("k")).await.unwrap().existed);
    let stats = cache.stats(StatsRequest::default()).await.unwrap();
    assert!(!stats.degraded && stats.store.as_ref().unwrap().reachable, "{stats:?}");
    assert!(stats.namespaces.iter().any(|namespace| namespace.size.is_some()), "{stats:?}");
    let keys = ListKeysRequest { namespace: "ns".to_owned(), ..Default::default() };
    assert!(!cache.rpc().list_keys(keys).await.unwrap().into_inner().keys.is_empty());
    let request = DistributionsRequest { namespace: "ns".to_owned(), ..Default::default() };
    let found = cache.admin().distributions(request).await.unwrap().into_inner();
    assert!(found.examined > 0, "{found:?}");
    let reads = batch_get(vec![key_ref("filled"); 1000]);
    for _ in 0..2 {
        cache.batch_get(reads.clone()).await.unwrap();
    }
    let analyzed = AnalyzeRequest { namespaces: vec!["ns".to_owned()] };
    assert!(!cache.admin().analyze(analyzed).await.unwrap().into_inner().degraded);
    let request = HotKeysRequest { namespace: "ns".to_owned(), ..Default::default() };
    assert!(cache.admin().hot_keys(request).await.unwrap().into_inner().reads > 0);
    targets::invalidate(cache, &[targets::namespace("n*")]).await;
    cache.invalidate_namespace(invalidate("ns")).await.unwrap();
    assert_eq!(cache.read("filled").await, None);
    assert!(!cache.get(get("filled")).await.unwrap().degraded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tcp_works_with_every_url_scheme() {
    let redis = RedisServer::start_tcp().await;
    let address = redis.url().trim_start_matches("redis://").to_owned();
    for scheme in ["redis", "valkey"] {
        let larder = Larder::redis(&format!("{scheme}://{address}")).start().await;
        exercise_all_calls(&larder.client().await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_acl_user_suffices() {
    let redis = RedisServer::start_tcp().await;
    let mut admin = redis.connection().await;
    let words = documented_acl_command();
    let mut acl = redis::cmd(&words[0]);
    words[1..].iter().for_each(|word| {
        acl.arg(word);
    });
    acl.exec_async(&mut admin).await.unwrap();
    // Disables the default user, so that only the documented user can connect.
    redis::cmd("ACL")
        .arg("SETUSER")
        .arg("default")
        .arg("off")
        .exec_async(&mut admin)
        .await
        .unwrap();
    let url = redis.url().replace("redis://", "redis://larder:CHANGE-ME@");
    let larder = Larder::redis(&url).start().await;
    exercise_all_calls(&larder.client().await).await;
    assert!(!larder.logs().contains("CHANGE-ME"));

    // Waiters are woken by invalidation messages, which need further permissions.
    let cache = larder.client().await;
    let lease = cache.lease("awaited").await;
    let waiting = tokio::spawn({
        let cache = cache.clone();
        async move { cache.get_or_fetch(fetch("awaited", 5_000)).await }
    });
    cache.set(fill("awaited", text("v"), &lease)).await.unwrap();
    waiting.await.unwrap().unwrap().expect_found();
    let denied: Vec<redis::Value> =
        redis::cmd("ACL").arg("LOG").query_async(&mut admin).await.unwrap_or_default();
    let denied =
        denied.iter().map(|entry| format!("{entry:?}")).filter(|entry| !entry.contains("config"));
    assert_eq!(denied.collect::<Vec<_>>(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_works_with_a_private_ca() {
    let redis = TlsRedisServer::start(&[]).await;
    let url = redis.url();
    let trusted = Larder::redis(&url).env("SSL_CERT_FILE", redis.authority()).start().await;
    let cache = trusted.client().await;
    // The server starts serving before a slow first TLS handshake is complete.
    eventually("Redis is reached", Duration::from_secs(10), async || {
        (!cache.get(get("k")).await.unwrap().degraded).then_some(())
    })
    .await;
    exercise_all_calls(&cache).await;

    let untrusting = Larder::redis(&url).env("SSL_CERT_FILE", "/dev/null").start().await;
    assert!(untrusting.client().await.get(get("k")).await.unwrap().degraded);
    let stored = untrusting.client().await.set(set("k", text("v"))).await.unwrap();
    assert!(stored.degraded);
}
