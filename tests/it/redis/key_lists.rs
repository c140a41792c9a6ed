//! Listings of keys in Redis: their cost in commands, and a Redis that is shared or fails.

use std::collections::BTreeSet;

use larder::pb::v1::{
    BatchSetRequest, ListKeysRequest, SetRequest, SetResponse, SetResult,
    admin_service_client::AdminServiceClient,
};
use tonic::Code;

use crate::support::{
    client::{Cache, NS, set, text},
    redis::RedisServer,
    server::Larder,
    status::expect_retry,
    wait::{SOON, eventually},
};

fn list(page_size: u32) -> ListKeysRequest {
    ListKeysRequest { namespace: NS.to_owned(), page_size, ..Default::default() }
}

async fn fill(cache: &Cache, keys: std::ops::Range<u32>) {
    let items: Vec<SetRequest> = keys.map(|key| set(&key.to_string(), text("v"))).collect();
    for items in items.chunks(1000) {
        let stored = cache.batch_set(BatchSetRequest { items: items.to_vec() }).await.unwrap();
        let is_stored = |set: &SetResponse| set.result() == SetResult::Stored;
        assert!(stored.results.iter().all(is_stored), "a busy machine");
    }
}

/// Stores all keys, or some of them while Redis is away.
async fn refill(cache: &Cache) {
    for part in (0..2000).collect::<Vec<u32>>().chunks(1000) {
        let items = part.iter().map(|key| set(&key.to_string(), text("v"))).collect();
        let _ = cache.batch_set(BatchSetRequest { items }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_costs_the_same_in_a_large_store() {
    let redis = RedisServer::start().await;
    let larder = Larder::redis(&redis.url()).env("LARDER_STORE__PREFIX", "a.b:c");
    let larder = larder.start().await;
    let cache = larder.client().await;
    fill(&cache, 0..100).await;
    assert_eq!(cache.list_keys(list(0)).await.unwrap().len(), 100);
    fill(&cache, 100..20_000).await;
    redis.reset_counts().await;
    let page = cache.rpc().list_keys(list(20)).await.unwrap().into_inner();
    assert!(page.keys.len() >= 20 && !page.next_page_token.is_empty());
    let counts = redis.counts().await;
    let count = |name: &str| counts.get(name).copied().unwrap_or(0);
    assert!((1..=4).contains(&count("scan")), "{counts:?}");
    assert!(count("getrange") < 200 && count("get") < 200, "{counts:?}");
    assert_eq!(count("keys"), 0);
    assert_eq!(cache.list_keys(list(1000)).await.unwrap().len(), 20_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_keys_are_not_listed() {
    let redis = RedisServer::start().await;
    let larder = Larder::redis(&redis.url()).start().await;
    let cache = larder.client().await;
    cache.put("k", "v").await;
    let mut admin = redis.connection().await;
    for name in ["larder:{ns:1}:k:text", "larder:{ns:999}:k:x", "larder:{ns:1}:k:\u{fffd}", "k"] {
        redis::cmd("SET").arg(name).arg("foreign").exec_async(&mut admin).await.unwrap();
    }
    let list_type = ["larder:{ns:2}:k:list", "1"];
    redis::cmd("LPUSH").arg(&list_type).exec_async(&mut admin).await.unwrap();
    redis::cmd("SET").arg(b"larder:{ns:3}:k:\xff").arg("v").exec_async(&mut admin).await.unwrap();
    let keys = cache.list_keys(list(0)).await.unwrap();
    assert_eq!(keys.iter().map(|key| &*key.key).collect::<Vec<_>>(), ["k"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listing_begins_again_after_a_restart_of_redis() {
    let mut redis = RedisServer::start().await;
    let larder = Larder::redis(&redis.url()).start().await;
    let cache = larder.client().await;
    fill(&cache, 0..2000).await;
    let page = cache.rpc().list_keys(list(500)).await.unwrap().into_inner();
    assert!(!page.next_page_token.is_empty());
    redis.kill();
    let failed = eventually("the store is unavailable", SOON, async || {
        cache.rpc().list_keys(list(0)).await.err()
    })
    .await;
    expect_retry::<()>(Err(failed), Code::Unavailable, "STORE_UNAVAILABLE");
    redis.restart().await;
    let rest = ListKeysRequest { page_token: page.next_page_token, ..list(1000) };
    let keys = eventually("Redis is filled again", SOON, async || {
        refill(&cache).await;
        let keys = cache.list_keys(rest.clone()).await.ok()?;
        let keys: BTreeSet<String> = keys.into_iter().map(|key| key.key).collect();
        (keys.len() == 2000).then_some(keys)
    })
    .await;
    assert!(keys.contains("0"), "all keys, not the rest of them");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_fail_without_the_store() {
    let redis = RedisServer::stopped();
    let larder = Larder::redis(&redis.url()).start().await;
    let mut admin = AdminServiceClient::new(larder.client().await.channel());
    let request = larder::pb::v1::InspectEntryRequest {
        namespace: NS.to_owned(),
        key: "k".to_owned(),
        ..Default::default()
    };
    expect_retry(admin.inspect_entry(request).await, Code::Unavailable, "STORE_UNAVAILABLE");
    let listed = admin.list_namespaces(larder::pb::v1::ListNamespacesRequest::default()).await;
    assert!(listed.unwrap().into_inner().degraded);
}
