//! TLS to Redis with a certificate of the client.

use super::{
    handshakes::line,
    pki::{Pki, display},
};
use crate::{
    redis::connections::exercise_all_calls,
    support::{
        client::{Cache, get},
        cluster::RedisCluster,
        sentinel::SentinelServer,
        server::{Builder, Larder},
        tls::TlsRedisServer,
        wait::{SOON, eventually},
    },
};

/// A server with an authority of Redis, and a certificate and its key for it.
fn with_certificate(builder: Builder, authority: &str, (cert, key): &(String, String)) -> Builder {
    builder
        .env("LARDER_STORE__TLS_CA", authority)
        .env("LARDER_STORE__TLS_CERT", cert)
        .env("LARDER_STORE__TLS_KEY", key)
}

/// The server starts serving before a slow first TLS handshake is complete.
async fn reaches_redis(cache: &Cache) {
    eventually("Redis is reached", 2 * SOON, async || {
        (!cache.get(get("k")).await.unwrap().degraded).then_some(())
    })
    .await;
}

const NEAR: &str = "[namespaces.near.near_cache]\nmax_bytes = '1MiB'\nmax_staleness = '2s'\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_and_their_primary_accept_the_certificate_of_the_client() {
    let primary = TlsRedisServer::start(&["--tls-auth-clients", "yes"]).await;
    let lines = [format!("sentinel monitor main 127.0.0.1 {} 1", primary.port())];
    let sentinel = SentinelServer::start_by(&lines, None, |port| {
        let mut lines = vec!["port 0".to_owned(), "tls-replication yes".to_owned()];
        lines.extend(primary.tls_lines(port));
        lines.push("tls-auth-clients yes".to_owned());
        lines
    })
    .await;
    let url = format!("rediss-sentinel://127.0.0.1:{}/main", sentinel.port());
    let certificate = primary.client_certificate();
    let larder = with_certificate(Larder::redis(&url), &primary.authority(), &certificate);
    let larder = larder.config(NEAR).start().await;
    let cache = larder.client().await;
    reaches_redis(&cache).await;
    exercise_all_calls(&cache).await;
    follows(&larder).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_nodes_of_a_cluster_accept_the_certificate_of_the_client() {
    let cluster = RedisCluster::start_mutual_tls().await;
    let certificate = cluster.client_certificate();
    let larder = Larder::redis(&cluster.url()).config(NEAR);
    let larder = with_certificate(larder, &cluster.authority(), &certificate).start().await;
    let cache = larder.client().await;
    reaches_redis(&cache).await;
    exercise_all_calls(&cache).await;
    follows(&larder).await;
    let without = Larder::redis(&cluster.url()).env("SSL_CERT_FILE", cluster.authority());
    assert!(without.start().await.client().await.get(get("k")).await.unwrap().degraded);
}

/// Waits until the connection for client tracking is open.
async fn follows(larder: &Larder) {
    eventually("the near cache follows Redis", 2 * SOON, async || {
        let metrics = larder.admin("/metrics").await.body;
        metrics.lines().any(|line| line == "larder_near_coherent 1").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_accepts_the_certificate_of_the_client() {
    let redis = TlsRedisServer::start(&["--tls-auth-clients", "yes"]).await;
    let pki = Pki::new();
    let (url, authority) = (redis.url(), redis.authority());
    let larder = Larder::redis(&url).config(NEAR);
    let larder = with_certificate(larder, &authority, &redis.client_certificate()).start().await;
    let cache = larder.client().await;
    reaches_redis(&cache).await;
    exercise_all_calls(&cache).await;
    follows(&larder).await;

    // Without a certificate, and with one of another authority.
    pki.write_pair("other", &pki.sign("larder", -1..10));
    let other = (display(&pki.path("other.crt")), display(&pki.path("other.key")));
    let without = Larder::redis(&url).env("LARDER_STORE__TLS_CA", &authority);
    let with_other = with_certificate(Larder::redis(&url), &authority, &other);
    for builder in [without, with_other] {
        let larder = builder.start().await;
        assert!(larder.client().await.get(get("k")).await.unwrap().degraded);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_connections_to_redis_use_new_files() {
    let redis = TlsRedisServer::start(&["--tls-auth-clients", "yes"]).await;
    let pki = Pki::new();
    // At first with a certificate that Redis does not accept.
    pki.write_pair("client", &pki.sign("larder", -1..10));
    let (cert, key) = (display(&pki.path("client.crt")), display(&pki.path("client.key")));
    let larder = Larder::redis(&redis.url());
    let larder = with_certificate(larder, &redis.authority(), &(cert, key)).start().await;
    let cache = larder.client().await;
    assert!(cache.get(get("k")).await.unwrap().degraded);
    let (new_cert, new_key) = redis.client_certificate();
    pki.write("client.key", &std::fs::read_to_string(new_key).unwrap());
    pki.write("client.crt", &std::fs::read_to_string(new_cert).unwrap());
    line(&larder, &["a certificate was replaced", "\"certificate\":\"store\""]).await;
    reaches_redis(&cache).await;
}
