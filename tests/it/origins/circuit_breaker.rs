//! Circuit breaker of an origin.

use std::time::Duration;

use larder::pb::v1::{FetchStatus, GetOrFetchResponse, Outcome};
use tonic::Status;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_types::StatusExt as _;

use super::bulkhead::{Call, call};
use crate::support::{
    env::Env,
    observe::{becomes, metric_becomes},
    origin::{numbered, ok, status},
    status::{expect_violation, reason},
    wait::{SOON, eventually, throughout},
};

pub(super) async fn health_becomes(env: &Env, expected: ServingStatus) {
    eventually(&format!("origin/ns is {expected:?}"), SOON, async || {
        let request = HealthCheckRequest { service: "origin/ns".to_owned() };
        let answer =
            HealthClient::new(env.cache.channel()).check(request).await.unwrap().into_inner();
        (answer.status() == expected).then_some(())
    })
    .await;
}

with_origin!(
    an_origin_that_fails_is_in_the_log_until_it_answers,
    origin: "breaker_threshold = 3\nbreaker_cooldown = '100ms'\nretries = 0\n\
        error_backoff = '1ms'\ntimeout = '1m'",
    |env, origin| {
        origin.always(status(500));
        for key in 0..6 {
            call(&env.cache, key).await.unwrap().unwrap_err();
        }
        let logged = |message: &str| {
            let logs = env.larder.logs();
            let lines = logs.lines().filter(|line| line.contains(message));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let breaker_open = eventually("the origin's circuit breaker is open", SOON, async || {
            Some(logged("the origin's circuit breaker is open")).filter(|lines| !lines.is_empty())
        })
        .await;
        let failing = logged("fetches from the origin fail");
        assert_eq!((failing.len(), breaker_open.len()), (1, 1), "{}", env.larder.logs());
        assert!(failing[0].contains("\"namespace\":\"ns\"") && failing[0].contains("500"));
        origin.always(ok("v", &[]));
        eventually("the origin is asked again", SOON, async || {
            call(&env.cache, 7).await.unwrap().ok()
        })
        .await;
        // The log arrives through a pipe.
        eventually("the end is logged", SOON, async || {
            (logged("the origin is asked again and answers").len() == 1).then_some(())
        })
        .await;
    }
);

with_origin!(
    breaker_opens_after_failures_and_admits_one_probe,
    origin: "breaker_threshold = 3\nbreaker_cooldown = '1s'\nretries = 0\nerror_backoff = '1ms'\n\
        timeout = '1m'",
    |env, origin| {
        health_becomes(&env, ServingStatus::Serving).await;
        origin.always(status(500));
        for key in 0..3 {
            assert_eq!(reason(&call(&env.cache, key).await.unwrap().unwrap_err()), "ORIGIN_FAILED");
        }
        health_becomes(&env, ServingStatus::NotServing).await;
        metric_becomes(&env.larder, "larder_origin_breaker_open", 1.0).await;

        // One probe is admitted. All other calls are rejected until it succeeds.
        origin.answer(numbered);
        origin.hold();
        let mut probes = Vec::new();
        eventually("a probe is admitted", SOON, async || {
            let call = call(&env.cache, format!("p{}", probes.len()));
            eventually("the call is rejected or admitted", SOON, async || {
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
    refusals_do_not_open_the_breaker,
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
    open_breaker_rejects_queued_fetches,
    origin: "breaker_threshold = 3\nbreaker_cooldown = '1h'\nmax_concurrency = 1\nretries = 0\n\
        timeout = '1m'",
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
    invalid_keys_do_not_affect_the_breaker,
    origin: "breaker_threshold = 2\nbreaker_cooldown = '10ms'\nretries = 0\nerror_backoff = '1ms'",
    |env, origin| {
        origin.always(status(500));
        let fetch_invalid_key = async || {
            expect_violation_or_open(call(&env.cache, "../up").await.unwrap());
        };
        for key in 0..2 {
            call(&env.cache, key).await.unwrap().unwrap_err();
            fetch_invalid_key().await;
        }
        health_becomes(&env, ServingStatus::NotServing).await;
        // The cooldown ends repeatedly, but only a response of the origin closes the breaker.
        throughout(Duration::from_millis(300), async || {
            fetch_invalid_key().await;
            health_becomes(&env, ServingStatus::NotServing).await;
        })
        .await;
        origin.answer(numbered);
        eventually("the origin has recovered", SOON, async || {
            call(&env.cache, "k").await.unwrap().ok()
        })
        .await;
        health_becomes(&env, ServingStatus::Serving).await;
    }
);

with_origin!(
    stale_value_is_served_while_the_breaker_is_open,
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
