//! Every failure of an origin, by name; retries and back-off.

use std::time::Duration;

use larder::pb::v1::{FetchStatus, GetOrFetchRequest, Outcome};
use tonic::{Code, Status};

use crate::support::{
    client::{Cache, Fetched as _, fetch, get},
    env::{PATIENT, patient, read_through},
    origin::{Origin, Reply, numbered, ok, send, status},
    redis::RedisServer,
    server::Larder,
    status::{expect_error, reason},
    wait::{SOON, eventually},
};

/// What an error tells: its cause, and when to ask again if that makes sense.
struct Told {
    cause: String,
    retry: Option<Duration>,
}

/// Checks all that an error of an origin must say.
fn told(status: &Status, reason: &str) -> Told {
    let details = expect_error::<()>(Err(status.clone()), Code::Unavailable, reason);
    let facts = &details.error_info().unwrap().metadata;
    assert_eq!(facts["origin"], "ns", "{status:?}");
    let cause = facts["cause"].clone();
    assert!(!cause.is_empty() && status.message().contains(&cause), "{status:?}");
    let retry = details.retry_info().and_then(|info| info.retry_delay);
    // gRPC libraries look at the trailer, and people at the details.
    let pushback: i64 =
        status.metadata().get("grpc-retry-pushback-ms").unwrap().to_str().unwrap().parse().unwrap();
    assert_eq!(
        pushback,
        retry.map_or(-1, |retry| i64::try_from(retry.as_millis()).unwrap()),
        "{status:?}"
    );
    Told { cause, retry }
}

async fn fails(cache: &Cache, key: &str) -> Status {
    let error = cache.get_or_fetch(fetch(key, 20_000)).await.expect_err("no answer");
    // An error is never stored as anything.
    assert_eq!(cache.get(get(key)).await.unwrap().outcome(), Outcome::Miss, "{key}");
    error
}

with_origin!(
    every_failure_has_a_name,
    namespace: "max_value_bytes = 1000",
    origin: "retries = 0\nerror_backoff = '1ms'\nbreaker_threshold = 0",
    |env, origin| {
        for (number, (reply, reason, cause, passes)) in [
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
                "it is not JSON",
                false,
            ),
            (ok("x".repeat(1001), &[]), "ORIGIN_TOO_LARGE", "more than 1000 bytes", false),
        ]
        .into_iter()
        .enumerate()
        {
            origin.always(reply);
            let told = told(&fails(&env.cache, &format!("k{number}")).await, reason);
            assert!(told.cause.starts_with(cause), "{:?} instead of {cause}", told.cause);
            assert_eq!(told.retry.is_some(), passes, "{reason}");
        }
    }
);

with_origin!(
    an_origin_that_says_nothing_is_given_up,
    origin: "retries = 5\ntimeout = '1s'",
    |env, origin| {
        origin.always(Reply::Hang);
        let told = told(&fails(&env.cache, "k").await, "ORIGIN_TIMEOUT");
        assert!(told.retry.is_some());
        assert_eq!(origin.calls(), 1, "there was no time for a second");
    }
);

with_origin!(an_origin_that_is_not_there_cannot_be_reached, origin: "retries = 0", |env, origin| {
    drop(origin);
    let told = told(&fails(&env.cache, "k").await, "ORIGIN_UNREACHABLE");
    assert!(told.cause.contains("refused"), "{}", told.cause);
    assert!(told.retry.is_some());
});

with_origin!(
    what_may_pass_is_tried_again,
    origin: "retries = 2\nretry_backoff = '10ms'\nbreaker_threshold = 0",
    |env, origin| {
        for (key, reply) in [("failed", status(503)), ("closed", Reply::Close)] {
            let reply = reply.clone();
            origin.answer(
                move |asked| if asked.before < 2 { reply.clone() } else { numbered(asked) },
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
            fails(&env.cache, key).await;
            assert_eq!(origin.calls() - before, calls, "{key}");
        }
    }
);

with_origin!(
    a_key_that_failed_is_left_alone_for_a_while,
    origin: "retries = 0\nerror_backoff = '1m'",
    |env, origin| {
        origin.always(status(500));
        let first = told(&fails(&env.cache, "k").await, "ORIGIN_FAILED");
        assert_eq!(first.retry, Some(Duration::from_secs(60)), "to ask again earlier is in vain");
        origin.answer(numbered);
        for request in
            [fetch("k", 20_000), GetOrFetchRequest { no_cache: true, ..fetch("k", 20_000) }]
        {
            let error = env.cache.get_or_fetch(request).await.unwrap_err();
            let told = told(&error, "ORIGIN_BACKED_OFF");
            assert!(told.cause.contains("status 500"), "{}", told.cause);
            let retry = told.retry.unwrap();
            assert!(
                retry > Duration::from_secs(30) && retry <= Duration::from_secs(60),
                "{retry:?}"
            );
        }
        assert_eq!(origin.calls(), 1);
        // Other keys are not, and whoever knows the value may say it.
        assert_eq!(env.cache.fetched("other").await.0.as_deref(), Some("/v/other#1"));
        env.cache.put("k", "mine").await;
        assert_eq!(env.cache.fetched("k").await.0.as_deref(), Some("mine"));
    }
);

with_origin!(
    so_is_one_whose_value_is_not_stored,
    origin: "retries = 0\nerror_backoff = '1m'",
    |env, origin| {
        origin.always(ok("v", &[("cache-control", "no-store")]));
        env.cache.fetched("k").await;
        origin.always(status(500));
        for _ in 0..5 {
            fails(&env.cache, "k").await;
        }
        // The first of them does not know of the back-off yet, and it is not known to the others what it has found out.
        assert!(origin.calls() <= 3, "{} calls", origin.calls());
    }
);

with_origin!(
    the_origin_may_ask_for_a_longer_while,
    origin: "retries = 3\nerror_backoff = '1ms'",
    |env, origin| {
        origin.answer(|asked| match asked.before {
            0 => send(503, "", &[("retry-after", "3")]),
            _ => numbered(asked),
        });
        let first = told(&fails(&env.cache, "k").await, "ORIGIN_FAILED");
        assert_eq!(first.retry, Some(Duration::from_secs(3)));
        let asked = origin.asked()[0].at;
        let second = told(&fails(&env.cache, "k").await, "ORIGIN_BACKED_OFF");
        assert!(
            second.retry.unwrap() <= Duration::from_secs(3) && second.cause.contains("status 503")
        );
        assert_eq!(origin.calls(), 1);
        eventually("it is asked again", SOON, async || {
            env.cache.get_or_fetch(fetch("k", 20_000)).await.ok()
        })
        .await;
        let waited = origin.asked()[1].at - asked;
        assert!(waited > Duration::from_millis(2_900), "{waited:?}");
        assert_eq!(origin.calls(), 2);
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_share_the_back_off() {
    let origin = Origin::start().await;
    let redis = RedisServer::start().await;
    let config =
        read_through(&origin.url("/v/{key}"), "", &patient("retries = 0\nerror_backoff = '1m'"));
    let one = Larder::redis(&redis.url()).envs(&PATIENT).config(&config).start().await;
    let two = Larder::redis(&redis.url()).envs(&PATIENT).config(&config).start().await;
    origin.always(status(500));
    told(&fails(&one.client().await, "k").await, "ORIGIN_FAILED");
    let told = told(&fails(&two.client().await, "k").await, "ORIGIN_BACKED_OFF");
    assert!(told.cause.contains("status 500"), "{}", told.cause);
    assert_eq!(origin.calls(), 1);
}

with_origin!(
    all_who_wait_are_told_of_the_failure,
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
        eventually("it is asked", SOON, async || (origin.calls() == 1).then_some(())).await;
        origin.release();
        for call in calls {
            let error = call.await.unwrap().unwrap_err();
            assert!(
                ["ORIGIN_FAILED", "ORIGIN_BACKED_OFF"].contains(&reason(&error).as_str()),
                "{error:?}"
            );
            assert!(told(&error, &reason(&error)).cause.contains("status 500"), "{error:?}");
        }
        assert_eq!(origin.calls(), 1);
    }
);

with_origin!(
    a_flapping_origin_goes_unnoticed,
    origin: "retries = 1\nretry_backoff = '1ms'\nbreaker_threshold = 2",
    |env, origin| {
        origin.answer(|asked| if asked.before == 0 { status(500) } else { numbered(asked) });
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
