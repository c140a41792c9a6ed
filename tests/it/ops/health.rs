//! The standard gRPC health service.

use std::time::Duration;

use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_client::HealthClient,
};

use crate::support::{client::Cache, redis::RedisServer, server::Larder};

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
    assert_eq!(check(&env.cache, "nobody").await.unwrap_err().code(), Code::NotFound);
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_watchers_are_notified() {
    let mut redis = RedisServer::start().await;
    let larder = Larder::redis(&redis.url()).start().await;
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
