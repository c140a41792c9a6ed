//! How many fetches at once, and when the origin is left alone.

use std::time::Duration;

use larder::pb::v1::{FetchStatus, GetOrFetchResponse, Outcome};
use tokio::task::JoinHandle;
use tonic::Status;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_types::StatusExt as _;

use crate::support::{
    client::{Cache, fetch},
    env::Env,
    observe::{becomes, metric_becomes},
    origin::{after, numbered, ok, status},
    status::{expect_violation, reason},
    wait::{SOON, eventually, throughout},
};

type Call = JoinHandle<Result<GetOrFetchResponse, Status>>;

fn call(cache: &Cache, key: impl ToString) -> Call {
    let (cache, key) = (cache.clone(), key.to_string());
    tokio::spawn(async move { cache.get_or_fetch(fetch(&key, 60_000)).await })
}

async fn health_becomes(env: &Env, expected: ServingStatus) {
    eventually(&format!("origin/ns is {expected:?}"), SOON, async || {
        let request = HealthCheckRequest { service: "origin/ns".to_owned() };
        let answer =
            HealthClient::new(env.cache.channel()).check(request).await.unwrap().into_inner();
        (answer.status() == expected).then_some(())
    })
    .await;
}

with_origin!(
    no_more_fetches_at_once_than_allowed,
    origin: "max_concurrency = 5\ntimeout = '1m'",
    |env, origin| {
        origin.answer(|asked| after(Duration::from_millis(5), numbered(asked)));
        let calls: Vec<Call> = (0..300).map(|key| call(&env.cache, key)).collect();
        for call in calls {
            let answer = call.await.unwrap().unwrap();
            assert_eq!(answer.fetch_status(), FetchStatus::Fetched);
        }
        assert_eq!((origin.most_in_flight(), origin.calls()), (5, 300));
    }
);

with_origin!(
    whoever_finds_the_queue_full_is_told_at_once,
    origin: "max_concurrency = 2\nmax_queue = 3\ntimeout = '1m'\nerror_backoff = '1m'",
    |env, origin| {
        origin.hold();
        let calls: Vec<Call> = (0..5).map(|key| call(&env.cache, key)).collect();
        metric_becomes(&env.larder, "larder_origin_in_flight", 2.0).await;
        metric_becomes(&env.larder, "larder_origin_queued", 3.0).await;
        for _ in 0..3 {
            let error = call(&env.cache, "more").await.unwrap().unwrap_err();
            assert_eq!(reason(&error), "ORIGIN_OVERLOADED", "{error:?}");
            assert!(error.get_details_retry_info().unwrap().retry_delay.is_some());
        }
        assert_eq!(origin.calls(), 2);
        origin.release();
        for call in calls {
            call.await.unwrap().unwrap();
        }
        // It was not the key's fault, nor the origin's.
        call(&env.cache, "more").await.unwrap().unwrap();
        metric_becomes(&env.larder, "larder_origin_in_flight", 0.0).await;
        metric_becomes(&env.larder, "larder_origin_queued", 0.0).await;
        health_becomes(&env, ServingStatus::Serving).await;
    }
);

with_origin!(
    waiting_for_a_turn_counts_as_time,
    origin: "max_concurrency = 1\ntimeout = '1s'\nretries = 0",
    |env, origin| {
        origin.hold();
        let calls: Vec<Call> = (0..3).map(|key| call(&env.cache, key)).collect();
        let mut reasons = Vec::new();
        for call in calls {
            reasons.push(reason(&call.await.unwrap().unwrap_err()));
        }
        // The origin is only to blame for what it was asked.
        reasons.sort();
        assert!(
            reasons
                .iter()
                .all(|reason| ["ORIGIN_TIMEOUT", "ORIGIN_OVERLOADED"].contains(&&**reason)),
            "{reasons:?}"
        );
        assert!(reasons.contains(&"ORIGIN_TIMEOUT".to_owned()), "{reasons:?}");
    }
);

with_origin!(
    an_origin_that_keeps_failing_is_left_alone_and_tried_out,
    origin: "breaker_threshold = 3\nbreaker_cooldown = '1s'\nretries = 0\nerror_backoff = '1ms'\ntimeout = '1m'",
    |env, origin| {
        health_becomes(&env, ServingStatus::Serving).await;
        origin.always(status(500));
        for key in 0..3 {
            assert_eq!(reason(&call(&env.cache, key).await.unwrap().unwrap_err()), "ORIGIN_FAILED");
        }
        health_becomes(&env, ServingStatus::NotServing).await;
        metric_becomes(&env.larder, "larder_origin_breaker_open", 1.0).await;

        // One is let through to see whether it is well again. Until then all others are turned away.
        origin.answer(numbered);
        origin.hold();
        let mut probes = Vec::new();
        eventually("one is let through", SOON, async || {
            let call = call(&env.cache, format!("p{}", probes.len()));
            eventually("it is turned away, or let through", SOON, async || {
                (call.is_finished() || origin.calls() == 4).then_some(())
            })
            .await;
            probes.push(call);
            (origin.calls() == 4).then_some(())
        })
        .await;
        let probe = probes.pop().unwrap();
        for call in probes {
            assert_eq!(reason(&call.await.unwrap().unwrap_err()), "ORIGIN_BREAKER_OPEN");
        }
        for key in 0..20 {
            let error = call(&env.cache, format!("o{key}")).await.unwrap().unwrap_err();
            assert_eq!(reason(&error), "ORIGIN_BREAKER_OPEN", "{error:?}");
            let retry = error.get_details_retry_info().unwrap().retry_delay.unwrap();
            assert!(retry > Duration::ZERO && retry < Duration::from_secs(2), "{retry:?}");
        }
        assert_eq!(origin.calls(), 4);
        health_becomes(&env, ServingStatus::NotServing).await;
        origin.release();
        probe.await.unwrap().unwrap();
        health_becomes(&env, ServingStatus::Serving).await;
        metric_becomes(&env.larder, "larder_origin_breaker_open", 0.0).await;
        for key in 0..20 {
            call(&env.cache, format!("o{key}")).await.unwrap().unwrap();
        }
    }
);

with_origin!(
    an_origin_that_refuses_is_not_in_trouble,
    origin: "breaker_threshold = 2\nretries = 0\nerror_backoff = '1ms'",
    |env, origin| {
        origin.always(status(403));
        for key in 0..10 {
            assert_eq!(
                reason(&call(&env.cache, key).await.unwrap().unwrap_err()),
                "ORIGIN_REFUSED"
            );
        }
        assert_eq!(origin.calls(), 10);
        health_becomes(&env, ServingStatus::Serving).await;
    }
);

with_origin!(
    those_who_wait_for_their_turn_are_turned_away_too,
    origin: "breaker_threshold = 3\nbreaker_cooldown = '1h'\nmax_concurrency = 1\nretries = 0\ntimeout = '1m'",
    |env, origin| {
        origin.hold();
        origin.always(status(500));
        let calls: Vec<Call> = (0..30).map(|key| call(&env.cache, key)).collect();
        metric_becomes(&env.larder, "larder_origin_queued", 29.0).await;
        origin.release();
        let mut reasons = Vec::new();
        for call in calls {
            reasons.push(reason(&call.await.unwrap().unwrap_err()));
        }
        assert_eq!(origin.calls(), 3, "{reasons:?}");
    }
);

with_origin!(
    a_key_that_makes_no_url_says_nothing_of_the_origin,
    origin: "breaker_threshold = 2\nbreaker_cooldown = '10ms'\nretries = 0\nerror_backoff = '1ms'",
    |env, origin| {
        origin.always(status(500));
        let bad = async || {
            expect_violation_or_open(call(&env.cache, "../up").await.unwrap());
        };
        for key in 0..2 {
            call(&env.cache, key).await.unwrap().unwrap_err();
            bad().await;
        }
        health_becomes(&env, ServingStatus::NotServing).await;
        // The cooldown is over sooner or later, and nobody but the origin can close the breaker.
        throughout(Duration::from_millis(300), async || {
            bad().await;
            health_becomes(&env, ServingStatus::NotServing).await;
        })
        .await;
        origin.answer(numbered);
        eventually("it is well", SOON, async || call(&env.cache, "k").await.unwrap().ok()).await;
        health_becomes(&env, ServingStatus::Serving).await;
    }
);

with_origin!(
    what_is_stale_is_served_while_it_is_left_alone,
    namespace: "stale_if_error = '1m'",
    origin: "breaker_threshold = 1\nbreaker_cooldown = '1h'\nretries = 0\nearly_refresh = 0",
    |env, origin| {
        origin.always(ok("v", &[("cache-control", "max-age=1")]));
        env.cache.fetched("k").await;
        becomes(&env.cache, "k", Outcome::Miss).await;
        origin.always(status(500));
        call(&env.cache, "other").await.unwrap().unwrap_err();
        for _ in 0..3 {
            let (value, answer) = env.cache.fetched("k").await;
            assert_eq!((value.as_deref(), answer.fetch_status()), (Some("v"), FetchStatus::Failed));
            assert!(answer.cause.contains("the breaker is open"), "{}", answer.cause);
        }
        assert_eq!(origin.calls(), 2);
    }
);

fn expect_violation_or_open(answer: Result<GetOrFetchResponse, Status>) {
    if answer.as_ref().is_err_and(|error| reason(error) == "ORIGIN_BREAKER_OPEN") {
        return;
    }
    expect_violation(answer, "key");
}
