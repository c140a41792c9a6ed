//! Reads that carry less: `if_version_not`, `omit_value` and `json_pointers`.

use larder::pb::v1::{
    BatchGetRequest, BatchGetResult, GetRequest, GetResponse, Outcome, SetRequest, Value,
    value::Kind,
};
use tonic::Code;

use crate::support::{
    client::{Cache, as_text, batch_get, get, key_ref, set, set_for, text},
    status::{expect_error, expect_violation},
    wait::{SOON, eventually},
};

const STALE: &str = r#"
[namespaces.ns]
ttl_jitter = 0.0
stale_while_revalidate = "60s"
"#;

on_both_stores!(the_version_that_the_caller_has_is_not_sent_again, |env| {
    let version = env.cache.put("k", "v").await;
    let same = read(&env.cache, if_version_not(&version)).await;
    assert_eq!((same.outcome(), same.not_modified, same.value), (Outcome::Hit, true, None));
    let entry = same.entry.unwrap();
    assert!(entry.version == version && entry.ttl_remaining.is_some());
    let answer = env.cache.rpc().get(if_version_not(&version)).await.unwrap();
    for (name, expected) in [("x-cache", "HIT"), ("x-cache-age", "0")] {
        assert_eq!(answer.metadata().get(name).unwrap(), expected);
    }
    assert!(answer.metadata().contains_key("x-cache-ttl-remaining"));
    let newer = env.cache.put("k", "w").await;
    for other in [version.as_str(), "no version", ""] {
        let other = read(&env.cache, if_version_not(other)).await;
        assert_eq!((other.outcome(), other.not_modified), (Outcome::Hit, false));
        assert_eq!(as_text(other.value).as_deref(), Some("w"));
        assert_eq!(other.entry.unwrap().version, newer);
    }
    let missing = GetRequest { key: "missing".to_owned(), ..if_version_not(&newer) };
    let missing = read(&env.cache, missing).await;
    assert_eq!((missing.outcome(), missing.not_modified), (Outcome::Miss, false));
});

on_both_stores!(a_stale_version_is_not_modified_either, config: STALE, |env| {
    env.cache.set(set_for("k", text("v"), 1)).await.unwrap();
    let stale = eventually("the entry is stale", SOON, async || {
        let answer = read(&env.cache, get("k")).await;
        (answer.outcome() == Outcome::Stale).then_some(answer)
    })
    .await;
    let same = read(&env.cache, if_version_not(&stale.entry.unwrap().version)).await;
    assert_eq!((same.outcome(), same.not_modified, same.value), (Outcome::Stale, true, None));
});

on_both_stores!(facts_come_without_the_value, |env| {
    let large = "v".repeat(100_000);
    let request = SetRequest { tags: vec!["t".to_owned()], ..set("k", text(&large)) };
    let version = env.cache.set(request).await.unwrap().version;
    let facts = read(&env.cache, GetRequest { omit_value: true, ..get("k") }).await;
    assert_eq!((facts.outcome(), &facts.value, facts.not_modified), (Outcome::Hit, &None, false));
    let entry = facts.entry.unwrap();
    assert_eq!((entry.version, entry.tags), (version, vec!["t".to_owned()]));
    let missing = GetRequest { omit_value: true, ..get("missing") };
    assert_eq!(read(&env.cache, missing).await.outcome(), Outcome::Miss);
});

on_both_stores!(parts_of_a_json_value_are_read, |env| {
    let value = r#"{"id": 12345678901234567890123, "a/b": [1, null, {"x": "y"}], "price": 1.10}"#;
    env.cache.set(set("k", json(value))).await.unwrap();
    let pointers = ["/price", "/a~1b/1", "/missing", "/a~1b/2", "/id", "/a~1b/3", "/price"];
    let answer = read(&env.cache, parts_of("k", &pointers)).await;
    assert_eq!((answer.outcome(), &answer.value), (Outcome::Hit, &None));
    assert!(answer.entry.is_some());
    let parts: Vec<_> = answer.parts.iter().map(|part| part.json.as_deref()).collect();
    let expected = [
        Some("1.10"),
        Some("null"),
        None,
        Some(r#"{"x":"y"}"#),
        Some("12345678901234567890123"),
        None,
        Some("1.10"),
    ];
    assert_eq!(parts, expected);
    let missing = read(&env.cache, parts_of("missing", &pointers)).await;
    assert_eq!((missing.outcome(), missing.parts.len()), (Outcome::Miss, 0));

    let deep = format!("{}1{}", "[".repeat(128), "]".repeat(128));
    env.cache.set(set("deep", json(&deep))).await.unwrap();
    let answer = read(&env.cache, parts_of("deep", &["", &"/0".repeat(128)])).await;
    let parts: Vec<_> = answer.parts.into_iter().map(|part| part.json.unwrap()).collect();
    assert_eq!(parts, [deep, "1".to_owned()]);
});

on_both_stores!(only_json_has_parts, |env| {
    for value in [text("{}"), Value { kind: Some(Kind::Data("{}".into())) }] {
        env.cache.set(set("k", value)).await.unwrap();
        let refused = env.cache.get(parts_of("k", &["/a"])).await;
        expect_error(refused, Code::FailedPrecondition, "NOT_JSON");
    }
    for invalid in ["a", "/~", "/~2"] {
        expect_violation(env.cache.get(parts_of("k", &["", invalid])).await, "json_pointers[1]");
    }
    let many = vec!["/a"; 65];
    expect_violation(env.cache.get(parts_of("k", &many)).await, "json_pointers");
    let long = "/".repeat(1025);
    expect_violation(env.cache.get(parts_of("k", &[&long])).await, "json_pointers[0]");
    let both = GetRequest { omit_value: true, ..parts_of("k", &["/a"]) };
    expect_violation(env.cache.get(both).await, "json_pointers");
});

on_both_stores!(batches_carry_less_too, |env| {
    let a = env.cache.set(set("a", json(r#"{"x":1}"#))).await.unwrap().version;
    env.cache.set(set("b", json(r#"{"x":null}"#))).await.unwrap();
    env.cache.put("text", "v").await;
    let keys = || ["a", "b", "text", "missing"].map(key_ref).to_vec();

    let facts = BatchGetRequest { omit_value: true, ..batch_get(keys()) };
    let facts = results(&env.cache, facts).await;
    assert!(facts.iter().all(|result| result.value.is_none() && !result.not_modified));
    let is_found: Vec<_> = facts.iter().map(|result| result.entry.is_some()).collect();
    assert_eq!(is_found, [true, true, true, false]);

    let versions = vec![a.clone(), a, String::new(), "x".to_owned()];
    let if_modified = BatchGetRequest { if_versions_not: versions, ..batch_get(keys()) };
    let read = results(&env.cache, if_modified.clone()).await;
    let state: Vec<_> =
        read.iter().map(|result| (result.not_modified, result.value.is_some())).collect();
    assert_eq!(state, [(true, false), (false, true), (false, true), (false, false)]);

    let with_parts = BatchGetRequest { json_pointers: vec!["/x".to_owned()], ..if_modified };
    let read = results(&env.cache, with_parts).await;
    let state: Vec<_> = read.iter().map(|result| (result.not_modified, result.not_json)).collect();
    assert_eq!(state, [(true, false), (false, false), (false, true), (false, false)]);
    assert_eq!(read[1].parts[0].json.as_deref(), Some("null"));
    assert!(read.iter().all(|result| result.value.is_none()));
    assert_eq!(read.iter().map(|result| result.parts.len()).sum::<usize>(), 1);

    // The results are those of their keys in all chunks.
    let many: Vec<_> = (0..300).map(|_| key_ref("a")).chain([key_ref("b")]).collect();
    let mut versions = vec![String::new(); 301];
    versions[300] = read[1].entry.clone().unwrap().version;
    let request = BatchGetRequest { if_versions_not: versions, ..batch_get(many) };
    let read = results(&env.cache, request).await;
    assert_eq!(read.iter().position(|result| result.not_modified), Some(300));

    let one = BatchGetRequest { if_versions_not: vec!["x".to_owned()], ..batch_get(keys()) };
    expect_violation(env.cache.batch_get(one).await, "if_versions_not");
});

fn json(text: &str) -> Value {
    Value { kind: Some(Kind::Json(text.to_owned().into())) }
}

fn if_version_not(version: &str) -> GetRequest {
    GetRequest { if_version_not: version.to_owned(), ..get("k") }
}

fn parts_of(key: &str, pointers: &[&str]) -> GetRequest {
    let json_pointers = pointers.iter().map(|&pointer| pointer.to_owned()).collect();
    GetRequest { json_pointers, ..get(key) }
}

async fn read(cache: &Cache, request: GetRequest) -> GetResponse {
    cache.get(request).await.unwrap()
}

async fn results(cache: &Cache, request: BatchGetRequest) -> Vec<BatchGetResult> {
    let chunks = cache.batch_get(request).await.unwrap();
    chunks.into_iter().flat_map(|chunk| chunk.results).collect()
}
