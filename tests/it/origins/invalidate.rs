//! Invalidation of fetched values by tag and by pattern.

use larder::pb::v1::{FetchStatus, FillResult, GetOrFetchResponse};
use tokio::task::JoinHandle;

use crate::support::{
    batch::{answers, batch},
    client::{Cache, Fetched as _, as_text, fetch},
    fleet::metric,
    origin::{Origin, ok},
    targets::{hold_off, invalidate, pattern, tags},
    wait::{SOON, eventually},
};

const LONG: i64 = 60_000;

/// Answers with the number of the request, and with the tag of the last part of the path.
fn tag_by_path(origin: &Origin) {
    origin.answer(|request| {
        let tag = request.target.rsplit('/').next().unwrap_or_default().to_owned();
        ok(format!("#{}", request.before + 1), &[("cache-tag", &tag)])
    });
}

fn call(cache: &Cache, key: &str) -> JoinHandle<GetOrFetchResponse> {
    let (cache, key) = (cache.clone(), key.to_owned());
    tokio::spawn(async move { cache.get_or_fetch(fetch(&key, 20_000)).await.unwrap() })
}

async fn is_fetching(origin: &Origin) {
    eventually("the value is being fetched", SOON, async || {
        (origin.in_flight() == 1).then_some(())
    })
    .await;
}

with_origin!(a_tag_of_a_response_invalidates_its_value, |env, origin| {
    tag_by_path(&origin);
    for name in ["a", "b"] {
        assert_eq!(env.cache.fetched(name).await.1.fill(), FillResult::Stored);
    }
    invalidate(&env.cache, &[tags(&["a"])]).await;
    assert_eq!(env.cache.read("a").await, None);
    assert!(env.cache.read("b").await.is_some());
    let (value, answer) = env.cache.fetched("a").await;
    assert_eq!((value.as_deref(), answer.fill()), (Some("#2"), FillResult::Stored));
    assert_eq!(env.cache.read("a").await.as_deref(), Some("#2"));
});

with_origin!(a_fetch_from_before_is_answered_to_earlier_callers_only, |env, origin| {
    tag_by_path(&origin);
    for (target, name) in [(tags(&["a"]), "a"), (pattern("user:*"), "user:1")] {
        origin.hold();
        let before = call(&env.cache, name);
        is_fetching(&origin).await;
        invalidate(&env.cache, &[target]).await;
        let after = call(&env.cache, name);
        eventually("both callers wait", SOON, async || {
            (metric(&env.larder, "larder_waiting").await == 2.0).then_some(())
        })
        .await;
        origin.release();
        let before = before.await.unwrap();
        assert_eq!(before.fill(), FillResult::Invalidated, "{before:?}");
        let after = after.await.unwrap();
        assert_eq!(after.fill(), FillResult::Stored, "{after:?}");
        let numbers = [before, after].map(|answer| as_text(answer.expect_found().value).unwrap());
        assert!(numbers[0] < numbers[1], "{numbers:?}");
        assert_eq!(env.cache.read(name).await, Some(numbers[1].clone()));
    }
});

with_origin!(a_hold_off_lets_values_be_answered_and_not_stored, |env, origin| {
    tag_by_path(&origin);
    hold_off(&env.cache, &[tags(&["a"]), pattern("user:*")], LONG).await;
    for name in ["a", "user:1"] {
        for _ in 0..2 {
            let (value, answer) = env.cache.fetched(name).await;
            assert!(value.is_some());
            let status = (answer.fetch_status(), answer.fill());
            assert_eq!(status, (FetchStatus::Fetched, FillResult::Invalidated));
            assert_eq!(env.cache.read(name).await, None);
        }
    }
    assert_eq!(env.cache.fetched("b").await.1.fill(), FillResult::Stored);
});

with_origin!(batches_fetch_what_was_invalidated, |env, origin| {
    tag_by_path(&origin);
    let keys = ["a", "b", "c"];
    answers(&env.cache, batch(&keys)).await;
    let fetched = origin.calls();
    invalidate(&env.cache, &[tags(&["a", "c"])]).await;
    let values: Vec<_> = answers(&env.cache, batch(&keys))
        .await
        .into_iter()
        .map(|answer| as_text(answer.expect_found().value).unwrap())
        .collect();
    assert_eq!(values, ["#2", "#1", "#2"]);
    assert_eq!(origin.calls(), fetched + 2);
    assert_eq!((values[0].as_str(), values[2].as_str()), ("#2", "#2"));
});

with_origin!(
    a_stale_value_is_not_served_after_its_ban,
    namespace: "ttl = '1ms'\nstale_while_revalidate = '1h'\nstale_if_error = '1h'",
    |env, origin| {
        tag_by_path(&origin);
        env.cache.fetched("a").await;
        origin.hold();
        // Served while it is refreshed; the refresh began before the ban.
        let stale = env.cache.fetched("a").await.0;
        assert_eq!(stale.as_deref(), Some("#1"));
        is_fetching(&origin).await;
        invalidate(&env.cache, &[tags(&["a"])]).await;
        assert_eq!(env.cache.read("a").await, None);
        let after = call(&env.cache, "a");
        eventually("the caller waits", SOON, async || {
            (metric(&env.larder, "larder_waiting").await == 2.0).then_some(())
        })
        .await;
        origin.release();
        let after = as_text(after.await.unwrap().expect_found().value);
        assert_eq!(after.as_deref(), Some("#3"), "neither the stale value nor that refresh");
    }
);
