//! Renew without a valid lease, in an unknown namespace, and without a store.

use larder::pb::v1::{Lease, RenewRequest, RenewResponse, RenewResult};
use tonic::Code;

use crate::support::{
    client::{Cache, params, renewal},
    env::Env,
    redis::RedisServer,
    server::Larder,
    status::{expect_error, expect_violation},
    wait::{SOON, eventually},
};

on_both_stores!(only_a_lease_of_the_key_is_renewed, |env| {
    let lease = env.cache.lease("k").await;
    let invented = Lease { token: vec![1; 16].into(), ..Default::default() };
    assert_eq!(renew(&env.cache, "k", &invented).await.result(), RenewResult::LeaseLost);
    let page = RenewRequest { params: params(&[("page", "1")]), ..renewal("k", &lease) };
    assert_eq!(env.cache.renew(page).await.unwrap().result(), RenewResult::LeaseLost);
    assert_eq!(renew(&env.cache, "k", &lease).await.result(), RenewResult::Renewed);
});

on_both_stores!(renew_validates_its_fields, |env| {
    let lease = env.cache.lease("k").await;
    let request = renewal("k", &lease);
    let assert_violation = async |request: RenewRequest, field| {
        expect_violation(env.cache.renew(request).await, field);
    };
    assert_violation(
        RenewRequest { lease_token: Vec::new().into(), ..request.clone() },
        "lease_token",
    )
    .await;
    assert_violation(RenewRequest { key: String::new(), ..request.clone() }, "key").await;
    assert_violation(RenewRequest { namespace: "N".to_owned(), ..request.clone() }, "namespace")
        .await;
    assert_eq!(env.cache.renew(request).await.unwrap().result(), RenewResult::Renewed);
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renew_in_an_unknown_namespace_is_not_found() {
    let env = Env::memory(&[("LARDER_STRICT_NAMESPACES", "true")], "").await;
    let lease = Lease { token: vec![1; 16].into(), ..Default::default() };
    expect_error(env.cache.renew(renewal("k", &lease)).await, Code::NotFound, "UNKNOWN_NAMESPACE");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_store_renew_is_degraded() {
    let mut redis = RedisServer::start().await;
    let larder = Larder::redis(&redis.url()).default_timeouts().start().await;
    let cache = larder.client().await;
    let lease = cache.lease("k").await;
    redis.kill();
    let renewed = renew(&cache, "k", &lease).await;
    assert_eq!(
        (renewed.result(), renewed.expires_in, renewed.degraded),
        (RenewResult::Unspecified, None, true)
    );
    redis.restart().await;
    // The restarted Redis is empty and does not have the lease.
    let renewed = eventually("the store is used again", SOON, async || {
        Some(renew(&cache, "k", &lease).await).filter(|renewed| !renewed.degraded)
    });
    assert!(matches!(renewed.await.result(), RenewResult::LeaseLost | RenewResult::Invalidated));
}

async fn renew(cache: &Cache, key: &str, lease: &Lease) -> RenewResponse {
    cache.renew(renewal(key, lease)).await.unwrap()
}
