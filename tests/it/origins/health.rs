//! Who watches an origin's health is told, and keeps nobody from going.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_client::HealthClient,
};

use crate::support::{
    client::fetch,
    env::Env,
    origin::{numbered, status},
    wait::{SOON, eventually},
};

type Watch = tonic::Streaming<HealthCheckResponse>;

async fn watch(env: &Env) -> Watch {
    let request = HealthCheckRequest { service: "origin/ns".to_owned() };
    HealthClient::new(env.cache.channel()).watch(request).await.unwrap().into_inner()
}

async fn next(watch: &mut Watch) -> ServingStatus {
    let told = tokio::time::timeout(SOON, watch.message()).await.expect("somebody is told");
    told.unwrap().unwrap().status()
}

with_origin!(
    who_watches_the_origin_is_told,
    origin: "breaker_threshold = 1\nbreaker_cooldown = '100ms'\nretries = 0\nerror_backoff = '1ms'",
    |env, origin| {
        let mut told = watch(&env).await;
        assert_eq!(next(&mut told).await, ServingStatus::Serving);
        origin.always(status(500));
        env.cache.get_or_fetch(fetch("k", 20_000)).await.unwrap_err();
        assert_eq!(next(&mut told).await, ServingStatus::NotServing);
        origin.answer(numbered);
        eventually("it is well", SOON, async || {
            env.cache.get_or_fetch(fetch("k", 20_000)).await.ok()
        })
        .await;
        assert_eq!(next(&mut told).await, ServingStatus::Serving);
    }
);

with_origin!(a_watch_does_not_hold_up_the_end, |env, origin| {
    let mut env = env;
    let mut told = watch(&env).await;
    assert_eq!(next(&mut told).await, ServingStatus::Serving);
    let asked = Instant::now();
    env.larder.signal(Signal::SIGTERM);
    assert_eq!(env.larder.wait_exit(Duration::from_secs(30)).await.code(), Some(0));
    // A request that does not end would be given 20 s.
    assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
    drop(origin);
});

with_origin!(
    an_origin_that_is_replaced_or_taken_away,
    origin: "breaker_threshold = 1\nbreaker_cooldown = '1h'\nretries = 0",
    |env, origin| {
        origin.always(status(500));
        env.cache.get_or_fetch(fetch("k", 20_000)).await.unwrap_err();
        let mut told = watch(&env).await;
        eventually("it is ill", SOON, async || {
            (next(&mut told).await == ServingStatus::NotServing).then_some(())
        })
        .await;
        // Another configuration is another chance.
        env.larder.rewrite_config(&read_through(&origin.url("/other/{key}"), "", ""));
        env.larder.signal(Signal::SIGHUP);
        assert_eq!(next(&mut told).await, ServingStatus::Serving);
        env.larder.rewrite_config("");
        env.larder.signal(Signal::SIGHUP);
        let end = tokio::time::timeout(SOON, told.message())
            .await
            .expect("nobody is left in the belief that it is well");
        assert!(end.unwrap().is_none());
    }
);
