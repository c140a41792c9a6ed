//! Values, kinds, versions and entry metadata.

use std::time::Duration;

use larder::pb::v1::{DeleteRequest, GetRequest, Outcome, SetRequest, SetResult, Tier, Value};
use tonic::Response;

use crate::support::{
    client::{Cache, data, delete, duration, fetch, get, invalidate, json, set, set_for, text},
    status::expect_violation,
    wait::{CLOCK_ERROR, SOON, eventually},
};

on_both_stores!(a_miss_is_not_an_error, |env| {
    let answer = env.cache.get(get("nothing")).await.unwrap();
    assert_eq!(answer.outcome(), Outcome::Miss);
    assert_eq!((answer.value, answer.entry, answer.degraded), (None, None, false));
});

on_both_stores!(every_kind_is_returned_unchanged, |env| {
    let all_bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let values = [
        data(all_bytes),
        data(b"".as_slice()),
        data(b"\0".as_slice()),
        text("Grüße, 🦀\0\n"),
        text(""),
        json(r#"{"a": [1, null]}"#),
        data(vec![7; 1024 * 1024]),
    ];
    for (number, value) in values.iter().enumerate() {
        let key = format!("kind-{number}");
        let stored = env.cache.set(set(&key, value.clone())).await.unwrap();
        assert_eq!(stored.result(), SetResult::Stored);
        let answer = env.cache.get(get(&key)).await.unwrap();
        assert_eq!(answer.outcome(), Outcome::Hit);
        assert!(answer.value.as_ref() == Some(value), "value {number} was changed");
        assert!(!answer.degraded);
    }
});

on_both_stores!(json_is_validated_and_not_rewritten, |env| {
    let documents = [
        "{ \"b\" : 1,\n\t\"a\":1, \"a\":2 }",
        "1e400",
        "-0.0",
        "123456789012345678901234567890",
        "\"\\u00e9 \\/ \"",
        " null ",
        "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
    ];
    for document in documents {
        env.cache.set(set("doc", json(document))).await.unwrap();
        assert_eq!(env.cache.get(get("doc")).await.unwrap().value, Some(json(document)));
    }
    let before = env.cache.get(get("doc")).await.unwrap().value;
    for broken in
        ["", "{", "{\"a\":1} x", "'a'", "NaN", "01", "[1,]", "{a:1}", "\"\u{1}\"", "[1] [2]", "nul"]
    {
        let refused = env.cache.set(set("doc", json(broken))).await;
        expect_violation(refused, "value.json");
    }
    let too_deep = format!("{}{}", "[".repeat(129), "]".repeat(129));
    expect_violation(env.cache.set(set("doc", json(&too_deep))).await, "value.json");
    assert_eq!(env.cache.get(get("doc")).await.unwrap().value, before);
});

on_both_stores!(a_set_replaces_value_and_kind, |env| {
    env.cache.set(set("k", text("one"))).await.unwrap();
    env.cache.set(set("k", data(b"two".as_slice()))).await.unwrap();
    assert_eq!(env.cache.get(get("k")).await.unwrap().value, Some(data(b"two".as_slice())));
});

on_both_stores!(every_write_has_its_own_version, |env| {
    let first = env.cache.put("k", "same").await;
    assert_eq!(version(&env.cache, "k").await, first);
    let second = env.cache.put("k", "same").await;
    assert_eq!(version(&env.cache, "k").await, second);
    let elsewhere = env.cache.put("other", "same").await;
    assert!(!first.is_empty() && first != second && second != elsewhere);
});

on_both_stores!(delete_reports_whether_the_entry_existed, |env| {
    env.cache.put("a", "1").await;
    env.cache.put("b", "2").await;
    assert!(env.cache.delete(delete("a")).await.unwrap().existed);
    assert!(!env.cache.delete(delete("a")).await.unwrap().existed);
    assert_eq!(env.cache.read("a").await, None);
    assert_eq!(env.cache.read("b").await.as_deref(), Some("2"));
    env.cache.put("a", "3").await;
    assert_eq!(env.cache.read("a").await.as_deref(), Some("3"));
});

on_both_stores!(deleting_an_expired_entry_reports_absence, |env| {
    env.cache.set(set_for("k", text("v"), 1)).await.unwrap();
    eventually("the entry expires", SOON, async || {
        env.cache.read("k").await.is_none().then_some(())
    })
    .await;
    assert!(!env.cache.delete(delete("k")).await.unwrap().existed);
});

on_both_stores!(invalidation_empties_one_namespace, |env| {
    let other = |key: &str| GetRequest { namespace: "ns2".to_owned(), ..get(key) };
    for number in 0..200 {
        let key = format!("k{number}");
        env.cache.put(&key, "v").await;
        env.cache
            .set(SetRequest { namespace: "ns2".to_owned(), ..set(&key, text("v")) })
            .await
            .unwrap();
    }
    env.cache.invalidate_namespace(invalidate("ns")).await.unwrap();
    for number in 0..200 {
        let key = format!("k{number}");
        assert_eq!(env.cache.read(&key).await, None);
        assert_eq!(env.cache.get(other(&key)).await.unwrap().outcome(), Outcome::Hit);
    }
    assert!(!env.cache.delete(delete("k0")).await.unwrap().existed);
    assert!(
        env.cache
            .delete(DeleteRequest { namespace: "ns2".to_owned(), ..delete("k0") })
            .await
            .unwrap()
            .existed
    );
});

on_both_stores!(an_invalidated_namespace_is_usable_at_once, |env| {
    env.cache.invalidate_namespace(invalidate("ns")).await.unwrap();
    for round in 0..5 {
        env.cache.put("k", &format!("v{round}")).await;
        assert_eq!(env.cache.read("k").await, Some(format!("v{round}")));
        env.cache.invalidate_namespace(invalidate("ns")).await.unwrap();
        env.cache.invalidate_namespace(invalidate("ns")).await.unwrap();
        assert_eq!(env.cache.read("k").await, None);
    }
});

on_both_stores!(an_entry_carries_its_metadata, |env| {
    let tags = ["zeta", "alpha", "Ω", "beta"].map(str::to_owned).to_vec();
    let request = SetRequest { tags, ..set_for("k", text("v"), 60_000) };
    let stored = env.cache.set(request).await.unwrap();
    assert_eq!(duration(stored.ttl), Duration::from_secs(60));

    let start = std::time::Instant::now();
    let entry = env.cache.get(get("k")).await.unwrap().entry.unwrap();
    assert_eq!(entry.version, stored.version);
    assert_eq!(entry.tags, ["alpha", "beta", "zeta", "Ω"]);
    assert_eq!(entry.tier(), Tier::Store);
    let (age, remaining) = (duration(entry.age), duration(entry.ttl_remaining));
    assert!(age < Duration::from_secs(20), "{age:?}");
    assert_eq!(age + remaining, Duration::from_secs(60));

    // Age and remaining TTL advance at the speed of the caller's clock.
    let older = eventually("the entry ages", SOON, async || {
        let entry = env.cache.get(get("k")).await.unwrap().entry.unwrap();
        (duration(entry.age) >= age + Duration::from_millis(200)).then_some(entry)
    })
    .await;
    assert!(
        start.elapsed() >= Duration::from_millis(200) - CLOCK_ERROR,
        "aged too fast: {:?}",
        start.elapsed()
    );
    assert!(duration(older.ttl_remaining) <= remaining - Duration::from_millis(200));
});

on_both_stores!(the_outcome_is_sent_as_response_metadata, |env| {
    let header = |response: &Response<_>, name: &str| {
        let value = response.metadata().get(name).map(|value| value.to_str().unwrap().to_owned());
        value.unwrap_or_default()
    };
    let missed = env.cache.rpc().get(get("k")).await.unwrap();
    assert_eq!(header(&missed, "x-cache"), "MISS");
    assert_eq!(header(&missed, "cache-status"), "Larder; detail=not-cached");

    env.cache.set(set_for("k", text("v"), 100_000)).await.unwrap();
    let hit = env.cache.rpc().get(get("k")).await.unwrap();
    assert_eq!(header(&hit, "x-cache"), "HIT");
    assert_eq!(header(&hit, "cache-status"), "Larder; hit");
    let age: u64 = header(&hit, "x-cache-age").parse().unwrap();
    let remaining: u64 = header(&hit, "x-cache-ttl-remaining").parse().unwrap();
    assert!(age < 20 && (80..=100).contains(&remaining), "age {age}, remaining {remaining}");

    let found = env.cache.rpc().get_or_fetch(fetch("k", 0)).await.unwrap();
    let of_fetch = |name: &str| found.metadata().get(name).unwrap().to_str().unwrap().to_owned();
    assert_eq!(
        (of_fetch("x-cache"), of_fetch("cache-status")),
        ("HIT".into(), "Larder; hit".into())
    );
    assert!(of_fetch("x-cache-age").parse::<u64>().unwrap() < 20);
    assert!(of_fetch("x-cache-ttl-remaining").parse::<u64>().unwrap() <= 100);
});

on_both_stores!(a_value_without_a_kind_is_refused, |env| {
    let refused = env.cache.set(set("k", Value { kind: None })).await;
    expect_violation(refused, "value");
    let refused = env.cache.set(SetRequest { value: None, ..set("k", text("v")) }).await;
    expect_violation(refused, "value");
});

async fn version(cache: &Cache, key: &str) -> String {
    cache.get(get(key)).await.unwrap().entry.unwrap().version
}
