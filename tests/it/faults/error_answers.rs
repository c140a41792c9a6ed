//! Error answers of Redis: each is logged once in the server's own words, and the health of `store`
//! is NOT_SERVING for as long as it lasts.

use std::time::Duration;

use larder::pb::v1::SetResult;
use redis::aio::MultiplexedConnection;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::support::{
    client::{Cache, get, set, text},
    proxy::{Proxy, Upstream},
    redis::RedisServer,
    server::Larder,
    wait::{SOON, eventually, throughout},
};

const BEGIN: &str = "Redis answers with an error";
const END: &str = "Redis no longer answers with an error";

async fn store(cache: &Cache) -> ServingStatus {
    let request = HealthCheckRequest { service: "store".to_owned() };
    HealthClient::new(cache.channel()).check(request).await.unwrap().into_inner().status()
}

async fn store_becomes(cache: &Cache, status: ServingStatus) {
    eventually(&format!("the store is {status:?}"), SOON, async || {
        (store(cache).await == status).then_some(())
    })
    .await;
}

async fn command(connection: &mut MultiplexedConnection, words: &[&str]) {
    redis::cmd(words[0]).arg(&words[1..]).exec_async(connection).await.unwrap();
}

/// Log lines that contain all of these texts.
fn lines(larder: &Larder, texts: &[&str]) -> usize {
    larder.logs().lines().filter(|line| texts.iter().all(|text| line.contains(text))).count()
}

/// A server, its Redis, and a connection to that Redis.
async fn setup() -> (Larder, RedisServer, Cache, MultiplexedConnection) {
    let redis = RedisServer::start().await;
    let larder = Larder::redis(&redis.url()).start().await;
    let cache = larder.client().await;
    store_becomes(&cache, ServingStatus::Serving).await;
    cache.put("k", "v").await;
    let admin = redis.connection().await;
    (larder, redis, cache, admin)
}

/// Checks a fault that refuses writes only: reads go on, and the health is NOT_SERVING.
async fn refuses_writes(begin: &[&str], end: &[&str], fault: &str, words: &str) {
    let (larder, _redis, cache, mut admin) = setup().await;
    command(&mut admin, begin).await;
    for round in 0..20 {
        let answer = cache.set(set(&format!("k{round}"), text("v"))).await.unwrap();
        assert_eq!(answer.result(), SetResult::NotStored);
        assert!(!cache.get(get("k")).await.unwrap().degraded);
    }
    store_becomes(&cache, ServingStatus::NotServing).await;
    throughout(Duration::from_millis(2_500), async || {
        assert_eq!(store(&cache).await, ServingStatus::NotServing);
    })
    .await;
    assert_eq!(lines(&larder, &[BEGIN, fault, words]), 1);
    assert_eq!(lines(&larder, &[END]), 0);
    let metrics = larder.admin("/metrics").await.body;
    assert!(
        metrics.contains(&format!("larder_store_fault_lasting{{fault=\"{fault}\"")),
        "{metrics}"
    );
    assert!(metrics.contains("larder_store_healthy 0"), "{metrics}");
    command(&mut admin, end).await;
    store_becomes(&cache, ServingStatus::Serving).await;
    eventually("the end is logged", SOON, async || {
        (lines(&larder, &[END, fault]) == 1).then_some(())
    })
    .await;
    cache.put("after", "v").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_server_is_reported() {
    let (begin, end) = (["CONFIG", "SET", "maxmemory", "1"], ["CONFIG", "SET", "maxmemory", "0"]);
    refuses_writes(&begin, &end, "out_of_memory", "OOM command not allowed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_its_replicas_is_reported() {
    let setting = "min-replicas-to-write";
    let (begin, end) = (["CONFIG", "SET", setting, "1"], ["CONFIG", "SET", setting, "0"]);
    refuses_writes(&begin, &end, "no_replicas", "Not enough good replicas").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_is_reported() {
    let (begin, end) = (["REPLICAOF", "127.0.0.1", "1"], ["REPLICAOF", "NO", "ONE"]);
    refuses_writes(&begin, &end, "read_only", "store.url must lead to the primary").await;
}

/// A missing permission for large values is no lack of memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_permission_is_reported() {
    let redis = RedisServer::start_tcp().await;
    let mut admin = redis.connection().await;
    command(&mut admin, &["ACL", "SETUSER", "larder", "on", ">pw", "~*", "+@all", "-rename"]).await;
    let url = redis.url().replace("redis://", "redis://larder:pw@");
    let larder = Larder::redis(&url).start().await;
    let cache = larder.client().await;
    store_becomes(&cache, ServingStatus::Serving).await;
    cache.put("small", "v").await;
    let large = "v".repeat(10_000);
    let answer = cache.set(set("large", text(&large))).await.unwrap();
    assert_eq!((answer.result(), answer.degraded), (SetResult::NotStored, true));
    store_becomes(&cache, ServingStatus::NotServing).await;
    assert_eq!(lines(&larder, &[BEGIN, "permission", "SECURITY.md"]), 1);
    command(&mut admin, &["ACL", "SETUSER", "larder", "+rename"]).await;
    store_becomes(&cache, ServingStatus::Serving).await;
    cache.put("large", &large).await;
}

/// Checks a fault in which no operation works: the breaker opens, and stays open until its end.
async fn is_an_outage(larder: &Larder, cache: &Cache, fault: &str, words: &str) {
    store_becomes(cache, ServingStatus::NotServing).await;
    eventually("the breaker opens", SOON, async || {
        let _ = cache.get(get("k")).await.unwrap();
        larder.admin("/metrics").await.body.contains("larder_store_breaker_open 1").then_some(())
    })
    .await;
    let available = lines(larder, &["the store is available"]);
    throughout(Duration::from_secs(3), async || {
        assert!(cache.get(get("k")).await.unwrap().degraded);
        assert_eq!(store(cache).await, ServingStatus::NotServing);
    })
    .await;
    assert_eq!(lines(larder, &["the store is available"]), available);
    assert_eq!(lines(larder, &[BEGIN, fault, words]), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_without_its_primary_is_an_outage() {
    let (larder, _redis, cache, mut admin) = setup().await;
    command(&mut admin, &["CONFIG", "SET", "replica-serve-stale-data", "no"]).await;
    command(&mut admin, &["REPLICAOF", "127.0.0.1", "1"]).await;
    is_an_outage(&larder, &cache, "master_down", "Link with MASTER is down").await;
    command(&mut admin, &["REPLICAOF", "NO", "ONE"]).await;
    store_becomes(&cache, ServingStatus::Serving).await;
    assert!(!cache.get(get("k")).await.unwrap().degraded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_without_end_is_an_outage() {
    let (larder, redis, cache, mut admin) = setup().await;
    command(&mut admin, &["CONFIG", "SET", "busy-reply-threshold", "50"]).await;
    let mut other = redis.connection().await;
    let script = tokio::spawn(async move {
        redis::cmd("EVAL").arg("while true do end").arg(0).exec_async(&mut other).await
    });
    is_an_outage(&larder, &cache, "busy", "Redis is busy running a script").await;
    command(&mut admin, &["SCRIPT", "KILL"]).await;
    assert!(script.await.unwrap().is_err());
    store_becomes(&cache, ServingStatus::Serving).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_password_is_an_outage_for_all_operations() {
    let redis = RedisServer::start().await;
    let mut admin = redis.connection().await;
    command(&mut admin, &["CONFIG", "SET", "requirepass", "secret"]).await;
    let larder = Larder::redis(&redis.url()).default_timeouts().start().await;
    let cache = larder.client().await;
    is_an_outage(&larder, &cache, "authentication", "NOAUTH").await;
    let answer = cache.set(set("k", text("v"))).await.unwrap();
    assert_eq!((answer.result(), answer.degraded), (SetResult::NotStored, true));
    command(&mut admin, &["CONFIG", "SET", "requirepass", ""]).await;
    store_becomes(&cache, ServingStatus::Serving).await;
    cache.put("k", "v").await;
}

/// Answers each command with an error, as a proxy does that has no server.
async fn refusing_proxy() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut read = [0; 16 * 1024];
                while let Ok(length @ 1..) = stream.read(&mut read).await {
                    let commands = read[..length].iter().filter(|byte| **byte == b'*').count();
                    let answers = "-ERR no healthy upstream\r\n".repeat(commands);
                    if stream.write_all(answers.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_refuses_every_command_is_an_outage() {
    let redis = RedisServer::start().await;
    let mut proxy = Proxy::start(redis.upstream()).await;
    let larder = Larder::redis(&proxy.redis_url()).default_timeouts().start().await;
    let cache = larder.client().await;
    store_becomes(&cache, ServingStatus::Serving).await;
    proxy.redirect(Upstream::Address(refusing_proxy().await));
    proxy.cut().await;
    proxy.restore().await;
    store_becomes(&cache, ServingStatus::NotServing).await;
    throughout(Duration::from_millis(3_000), async || {
        assert_eq!(store(&cache).await, ServingStatus::NotServing);
    })
    .await;
    assert!(cache.get(get("k")).await.unwrap().degraded);
    proxy.redirect(redis.upstream());
    proxy.cut().await;
    proxy.restore().await;
    store_becomes(&cache, ServingStatus::Serving).await;
    cache.put("k", "v").await;
}
