//! Cause and remedy of an outage, in the log and in error details.

use larder::pb::v1::StatsRequest;
use tonic::Code;

use crate::support::{
    client::{delete, get},
    redis::RedisServer,
    server::Larder,
    tls::TlsRedisServer,
    wait::{SOON, eventually},
};

/// The first log line with all of these texts.
async fn line(larder: &Larder, texts: &[&str]) -> String {
    eventually(&format!("{texts:?} is logged"), SOON, async || {
        let logs = larder.logs();
        let mut lines = logs.lines();
        lines.find(|line| texts.iter().all(|text| line.contains(text))).map(str::to_owned)
    })
    .await
}

/// Checks that line, status and statistics name a disagreement about TLS.
async fn names_the_disagreement(url: &str, cause: &str) {
    let larder = Larder::redis(url).default_timeouts().start().await;
    line(&larder, &["cannot connect to Redis", "\"fault\":\"tls\"", cause, "remedy"]).await;
    let cache = larder.client().await;
    let refused = cache.delete(delete("k")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains(cause), "{refused:?}");
    let stats = cache.stats(StatsRequest::default()).await.unwrap();
    let store = stats.store.unwrap();
    assert!(!store.reachable && store.cause.contains(cause), "{store:?}");
    assert!(cache.get(get("k")).await.unwrap().degraded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_to_a_plain_port_is_named() {
    let redis = RedisServer::start_tcp().await;
    let url = redis.url().replace("redis://", "rediss://");
    names_the_disagreement(&url, "the port does not speak TLS").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_tls_to_a_port_with_tls_is_named() {
    let redis = TlsRedisServer::start(&[]).await;
    let url = redis.url().replace("rediss://", "redis://");
    names_the_disagreement(&url, "the port speaks TLS").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_is_not_trusted_is_named() {
    let redis = TlsRedisServer::start(&[]).await;
    let larder = Larder::redis(&redis.url()).env("SSL_CERT_FILE", "/dev/null").start().await;
    line(&larder, &["cannot connect to Redis", "\"fault\":\"tls\"", "SSL_CERT_FILE"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_has_cause_and_remedy_in_log_and_status() {
    let mut redis = RedisServer::start().await;
    let larder = Larder::redis(&redis.url()).default_timeouts().start().await;
    let cache = larder.client().await;
    eventually("Redis is in use", SOON, async || {
        (!cache.get(get("k")).await.unwrap().degraded).then_some(())
    })
    .await;
    redis.kill();
    for text in ["cannot connect to Redis", "the store is unavailable", "leases cannot be followed"]
    {
        let line = line(&larder, &[text]).await;
        assert!(line.contains("remedy"), "{line}");
    }
    let refused = eventually("the breaker is open", SOON, async || {
        let refused = cache.delete(delete("k")).await.unwrap_err();
        refused.message().contains("store.breaker_threshold").then_some(refused)
    })
    .await;
    let cause = refused.message().split("(store.breaker_threshold): ").nth(1);
    assert!(cause.is_some_and(|cause| !cause.is_empty()), "{refused:?}");
    redis.restart().await;
    line(&larder, &["leases are followed again"]).await;
    line(&larder, &["Redis can be connected to again"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_that_cannot_be_followed_are_logged() {
    let redis = RedisServer::start_tcp().await;
    let mut admin = redis.connection().await;
    let user = ["ACL", "SETUSER", "app", "on", ">secret", "~larder:*", "+@all", "-client|tracking"];
    redis::cmd(user[0]).arg(&user[1..]).exec_async(&mut admin).await.unwrap();
    let url = redis.url().replace("redis://", "redis://app:secret@");
    let larder = Larder::redis(&url).default_timeouts().start().await;
    line(&larder, &["leases cannot be followed", "\"fault\":\"permission\"", "SECURITY.md"]).await;
}
