//! Health watches of an origin.

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
    let message = tokio::time::timeout(SOON, watch.message()).await.expect("a status");
    message.unwrap().unwrap().status()
}

with_origin!(
    watch_reports_status_changes,
    origin: "breaker_threshold = 1\nbreaker_cooldown = '100ms'\nretries = 0\nerror_backoff = '1ms'",
    |env, origin| {
        let mut statuses = watch(&env).await;
        assert_eq!(next(&mut statuses).await, ServingStatus::Serving);
        origin.always(status(500));
        env.cache.get_or_fetch(fetch("k", 20_000)).await.unwrap_err();
        assert_eq!(next(&mut statuses).await, ServingStatus::NotServing);
        origin.answer(numbered);
        eventually("the origin has recovered", SOON, async || {
            env.cache.get_or_fetch(fetch("k", 20_000)).await.ok()
        })
        .await;
        assert_eq!(next(&mut statuses).await, ServingStatus::Serving);
    }
);

with_origin!(watch_does_not_delay_shutdown, |env, origin| {
    let mut env = env;
    let mut statuses = watch(&env).await;
    assert_eq!(next(&mut statuses).await, ServingStatus::Serving);
    let stopped = Instant::now();
    env.larder.signal(Signal::SIGTERM);
    assert_eq!(env.larder.wait_exit(Duration::from_secs(30)).await.code(), Some(0));
    // The server waits up to 20 s for requests that do not end.
    assert!(stopped.elapsed() < SOON, "{:?}", stopped.elapsed());
    drop(origin);
});

with_origin!(
    watch_follows_a_replaced_and_a_removed_origin,
    origin: "breaker_threshold = 1\nbreaker_cooldown = '1h'\nretries = 0",
    |env, origin| {
        origin.always(status(500));
        env.cache.get_or_fetch(fetch("k", 20_000)).await.unwrap_err();
        let mut statuses = watch(&env).await;
        eventually("the origin is not serving", SOON, async || {
            (next(&mut statuses).await == ServingStatus::NotServing).then_some(())
        })
        .await;
        // A changed configuration resets the breaker.
        env.larder.rewrite_config(&read_through(&origin.url("/other/{key}"), "", ""));
        env.larder.signal(Signal::SIGHUP);
        assert_eq!(next(&mut statuses).await, ServingStatus::Serving);
        env.larder.rewrite_config("[namespaces.other]\nttl = '1m'\n");
        env.larder.signal(Signal::SIGHUP);
        assert_eq!(next(&mut statuses).await, ServingStatus::ServiceUnknown);
    }
);
