//! Limits of batches: number of items, and errors that name the invalid item.

use larder::pb::v1::{
    BatchDeleteRequest, BatchGetRequest, BatchSetRequest, KeyRef, SetRequest,
    set_request::Condition,
};
use tonic::{Code, Status};

use crate::support::{
    client::{batch_get, data, key_ref, ms, params, set, set_for, text},
    status::{expect_over_limit, expect_violation},
};

on_both_stores!(an_empty_batch_is_refused, |env| {
    expect_violation(env.cache.batch_get(batch_get(Vec::new())).await, "keys");
    expect_violation(
        env.cache
            .batch_delete(BatchDeleteRequest { keys: Vec::new(), ..BatchDeleteRequest::default() })
            .await,
        "keys",
    );
    expect_violation(env.cache.batch_set(BatchSetRequest { items: Vec::new() }).await, "items");
});

on_both_stores!(an_oversized_batch_is_refused, |env| {
    let keys = vec![key_ref("k"); 1001];
    expect_too_many(env.cache.batch_get(batch_get(keys.clone())).await, "keys", 1000);
    let refused =
        env.cache.batch_delete(BatchDeleteRequest { keys, ..BatchDeleteRequest::default() }).await;
    expect_too_many(refused, "keys", 1000);
    let items = vec![set("k", text("v")); 1001];
    let refused = env.cache.batch_set(BatchSetRequest { items }).await;
    expect_too_many(refused, "items", 1000);
    assert_eq!(env.cache.read("k").await, None);
});

on_both_stores!(
    the_batch_limit_is_configurable,
    env: [("LARDER_LIMITS__MAX_BATCH_KEYS", "3")],
    |env| {
        env.cache.batch_get(batch_get(vec![key_ref("k"); 3])).await.unwrap();
        let refused = env.cache.batch_get(batch_get(vec![key_ref("k"); 4])).await;
        expect_too_many(refused, "keys", 3);
    }
);

on_both_stores!(the_invalid_key_of_a_batch_is_named, |env| {
    let long = "k".repeat(1025);
    let large = params(&[("n", &"v".repeat(9000))]);
    let bad_namespace = KeyRef { namespace: "no where".to_owned(), ..key_ref("k") };
    let oversized = KeyRef { params: large, ..key_ref("k") };
    let faults = [
        (key_ref(""), "key"),
        (key_ref(&long), "key"),
        (bad_namespace, "namespace"),
        (oversized, "params"),
    ];
    for (index, (fault, field)) in faults.into_iter().enumerate() {
        let mut keys = vec![key_ref("good"); 5];
        keys[index] = fault;
        let field = format!("keys[{index}].{field}");
        expect_violation(env.cache.batch_get(batch_get(keys.clone())).await, &field);
        expect_violation(
            env.cache
                .batch_delete(BatchDeleteRequest { keys, ..BatchDeleteRequest::default() })
                .await,
            &field,
        );
    }
    let negative = BatchGetRequest { max_stale: ms(-1), ..batch_get(vec![key_ref("k")]) };
    expect_violation(env.cache.batch_get(negative).await, "max_stale");
});

on_both_stores!(the_invalid_item_of_a_batch_is_named, |env| {
    let valid = || set("good", text("v"));
    let faults = [
        (SetRequest { key: String::new(), ..valid() }, "key"),
        (SetRequest { namespace: "NO".to_owned(), ..valid() }, "namespace"),
        (SetRequest { value: None, ..valid() }, "value"),
        (SetRequest { condition: Some(Condition::IfAbsent(false)), ..valid() }, "if_absent"),
        (SetRequest { tags: vec!["t".to_owned(), String::new()], ..valid() }, "tags[1]"),
        (set_for("good", text("v"), 0), "ttl"),
    ];
    for (index, (fault, field)) in faults.into_iter().enumerate() {
        let mut items = vec![valid(); 7];
        items[index] = fault;
        let refused = env.cache.batch_set(BatchSetRequest { items }).await;
        expect_violation(refused, &format!("items[{index}].{field}"));
    }
    let items = vec![valid(), SetRequest { tags: vec!["t".repeat(129)], ..valid() }];
    let refused = env.cache.batch_set(BatchSetRequest { items }).await;
    expect_over_limit(refused, Code::InvalidArgument, "INVALID_ARGUMENT", "items[1].tags[0]", 128);
    let items = vec![valid(), valid(), set("good", data(vec![0; 1024 * 1024 + 1]))];
    let refused = env.cache.batch_set(BatchSetRequest { items }).await;
    let limit = 1024 * 1024;
    expect_over_limit(refused, Code::ResourceExhausted, "VALUE_TOO_LARGE", "items[2].value", limit);
    assert_eq!(env.cache.read("good").await, None);
});

fn expect_too_many<T>(answer: Result<T, Status>, field: &str, limit: u64) {
    expect_over_limit(answer, Code::InvalidArgument, "BATCH_TOO_LARGE", field, limit);
}
