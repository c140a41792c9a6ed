//! Patches of one value on several replicas at once.

use futures::future::join_all;
use larder::pb::v1::{PatchRequest, PatchResult, Value, patch_request::Patch, value::Kind};
use tonic::Code;

use crate::support::{
    client::{Cache, get, json, set},
    fleet::Fleet,
    status::expect_retry,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_patch_of_any_replica_is_lost() {
    let fleet = Fleet::start(3, "").await;
    for round in 0..3 {
        let list = Value { kind: Some(Kind::Json("[]".into())) };
        fleet.caches[0].set(set("k", list)).await.unwrap();
        let calls = (0..100).map(|number| {
            let operation = format!(r#"[{{"op":"add","path":"/-","value":{number}}}]"#);
            let request = PatchRequest {
                namespace: "ns".to_owned(),
                key: "k".to_owned(),
                patch: Some(Patch::JsonPatch(operation)),
                ..Default::default()
            };
            fleet.caches[number % 3].patch(request)
        });
        let mut applied = Vec::new();
        for (number, answer) in join_all(calls).await.into_iter().enumerate() {
            match answer {
                Ok(answer) => {
                    assert_eq!(answer.result(), PatchResult::Applied);
                    applied.push(number as u64);
                }
                refused => expect_retry(refused, Code::Aborted, "CONTENDED"),
            }
        }
        // A patch that is not applied is the exception, even on a busy machine.
        assert!(applied.len() >= 90, "{} in round {round}", applied.len());
        let value = fleet.caches[1].get(get("k")).await.unwrap().value.unwrap();
        let Some(Kind::Json(json)) = value.kind else { panic!("no JSON") };
        let mut elements: Vec<u64> = serde_json::from_slice(&json).unwrap();
        elements.sort_unstable();
        assert_eq!(elements, applied, "round {round}");
    }
}

/// Adds one to a number in a JSON value, and tries again while other callers come first. Returns
/// the number of attempts.
async fn increment(cache: &Cache) -> usize {
    for attempt in 1.. {
        let found = cache.get(get("k")).await.unwrap();
        let Some(Kind::Json(json)) = found.value.unwrap().kind else { panic!("no JSON") };
        let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let number = value["number"].as_u64().unwrap();
        let request = PatchRequest {
            namespace: "ns".to_owned(),
            key: "k".to_owned(),
            patch: Some(Patch::MergePatch(format!("{{\"number\":{}}}", number + 1))),
            if_version: Some(found.entry.unwrap().version),
            ..Default::default()
        };
        match cache.patch(request).await.unwrap().result() {
            PatchResult::Applied => return attempt,
            PatchResult::ConditionNotMet => {}
            other => panic!("{other:?}"),
        }
    }
    unreachable!("attempts do not end")
}

on_both_stores!(no_increment_by_version_is_lost, |env| {
    const CALLERS: usize = 100;
    env.cache.set(set("k", json(r#"{"number":0,"other":"kept"}"#))).await.unwrap();
    let attempts = join_all((0..CALLERS).map(|_| increment(&env.cache))).await;
    let found = env.cache.get(get("k")).await.unwrap();
    assert_eq!(found.value, Some(json(r#"{"number":100,"other":"kept"}"#)));
    let attempts: usize = attempts.into_iter().sum();
    assert!(attempts > CALLERS, "nothing was concurrent");
});
