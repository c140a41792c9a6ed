//! BatchGetOrFetch with and without an origin.

use std::{collections::BTreeSet, time::Duration};

use larder::pb::v1::{
    BatchGetOrFetchRequest, BatchGetOrFetchResult, FetchStatus, GetOrFetchResponse, KeyRef,
    Outcome, batch_get_or_fetch_result::Result as KeyResult,
    get_or_fetch_response::Outcome as Answer,
};
use tonic::{Code, Status};

use crate::support::{
    client::{Cache, Fetched as _, as_text, key_ref, set_for, text},
    env::{Env, read_through},
    grpc_origin::{GrpcOrigin, outcome, value},
    origin::Origin,
    redis::RedisServer,
    server::Larder,
    status::{expect_error, expect_violation},
};

fn request(keys: impl IntoIterator<Item = impl AsRef<str>>) -> BatchGetOrFetchRequest {
    let keys = keys.into_iter().map(|key| key_ref(key.as_ref())).collect();
    BatchGetOrFetchRequest { keys, ..Default::default() }
}

async fn call(cache: &Cache, request: BatchGetOrFetchRequest) -> Vec<GetOrFetchResponse> {
    cache.batch_get_or_fetch(request).await.unwrap().into_iter().map(answer).collect()
}

fn answer(result: BatchGetOrFetchResult) -> GetOrFetchResponse {
    match result.result {
        Some(KeyResult::Answer(answer)) => answer,
        other => panic!("{other:?}"),
    }
}

fn value_of(answer: GetOrFetchResponse) -> Option<String> {
    as_text(answer.expect_found().value)
}

fn grpc(origin: &GrpcOrigin, further: &str) -> String {
    format!("[namespaces.ns.origin]\ngrpc = '{}'\ntimeout = '20s'\n{further}\n", origin.url())
}

/// Makes one test per store of an async function that takes an [`Env`] and a gRPC origin.
macro_rules! with_grpc_origin {
    ($name:ident, $further:expr, |$env:ident, $origin:ident| $body:block) => {
        mod $name {
            use super::*;

            async fn run($env: Env, $origin: GrpcOrigin) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn memory() {
                let origin = GrpcOrigin::start().await;
                run(Env::memory(&[], &grpc(&origin, $further)).await, origin).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn redis() {
                let origin = GrpcOrigin::start().await;
                run(Env::redis(&[], &grpc(&origin, $further)).await, origin).await;
            }
        }
    };
}

with_grpc_origin!(missing_keys_are_fetched_in_one_call, "", |env, origin| {
    let keys: Vec<String> = (0..60).map(|number| format!("k{number}")).collect();
    env.cache.put("k7", "stored").await;
    let answers = call(&env.cache, request(&keys)).await;
    for (key, answer) in keys.iter().zip(answers) {
        let (status, expected) = if key == "k7" {
            (FetchStatus::Unspecified, "stored")
        } else {
            (FetchStatus::Fetched, &*format!("{key}!"))
        };
        assert_eq!(answer.fetch_status(), status, "{key}");
        assert_eq!(value_of(answer).as_deref(), Some(expected));
    }
    assert_eq!(origin.batches(), [59]);
    // All of them are stored.
    call(&env.cache, request(&keys)).await;
    assert_eq!(origin.keys().len(), 59);
});

with_grpc_origin!(large_batches_are_split, "max_batch = 25", |env, origin| {
    let keys: Vec<String> = (0..60).map(|number| format!("k{number}")).collect();
    call(&env.cache, request(&keys)).await;
    let mut batches = origin.batches();
    batches.sort_unstable();
    assert_eq!(batches, [10, 25, 25]);
    let fetched: BTreeSet<String> = origin.keys().into_iter().collect();
    assert_eq!((fetched.len(), origin.keys().len()), (60, 60));
});

with_grpc_origin!(max_batch_determines_the_number_of_calls, "max_batch = 100", |env, origin| {
    let keys: Vec<String> = (0..1000).map(|number| format!("k{number}")).collect();
    call(
        &env.cache,
        BatchGetOrFetchRequest { wait: crate::support::client::ms(50_000), ..request(&keys) },
    )
    .await;
    assert_eq!(origin.batches(), [100; 10]);
});

with_grpc_origin!(each_key_has_a_separate_outcome, "retries = 0", |env, origin| {
    use larder::pb::origin::v1::{NotFound, fetch_response::Outcome as Origins};
    origin.answer(|request| match request.key.as_str() {
        "missing" => Ok(outcome(Origins::NotFound(NotFound {}))),
        "broken" => Err(Status::internal("broken")),
        key => Ok(value(key)),
    });
    env.cache.set(set_for("fresh", text("stored"), 60_000)).await.unwrap();
    let keys = ["a", "missing", "fresh", "broken", "a", "b"];
    let results = env.cache.batch_get_or_fetch(request(keys)).await.unwrap();
    assert_eq!(results.len(), keys.len());
    for (key, result) in keys.into_iter().zip(results) {
        match (key, result.result.unwrap()) {
            ("broken", KeyResult::Error(error)) => {
                assert_eq!(error.reason, "ORIGIN_FAILED", "{error:?}")
            }
            ("missing", KeyResult::Answer(answer)) => {
                assert_eq!(answer.expect_found().outcome(), Outcome::Negative)
            }
            ("fresh", KeyResult::Answer(answer)) => {
                assert_eq!(value_of(answer).as_deref(), Some("stored"))
            }
            (key, KeyResult::Answer(answer)) => assert_eq!(value_of(answer).as_deref(), Some(key)),
            other => panic!("{other:?}"),
        }
    }
    // A duplicate key is fetched once.
    assert_eq!(origin.keys().iter().filter(|key| *key == "a").count(), 1);
});

with_grpc_origin!(origin_without_batches_is_called_per_key, "", |env, origin| {
    origin.without_batches();
    let answers = call(&env.cache, request(["a", "b", "c"])).await;
    let values: Vec<_> = answers.into_iter().map(value_of).collect();
    assert_eq!(values, [Some("a!".to_owned()), Some("b!".to_owned()), Some("c!".to_owned())]);
    assert_eq!(origin.keys().len(), 3);
});

with_grpc_origin!(batches_and_single_calls_share_fetches, "", |env, origin| {
    origin.set_delay(Duration::from_millis(500));
    let calls = (0..4).map(|first| {
        let cache = env.cache.clone();
        tokio::spawn(async move {
            call(&cache, request((first..first + 20).map(|n| format!("k{n}")))).await
        })
    });
    let calls: Vec<_> = calls.collect();
    let single = env.cache.fetched("k10").await.0;
    assert_eq!(single.as_deref(), Some("k10!"));
    for call in calls {
        assert!(call.await.unwrap().into_iter().all(|answer| value_of(answer).is_some()));
    }
    let keys = origin.keys();
    let distinct: BTreeSet<&String> = keys.iter().collect();
    assert_eq!((keys.len(), distinct.len()), (23, 23), "{keys:?}");
});

with_origin!(http_origin_is_called_per_key, |env, origin| {
    let keys: Vec<String> = (0..1000).map(|number| format!("k{number}")).collect();
    let answers = call(
        &env.cache,
        BatchGetOrFetchRequest { wait: crate::support::client::ms(50_000), ..request(&keys) },
    );
    for (key, answer) in keys.iter().zip(answers.await) {
        assert_eq!(value_of(answer), Some(format!("/v/{key}#1")));
    }
    assert_eq!(origin.calls(), 1000);
    assert!(origin.max_in_flight() <= 64);
});

with_origin!(only_if_cached_and_no_cache_apply_to_batches, |env, origin| {
    env.cache.put("a", "stored").await;
    let only_if_cached = BatchGetOrFetchRequest { only_if_cached: true, ..request(["a", "b"]) };
    let answers = call(&env.cache, only_if_cached).await;
    assert_eq!(value_of(answers[0].clone()).as_deref(), Some("stored"));
    assert!(matches!(answers[1].outcome, Some(Answer::NotCached(_))), "{:?}", answers[1]);
    assert_eq!(origin.calls(), 0);
    let answers =
        call(&env.cache, BatchGetOrFetchRequest { no_cache: true, ..request(["a", "b"]) }).await;
    let values: Vec<_> = answers.into_iter().map(value_of).collect();
    assert_eq!(values, [Some("/v/a#1".to_owned()), Some("/v/b#1".to_owned())]);
});

with_origin!(large_answers_are_split_into_messages, |env, origin| {
    origin.always(crate::support::origin::ok(vec![b'x'; 300_000], &[]));
    let mut stream = env
        .cache
        .rpc()
        .batch_get_or_fetch(request((0..20).map(|n| n.to_string())))
        .await
        .unwrap()
        .into_inner();
    let mut sizes = Vec::new();
    while let Some(chunk) = stream.message().await.unwrap() {
        sizes.push(chunk.results.len());
    }
    assert_eq!(sizes.iter().sum::<usize>(), 20);
    assert!(sizes.iter().all(|size| *size <= 4), "{sizes:?}");
});

on_both_stores!(batch_with_a_granted_lease_does_not_wait_for_others, |env| {
    let first = call(&env.cache, request(["a", "b", "c"])).await;
    assert!(
        first.iter().all(|answer| matches!(answer.outcome, Some(Answer::Lease(_)))),
        "{first:?}"
    );
    // The second batch would take longer than this if it waited for the first caller.
    let second = call(&env.cache, request(["c", "d", "a"]));
    let second = tokio::time::timeout(Duration::from_secs(4), second).await.unwrap();
    assert!(matches!(second[0].outcome, Some(Answer::Contended(_))), "{second:?}");
    assert!(matches!(second[1].outcome, Some(Answer::Lease(_))), "{second:?}");
    assert!(matches!(second[2].outcome, Some(Answer::Contended(_))), "{second:?}");
});

on_both_stores!(batch_without_a_granted_lease_waits, |env| {
    let lease = env.cache.lease("a").await;
    let waiter = tokio::spawn({
        let cache = env.cache.clone();
        async move { call(&cache, request(["a"])).await }
    });
    env.cache.set(crate::support::client::fill("a", text("v"), &lease)).await.unwrap();
    let answers = waiter.await.unwrap();
    assert_eq!(value_of(answers[0].clone()).as_deref(), Some("v"));
});

on_both_stores!(batch_limits_are_enforced, |env| {
    expect_violation(env.cache.batch_get_or_fetch(request([""; 0])).await, "keys");
    expect_violation(env.cache.batch_get_or_fetch(request(["a", ""])).await, "keys[1].key");
    let many = (0..1001).map(|number| number.to_string());
    expect_error(
        env.cache.batch_get_or_fetch(request(many)).await,
        Code::InvalidArgument,
        "BATCH_TOO_LARGE",
    );
    let longest = Some(prost_types::Duration { seconds: i64::MAX, nanos: 0 });
    env.cache
        .batch_get_or_fetch(BatchGetOrFetchRequest { wait: longest, ..request(["a"]) })
        .await
        .unwrap();
    let both = BatchGetOrFetchRequest { no_cache: true, only_if_cached: true, ..request(["a"]) };
    expect_violation(env.cache.batch_get_or_fetch(both).await, "only_if_cached");
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespaces_can_be_mixed_and_replicas_share_fetches() {
    let (redis, origin) = (RedisServer::start().await, Origin::start().await);
    let config = read_through(&origin.url("/v/{key}"), "", "");
    let start = async || Larder::redis(&redis.url()).config(&config).start().await;
    let (first, second) = (start().await, start().await);
    let mut keys: Vec<KeyRef> = (0..50).map(|number| key_ref(&number.to_string())).collect();
    keys.push(KeyRef { namespace: "callers".to_owned(), ..key_ref("own") });
    let batch = BatchGetOrFetchRequest { keys, ..Default::default() };
    let (first, second) = (first.client().await, second.client().await);
    let (first_answers, second_answers) =
        tokio::join!(call(&first, batch.clone()), call(&second, batch));
    let is_lease = |answer: &GetOrFetchResponse| matches!(answer.outcome, Some(Answer::Lease(_)));
    assert_eq!(
        usize::from(is_lease(&first_answers[50])) + usize::from(is_lease(&second_answers[50])),
        1,
        "{:?} {:?}",
        first_answers[50],
        second_answers[50]
    );
    for answer in first_answers.into_iter().take(50).chain(second_answers.into_iter().take(50)) {
        assert!(value_of(answer).is_some());
    }
    assert_eq!(origin.calls(), 50);
}
