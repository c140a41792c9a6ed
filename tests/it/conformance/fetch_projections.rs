//! GetOrFetch, its batch and FetchStream with the read options of Get.

use larder::pb::v1::{
    BatchGetOrFetchRequest, FetchStatus, GetOrFetchRequest, Outcome, SetResult,
    fetch_stream_request::Message as ClientMessage,
    fetch_stream_response::Message as ServerMessage, get_or_fetch_response::Outcome as Answer,
};

use crate::support::{
    batch::{answers, batch},
    client::{Fetched as _, duration, fetch, fill, json, ms, set, set_for, text},
    status::expect_violation,
    stream::Stream,
    wait::{SOON, eventually},
};

const STALE: &str = "[namespaces.ns]\nttl_jitter = 0.0\nstale_while_revalidate = '60s'\n";

on_both_stores!(the_value_is_left_out_or_projected, |env| {
    let version = env.cache.set(set("k", json(r#"{"a":1.50,"b":[2]}"#))).await.unwrap().version;
    let found = async |request: GetOrFetchRequest| {
        env.cache.get_or_fetch(request).await.unwrap().expect_found()
    };
    let same = GetOrFetchRequest { if_version_not: version.clone(), ..fetch("k", 0) };
    let same = found(same).await;
    assert_eq!((same.outcome(), same.not_modified, same.value), (Outcome::Hit, true, None));
    assert_eq!(same.entry.unwrap().version, version);
    let other = found(GetOrFetchRequest { if_version_not: "x".to_owned(), ..fetch("k", 0) }).await;
    assert!(!other.not_modified && other.value.is_some());
    let facts = found(GetOrFetchRequest { omit_value: true, ..fetch("k", 0) }).await;
    assert_eq!((facts.value, facts.not_modified, facts.not_json), (None, false, false));
    let json_pointers = vec!["/a".to_owned(), "/c".to_owned()];
    let parts = GetOrFetchRequest { json_pointers: json_pointers.clone(), ..fetch("k", 0) };
    let parts = found(parts).await;
    let texts: Vec<_> = parts.parts.iter().map(|part| part.json.as_deref()).collect();
    assert_eq!((texts, parts.value), (vec![Some("1.50"), None], None));

    env.cache.put("text", "v").await;
    let of_text = GetOrFetchRequest { json_pointers, ..fetch("text", 0) };
    let of_text = found(of_text).await;
    assert!(of_text.not_json && of_text.value.is_none() && of_text.parts.is_empty());
    let json_pointers = vec!["a".to_owned()];
    let malformed = GetOrFetchRequest { json_pointers, ..fetch("k", 0) };
    expect_violation(env.cache.get_or_fetch(malformed).await, "json_pointers[0]");
});

on_both_stores!(the_stale_value_of_a_lease_is_left_out_too, config: STALE, |env| {
    env.cache.set(set_for("k", text("v"), 1)).await.unwrap();
    let request = GetOrFetchRequest { omit_value: true, ..fetch("k", 0) };
    let lease = eventually("the value is stale", SOON, async || {
        let answer = env.cache.get_or_fetch(request.clone()).await.unwrap();
        matches!(answer.outcome, Some(Answer::Lease(_))).then(|| answer.expect_lease())
    })
    .await;
    let stale = lease.stale.clone().unwrap();
    assert_eq!((stale.outcome(), stale.value), (Outcome::Stale, None));
    let filled = env.cache.set(fill("k", text("w"), &lease)).await.unwrap();
    assert_eq!(filled.result(), SetResult::Stored);
});

on_both_stores!(a_read_extends_what_was_cached, |env| {
    env.cache.set(set_for("k", text("v"), 10_000)).await.unwrap();
    let touched = GetOrFetchRequest { touch: ms(60_000), ..fetch("k", 0) };
    let found = env.cache.get_or_fetch(touched.clone()).await.unwrap().expect_found();
    let remaining = duration(found.entry.unwrap().ttl_remaining).as_secs();
    assert!((50..=60).contains(&remaining), "{remaining}");
    // It is extended for other readers, too.
    let again = env.cache.get_or_fetch(fetch("k", 0)).await.unwrap().expect_found();
    assert!(duration(again.entry.unwrap().ttl_remaining).as_secs() >= 50);
    let zero = GetOrFetchRequest { touch: ms(0), ..touched };
    expect_violation(env.cache.get_or_fetch(zero).await, "touch");
});

const SHORT_TTL: &str = "ttl = '20s'";

with_origin!(a_fetched_value_keeps_its_ttl, namespace: SHORT_TTL, |env, origin| {
    let request =
        GetOrFetchRequest { touch: ms(60_000), omit_value: true, ..fetch("k", 20_000) };
    let answer = env.cache.get_or_fetch(request.clone()).await.unwrap();
    assert_eq!(answer.fetch_status(), FetchStatus::Fetched);
    let found = answer.expect_found();
    assert!(found.value.is_none() && duration(found.entry.unwrap().ttl_remaining).as_secs() <= 20);
    let cached = env.cache.get_or_fetch(request).await.unwrap().expect_found();
    assert!(duration(cached.entry.unwrap().ttl_remaining).as_secs() > 20);
    assert_eq!(origin.calls(), 1);
});

on_both_stores!(batches_are_projected_key_by_key, |env| {
    let version = env.cache.set(set("a", json("{\"x\":1}"))).await.unwrap().version;
    env.cache.set(set_for("b", json("{\"x\":2}"), 10_000)).await.unwrap();
    env.cache.put("c", "text").await;
    let request = BatchGetOrFetchRequest {
        if_versions_not: vec![version, String::new(), String::new(), String::new()],
        json_pointers: vec!["/x".to_owned()],
        touch: ms(3_000_000),
        ..batch(&["a", "b", "c", "missing"])
    };
    let results = answers(&env.cache, request.clone()).await;
    let [a, b, c, missing] = <[_; 4]>::try_from(results).unwrap();
    assert!(a.expect_found().not_modified);
    let b = b.expect_found();
    assert_eq!(b.parts[0].json.as_deref(), Some("2"));
    assert!(duration(b.entry.unwrap().ttl_remaining).as_secs() > 10);
    assert!(c.expect_found().not_json);
    missing.expect_lease();
    let short = BatchGetOrFetchRequest { if_versions_not: vec![String::new()], ..request };
    expect_violation(env.cache.batch_get_or_fetch(short).await, "if_versions_not");
});

on_both_stores!(the_answer_of_a_stream_is_projected, |env| {
    env.cache.set(set("k", json("{\"x\":1}"))).await.unwrap();
    let open = |request| Stream::start(&env.cache, ClientMessage::Open(request));
    let json_pointers = vec!["/x".to_owned()];
    let request = GetOrFetchRequest { json_pointers, ..fetch("k", 0) };
    let Some(ServerMessage::Answer(answer)) = open(request).await.unwrap().next().await.unwrap()
    else {
        panic!("no answer")
    };
    assert_eq!(answer.expect_found().parts[0].json.as_deref(), Some("1"));
    let invalid = GetOrFetchRequest { touch: ms(0), ..fetch("k", 0) };
    expect_violation(open(invalid).await.unwrap().next().await, "open.touch");
});
