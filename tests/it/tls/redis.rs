//! TLS to Redis with a certificate of the client.

use std::time::Duration;

use super::{
    handshakes::line,
    pki::{Pki, display},
};
use crate::{
    redis::connections::exercise_all_calls,
    support::{
        client::get,
        server::Larder,
        tls::TlsRedisServer,
        wait::{SOON, eventually},
    },
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_accepts_the_certificate_of_the_client() {
    let redis = TlsRedisServer::start(&["--tls-auth-clients", "yes"]).await;
    let pki = Pki::new();
    let (cert, key) = redis.client_certificate();
    let variables = [
        ("LARDER_STORE__TLS_CA", redis.authority()),
        ("LARDER_STORE__TLS_CERT", cert),
        ("LARDER_STORE__TLS_KEY", key),
    ];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    let larder = Larder::redis(&redis.url()).envs(&variables).start().await;
    let cache = larder.client().await;
    eventually("Redis is reached", SOON, async || {
        (!cache.get(get("k")).await.unwrap().degraded).then_some(())
    })
    .await;
    exercise_all_calls(&cache).await;

    // Without a certificate, and with one of another authority.
    pki.write_pair("other", &pki.sign("larder", -1..10));
    let other = [display(&pki.path("other.crt")), display(&pki.path("other.key"))];
    let without = [variables[0]];
    let others = [
        variables[0],
        ("LARDER_STORE__TLS_CERT", other[0].as_str()),
        ("LARDER_STORE__TLS_KEY", other[1].as_str()),
    ];
    for variables in [&without[..], &others[..]] {
        let larder = Larder::redis(&redis.url()).envs(variables).start().await;
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
    let larder = Larder::redis(&redis.url())
        .env("LARDER_STORE__TLS_CA", redis.authority())
        .env("LARDER_STORE__TLS_CERT", &cert)
        .env("LARDER_STORE__TLS_KEY", &key)
        .start()
        .await;
    let cache = larder.client().await;
    assert!(cache.get(get("k")).await.unwrap().degraded);
    let (new_cert, new_key) = redis.client_certificate();
    pki.write("client.key", &std::fs::read_to_string(new_key).unwrap());
    pki.write("client.crt", &std::fs::read_to_string(new_cert).unwrap());
    line(&larder, &["a certificate was replaced", "\"certificate\":\"store\""]).await;
    eventually("Redis is reached", Duration::from_secs(20), async || {
        (!cache.get(get("k")).await.unwrap().degraded).then_some(())
    })
    .await;
}
