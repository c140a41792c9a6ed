//! Patch: changes of a part of a JSON value.

use std::time::Duration;

use futures::future::join_all;
use larder::pb::v1::{
    GetRequest, Outcome, PatchRequest, PatchResponse, PatchResult, SetRequest, Value,
    patch_request::{Expiry, Patch},
    value::Kind,
};
use tonic::Code;

use crate::support::{
    client::{Cache, duration, get, increment, ms, set, text},
    status::{expect_error, expect_violation},
    wait::{SOON, eventually},
};

const NAMESPACES: &str = r#"
[defaults]
ttl_jitter = 0.0
[namespaces.small]
max_value_bytes = 20
[namespaces.stale]
stale_while_revalidate = "60s"
"#;

on_all_stores!(a_merge_patch_changes_members, |env| {
    let request = SetRequest { tags: vec!["t".to_owned()], ..set_json(r#"{"a": 1, "b": 1.10}"#) };
    let before = env.cache.set(request).await.unwrap().version;
    let applied = env.cache.patch(merge(r#"{"a": null, "c": {"d": []}}"#)).await.unwrap();
    assert_eq!(applied.result(), PatchResult::Applied);
    let answer = env.cache.get(get("k")).await.unwrap();
    assert_eq!(json_of(answer.value), r#"{"b":1.10,"c":{"d":[]}}"#);
    let entry = answer.entry.unwrap();
    assert_eq!((&entry.version, entry.tags), (&applied.version, vec!["t".to_owned()]));
    assert_ne!(entry.version, before);
});

on_both_stores!(a_json_patch_applies_as_a_whole_or_not_at_all, |env| {
    let version = env.cache.set(set_json(r#"{"n":1,"list":[1]}"#)).await.unwrap().version;
    let refused = env.cache.patch(operations(
        r#"[{"op":"add","path":"/list/-","value":2},{"op":"test","path":"/n","value":7}]"#,
    ));
    let status = refused.await.unwrap_err();
    assert!(status.message().contains("operation 1 at \"/n\""), "{status}");
    expect_error::<()>(Err(status), Code::FailedPrecondition, "PATCH_NOT_APPLICABLE");
    for missing in [
        r#"[{"op":"replace","path":"/x","value":1}]"#,
        r#"[{"op":"remove","path":"/list/1"}]"#,
        r#"[{"op":"move","from":"/x","path":"/y"}]"#,
    ] {
        let refused = env.cache.patch(operations(missing)).await;
        expect_error(refused, Code::FailedPrecondition, "PATCH_NOT_APPLICABLE");
    }
    assert_eq!(env.cache.get(get("k")).await.unwrap().entry.unwrap().version, version);
    let large = "x".repeat(10_000);
    let applied = env.cache.patch(operations(&format!(
        r#"[{{"op":"test","path":"/n","value":1}},
            {{"op":"add","path":"/list/0","value":"{large}"}}]"#
    )));
    assert_eq!(applied.await.unwrap().result(), PatchResult::Applied);
    assert_eq!(read(&env.cache).await, format!(r#"{{"n":1,"list":["{large}",1]}}"#));
    // A value that is stored beside the script is patched in the same way.
    let applied = env.cache.patch(keep(operations(r#"[{"op":"remove","path":"/n"}]"#))).await;
    assert_eq!(applied.unwrap().result(), PatchResult::Applied);
    assert_eq!(read(&env.cache).await, format!(r#"{{"list":["{large}",1]}}"#));
});

on_both_stores!(a_patch_keeps_the_lifetime_or_begins_a_new_one, config: NAMESPACES, |env| {
    let set = SetRequest { ttl: ms(60_000), ..set_json("{}") };
    env.cache.set(set).await.unwrap();
    for (request, least, most) in [
        (keep(merge("{}")), 30, 60),
        (merge("{}"), 1800, 1800),
        (expiring(Expiry::Ttl(ms(100_000).unwrap())), 100, 100),
        (expiring(Expiry::Ttl(ms(30 * 86_400_000).unwrap())), 7 * 86_400, 7 * 86_400),
        (keep(merge("{}")), 7 * 86_400 - 30, 7 * 86_400),
    ] {
        let applied = env.cache.patch(request).await.unwrap();
        let entry = env.cache.get(get("k")).await.unwrap().entry.unwrap();
        for (ttl, tolerance) in [(applied.ttl, 0), (entry.ttl_remaining, 30)] {
            let ttl = duration(ttl).as_secs_f64();
            assert!((f64::from(least - tolerance)..=f64::from(most)).contains(&ttl), "{ttl} s");
        }
    }
    // Patches do not extend a value that they keep.
    env.cache.set(SetRequest { ttl: ms(1_000), ..set_json("{}") }).await.unwrap();
    eventually("the value expires while it is patched", SOON, async || {
        let patched = env.cache.patch(keep(merge("{}"))).await.unwrap();
        (patched.result() == PatchResult::Missing).then_some(())
    })
    .await;
});

on_both_stores!(only_a_fresh_json_value_of_the_version_is_patched, config: NAMESPACES, |env| {
    let missing = env.cache.patch(merge("{}")).await.unwrap();
    assert_eq!(missing, response(PatchResult::Missing));
    let first = env.cache.set(set_json("{}")).await.unwrap().version;
    let if_version =
        |version: &str| PatchRequest { if_version: Some(version.to_owned()), ..merge("{}") };
    let applied = env.cache.patch(if_version(&first)).await.unwrap();
    assert_eq!(applied.result(), PatchResult::Applied);
    for other in [first.as_str(), "no version"] {
        let unmet = env.cache.patch(if_version(other)).await.unwrap();
        assert_eq!(unmet, response(PatchResult::ConditionNotMet), "{other}");
    }
    env.cache.put("k", "{}").await;
    let refused = env.cache.patch(merge("{}")).await;
    expect_error(refused, Code::FailedPrecondition, "NOT_JSON");

    let in_stale = |request| SetRequest { namespace: "stale".to_owned(), ..request };
    env.cache.set(in_stale(SetRequest { ttl: ms(1), ..set_json("{}") })).await.unwrap();
    eventually("the value is stale", SOON, async || {
        let request = GetRequest { namespace: "stale".to_owned(), ..get("k") };
        (env.cache.get(request).await.unwrap().outcome() == Outcome::Stale).then_some(())
    })
    .await;
    for request in [merge("{}"), keep(merge("{}"))] {
        let request = PatchRequest { namespace: "stale".to_owned(), ..request };
        let missing = env.cache.patch(request).await.unwrap();
        assert_eq!(missing.result(), PatchResult::Missing);
    }
});

on_both_stores!(a_patch_is_bounded, config: NAMESPACES, |env| {
    let small = |request| PatchRequest { namespace: "small".to_owned(), ..request };
    let set = SetRequest { namespace: "small".to_owned(), ..set_json("[1]") };
    env.cache.set(set).await.unwrap();
    let applied = env.cache.patch(small(merge(r#"{"a":"0123456789"}"#))).await.unwrap();
    assert_eq!(applied.result(), PatchResult::Applied);
    let refused = env.cache.patch(small(merge(r#"{"b":"0123456789"}"#))).await;
    expect_error(refused, Code::ResourceExhausted, "VALUE_TOO_LARGE");
    let double = [r#"{"op":"copy","from":"","path":"/a"}"#; 100].join(",");
    let refused = env.cache.patch(small(operations(&format!("[{double}]")))).await;
    expect_error(refused, Code::FailedPrecondition, "PATCH_NOT_APPLICABLE");

    env.cache.set(set_json("{}")).await.unwrap();
    let many = [r#"{"op":"test","path":"","value":1}"#; 1001].join(",");
    expect_violation(env.cache.patch(operations(&format!("[{many}]"))).await, "json_patch");
    let invalid = r#"[{"op":"test","path":"","value":{}},{"op":"grow","path":""}]"#;
    expect_violation(env.cache.patch(operations(invalid)).await, "json_patch[1]");
    let deep = format!("{}{}", "[".repeat(129), "]".repeat(129));
    expect_violation(env.cache.patch(merge(&deep)).await, "merge_patch");
    expect_violation(env.cache.patch(merge("{")).await, "merge_patch");
    expect_violation(env.cache.patch(PatchRequest { patch: None, ..merge("") }).await, "patch");
    expect_violation(env.cache.patch(expiring(Expiry::Keep(false))).await, "keep");
    expect_violation(env.cache.patch(expiring(Expiry::Ttl(ms(0).unwrap()))).await, "ttl");
    let empty = PatchRequest { if_version: Some(String::new()), ..merge("{}") };
    expect_violation(env.cache.patch(empty).await, "if_version");
    let nameless = PatchRequest { key: String::new(), ..merge("{}") };
    expect_violation(env.cache.patch(nameless).await, "key");
});

on_both_stores!(no_concurrent_patch_is_lost, |env| {
    env.cache.set(set_json(r#"{"list":[]}"#)).await.unwrap();
    let calls = (0..100).map(|number| {
        let patch = match number % 2 {
            0 => operations(&format!(r#"[{{"op":"add","path":"/list/-","value":{number}}}]"#)),
            _ => merge(&format!(r#"{{"m{number}":{number}}}"#)),
        };
        apply(&env.cache, if number % 3 == 0 { keep(patch) } else { patch })
    });
    join_all(calls).await;
    let value: serde_json::Value = read(&env.cache).await.parse().unwrap();
    let (members, elements) =
        (value.as_object().unwrap().len() - 1, value["list"].as_array().unwrap().len());
    assert_eq!((members, elements), (50, 50));
});

on_both_stores!(no_concurrent_increment_of_a_member_is_lost, |env| {
    env.cache.set(set_json(r#"{"n":0}"#)).await.unwrap();
    let increments = (0..10).map(async |caller| {
        for _ in 0..10 {
            increment_member(&env.cache, caller % 2 == 0).await;
        }
    });
    join_all(increments).await;
    assert_eq!(read(&env.cache).await, r#"{"n":100}"#);
});

on_both_stores!(a_counter_is_no_json, |env| {
    env.cache.increment(increment("k", 1)).await.unwrap();
    let refused = env.cache.patch(merge("2")).await;
    expect_error(refused, Code::FailedPrecondition, "NOT_JSON");
    assert_eq!(env.cache.read("k").await.as_deref(), Some("1"));
    let data = Value { kind: Some(Kind::Data("{}".into())) };
    env.cache.set(set("k", data)).await.unwrap();
    let refused = env.cache.patch(merge("{}")).await;
    expect_error(refused, Code::FailedPrecondition, "NOT_JSON");
    env.cache.set(set("k", text("{}"))).await.unwrap();
});

/// Adds one to a member, by if_version or by a `test` operation.
async fn increment_member(cache: &Cache, by_version: bool) {
    eventually("the increment is applied", Duration::from_secs(60), async || {
        let answer = cache.get(get("k")).await.unwrap();
        let value: serde_json::Value = json_of(answer.value).parse().unwrap();
        let (before, after) = (value["n"].as_u64().unwrap(), value["n"].as_u64().unwrap() + 1);
        let request = if by_version {
            let if_version = Some(answer.entry.unwrap().version);
            PatchRequest { if_version, ..merge(&format!(r#"{{"n":{after}}}"#)) }
        } else {
            operations(&format!(
                r#"[{{"op":"test","path":"/n","value":{before}}},
                    {{"op":"replace","path":"/n","value":{after}}}]"#
            ))
        };
        match cache.patch(request).await {
            Ok(patched) => (patched.result() == PatchResult::Applied).then_some(()),
            Err(status) => {
                let expected = [Code::FailedPrecondition, Code::Aborted];
                assert!(expected.contains(&status.code()), "{status}");
                None
            }
        }
    })
    .await;
}

/// Applies a patch. A call that meets too many other writes changes nothing, and is repeated.
async fn apply(cache: &Cache, request: PatchRequest) {
    eventually("the patch is applied", Duration::from_secs(60), async || {
        match cache.patch(request.clone()).await {
            Ok(patched) => {
                assert_eq!(patched.result(), PatchResult::Applied);
                Some(())
            }
            Err(status) => {
                assert_eq!(status.code(), Code::Aborted, "{status}");
                None
            }
        }
    })
    .await;
}

fn response(result: PatchResult) -> PatchResponse {
    PatchResponse { result: result.into(), ..Default::default() }
}

fn patch(patch: Patch) -> PatchRequest {
    PatchRequest {
        namespace: "ns".to_owned(),
        key: "k".to_owned(),
        patch: Some(patch),
        ..Default::default()
    }
}

fn merge(text: &str) -> PatchRequest {
    patch(Patch::MergePatch(text.to_owned()))
}

fn operations(text: &str) -> PatchRequest {
    patch(Patch::JsonPatch(text.to_owned()))
}

fn expiring(expiry: Expiry) -> PatchRequest {
    PatchRequest { expiry: Some(expiry), ..merge("{}") }
}

fn keep(request: PatchRequest) -> PatchRequest {
    PatchRequest { expiry: Some(Expiry::Keep(true)), ..request }
}

fn set_json(value: &str) -> SetRequest {
    set("k", Value { kind: Some(Kind::Json(value.to_owned().into())) })
}

fn json_of(value: Option<Value>) -> String {
    match value.and_then(|value| value.kind) {
        Some(Kind::Json(json)) => String::from_utf8(json.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    }
}

async fn read(cache: &Cache) -> String {
    json_of(cache.get(get("k")).await.unwrap().value)
}
