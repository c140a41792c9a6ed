//! How much a namespace may hold.

use futures_util::future::join_all;
use larder::pb::v1::{BatchSetRequest, FillResult, SetRequest, SetResult};

use super::{expect_exceeded, is_exceeded};
use crate::support::{
    client::{Fetched as _, NS, data, delete, fetch, fill, get, increment, invalidate, set, text},
    env::{Env, read_through},
    origin::{Origin, ok},
    wait::{SOON, eventually},
};

const SUBJECT: &str = "namespace ns";
/// The estimates of Redis come fast enough for a test.
const FAST: (&str, &str) = ("LARDER_STORE__QUOTA_INTERVAL", "100ms");

/// Stores values until the namespace is full. Returns their number.
async fn fill_up(env: &Env) -> usize {
    let mut stored = 0;
    eventually("the namespace is full", SOON, async || {
        let answer = env.cache.set(set(&stored.to_string(), text("v"))).await;
        stored += usize::from(answer.is_ok());
        is_exceeded(&answer).then_some(())
    })
    .await;
    stored
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_store_holds_no_more_than_the_keys_allowed() {
    let env = Env::memory(&[], "[namespaces.ns.quota]\nmax_keys = 10").await;
    let sets = (0..100).map(|index| {
        let cache = env.cache.clone();
        tokio::spawn(async move { cache.set(set(&index.to_string(), text("v"))).await })
    });
    let answers = join_all(sets.collect::<Vec<_>>()).await;
    let stored: Vec<bool> = answers.into_iter().map(|answer| answer.unwrap().is_ok()).collect();
    assert_eq!(stored.iter().filter(|is_stored| **is_stored).count(), 10);
    let kept = stored.iter().position(|is_stored| *is_stored).unwrap().to_string();

    let details = expect_exceeded(env.cache.set(set("new", text("v"))).await, SUBJECT, "max_keys");
    assert!(details.retry_info().is_none(), "time does not help: {details:?}");
    // An entry that is there can be replaced, and one that is removed makes room.
    env.cache.put(&kept, "replaced").await;
    env.cache.delete(delete(&kept)).await.unwrap();
    env.cache.put("new", "v").await;
    expect_exceeded(env.cache.set(set(&kept, text("v"))).await, SUBJECT, "max_keys");
    let other = SetRequest { namespace: "other".to_owned(), ..set("k", text("v")) };
    assert_eq!(env.cache.set(other).await.unwrap().result(), SetResult::Stored);
    let metrics = env.larder.admin("/metrics").await.body;
    let series = "larder_quota_held_refusals_total{figure=\"max_keys\",namespace=\"ns\"";
    assert!(metrics.contains(series), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_store_holds_no_more_than_the_bytes_allowed() {
    let env = Env::memory(&[], "[namespaces.ns.quota]\nmax_bytes = '100KiB'").await;
    let mut stored = 0;
    while env.cache.set(set(&stored.to_string(), data(vec![7; 10_000]))).await.is_ok() {
        stored += 1;
    }
    assert!((8..=10).contains(&stored), "{stored}");
    // A smaller value fits in place of a larger one.
    let refused = env.cache.set(set("0", data(vec![7; 30_000]))).await;
    expect_exceeded(refused, SUBJECT, "max_bytes");
    assert_eq!(env.cache.set(set("0", text("v"))).await.unwrap().result(), SetResult::Stored);
    env.cache.invalidate_namespace(invalidate(NS)).await.unwrap();
    assert_eq!(
        env.cache.set(set("n", data(vec![7; 90_000]))).await.unwrap().result(),
        SetResult::Stored
    );
}

on_both_stores!(
    every_kind_of_write_is_limited,
    env: [FAST],
    config: "[namespaces.ns]\nlease_ttl = '1m'\n[namespaces.ns.quota]\nmax_keys = 20",
    |env| {
        let lease = env.cache.lease("filled").await;
        let stored = fill_up(&env).await;
        assert!(stored >= 20, "{stored}");
        let refused = env.cache.set(fill("filled", text("v"), &lease)).await;
        expect_exceeded(refused, SUBJECT, "max_keys");
        let counter = increment("counter", 1);
        expect_exceeded(env.cache.increment(counter).await, SUBJECT, "max_keys");
        let other = SetRequest { namespace: "other".to_owned(), ..set("k", text("v")) };
        let items = vec![set("new", text("v")), other];
        let results = env.cache.batch_set(BatchSetRequest { items }).await.unwrap().results;
        let results: Vec<_> = results.iter().map(|item| (item.result(), item.degraded)).collect();
        assert_eq!(results, [(SetResult::NotStored, false), (SetResult::Stored, false)]);
        env.cache.get(get("0")).await.unwrap().value.unwrap();

        env.cache.invalidate_namespace(invalidate(NS)).await.unwrap();
        for index in 0..stored {
            env.cache.delete(delete(&index.to_string())).await.unwrap();
        }
        let stored = async || env.cache.set(set("new", text("v"))).await.ok();
        eventually("there is room again", SOON, stored).await;
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fetched_values_are_served_although_they_are_not_stored() {
    let origin = Origin::start().await;
    origin.answer(|_| ok("v".repeat(100_000), &[]));
    let quota = "quota = { max_bytes = '1KiB' }";
    let env = Env::memory(&[], &read_through(&origin.url("/v/{key}"), quota, "")).await;
    let (value, answer) = env.cache.fetched("k").await;
    assert_eq!(value.map(|value| value.len()), Some(100_000));
    assert_eq!((answer.fill(), answer.degraded), (FillResult::NotStored, false));
}

on_both_stores!(
    a_fill_over_the_quota_gives_its_lease_back,
    env: [FAST],
    config: "[namespaces.ns]\nlease_ttl = '1m'\nabandon_backoff = '0s'\n[namespaces.ns.quota]\n\
        max_keys = 5\nleases = 2",
    |env| {
        let lease = env.cache.lease("filled").await;
        fill_up(&env).await;
        let refused = env.cache.set(fill("filled", text("v"), &lease)).await;
        expect_exceeded(refused, SUBJECT, "max_keys");
        // Neither the store nor the quota of leases has it any more.
        env.cache.get_or_fetch(fetch("filled", 20_000)).await.unwrap().expect_lease();
        env.cache.get_or_fetch(fetch("other", 20_000)).await.unwrap().expect_lease();
    }
);
