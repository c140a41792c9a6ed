//! Batches: sizes, and which item is wrong.

use larder::pb::v1::{
    BatchDeleteRequest, BatchGetRequest, BatchSetRequest, KeyRef, SetRequest,
    set_request::Condition,
};
use tonic::Code;

use crate::support::{
    client::{batch_get, data, key_ref, ms, params, set, set_for, text},
    status::{expect_over_limit, expect_violation},
};

const INVALID: (Code, &str) = (Code::InvalidArgument, "INVALID_ARGUMENT");
const TOO_MANY: (Code, &str) = (Code::InvalidArgument, "BATCH_TOO_LARGE");

on_both_stores!(a_batch_is_not_empty, |env| {
    expect_violation(env.cache.batch_get(batch_get(Vec::new())).await, "keys");
    expect_violation(
        env.cache
            .batch_delete(BatchDeleteRequest { keys: Vec::new(), ..BatchDeleteRequest::default() })
            .await,
        "keys",
    );
    expect_violation(env.cache.batch_set(BatchSetRequest { items: Vec::new() }).await, "items");
});

on_both_stores!(a_batch_has_a_size, |env| {
    let keys = vec![key_ref("k"); 1001];
    expect_over_limit(
        env.cache.batch_get(batch_get(keys.clone())).await,
        TOO_MANY.0,
        TOO_MANY.1,
        "keys",
        1000,
    );
    let refused =
        env.cache.batch_delete(BatchDeleteRequest { keys, ..BatchDeleteRequest::default() }).await;
    expect_over_limit(refused, TOO_MANY.0, TOO_MANY.1, "keys", 1000);
    let items = vec![set("k", text("v")); 1001];
    let refused = env.cache.batch_set(BatchSetRequest { items }).await;
    expect_over_limit(refused, TOO_MANY.0, TOO_MANY.1, "items", 1000);
    assert_eq!(env.cache.read("k").await, None);
});

on_both_stores!(the_size_of_a_batch_can_be_set, env: [("LARDER_LIMITS__MAX_BATCH_KEYS", "3")], |env| {
    env.cache.batch_get(batch_get(vec![key_ref("k"); 3])).await.unwrap();
    let refused = env.cache.batch_get(batch_get(vec![key_ref("k"); 4])).await;
    expect_over_limit(refused, TOO_MANY.0, TOO_MANY.1, "keys", 3);
});

on_both_stores!(the_wrong_key_of_a_batch_is_named, |env| {
    let long = "k".repeat(1025);
    let large = params(&[("n", &"v".repeat(9000))]);
    let nowhere = KeyRef { namespace: "no where".to_owned(), ..key_ref("k") };
    let crowded = KeyRef { params: large, ..key_ref("k") };
    let faults = [
        (key_ref(""), "key"),
        (key_ref(&long), "key"),
        (nowhere, "namespace"),
        (crowded, "params"),
    ];
    for (position, (fault, field)) in faults.into_iter().enumerate() {
        let mut keys = vec![key_ref("good"); 5];
        keys[position] = fault;
        let field = format!("keys[{position}].{field}");
        expect_violation(env.cache.batch_get(batch_get(keys.clone())).await, &field);
        expect_violation(
            env.cache
                .batch_delete(BatchDeleteRequest { keys, ..BatchDeleteRequest::default() })
                .await,
            &field,
        );
    }
    let backwards = BatchGetRequest { max_stale: ms(-1), ..batch_get(vec![key_ref("k")]) };
    expect_violation(env.cache.batch_get(backwards).await, "max_stale");
});

on_both_stores!(the_wrong_item_of_a_batch_is_named, |env| {
    let good = || set("good", text("v"));
    let faults = [
        (SetRequest { key: String::new(), ..good() }, "key"),
        (SetRequest { namespace: "NO".to_owned(), ..good() }, "namespace"),
        (SetRequest { value: None, ..good() }, "value"),
        (SetRequest { condition: Some(Condition::IfAbsent(false)), ..good() }, "if_absent"),
        (SetRequest { tags: vec!["t".to_owned(), String::new()], ..good() }, "tags[1]"),
        (set_for("good", text("v"), 0), "ttl"),
    ];
    for (position, (fault, field)) in faults.into_iter().enumerate() {
        let mut items = vec![good(); 7];
        items[position] = fault;
        let refused = env.cache.batch_set(BatchSetRequest { items }).await;
        expect_violation(refused, &format!("items[{position}].{field}"));
    }
    let items = vec![good(), SetRequest { tags: vec!["t".repeat(129)], ..good() }];
    let refused = env.cache.batch_set(BatchSetRequest { items }).await;
    expect_over_limit(refused, INVALID.0, INVALID.1, "items[1].tags[0]", 128);
    let items = vec![good(), good(), set("good", data(vec![0; 1024 * 1024 + 1]))];
    let refused = env.cache.batch_set(BatchSetRequest { items }).await;
    let limit = 1024 * 1024;
    expect_over_limit(refused, Code::ResourceExhausted, "VALUE_TOO_LARGE", "items[2].value", limit);
    assert_eq!(env.cache.read("good").await, None);
});
