//! gRPC origins.

use std::time::Duration;

use larder::pb::{
    origin::v1::{
        FetchResponse, NotFound, NotModified, Value, fetch_response::Outcome as OriginOutcome,
        value::Kind,
    },
    v1::{FetchStatus, FillResult, GetOrFetchRequest, Outcome, value::Kind as StoredKind},
};
use tonic::{Code, Status};

use crate::support::{
    client::{Fetched as _, duration, fetch, ms, params},
    env::Env,
    grpc_origin::{GrpcOrigin, outcome, value},
    status::reason,
    wait::{SOON, eventually},
};

fn config(origin: &GrpcOrigin, further: &str) -> String {
    format!(
        "[namespaces.ns.origin]\ngrpc = '{}'\nretries = 0\nerror_backoff = '1ms'\n\
                 early_refresh = 0\nmin_lease = '10s'\n{further}\n\
         [namespaces.ns.origin.headers]\nauthorization = 'Bearer ${{env:TOKEN}}'\n",
        origin.url()
    )
}

async fn start(further: &str) -> (Env, GrpcOrigin) {
    let origin = GrpcOrigin::start().await;
    (Env::redis(&[("TOKEN", "hunter2")], &config(&origin, further)).await, origin)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_carries_namespace_key_params_and_headers() {
    let (env, origin) = start("timeout = '20s'").await;
    let params = params(&[("lang", "en"), ("a", "b")]);
    let request = GetOrFetchRequest { params: params.clone(), ..fetch("k", 20_000) };
    env.cache.get_or_fetch(request).await.unwrap().expect_found();
    let received = origin.last();
    assert_eq!(
        (received.namespace.as_str(), received.key.as_str(), received.params),
        ("ns", "k", params)
    );
    assert_eq!(received.previous_etag, "");
    assert_eq!(origin.metadata("authorization").as_deref(), Some("Bearer hunter2"));
    assert!(origin.metadata("grpc-timeout").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn response_determines_kind_ttl_and_tags() {
    let (env, origin) = start("").await;
    origin.answer(|request| {
        let kind = match request.key.as_str() {
            "json" => Kind::Json("{\"a\":1}".into()),
            "data" => Kind::Data(vec![0, 255].into()),
            "bad" => Kind::Json("{".into()),
            _ => Kind::Text("text".into()),
        };
        let answer = FetchResponse {
            ttl: ms(100_000),
            tags: vec!["b".to_owned(), "a".to_owned()],
            ..outcome(OriginOutcome::Value(Value { kind: Some(kind) }))
        };
        Ok(FetchResponse { no_store: request.key == "private", ..answer })
    });
    let fetched = async |key: &str| env.cache.get_or_fetch(fetch(key, 20_000)).await;
    let kinds = [
        ("json", StoredKind::Json("{\"a\":1}".into())),
        ("data", StoredKind::Data(vec![0, 255].into())),
    ];
    for (key, kind) in kinds.into_iter().chain([("text", StoredKind::Text("text".into()))]) {
        let found = fetched(key).await.unwrap().expect_found();
        assert_eq!(found.value.unwrap().kind, Some(kind));
        let entry = found.entry.unwrap();
        assert_eq!(entry.tags, ["a", "b"]);
        let ttl = duration(entry.ttl_remaining);
        assert!(ttl > Duration::from_secs(60) && ttl <= Duration::from_secs(100), "{ttl:?}");
    }
    assert_eq!(fetched("private").await.unwrap().fill(), FillResult::Uncacheable);
    assert_eq!(env.cache.read("private").await, None);
    let error = fetched("bad").await.unwrap_err();
    assert_eq!((error.code(), reason(&error).as_str()), (Code::Unavailable, "ORIGIN_INVALID"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unchanged_value_is_revalidated_by_etag() {
    let (env, origin) = start("").await;
    origin.answer(|request| {
        let etag = "e1".to_owned();
        Ok(if request.previous_etag == etag {
            FetchResponse { ttl: ms(60_000), ..outcome(OriginOutcome::NotModified(NotModified {})) }
        } else {
            FetchResponse { ttl: ms(50), etag, ..value("v") }
        })
    });
    let first = env.cache.get_or_fetch(fetch("k", 20_000)).await.unwrap().expect_found();
    let confirmed = eventually("the value is revalidated", SOON, async || {
        let answer = env.cache.get_or_fetch(fetch("k", 20_000)).await.unwrap();
        (answer.fetch_status() == FetchStatus::Revalidated).then_some(answer)
    })
    .await;
    let found = confirmed.expect_found();
    assert_eq!(found.value, first.value);
    let entry = found.entry.unwrap();
    assert_eq!(entry.version, first.entry.unwrap().version);
    assert!(duration(entry.ttl_remaining) > Duration::from_secs(30));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn not_found_is_cached() {
    let (env, origin) = start("").await;
    origin.answer(|request| match request.key.as_str() {
        "answer" => Ok(outcome(OriginOutcome::NotFound(NotFound {}))),
        _ => Err(Status::not_found("no such thing")),
    });
    for key in ["answer", "status"] {
        for _ in 0..2 {
            let found = env.cache.get_or_fetch(fetch(key, 20_000)).await.unwrap().expect_found();
            assert_eq!(found.outcome(), Outcome::Negative);
        }
    }
    assert_eq!(origin.keys(), ["answer", "status"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_codes_map_to_reasons() {
    let (env, origin) = start("breaker_threshold = 0\ntimeout = '1s'").await;
    let cases = [
        (Status::unavailable("down"), "ORIGIN_FAILED"),
        (Status::internal("bug"), "ORIGIN_FAILED"),
        (Status::permission_denied("no"), "ORIGIN_REFUSED"),
        (Status::deadline_exceeded("late"), "ORIGIN_TIMEOUT"),
    ];
    for (number, (status, expected)) in cases.into_iter().enumerate() {
        origin.answer(move |_| Err(status.clone()));
        let error = env.cache.get_or_fetch(fetch(&number.to_string(), 20_000)).await.unwrap_err();
        assert_eq!(
            (error.code(), reason(&error).as_str()),
            (Code::Unavailable, expected),
            "{error:?}"
        );
        assert!(!error.message().contains("hunter2"));
    }
    origin.answer(|_| Ok(value("late")));
    origin.set_delay(Duration::from_secs(30));
    let error = env.cache.get_or_fetch(fetch("slow", 20_000)).await.unwrap_err();
    assert_eq!(reason(&error), "ORIGIN_TIMEOUT");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarted_origin_is_reconnected() {
    let (env, mut origin) = start("breaker_threshold = 0").await;
    env.cache.get_or_fetch(fetch("before", 20_000)).await.unwrap().expect_found();
    origin.restart().await;
    let mut number = 0;
    eventually("a fetch succeeds again", SOON, async || {
        number += 1;
        env.cache.get_or_fetch(fetch(&format!("after{number}"), 20_000)).await.ok()
    })
    .await
    .expect_found();
}
