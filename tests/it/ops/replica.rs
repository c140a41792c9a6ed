//! AdminService: what concerns one replica: its near cache and its configuration.

use larder::pb::v1::{FlushNearCacheRequest, GetConfigRequest, GetConfigResponse, Tier};
use nix::sys::signal::Signal;

use crate::support::{
    client::{Cache, NS, get},
    redis::RedisServer,
    server::Larder,
    status::expect_violation,
    wait::{SOON, eventually},
};

async fn config(cache: &Cache) -> GetConfigResponse {
    cache.admin().get_config(GetConfigRequest {}).await.unwrap().into_inner()
}

async fn flush(cache: &Cache, namespace: &str) -> (u64, u64) {
    let request = FlushNearCacheRequest { namespace: namespace.to_owned() };
    let flushed = cache.admin().flush_near_cache(request).await.unwrap().into_inner();
    (flushed.entries, flushed.bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushed_copies_are_read_from_the_store_again() {
    let redis = RedisServer::start().await;
    let near = "[namespaces.ns.near_cache]\n[namespaces.other.near_cache]\n";
    let larder = Larder::redis(&redis.url()).config(near).start().await;
    let cache = larder.client().await;
    cache.put("k", "v").await;
    let tier = async || cache.get(get("k")).await.unwrap().entry.unwrap().tier();
    let is_near = async || (tier().await == Tier::Near).then_some(());
    eventually("there is a copy", SOON, is_near).await;
    assert_eq!(flush(&cache, "other").await, (0, 0));
    assert_eq!(tier().await, Tier::Near);
    let (entries, bytes) = flush(&cache, NS).await;
    assert!(entries == 1 && bytes > 0, "{entries} {bytes}");
    assert_eq!(tier().await, Tier::Store);
    eventually("there is a copy again", SOON, is_near).await;
    assert_eq!(flush(&cache, "").await.0, 1);
    let request = FlushNearCacheRequest { namespace: "NS".to_owned() };
    expect_violation(cache.admin().flush_near_cache(request).await, "namespace");
    assert!(larder.logs().contains("the near cache was flushed"));
}

const CONFIG: &str = "[namespaces.user]\nttl = '90s'\n[namespaces.user.origin]\n\
                      url = 'http://127.0.0.1:1/{key}?token=hunter2'\n";

on_both_stores!(configuration_is_shown_without_secrets, config: CONFIG, |env| {
    let shown = config(&env.cache).await;
    assert!(shown.toml.contains("[namespaces.user]\nttl = \"90s\"\n"), "{}", shown.toml);
    assert!(!shown.toml.contains("hunter2") && shown.toml.contains("***"), "{}", shown.toml);
    assert_eq!(shown.needs_restart, [""; 0]);
    assert_eq!(shown.server_version, env!("CARGO_PKG_VERSION"));

    env.larder.rewrite_config("[namespaces.user]\nttl = '2m'\n[limits]\nmax_batch_keys = 7\n");
    env.larder.signal(Signal::SIGHUP);
    let shown = eventually("the new configuration is shown", SOON, async || {
        let shown = config(&env.cache).await;
        shown.toml.contains("[namespaces.user]\nttl = \"2m\"\n").then_some(shown)
    })
    .await;
    assert_eq!(shown.needs_restart, ["limits.max_batch_keys"]);
});
