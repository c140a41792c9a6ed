//! The standard gRPC health service.

use std::time::Duration;

use nix::sys::signal::Signal;
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_client::HealthClient,
};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;

use crate::support::{
    client::Cache,
    fleet::metric,
    redis::RedisServer,
    server::Larder,
    status::expect_retry,
    wait::{SOON, eventually},
};

on_both_stores!(every_service_is_serving, |env| {
    for service in ["", "larder.v1.CacheService", "liveness", "store"] {
        let answer = check(&env.cache, service).await.unwrap();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
        let mut watch = client(&env.cache).watch(request(service)).await.unwrap().into_inner();
        assert_eq!(
            watch.message().await.unwrap().unwrap().status(),
            ServingStatus::Serving,
            "{service}"
        );
    }
    assert_eq!(check(&env.cache, "unknown").await.unwrap_err().code(), Code::NotFound);
});

on_both_stores!(
    an_unknown_service_is_watched_until_it_is_known,
    config: "[namespaces.a]\nttl = \"1m\"\n",
    |env| {
        let mut watch = client(&env.cache).watch(request("origin/a")).await.unwrap().into_inner();
        let status = async |watch: &mut tonic::Streaming<HealthCheckResponse>| {
            watch.message().await.unwrap().unwrap().status()
        };
        assert_eq!(status(&mut watch).await, ServingStatus::ServiceUnknown);
        env.larder.rewrite_config("[namespaces.a.origin]\nurl = \"http://127.0.0.1:1/{key}\"\n");
        env.larder.signal(Signal::SIGHUP);
        assert_eq!(status(&mut watch).await, ServingStatus::Serving);
        env.larder.rewrite_config("[namespaces.a]\nttl = \"1m\"\n");
        env.larder.signal(Signal::SIGHUP);
        assert_eq!(status(&mut watch).await, ServingStatus::ServiceUnknown);
        // The last status is sent before the end, which asks the client to come again.
        let mut ready = client(&env.cache).watch(request("")).await.unwrap().into_inner();
        assert_eq!(status(&mut ready).await, ServingStatus::Serving);
        env.larder.signal(Signal::SIGTERM);
        assert_eq!(status(&mut ready).await, ServingStatus::NotServing);
        let end = ready.message().await.unwrap_err();
        assert_eq!(end.code(), Code::Unavailable);
    }
);

on_both_stores!(watches_are_limited, env: [("LARDER_LIMITS__MAX_WATCHES", "70")], |env| {
    let mut open = Vec::new();
    let refused = loop {
        // A new connection for each: a connection has a share of the limit.
        let cache = env.larder.client().await;
        match client(&cache).watch(request("")).await {
            Ok(stream) => open.push((cache, stream)),
            Err(status) => break status,
        }
    };
    assert_eq!(open.len(), 70);
    expect_retry::<()>(Err(refused), Code::ResourceExhausted, "OVERLOADED");
    let mut reflection = ServerReflectionClient::new(env.cache.channel());
    let refused = reflection.server_reflection_info(futures::stream::pending()).await;
    expect_retry(refused.map(drop), Code::ResourceExhausted, "OVERLOADED");
    assert_eq!(metric(&env.larder, "larder_watches_open").await, 70.0);
    // Checks are not limited.
    check(&env.cache, "").await.unwrap();
    drop(open);
    eventually("the watches end", SOON, async || {
        (metric(&env.larder, "larder_watches_open").await == 0.0).then_some(())
    })
    .await;
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_watchers_are_notified() {
    let mut redis = RedisServer::start().await;
    let larder = Larder::redis(&redis.url()).default_timeouts().start().await;
    let cache = larder.client().await;
    let mut store = client(&cache).watch(request("store")).await.unwrap().into_inner();
    let mut service = client(&cache).watch(request("")).await.unwrap().into_inner();
    assert_eq!(store.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    assert_eq!(service.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    redis.kill();
    for expected in [ServingStatus::NotServing, ServingStatus::Serving] {
        // No call uses the store: the server has to notice the change by itself.
        let message = tokio::time::timeout(Duration::from_secs(20), store.message()).await;
        let message =
            message.unwrap_or_else(|_| panic!("no message that the store is {expected:?}"));
        assert_eq!(message.unwrap().unwrap().status(), expected);
        redis.restart().await;
    }
    let message = tokio::time::timeout(Duration::from_millis(100), service.message()).await;
    assert!(message.is_err(), "the status of the service must not change: {message:?}");
}

async fn check(cache: &Cache, service: &str) -> Result<HealthCheckResponse, tonic::Status> {
    client(cache).check(request(service)).await.map(tonic::Response::into_inner)
}

fn client(cache: &Cache) -> HealthClient<tonic::transport::Channel> {
    HealthClient::new(cache.channel())
}

fn request(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}
