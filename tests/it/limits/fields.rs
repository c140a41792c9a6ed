//! Limits of single fields: names, values and times.

use std::collections::BTreeMap;

use larder::pb::v1::{
    AbandonRequest, DeleteRequest, GetOrFetchRequest, GetRequest, IncrementRequest, Lease,
    SetRequest, SetResult, StatsRequest, TouchRequest, set_request::Condition,
};
use tonic::{Code, Status};

use crate::support::{
    client::{
        Cache, NS, abandon, data, delete, fetch, get, increment, invalidate, ms, params, set, text,
        touch,
    },
    status::{expect_error, expect_over_limit, expect_violation},
    targets,
};

on_both_stores!(every_call_checks_the_namespace, |env| {
    for bad in ["", ".a", "-a", "_a", "User", "a b", "a:b", "a{b}", "é", "a\0", "a/b"] {
        for refused in every_call(&env.cache, bad, "k").await {
            expect_violation(refused, "namespace");
        }
        expect_violation(env.cache.invalidate_namespace(invalidate(bad)).await, "namespace");
    }
    let long = "x".repeat(65);
    for refused in every_call(&env.cache, &long, "k").await {
        expect_field_limit(refused, "namespace", 64);
    }
    let refused = env.cache.invalidate_namespace(invalidate(&long)).await;
    expect_field_limit(refused, "namespace", 64);
});

on_both_stores!(every_call_checks_the_key, |env| {
    for refused in every_call(&env.cache, NS, "").await {
        expect_violation(refused, "key");
    }
    // 1,025 bytes, but fewer characters.
    let long = format!("k{}", "🦀".repeat(256));
    for refused in every_call(&env.cache, NS, &long).await {
        expect_field_limit(refused, "key", 1024);
    }
});

on_both_stores!(every_call_checks_params, |env| {
    let many: BTreeMap<String, String> =
        (0..65).map(|number| (format!("n{number}"), String::new())).collect();
    let large = params(&[("n", &"v".repeat(8 * 1024))]);
    for (bad, limit) in [(many, 64), (large, 8 * 1024)] {
        let calls: [Result<(), Status>; 7] = [
            env.cache.get(GetRequest { params: bad.clone(), ..get("k") }).await.map(drop),
            env.cache
                .set(SetRequest { params: bad.clone(), ..set("k", text("v")) })
                .await
                .map(drop),
            env.cache.delete(DeleteRequest { params: bad.clone(), ..delete("k") }).await.map(drop),
            env.cache
                .get_or_fetch(GetOrFetchRequest { params: bad.clone(), ..fetch("k", 0) })
                .await
                .map(drop),
            env.cache.touch(TouchRequest { params: bad.clone(), ..touch("k", 1) }).await.map(drop),
            env.cache
                .increment(IncrementRequest { params: bad.clone(), ..increment("k", 1) })
                .await
                .map(drop),
            env.cache
                .abandon(AbandonRequest { params: bad.clone(), ..abandon("k", &some_lease()) })
                .await
                .map(drop),
        ];
        for refused in calls {
            expect_field_limit(refused, "params", limit);
        }
    }
});

on_both_stores!(fields_at_their_limits_are_accepted, |env| {
    let widest = SetRequest {
        namespace: format!("9{}", "a.b-c_d".repeat(9)),
        key: "🦀".repeat(256),
        params: (0..64).map(|number| (format!("{number:0>64}"), "v".repeat(64))).collect(),
        value: Some(data(vec![1; 1024 * 1024])),
        tags: (0..32).map(|number| format!("{number:0>128}")).collect(),
        ..Default::default()
    };
    assert_eq!((widest.namespace.len(), widest.key.len()), (64, 1024));
    assert_eq!(env.cache.set(widest.clone()).await.unwrap().result(), SetResult::Stored);
    let request = GetRequest {
        namespace: widest.namespace,
        key: widest.key,
        params: widest.params,
        ..Default::default()
    };
    let answer = env.cache.get(request).await.unwrap();
    assert!(answer.value == widest.value);
    assert_eq!(answer.entry.unwrap().tags, widest.tags);
});

on_both_stores!(
    an_oversized_value_is_refused,
    config: "[namespaces.small]\nmax_value_bytes = \"1KiB\"",
    |env| {
        let sized = |namespace: &str, size: usize| SetRequest {
            namespace: namespace.to_owned(),
            ..set("k", data(vec![0; size]))
        };
        assert_eq!(env.cache.set(sized("small", 1024)).await.unwrap().result(), SetResult::Stored);
        for (namespace, limit) in [("small", 1024), (NS, 1024 * 1024)] {
            let refused = env.cache.set(sized(namespace, limit + 1)).await;
            expect_too_large(refused, "value", limit as u64);
        }
        let words =
            SetRequest { namespace: "small".to_owned(), ..set("k", text(&"é".repeat(513))) };
        expect_too_large(env.cache.set(words).await, "value", 1024);
        // The previous value is kept.
        let kept =
            env.cache.get(GetRequest { namespace: "small".to_owned(), ..get("k") }).await.unwrap();
        assert!(kept.value == Some(data(vec![0; 1024])));
    }
);

on_both_stores!(too_many_or_too_long_tags_are_refused, |env| {
    let tagged = |tags: Vec<String>| SetRequest { tags, ..set("k", text("v")) };
    let valid = || "good".to_owned();
    let refused = env.cache.set(tagged((0..33).map(|number| number.to_string()).collect())).await;
    expect_field_limit(refused, "tags", 32);
    expect_violation(env.cache.set(tagged(vec![String::new(), valid()])).await, "tags[0]");
    let refused = env.cache.set(tagged(vec![valid(), valid(), "t".repeat(129)])).await;
    expect_field_limit(refused, "tags[2]", 128);
    assert_eq!(env.cache.read("k").await, None);
});

on_both_stores!(invalid_conditions_are_refused, |env| {
    let when = |condition| SetRequest { condition: Some(condition), ..set("k", text("v")) };
    expect_violation(env.cache.set(when(Condition::IfAbsent(false))).await, "if_absent");
    expect_violation(env.cache.set(when(Condition::IfPresent(false))).await, "if_present");
    let lease = env.cache.lease("k").await;
    for condition in [
        Condition::IfAbsent(true),
        Condition::IfPresent(true),
        Condition::IfVersion("v".to_owned()),
    ] {
        let both = SetRequest { lease_token: lease.token.clone(), ..when(condition) };
        expect_error(env.cache.set(both).await, Code::InvalidArgument, "INVALID_ARGUMENT");
    }
    assert_eq!(env.cache.read("k").await, None);
});

on_both_stores!(negative_durations_are_refused, |env| {
    let negative = GetRequest { max_stale: ms(-1), ..get("k") };
    expect_violation(env.cache.get(negative).await, "max_stale");
    let negative = GetOrFetchRequest { max_stale: ms(-1), ..fetch("k", 0) };
    expect_violation(env.cache.get_or_fetch(negative).await, "max_stale");
    expect_violation(env.cache.get_or_fetch(fetch("k", -1)).await, "wait");
    // A refused call holds no lease.
    env.cache.lease("k").await;
});

on_both_stores!(out_of_range_durations_are_handled, |env| {
    let durations = [
        (i64::MAX, i32::MAX),
        (i64::MIN, i32::MIN),
        (1, -1),
        (-1, 1),
        (0, i32::MAX),
        (i64::MAX, 0),
    ];
    for (seconds, nanos) in durations {
        let odd = Some(prost_types::Duration { seconds, nanos });
        let calls: [Result<(), Status>; 5] = [
            env.cache.set(SetRequest { ttl: odd, ..set("k", text("v")) }).await.map(drop),
            env.cache.touch(TouchRequest { ttl: odd, ..touch("k", 1) }).await.map(drop),
            env.cache.increment(IncrementRequest { ttl: odd, ..increment("n", 1) }).await.map(drop),
            env.cache.get(GetRequest { max_stale: odd, ..get("k") }).await.map(drop),
            env.cache
                .get_or_fetch(GetOrFetchRequest { max_stale: odd, ..fetch("k2", 0) })
                .await
                .map(drop),
        ];
        for answer in calls {
            let code = answer.map_or_else(|status| status.code(), |()| Code::Ok);
            assert!(
                matches!(code, Code::Ok | Code::InvalidArgument),
                "{code:?} for {seconds} s and {nanos} ns"
            );
        }
    }
});

on_both_stores!(a_long_abandon_reason_is_refused, |env| {
    let lease = env.cache.lease("k").await;
    let too_long = AbandonRequest { reason: "r".repeat(257), ..abandon("k", &lease) };
    expect_field_limit(env.cache.abandon(too_long).await, "reason", 256);
    let longest = AbandonRequest { reason: "r".repeat(256), ..abandon("k", &lease) };
    env.cache.abandon(longest).await.unwrap();
});

on_both_stores!(stats_validates_its_namespaces, |env| {
    let request = StatsRequest {
        namespaces: vec!["ns".to_owned(), "NO".to_owned()],
        ..StatsRequest::default()
    };
    expect_violation(env.cache.stats(request).await, "namespaces[1]");
    let request = StatsRequest { page_token: "NO".to_owned(), ..StatsRequest::default() };
    expect_violation(env.cache.stats(request).await, "page_token");
});

on_both_stores!(
    strict_mode_refuses_unknown_namespaces,
    config: "strict_namespaces = true\n[namespaces.known]\n",
    |env| {
        for answer in every_call(&env.cache, "known", "k").await {
            let code = answer.map_or_else(|status| status.code(), |()| Code::Ok);
            assert!(matches!(code, Code::Ok | Code::FailedPrecondition), "{code:?}");
        }
        for refused in every_call(&env.cache, "unknown", "k").await {
            expect_error(refused, Code::NotFound, "UNKNOWN_NAMESPACE");
        }
        let refused = env.cache.invalidate_namespace(invalidate("unknown")).await;
        expect_error(refused, Code::NotFound, "UNKNOWN_NAMESPACE");
        let request = targets::request(&[targets::namespace("known"), targets::key("k")]);
        expect_error(env.cache.invalidate(request).await, Code::NotFound, "UNKNOWN_NAMESPACE");
    }
);

/// Answers of every call that addresses one entry.
async fn every_call(cache: &Cache, namespace: &str, key: &str) -> [Result<(), Status>; 7] {
    let namespace = || namespace.to_owned();
    [
        cache.get(GetRequest { namespace: namespace(), ..get(key) }).await.map(drop),
        cache.set(SetRequest { namespace: namespace(), ..set(key, text("v")) }).await.map(drop),
        cache.delete(DeleteRequest { namespace: namespace(), ..delete(key) }).await.map(drop),
        cache
            .get_or_fetch(GetOrFetchRequest { namespace: namespace(), ..fetch(key, 0) })
            .await
            .map(drop),
        cache
            .abandon(AbandonRequest { namespace: namespace(), ..abandon(key, &some_lease()) })
            .await
            .map(drop),
        cache.touch(TouchRequest { namespace: namespace(), ..touch(key, 1_000) }).await.map(drop),
        cache
            .increment(IncrementRequest { namespace: namespace(), ..increment(key, 1) })
            .await
            .map(drop),
    ]
}

fn expect_field_limit<T>(answer: Result<T, Status>, field: &str, limit: u64) {
    expect_over_limit(answer, Code::InvalidArgument, "INVALID_ARGUMENT", field, limit);
}

fn expect_too_large<T>(answer: Result<T, Status>, field: &str, limit: u64) {
    expect_over_limit(answer, Code::ResourceExhausted, "VALUE_TOO_LARGE", field, limit);
}

fn some_lease() -> Lease {
    Lease { token: vec![1; 16].into(), ..Default::default() }
}
