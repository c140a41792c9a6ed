//! Batches of values in one call.

use larder::pb::v1::{
    BatchDeleteRequest, BatchGetRequest, BatchGetResult, BatchSetRequest, KeyRef, Outcome,
    SetRequest, SetResult, Tier, set_request::Condition,
};
use prost::Message as _;

use crate::support::{
    client::{
        Cache, as_text, batch_get, data, duration, fill, get, invalidate, key_ref, ms, params, set,
        set_for, text,
    },
    status::expect_violation,
    wait::{SOON, eventually},
};

/// Default message limit of gRPC clients, in bytes.
const CLIENT_LIMIT: usize = 4 * 1024 * 1024;

on_all_stores!(results_keep_the_order_of_the_request, |env| {
    for number in (0..100).step_by(2) {
        env.cache.put(&format!("k{number}"), &number.to_string()).await;
    }
    let order: Vec<usize> = (0..100).rev().chain([4, 4, 5, 4]).collect();
    let keys = order.iter().map(|number| key_ref(&format!("k{number}"))).collect();
    let chunks = env.cache.batch_get(batch_get(keys)).await.unwrap();
    assert_eq!(chunks.len(), 1, "a small batch is one message");
    assert!(!chunks[0].degraded);
    assert_eq!(chunks[0].results.len(), order.len());
    for (number, result) in order.into_iter().zip(chunks.into_iter().next().unwrap().results) {
        if number % 2 == 0 {
            assert_eq!(result.outcome(), Outcome::Hit);
            assert_eq!(as_text(result.value), Some(number.to_string()));
            let entry = result.entry.unwrap();
            assert_eq!(entry.tier(), Tier::Store);
            assert!(!entry.version.is_empty());
        } else {
            assert_eq!(result.outcome(), Outcome::Miss);
            assert_eq!((result.value, result.entry), (None, None));
        }
    }
});

on_both_stores!(a_batch_spans_namespaces_and_params, |env| {
    let page = params(&[("page", "1")]);
    let items = vec![
        set("k", text("plain")),
        SetRequest { namespace: "ns2".to_owned(), ..set("k", text("elsewhere")) },
        SetRequest { params: page.clone(), ..set("k", text("paged")) },
    ];
    let stored = env.cache.batch_set(BatchSetRequest { items }).await.unwrap().results;
    assert!(stored.iter().all(|result| result.result() == SetResult::Stored), "{stored:?}");
    let elsewhere = KeyRef { namespace: "ns2".to_owned(), ..key_ref("k") };
    let paged = KeyRef { params: page, ..key_ref("k") };
    let nowhere = KeyRef { namespace: "ns3".to_owned(), ..key_ref("k") };
    let keys = vec![paged.clone(), nowhere, elsewhere.clone(), key_ref("k")];
    let results = read(&env.cache, keys.clone()).await;
    assert_eq!(
        texts(results),
        [Some("paged"), None, Some("elsewhere"), Some("plain")].map(|t| t.map(str::to_owned))
    );

    let deleted = env
        .cache
        .batch_delete(BatchDeleteRequest {
            keys: vec![elsewhere, paged],
            ..BatchDeleteRequest::default()
        })
        .await
        .unwrap();
    assert_eq!(deleted.existed, [true, true]);
    assert_eq!(texts(read(&env.cache, keys).await), [None, None, None, Some("plain".to_owned())]);
});

on_both_stores!(a_large_answer_is_split_into_messages, |env| {
    let value = |number: usize| {
        let number = u8::try_from(number % 251).unwrap();
        data(vec![number; 20 * 1024])
    };
    for first in (0..300).step_by(100) {
        let items =
            (first..first + 100).map(|number| set(&format!("k{number}"), value(number))).collect();
        let stored = env.cache.batch_set(BatchSetRequest { items }).await.unwrap().results;
        assert!(stored.iter().all(|result| result.result() == SetResult::Stored));
    }
    let keys = (0..300).map(|number| key_ref(&format!("k{number}"))).collect();
    let chunks = env.cache.batch_get(batch_get(keys)).await.unwrap();
    assert!(chunks.len() > 1);
    // About 1 MiB, plus at most one value of the largest size.
    assert!(
        chunks.iter().all(|chunk| chunk.encoded_len() <= CLIENT_LIMIT / 2),
        "a message is too large"
    );
    let results: Vec<BatchGetResult> = chunks.into_iter().flat_map(|chunk| chunk.results).collect();
    assert_eq!(results.len(), 300);
    for (number, result) in results.into_iter().enumerate() {
        assert!(result.value == Some(value(number)), "value {number} differs");
    }
});

on_all_stores!(values_of_the_largest_size_fit_in_one_batch, |env| {
    let value = data(vec![9; 1024 * 1024]);
    let keys: Vec<KeyRef> = (0..6).map(|number| key_ref(&format!("k{number}"))).collect();
    for key in &keys {
        env.cache.set(set(&key.key, value.clone())).await.unwrap();
    }
    let results = read(&env.cache, keys).await;
    assert!(results.iter().all(|result| result.value.as_ref() == Some(&value)));
});

on_all_stores!(a_batch_of_1000_keys_is_accepted, |env| {
    let items =
        (0..1000).map(|number| set(&format!("k{number}"), text(&number.to_string()))).collect();
    let stored = env.cache.batch_set(BatchSetRequest { items }).await.unwrap().results;
    assert_eq!(stored.len(), 1000);
    let keys: Vec<KeyRef> = (0..1000).map(|number| key_ref(&format!("k{number}"))).collect();
    let results = texts(read(&env.cache, keys.clone()).await);
    assert!(results.into_iter().enumerate().all(|(number, text)| text == Some(number.to_string())));
    let deleted = env
        .cache
        .batch_delete(BatchDeleteRequest { keys: keys.clone(), ..BatchDeleteRequest::default() })
        .await
        .unwrap()
        .existed;
    assert_eq!(deleted, [true; 1000]);
    let deleted = env
        .cache
        .batch_delete(BatchDeleteRequest { keys, ..BatchDeleteRequest::default() })
        .await
        .unwrap()
        .existed;
    assert_eq!(deleted, [false; 1000]);
});

on_all_stores!(every_item_has_its_own_result, |env| {
    let version = env.cache.put("present", "old").await;
    let lease = env.cache.lease("leased").await;
    let when =
        |key: &str, condition| SetRequest { condition: Some(condition), ..set(key, text("new")) };
    let items = vec![
        when("present", Condition::IfAbsent(true)),
        when("absent", Condition::IfAbsent(true)),
        fill("leased", text("filled"), &lease),
        fill("unleased", text("filled"), &lease),
        when("missing", Condition::IfPresent(true)),
        when("present2", Condition::IfVersion(version)),
        set_for("short", text("v"), 5_000),
    ];
    let results = env.cache.batch_set(BatchSetRequest { items }).await.unwrap().results;
    let outcomes: Vec<SetResult> = results.iter().map(|result| result.result()).collect();
    use SetResult::{ConditionNotMet, LeaseLost, Stored};
    let expected =
        [ConditionNotMet, Stored, Stored, LeaseLost, ConditionNotMet, ConditionNotMet, Stored];
    assert_eq!(outcomes, expected);
    for result in &results {
        assert_eq!(result.version.is_empty(), result.result() != Stored, "{result:?}");
        assert_eq!(result.ttl.is_none(), result.result() != Stored, "{result:?}");
    }
    assert_eq!(duration(results[6].ttl).as_secs(), 5);
    assert_eq!(env.cache.read("present").await.as_deref(), Some("old"));
    assert_eq!(env.cache.read("leased").await.as_deref(), Some("filled"));
    assert_eq!(env.cache.read("unleased").await, None);
    let entry = env.cache.get(get("absent")).await.unwrap().entry.unwrap();
    assert_eq!(entry.version, results[1].version);
});

on_both_stores!(an_invalid_item_rejects_the_whole_batch, |env| {
    let items = vec![set("first", text("v")), set("second", text("v")), set("", text("v"))];
    expect_violation(env.cache.batch_set(BatchSetRequest { items }).await, "items[2].key");
    assert_eq!(env.cache.read("first").await, None);
    assert_eq!(env.cache.read("second").await, None);

    env.cache.put("first", "v").await;
    let keys = vec![key_ref("first"), KeyRef { namespace: "NO".to_owned(), ..key_ref("k") }];
    expect_violation(
        env.cache.batch_delete(BatchDeleteRequest { keys, ..BatchDeleteRequest::default() }).await,
        "keys[1].namespace",
    );
    assert_eq!(env.cache.read("first").await.as_deref(), Some("v"));
});

on_both_stores!(a_duplicate_key_is_one_entry, |env| {
    let items = vec![set("k", text("a")), set("k", text("b"))];
    let results = env.cache.batch_set(BatchSetRequest { items }).await.unwrap().results;
    assert!(results.iter().all(|result| result.result() == SetResult::Stored), "{results:?}");
    assert!(matches!(env.cache.read("k").await.as_deref(), Some("a" | "b")));
    let keys = vec![key_ref("k"), key_ref("k")];
    let deleted = env
        .cache
        .batch_delete(BatchDeleteRequest { keys, ..BatchDeleteRequest::default() })
        .await
        .unwrap()
        .existed;
    assert_eq!(deleted.len(), 2);
    assert!(deleted.contains(&true));
    assert_eq!(env.cache.read("k").await, None);
});

on_both_stores!(
    batches_distinguish_fresh_from_stale,
    config: "[namespaces.ns]\nstale_while_revalidate = \"60s\"",
    |env| {
        env.cache.put("fresh", "v").await;
        env.cache.set(set_for("stale", text("v"), 1)).await.unwrap();
        let keys = vec![key_ref("fresh"), key_ref("stale"), key_ref("missing")];
        let outcomes = eventually("the entry is stale", SOON, async || {
            let results = read(&env.cache, keys.clone()).await;
            (results[1].outcome() != Outcome::Hit)
                .then(|| results.iter().map(|r| r.outcome()).collect::<Vec<_>>())
        })
        .await;
        assert_eq!(outcomes, [Outcome::Hit, Outcome::Stale, Outcome::Miss]);
        let never = BatchGetRequest { keys: keys.clone(), max_stale: ms(0), ..Default::default() };
        let chunks = env.cache.batch_get(never).await.unwrap();
        assert_eq!(chunks[0].results[1].outcome(), Outcome::Miss);
        env.cache.invalidate_namespace(invalidate("ns")).await.unwrap();
        assert_eq!(texts(read(&env.cache, keys).await), [None, None, None]);
    }
);

async fn read(cache: &Cache, keys: Vec<KeyRef>) -> Vec<BatchGetResult> {
    cache
        .batch_get(batch_get(keys))
        .await
        .unwrap()
        .into_iter()
        .flat_map(|chunk| chunk.results)
        .collect()
}

fn texts(results: Vec<BatchGetResult>) -> Vec<Option<String>> {
    results.into_iter().map(|result| as_text(result.value)).collect()
}
