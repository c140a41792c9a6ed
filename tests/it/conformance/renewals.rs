//! Renewals that cannot be: of what is no lease, in no namespace, without a store.

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

on_both_stores!(what_is_no_lease_of_the_key_is_not_renewed, |env| {
    let lease = env.cache.lease("k").await;
    let malformed = Lease { token: b"x".as_slice().into(), ..Default::default() };
    assert_eq!(renew(&env.cache, "k", &malformed).await.result(), RenewResult::LeaseLost);
    let page = RenewRequest { params: params(&[("page", "1")]), ..renewal("k", &lease) };
    assert_eq!(env.cache.renew(page).await.unwrap().result(), RenewResult::LeaseLost);
    assert_eq!(renew(&env.cache, "k", &lease).await.result(), RenewResult::Renewed);
});

on_both_stores!(the_fields_of_a_renewal_have_limits, |env| {
    let lease = env.cache.lease("k").await;
    let request = renewal("k", &lease);
    let violated = async |request: RenewRequest, field| {
        expect_violation(env.cache.renew(request).await, field);
    };
    violated(RenewRequest { lease_token: Vec::new().into(), ..request.clone() }, "lease_token")
        .await;
    violated(RenewRequest { key: String::new(), ..request.clone() }, "key").await;
    violated(RenewRequest { namespace: "N".to_owned(), ..request.clone() }, "namespace").await;
    assert_eq!(env.cache.renew(request).await.unwrap().result(), RenewResult::Renewed);
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_that_nobody_configured_has_no_leases() {
    let env = Env::memory(&[("LARDER_STRICT_NAMESPACES", "true")], "").await;
    let lease = Lease { token: vec![1; 16].into(), ..Default::default() };
    expect_error(env.cache.renew(renewal("k", &lease)).await, Code::NotFound, "UNKNOWN_NAMESPACE");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_store_a_renewal_does_not_know() {
    let mut redis = RedisServer::start().await;
    let larder = Larder::redis(&redis.url()).start().await;
    let cache = larder.client().await;
    let lease = cache.lease("k").await;
    redis.kill();
    let renewed = renew(&cache, "k", &lease).await;
    assert_eq!(
        (renewed.result(), renewed.expires_in, renewed.degraded),
        (RenewResult::Unspecified, None, true)
    );
    redis.restart().await;
    // A Redis that kept nothing does not know the lease either.
    let renewed = eventually("the store is asked again", SOON, async || {
        Some(renew(&cache, "k", &lease).await).filter(|renewed| !renewed.degraded)
    });
    assert!(matches!(renewed.await.result(), RenewResult::LeaseLost | RenewResult::Invalidated));
}

async fn renew(cache: &Cache, key: &str, lease: &Lease) -> RenewResponse {
    cache.renew(renewal(key, lease)).await.unwrap()
}
