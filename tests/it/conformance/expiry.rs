//! TTLs and Touch.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use larder::pb::v1::{
    BatchGetRequest, BatchSetRequest, GetRequest, Outcome, SetRequest, SetResult, TouchRequest,
};

use crate::support::{
    client::{Cache, batch_get, duration, get, key_ref, ms, set, set_for, text, touch},
    status::expect_violation,
    wait::{CLOCK_ERROR, SOON, eventually},
};

const NAMESPACES: &str = r#"
[namespaces.short]
ttl = "300ms"
max_ttl = "1s"
[namespaces.spread]
ttl_jitter = 0.5
[namespaces.usual]
ttl_jitter = 0.1
"#;

on_both_stores!(the_namespace_sets_the_default_ttl, config: NAMESPACES, |env| {
    let stored = env.cache.set(set("k", text("v"))).await.unwrap();
    assert_eq!(duration(stored.ttl), Duration::from_secs(30 * 60));
    let stored = env.cache.set(in_namespace("short", set("k", text("v")))).await.unwrap();
    assert_eq!(duration(stored.ttl), Duration::from_millis(300));
});

on_both_stores!(an_entry_expires_after_its_ttl, |env| {
    let start = Instant::now();
    let stored = env.cache.set(set_for("k", text("v"), 400)).await.unwrap();
    assert_eq!(duration(stored.ttl), Duration::from_millis(400));
    let stored_at = Instant::now();
    wait_until_expired(&env.cache, "k").await;
    assert!(
        start.elapsed() >= Duration::from_millis(400) - CLOCK_ERROR,
        "gone after {:?}",
        start.elapsed()
    );
    assert!(
        stored_at.elapsed() < Duration::from_secs(2),
        "still there after {:?}",
        stored_at.elapsed()
    );
});

on_both_stores!(a_ttl_is_rounded_up_to_a_millisecond, |env| {
    let tiny = prost_types::Duration { seconds: 0, nanos: 1 };
    let stored =
        env.cache.set(SetRequest { ttl: Some(tiny), ..set("k", text("v")) }).await.unwrap();
    assert_eq!(stored.result(), SetResult::Stored);
    assert_eq!(duration(stored.ttl), Duration::from_millis(1));
    wait_until_expired(&env.cache, "k").await;
});

on_both_stores!(an_excessive_ttl_is_clamped, config: NAMESPACES, |env| {
    let stored = env.cache.set(set_for("k", text("v"), 30 * 86_400_000)).await.unwrap();
    assert_eq!(duration(stored.ttl), Duration::from_secs(7 * 86_400));
    let remaining = duration(env.cache.get(get("k")).await.unwrap().entry.unwrap().ttl_remaining);
    assert!(remaining <= Duration::from_secs(7 * 86_400), "{remaining:?}");

    let stored =
        env.cache.set(in_namespace("short", set_for("k", text("v"), 5_000))).await.unwrap();
    assert_eq!(duration(stored.ttl), Duration::from_secs(1));
    let longest = prost_types::Duration { seconds: 315_576_000_000, nanos: 999_999_999 };
    let stored =
        env.cache.set(SetRequest { ttl: Some(longest), ..set("k", text("v")) }).await.unwrap();
    assert_eq!(duration(stored.ttl), Duration::from_secs(7 * 86_400));
});

on_both_stores!(jitter_shortens_the_ttl_at_random, config: NAMESPACES, |env| {
    for (namespace, least) in [("spread", 50_000), ("usual", 90_000)] {
        let mut seen = BTreeSet::new();
        for _ in 0..40 {
            let stored = env
                .cache
                .set(in_namespace(namespace, set_for("k", text("v"), 100_000)))
                .await
                .unwrap();
            let ttl = duration(stored.ttl);
            assert!(
                (Duration::from_millis(least)..=Duration::from_secs(100)).contains(&ttl),
                "{ttl:?}"
            );
            seen.insert(ttl);
        }
        assert!(seen.len() > 5, "{seen:?}");
    }
});

on_both_stores!(a_ttl_must_be_positive, |env| {
    env.cache.put("k", "v").await;
    for millis in [0, -1, -5_000] {
        expect_violation(env.cache.set(set_for("k", text("w"), millis)).await, "ttl");
        expect_violation(env.cache.touch(touch("k", millis)).await, "ttl");
    }
    assert_eq!(env.cache.read("k").await.as_deref(), Some("v"));
});

on_both_stores!(a_set_replaces_the_ttl, |env| {
    env.cache.set(set_for("shorter", text("v"), 60_000)).await.unwrap();
    env.cache.set(set_for("shorter", text("v"), 100)).await.unwrap();
    env.cache.set(set_for("longer", text("v"), 100)).await.unwrap();
    env.cache.set(set_for("longer", text("v"), 60_000)).await.unwrap();
    wait_until_expired(&env.cache, "shorter").await;
    assert_eq!(env.cache.read("longer").await.as_deref(), Some("v"));
});

on_all_stores!(touch_sets_the_ttl_from_now, |env| {
    let version = env.cache.put("k", "v").await;
    env.cache.set(set_for("kept", text("v"), 500)).await.unwrap();
    let touched = env.cache.touch(touch("kept", 60_000)).await.unwrap();
    assert!(touched.found && !touched.degraded);
    assert_eq!(duration(touched.ttl), Duration::from_secs(60));
    let entry = eventually("the old TTL is over", SOON, async || {
        let entry = env
            .cache
            .get(get("kept"))
            .await
            .unwrap()
            .entry
            .expect("a touched entry does not expire");
        (duration(entry.age) > Duration::from_millis(700)).then_some(entry)
    })
    .await;
    assert!(duration(entry.ttl_remaining) > Duration::from_secs(40));

    let touched = env.cache.touch(touch("k", 200)).await.unwrap();
    assert_eq!(duration(touched.ttl), Duration::from_millis(200));
    let answer = env.cache.get(get("k")).await.unwrap();
    if let Some(entry) = answer.entry {
        assert_eq!(entry.version, version);
        assert_eq!(answer.value, Some(text("v")));
    }
    wait_until_expired(&env.cache, "k").await;
});

on_both_stores!(touch_keeps_version_and_tags, |env| {
    let request = SetRequest { tags: vec!["t".to_owned()], ..set("k", text("v")) };
    let version = env.cache.set(request).await.unwrap().version;
    env.cache.touch(touch("k", 50_000)).await.unwrap();
    let answer = env.cache.get(get("k")).await.unwrap();
    assert_eq!((answer.outcome(), answer.value), (Outcome::Hit, Some(text("v"))));
    let entry = answer.entry.unwrap();
    assert_eq!((entry.version, entry.tags), (version, vec!["t".to_owned()]));
});

on_both_stores!(a_read_value_stays_fresh, config: NAMESPACES, |env| {
    let sliding = |key, millis| GetRequest { touch: ms(millis), ..get(key) };
    env.cache.set(set_for("k", text("v"), 500)).await.unwrap();
    let touched = env.cache.get(sliding("k", 60_000)).await.unwrap();
    assert_eq!(touched.value, Some(text("v")));
    assert_eq!(duration(touched.entry.unwrap().ttl_remaining), Duration::from_secs(60));
    // Neither a shorter time nor a Get without it changes that.
    for request in [sliding("k", 1_000), get("k")] {
        let remaining = env.cache.get(request).await.unwrap().entry.unwrap().ttl_remaining;
        assert!(duration(remaining) > Duration::from_secs(30));
    }
    let entry = env.cache.get(get("k")).await.unwrap().entry.unwrap();
    assert!(duration(entry.age) + duration(entry.ttl_remaining) >= Duration::from_secs(60));

    // The maximum TTL of the namespace is one second after the write.
    let stored = env.cache.set(in_namespace("short", set_for("k", text("v"), 1_000))).await;
    let written = Instant::now();
    assert_eq!(stored.unwrap().result(), SetResult::Stored);
    eventually("a value that is read all the time ends", SOON, async || {
        let request = GetRequest { namespace: "short".to_owned(), ..sliding("k", 900) };
        (env.cache.get(request).await.unwrap().outcome() == Outcome::Miss).then_some(())
    })
    .await;
    assert!(written.elapsed() < Duration::from_secs(5));
    for millis in [0, -1] {
        expect_violation(env.cache.get(sliding("k", millis)).await, "touch");
    }
    assert_eq!(env.cache.get(sliding("nothing", 1_000)).await.unwrap().outcome(), Outcome::Miss);
});

on_both_stores!(values_that_a_batch_reads_stay_fresh, |env| {
    let keys = ["a", "missing", "b"].map(key_ref).to_vec();
    for key in ["a", "b"] {
        env.cache.set(set_for(key, text("v"), 10_000)).await.unwrap();
    }
    let touch = |millis| BatchGetRequest { touch: ms(millis), ..batch_get(keys.clone()) };
    let results = env.cache.batch_get(touch(60_000)).await.unwrap().remove(0).results;
    let remaining: Vec<_> = results
        .into_iter()
        .map(|result| result.entry.map(|entry| duration(entry.ttl_remaining)))
        .collect();
    let minute = Some(Duration::from_secs(60));
    assert_eq!(remaining, [minute, None, minute]);
    let entry = env.cache.get(get("b")).await.unwrap().entry.unwrap();
    assert!(duration(entry.ttl_remaining) > Duration::from_secs(30));
    expect_violation(env.cache.batch_get(touch(0)).await, "touch");
});

on_both_stores!(a_batch_reports_the_ttls_that_were_applied, config: NAMESPACES, |env| {
    let items = vec![
        set_for("a", text("v"), 30 * 86_400_000),
        in_namespace("short", set_for("b", text("v"), 5_000)),
        in_namespace("short", set("c", text("v"))),
        set_for("d", text("v"), 1_000),
    ];
    let stored = env.cache.batch_set(BatchSetRequest { items }).await.unwrap().results;
    let applied: Vec<_> = stored.iter().map(|stored| duration(stored.ttl)).collect();
    assert_eq!(applied, [7 * 86_400_000, 1_000, 300, 1_000].map(Duration::from_millis));
});

on_both_stores!(touch_finds_only_fresh_entries, config: NAMESPACES, |env| {
    let touched = env.cache.touch(touch("nothing", 1_000)).await.unwrap();
    assert_eq!((touched.found, touched.ttl, touched.degraded), (false, None, false));
    env.cache.set(set_for("k", text("v"), 1)).await.unwrap();
    wait_until_expired(&env.cache, "k").await;
    assert!(!env.cache.touch(touch("k", 1_000)).await.unwrap().found);
    assert_eq!(env.cache.read("k").await, None);
});

on_both_stores!(touch_applies_the_ttl_rules_of_set, config: NAMESPACES, |env| {
    env.cache.set(in_namespace("short", set("k", text("v")))).await.unwrap();
    let request = TouchRequest { namespace: "short".to_owned(), ..touch("k", 60_000) };
    let touched = env.cache.touch(request).await.unwrap();
    assert_eq!((touched.found, duration(touched.ttl)), (true, Duration::from_secs(1)));
    let request = TouchRequest { namespace: "short".to_owned(), ttl: None, ..touch("k", 0) };
    let touched = env.cache.touch(request).await.unwrap();
    assert_eq!((touched.found, duration(touched.ttl)), (true, Duration::from_millis(300)));
    env.cache.set(in_namespace("spread", set("k", text("v")))).await.unwrap();
    let request =
        TouchRequest { namespace: "spread".to_owned(), ttl: ms(100_000), ..touch("k", 0) };
    let ttl = duration(env.cache.touch(request).await.unwrap().ttl);
    assert!((Duration::from_secs(50)..=Duration::from_secs(100)).contains(&ttl), "{ttl:?}");
});

fn in_namespace(namespace: &str, request: SetRequest) -> SetRequest {
    SetRequest { namespace: namespace.to_owned(), ..request }
}

async fn wait_until_expired(cache: &Cache, key: &str) {
    eventually("the entry expires", SOON, async || cache.read(key).await.is_none().then_some(()))
        .await;
}
