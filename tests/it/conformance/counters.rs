//! Increment: counters.

use std::time::Duration;

use futures::future::join_all;
use larder::pb::v1::{
    IncrementRequest, IncrementResponse, Outcome, SetRequest, SetResult, set_request::Condition,
};
use tonic::Code;

use crate::support::{
    client::{delete, duration, get, increment, ms, set, text},
    status::{expect_error, expect_violation},
    wait::{SOON, eventually},
};

on_both_stores!(a_missing_counter_starts_at_initial, |env| {
    let unset = IncrementRequest { delta: None, initial: 10, ..increment("k", 0) };
    assert_eq!(env.cache.increment(unset.clone()).await.unwrap().value, 11);
    assert_eq!(env.cache.increment(unset).await.unwrap().value, 12);
    assert_eq!(env.cache.increment(increment("k", -20)).await.unwrap().value, -8);
    assert_eq!(env.cache.increment(increment("k", 0)).await.unwrap().value, -8);
    assert_eq!(env.cache.increment(increment("zero", 0)).await.unwrap().value, 0);
    assert_eq!(env.cache.read("zero").await.as_deref(), Some("0"));
});

on_both_stores!(if_present_creates_no_counter, |env| {
    let present = IncrementRequest { if_present: true, initial: 10, ..increment("k", 1) };
    let missing = IncrementResponse { missing: true, ..IncrementResponse::default() };
    assert_eq!(env.cache.increment(present.clone()).await.unwrap(), missing);
    assert_eq!(env.cache.get(get("k")).await.unwrap().outcome(), Outcome::Miss);
    let version = env.cache.put("k", "0").await;
    let counted = env.cache.increment(present.clone()).await.unwrap();
    assert!(counted.value == 1 && !counted.missing && counted.version != version);
    assert_eq!(env.cache.read("k").await.as_deref(), Some("1"));
    for not_a_counter in ["", "text"] {
        env.cache.put("k", not_a_counter).await;
        let refused = env.cache.increment(present.clone()).await;
        expect_error(refused, Code::FailedPrecondition, "NOT_AN_INTEGER");
    }
    env.cache.delete(delete("k")).await.unwrap();
    assert!(env.cache.increment(present).await.unwrap().missing);
});

on_both_stores!(get_reads_counters_and_set_resets_them, |env| {
    let counted = env.cache.increment(increment("k", 41)).await.unwrap();
    let answer = env.cache.get(get("k")).await.unwrap();
    assert_eq!(answer.value, Some(text("41")));
    assert_eq!(answer.entry.unwrap().version, counted.version);

    let version = env.cache.put("k", "-7").await;
    let counted = env.cache.increment(increment("k", 2)).await.unwrap();
    assert_eq!(counted.value, -5);
    assert!(!counted.version.is_empty() && counted.version != version);
    assert_eq!(env.cache.read("k").await.as_deref(), Some("-5"));

    let again = env.cache.increment(increment("k", 1)).await.unwrap();
    assert_ne!(again.version, counted.version);
    let outdated = SetRequest {
        condition: Some(Condition::IfVersion(counted.version)),
        ..set("k", text("0"))
    };
    assert_eq!(env.cache.set(outdated).await.unwrap().result(), SetResult::ConditionNotMet);
});

on_both_stores!(counters_are_exact_to_64_bits, |env| {
    // A double would round each of these.
    for start in [(1 << 53) + 1, i64::MAX - 1, i64::MIN, i64::MIN + 1, -(1 << 53) - 1] {
        let key = format!("k{start}");
        env.cache.put(&key, &start.to_string()).await;
        assert_eq!(env.cache.increment(increment(&key, 1)).await.unwrap().value, start + 1);
        assert_eq!(env.cache.read(&key).await, Some((start + 1).to_string()));
        let created = IncrementRequest { initial: start, ..increment(&format!("new{start}"), 1) };
        assert_eq!(env.cache.increment(created).await.unwrap().value, start + 1);
    }
    env.cache.put("k", "-1").await;
    assert_eq!(env.cache.increment(increment("k", i64::MIN + 1)).await.unwrap().value, i64::MIN);
    env.cache.put("k", "-1").await;
    assert_eq!(env.cache.increment(increment("k", i64::MAX)).await.unwrap().value, i64::MAX - 1);
});

on_both_stores!(overflow_changes_nothing, |env| {
    for (start, delta) in [(i64::MAX, 1), (i64::MIN, -1), (1, i64::MAX), (-2, i64::MIN)] {
        let version = env.cache.put("k", &start.to_string()).await;
        let refused = env.cache.increment(increment("k", delta)).await;
        expect_error(refused, Code::FailedPrecondition, "OVERFLOW");
        let answer = env.cache.get(get("k")).await.unwrap();
        assert_eq!(
            (answer.value, answer.entry.unwrap().version),
            (Some(text(&start.to_string())), version)
        );
    }
    let refused =
        env.cache.increment(IncrementRequest { initial: i64::MAX, ..increment("new", 1) }).await;
    expect_error(refused, Code::FailedPrecondition, "OVERFLOW");
    assert_eq!(env.cache.read("new").await, None);
});

on_both_stores!(only_canonical_integers_are_incremented, |env| {
    let long = ["0", "1", "-"].map(|digit| digit.repeat(100_000));
    let long = long.iter().map(String::as_str);
    let short = [
        "",
        "abc",
        " 1",
        "1 ",
        "1.5",
        "1e3",
        "0x10",
        "--1",
        "-",
        "9223372036854775808",
        "١",
        "1\0",
        "01",
        "+1",
    ];
    for value in short.into_iter().chain(long) {
        env.cache.put("k", value).await;
        let refused = env.cache.increment(increment("k", 1)).await;
        expect_error(refused, Code::FailedPrecondition, "NOT_AN_INTEGER");
        assert_eq!(env.cache.read("k").await.as_deref(), Some(value));
    }
});

on_all_stores!(concurrent_increments_add_up, |env| {
    let tasks = (0..25).map(|_| {
        let cache = env.cache.clone();
        tokio::spawn(async move {
            for _ in 0..20 {
                cache.increment(increment("k", 3)).await.unwrap();
            }
        })
    });
    for task in join_all(tasks).await {
        task.unwrap();
    }
    assert_eq!(env.cache.read("k").await.as_deref(), Some("1500"));
});

on_both_stores!(increment_keeps_the_ttl, |env| {
    let created = IncrementRequest { ttl: ms(60_000), ..increment("k", 1) };
    let remaining = duration(env.cache.increment(created).await.unwrap().ttl_remaining);
    assert!(
        (Duration::from_secs(40)..=Duration::from_secs(60)).contains(&remaining),
        "{remaining:?}"
    );
    let longer = IncrementRequest { ttl: ms(3_600_000), ..increment("k", 1) };
    let remaining = duration(env.cache.increment(longer).await.unwrap().ttl_remaining);
    assert!(remaining <= Duration::from_secs(60), "{remaining:?}");
    let remaining = duration(env.cache.get(get("k")).await.unwrap().entry.unwrap().ttl_remaining);
    assert!(remaining <= Duration::from_secs(60), "{remaining:?}");

    let unset = env.cache.increment(increment("default", 1)).await.unwrap();
    let remaining = duration(unset.ttl_remaining);
    assert!(
        (Duration::from_secs(1700)..=Duration::from_secs(1800)).contains(&remaining),
        "{remaining:?}"
    );
});

on_both_stores!(an_expired_counter_restarts, |env| {
    let short = IncrementRequest { ttl: ms(300), initial: 100, ..increment("k", 1) };
    assert_eq!(env.cache.increment(short.clone()).await.unwrap().value, 101);
    // Increments in between do not extend the TTL.
    let mut last = 101;
    let value = eventually("the counter restarts", SOON, async || {
        let value = env.cache.increment(short.clone()).await.unwrap().value;
        let restarted = value <= last;
        last = value;
        restarted.then_some(value)
    })
    .await;
    assert_eq!(value, 101);
});

on_both_stores!(a_counter_requires_a_positive_ttl, |env| {
    for millis in [0, -1] {
        let refused =
            env.cache.increment(IncrementRequest { ttl: ms(millis), ..increment("k", 1) }).await;
        expect_violation(refused, "ttl");
    }
    assert_eq!(env.cache.read("k").await, None);
});
