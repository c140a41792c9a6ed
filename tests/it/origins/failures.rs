//! Error reasons, retries and back-off of origins.

use std::time::Duration;

use larder::pb::v1::{FetchStatus, GetOrFetchRequest, Outcome};
use tonic::{Code, Status};

use crate::support::{
    client::{Cache, Fetched as _, fetch, get},
    env::{read_through, with_defaults},
    origin::{Origin, Reply, numbered, ok, send, status},
    redis::RedisServer,
    server::Larder,
    status::{expect_error, reason},
    wait::{SOON, eventually},
};

/// Details of an origin's error. `retry` is none if a retry is pointless.
struct OriginErrorDetails {
    cause: String,
    retry: Option<Duration>,
}

/// Checks the details that every origin error must have.
fn details_of(status: &Status, reason: &str) -> OriginErrorDetails {
    let details = expect_error::<()>(Err(status.clone()), Code::Unavailable, reason);
    let metadata = &details.error_info().unwrap().metadata;
    assert_eq!(metadata["origin"], "ns", "{status:?}");
    let cause = metadata["cause"].clone();
    assert!(!cause.is_empty() && status.message().contains(&cause), "{status:?}");
    let retry = details.retry_info().and_then(|info| info.retry_delay);
    // gRPC libraries read the trailer; applications read the details.
    let pushback: i64 =
        status.metadata().get("grpc-retry-pushback-ms").unwrap().to_str().unwrap().parse().unwrap();
    assert_eq!(
        pushback,
        retry.map_or(-1, |retry| i64::try_from(retry.as_millis()).unwrap()),
        "{status:?}"
    );
    OriginErrorDetails { cause, retry }
}

async fn fetch_error(cache: &Cache, key: &str) -> Status {
    let error = cache.get_or_fetch(fetch(key, 20_000)).await.expect_err("the fetch must fail");
    // Errors are never cached.
    assert_eq!(cache.get(get(key)).await.unwrap().outcome(), Outcome::Miss, "{key}");
    error
}

with_origin!(
    every_failure_has_a_reason,
    namespace: "max_value_bytes = 1000",
    origin: "retries = 0\nerror_backoff = '1ms'\nbreaker_threshold = 0",
    |env, origin| {
        for (number, (reply, reason, cause, is_retryable)) in [
            (status(500), "ORIGIN_FAILED", "status 500", true),
            (status(503), "ORIGIN_FAILED", "status 503", true),
            (status(599), "ORIGIN_FAILED", "status 599", true),
            (status(429), "ORIGIN_FAILED", "status 429", true),
            (Reply::Close, "ORIGIN_UNREACHABLE", "the connection was closed", true),
            (status(400), "ORIGIN_REFUSED", "status 400", false),
            (status(401), "ORIGIN_REFUSED", "status 401", false),
            (status(403), "ORIGIN_REFUSED", "status 403", false),
            (status(302), "ORIGIN_REFUSED", "status 302", false),
            (status(201), "ORIGIN_INVALID", "status 201", false),
            (status(206), "ORIGIN_INVALID", "status 206", false),
            (
                ok("[1,", &[("content-type", "application/json")]),
                "ORIGIN_INVALID",
                "the value is not JSON",
                false,
            ),
            (ok("x".repeat(1001), &[]), "ORIGIN_TOO_LARGE", "more than 1000 bytes", false),
        ]
        .into_iter()
        .enumerate()
        {
            origin.always(reply);
            let details = details_of(&fetch_error(&env.cache, &format!("k{number}")).await, reason);
            assert!(details.cause.starts_with(cause), "{:?} instead of {cause}", details.cause);
            assert_eq!(details.retry.is_some(), is_retryable, "{reason}");
        }
    }
);

with_origin!(silent_origin_times_out, origin: "retries = 5\ntimeout = '1s'", |env, origin| {
    origin.always(Reply::Hang);
    let details = details_of(&fetch_error(&env.cache, "k").await, "ORIGIN_TIMEOUT");
    assert!(details.retry.is_some());
    assert_eq!(origin.calls(), 1, "there is no time for a retry");
});

with_origin!(refused_connection_is_unreachable, origin: "retries = 0", |env, origin| {
    drop(origin);
    let details = details_of(&fetch_error(&env.cache, "k").await, "ORIGIN_UNREACHABLE");
    assert!(details.cause.contains("refused"), "{}", details.cause);
    assert!(details.retry.is_some());
});

with_origin!(
    transient_failures_are_retried,
    origin: "retries = 2\nretry_backoff = '10ms'\nbreaker_threshold = 0",
    |env, origin| {
        for (key, reply) in [("failed", status(503)), ("closed", Reply::Close)] {
            let reply = reply.clone();
            origin.answer(
                move |request| if request.before < 2 { reply.clone() } else { numbered(request) },
            );
            let before = origin.calls();
            let (value, answer) = env.cache.fetched(key).await;
            assert_eq!(
                (value, answer.fetch_status()),
                (Some(format!("/v/{key}#3")), FetchStatus::Fetched)
            );
            assert_eq!(origin.calls() - before, 3, "{key}");
        }
        for (key, reply, calls) in [
            ("always", status(500), 3),
            ("refused", status(403), 1),
            ("invalid", ok("{", &[("content-type", "application/json")]), 1),
            ("later", send(503, "", &[("retry-after", "1")]), 1),
            ("at once", send(503, "", &[("retry-after", "0")]), 3),
        ] {
            origin.always(reply);
            let before = origin.calls();
            fetch_error(&env.cache, key).await;
            assert_eq!(origin.calls() - before, calls, "{key}");
        }
    }
);

with_origin!(failed_key_is_backed_off, origin: "retries = 0\nerror_backoff = '1m'", |env, origin| {
    origin.always(status(500));
    let first = details_of(&fetch_error(&env.cache, "k").await, "ORIGIN_FAILED");
    assert_eq!(first.retry, Some(Duration::from_secs(60)), "an earlier retry would be rejected");
    origin.answer(numbered);
    for request in [fetch("k", 20_000), GetOrFetchRequest { no_cache: true, ..fetch("k", 20_000) }]
    {
        let error = env.cache.get_or_fetch(request).await.unwrap_err();
        let details = details_of(&error, "ORIGIN_BACKED_OFF");
        assert!(details.cause.contains("status 500"), "{}", details.cause);
        let retry = details.retry.unwrap();
        assert!(retry > Duration::from_secs(30) && retry <= Duration::from_secs(60), "{retry:?}");
    }
    assert_eq!(origin.calls(), 1);
    // Other keys are not backed off, and a Set is still accepted.
    assert_eq!(env.cache.fetched("other").await.0.as_deref(), Some("/v/other#1"));
    env.cache.put("k", "mine").await;
    assert_eq!(env.cache.fetched("k").await.0.as_deref(), Some("mine"));
});

with_origin!(
    uncacheable_key_is_backed_off_after_a_failure,
    origin: "retries = 0\nerror_backoff = '1m'",
    |env, origin| {
        origin.always(ok("v", &[("cache-control", "no-store")]));
        env.cache.fetched("k").await;
        origin.always(status(500));
        for _ in 0..5 {
            fetch_error(&env.cache, "k").await;
        }
        // The first failing call begins the back-off; the next may overlap it.
        assert!(origin.calls() <= 3, "{} calls", origin.calls());
    }
);

with_origin!(
    retry_after_extends_the_back_off,
    origin: "retries = 3\nerror_backoff = '1ms'",
    |env, origin| {
        origin.answer(|request| match request.before {
            0 => send(503, "", &[("retry-after", "3")]),
            _ => numbered(request),
        });
        let first = details_of(&fetch_error(&env.cache, "k").await, "ORIGIN_FAILED");
        assert_eq!(first.retry, Some(Duration::from_secs(3)));
        let first_call = origin.requests()[0].at;
        let second = details_of(&fetch_error(&env.cache, "k").await, "ORIGIN_BACKED_OFF");
        assert!(
            second.retry.unwrap() <= Duration::from_secs(3) && second.cause.contains("status 503")
        );
        assert_eq!(origin.calls(), 1);
        eventually("the origin is called again", SOON, async || {
            env.cache.get_or_fetch(fetch("k", 20_000)).await.ok()
        })
        .await;
        let waited = origin.requests()[1].at - first_call;
        assert!(waited > Duration::from_millis(2_900), "{waited:?}");
        assert_eq!(origin.calls(), 2);
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn back_off_is_shared_by_replicas() {
    let origin = Origin::start().await;
    let redis = RedisServer::start().await;
    let config = read_through(
        &origin.url("/v/{key}"),
        "",
        &with_defaults("retries = 0\nerror_backoff = '1m'"),
    );
    let one = Larder::redis(&redis.url()).config(&config).start().await;
    let two = Larder::redis(&redis.url()).config(&config).start().await;
    origin.always(status(500));
    details_of(&fetch_error(&one.client().await, "k").await, "ORIGIN_FAILED");
    let details = details_of(&fetch_error(&two.client().await, "k").await, "ORIGIN_BACKED_OFF");
    assert!(details.cause.contains("status 500"), "{}", details.cause);
    assert_eq!(origin.calls(), 1);
}

with_origin!(
    all_waiters_receive_the_failure,
    origin: "retries = 0\ntimeout = '1m'\nerror_backoff = '1m'",
    |env, origin| {
        origin.hold();
        origin.always(status(500));
        let calls: Vec<_> = (0..50)
            .map(|_| {
                let cache = env.cache.clone();
                tokio::spawn(async move { cache.get_or_fetch(fetch("k", 20_000)).await })
            })
            .collect();
        eventually("the origin is called", SOON, async || (origin.calls() == 1).then_some(()))
            .await;
        origin.release();
        for call in calls {
            let error = call.await.unwrap().unwrap_err();
            assert!(
                ["ORIGIN_FAILED", "ORIGIN_BACKED_OFF"].contains(&reason(&error).as_str()),
                "{error:?}"
            );
            assert!(details_of(&error, &reason(&error)).cause.contains("status 500"), "{error:?}");
        }
        assert_eq!(origin.calls(), 1);
    }
);

with_origin!(
    retries_hide_a_flapping_origin,
    origin: "retries = 1\nretry_backoff = '1ms'\nbreaker_threshold = 2",
    |env, origin| {
        origin.answer(|request| if request.before == 0 { status(500) } else { numbered(request) });
        for number in 0..30 {
            let key = format!("k{number}");
            let (value, answer) = env.cache.fetched(&key).await;
            assert_eq!(
                (value, answer.fetch_status()),
                (Some(format!("/v/{key}#2")), FetchStatus::Fetched)
            );
            answer.expect_found();
        }
        assert_eq!(origin.calls(), 60);
    }
);
