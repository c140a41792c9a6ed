//! Deletes with a hold-off, during which fills are refused.

use std::time::{Duration, Instant};

use larder::pb::v1::{
    BatchDeleteRequest, DeleteRequest, FetchStatus, FillResult, GetOrFetchResponse, Lease,
    RenewResult, SetResult,
};
use tokio::task::JoinHandle;
use tonic::Code;

use crate::support::{
    client::{
        Cache, Fetched as _, NS, abandon, as_text, delete, fetch, fill, increment, invalidate,
        key_ref, ms, renewal, text,
    },
    env::read_through,
    fleet::{Fleet, metric},
    origin::Origin,
    status::{expect_over_limit, expect_violation},
    wait::{CLOCK_ERROR, SOON, eventually, throughout},
};

/// Long enough for a busy machine neither to lose leases nor to time out fetches.
const ORIGIN_TIMEOUTS: &str = "min_lease = '10s'\ntimeout = '30s'";
/// Milliseconds, longer than any test.
const LONG: i64 = 60_000;
/// Milliseconds, short enough to wait for and longer than a few calls.
const SHORT: i64 = 1_500;

with_origin!(fetched_value_is_answered_but_not_stored, origin: ORIGIN_TIMEOUTS, |env, origin| {
    env.cache.fetched("k").await;
    assert!(delete_with_hold_off(&env.cache, "k", LONG).await);
    for round in 2..5 {
        let (value, answer) = env.cache.fetched("k").await;
        assert_eq!(value, Some(format!("/v/k#{round}")));
        assert_eq!(
            (answer.fetch_status(), answer.fill()),
            (FetchStatus::Fetched, FillResult::Invalidated)
        );
        assert!(!answer.degraded);
        assert_eq!(env.cache.read("k").await, None);
    }
    assert_eq!(origin.calls(), 4);
    // Other keys are not affected.
    assert_eq!(env.cache.fetched("other").await.1.fill(), FillResult::Stored);
});

with_origin!(
    fetch_from_before_the_hold_off_is_refused_after_it,
    origin: ORIGIN_TIMEOUTS,
    |env, origin| {
        origin.hold();
        let before = call(&env.cache, "k");
        eventually("the value is being fetched", SOON, async || {
            (origin.in_flight() == 1).then_some(())
        })
        .await;
        let deleted = Instant::now();
        delete_with_hold_off(&env.cache, "k", SHORT).await;
        let during = call(&env.cache, "k");
        let waiting = async || (metric(&env.larder, "larder_waiting").await == 2.0).then_some(());
        eventually("both callers wait", SOON, waiting).await;
        assert!(
            deleted.elapsed() < Duration::from_millis(1_000),
            "the machine is too slow for this test"
        );
        throughout(Duration::from_millis(1_700), async || {}).await;
        origin.release();
        let answer = before.await.unwrap();
        assert!(
            matches!(answer.fill(), FillResult::LeaseLost | FillResult::Invalidated),
            "{answer:?}"
        );
        assert_eq!(text_of(answer).as_deref(), Some("/v/k#1"));
        // The second call waited, and its fetch started after the hold-off.
        let answer = during.await.unwrap();
        assert_eq!(answer.fill(), FillResult::Stored);
        assert_eq!(text_of(answer).as_deref(), Some("/v/k#2"));
        assert_eq!(env.cache.read("k").await.as_deref(), Some("/v/k#2"));
    }
);

with_origin!(hold_off_expires, origin: ORIGIN_TIMEOUTS, |env, origin| {
    let deleted = Instant::now();
    delete_with_hold_off(&env.cache, "k", SHORT).await;
    let answer = eventually("a fill is stored again", SOON, async || {
        let answer = env.cache.fetched("k").await.1;
        (answer.fill() == FillResult::Stored).then_some(answer)
    })
    .await;
    let passed = deleted.elapsed();
    assert!(passed >= Duration::from_millis(1_500) - CLOCK_ERROR, "{passed:?}");
    assert_eq!(env.cache.read("k").await, text_of(answer));
    let calls = origin.calls();
    env.cache.fetched("k").await;
    assert_eq!(origin.calls(), calls);
});

on_both_stores!(all_callers_are_granted_leases_and_all_fills_are_refused, |env| {
    let before = env.cache.lease("k").await;
    delete_with_hold_off(&env.cache, "k", LONG).await;
    let during = [env.cache.lease("k").await, env.cache.lease("k").await];
    assert_ne!(during[0].token, during[1].token);
    for lease in [&before, &during[0], &during[1]] {
        assert_eq!(try_fill(&env.cache, "k", lease).await, SetResult::Invalidated);
        assert_eq!(renew(&env.cache, "k", lease).await, RenewResult::Invalidated);
        // Abandoning a lease does not end the hold-off.
        env.cache.abandon(abandon("k", lease)).await.unwrap();
    }
    let after = env.cache.lease("k").await;
    assert_eq!(try_fill(&env.cache, "k", &after).await, SetResult::Invalidated);
    assert_eq!(env.cache.read("k").await, None);
});

on_both_stores!(leases_from_before_the_end_are_void_afterwards, |env| {
    let before = env.cache.lease("k").await;
    let deleted = Instant::now();
    delete_with_hold_off(&env.cache, "k", SHORT).await;
    let during = env.cache.lease("k").await;
    let stored = async || {
        let lease = env.cache.lease("k").await;
        (try_fill(&env.cache, "k", &lease).await == SetResult::Stored).then_some(())
    };
    eventually("a fill is stored again", SOON, stored).await;
    assert!(
        deleted.elapsed() >= Duration::from_millis(1_500) - CLOCK_ERROR,
        "{:?}",
        deleted.elapsed()
    );
    for lease in [&before, &during] {
        let refused = try_fill(&env.cache, "k", lease).await;
        assert!(matches!(refused, SetResult::LeaseLost | SetResult::Invalidated), "{refused:?}");
    }
    assert_eq!(env.cache.read("k").await.as_deref(), Some("filled"));
});

on_both_stores!(waiters_are_granted_leases_at_once, |env| {
    env.cache.lease("k").await;
    let waiters: Vec<_> = (0..5).map(|_| call(&env.cache, "k")).collect();
    let waiting = async || (metric(&env.larder, "larder_waiting").await == 5.0).then_some(());
    eventually("all callers wait", SOON, waiting).await;
    delete_with_hold_off(&env.cache, "k", LONG).await;
    for waiter in waiters {
        let lease = waiter.await.unwrap().expect_lease();
        assert_eq!(try_fill(&env.cache, "k", &lease).await, SetResult::Invalidated);
    }
});

on_both_stores!(writes_are_accepted_during_the_hold_off, |env| {
    delete_with_hold_off(&env.cache, "set", LONG).await;
    let lease = env.cache.lease("set").await;
    env.cache.put("set", "written").await;
    assert_ne!(try_fill(&env.cache, "set", &lease).await, SetResult::Stored);
    assert_eq!(env.cache.read("set").await.as_deref(), Some("written"));
    let found = env.cache.get_or_fetch(fetch("set", 0)).await.unwrap().expect_found();
    assert_eq!(as_text(found.value).as_deref(), Some("written"));

    delete_with_hold_off(&env.cache, "count", LONG).await;
    assert_eq!(env.cache.increment(increment("count", 3)).await.unwrap().value, 3);
    assert_eq!(env.cache.read("count").await.as_deref(), Some("3"));
    // A write does not end the hold-off.
    env.cache.delete(delete("set")).await.unwrap();
    assert_eq!(
        try_fill(&env.cache, "set", &env.cache.lease("set").await).await,
        SetResult::Invalidated
    );
});

on_both_stores!(later_invalidations_do_not_shorten_the_hold_off, |env| {
    delete_with_hold_off(&env.cache, "k", LONG).await;
    let expect_hold_off = async |after: &str| {
        let lease = env.cache.lease("k").await;
        assert_eq!(
            try_fill(&env.cache, "k", &lease).await,
            SetResult::Invalidated,
            "after {after}"
        );
        assert_eq!(env.cache.read("k").await, None, "after {after}");
    };
    // If this shortened the hold-off, it would end before the next call.
    delete_with_hold_off(&env.cache, "k", 1).await;
    throughout(Duration::from_millis(20), async || {}).await;
    expect_hold_off("a shorter hold-off").await;
    env.cache.delete(delete("k")).await.unwrap();
    expect_hold_off("a delete without a hold-off").await;
    env.cache.invalidate_namespace(invalidate(NS)).await.unwrap();
    expect_hold_off("an invalidation of the namespace").await;
    let keys = vec![key_ref("k")];
    let request = BatchDeleteRequest { keys, hold_off: ms(1), ..Default::default() };
    env.cache.batch_delete(request).await.unwrap();
    throughout(Duration::from_millis(20), async || {}).await;
    expect_hold_off("a batch").await;

    // A longer hold-off replaces a shorter one.
    delete_with_hold_off(&env.cache, "brief", 1).await;
    delete_with_hold_off(&env.cache, "brief", LONG).await;
    throughout(Duration::from_millis(20), async || {}).await;
    assert_eq!(
        try_fill(&env.cache, "brief", &env.cache.lease("brief").await).await,
        SetResult::Invalidated
    );
});

on_both_stores!(batch_holds_off_all_keys, |env| {
    env.cache.put("a", "v").await;
    let keys = vec![key_ref("a"), key_ref("b")];
    let request = BatchDeleteRequest { keys, hold_off: ms(LONG), ..Default::default() };
    let answer = env.cache.batch_delete(request).await.unwrap();
    assert_eq!(answer.existed, [true, false]);
    for key in ["a", "b"] {
        assert_eq!(
            try_fill(&env.cache, key, &env.cache.lease(key).await).await,
            SetResult::Invalidated,
            "{key}"
        );
    }
    assert_eq!(try_fill(&env.cache, "c", &env.cache.lease("c").await).await, SetResult::Stored);
});

on_both_stores!(hold_off_length_is_limited, |env| {
    env.cache.put("k", "v").await;
    let hour = 3_600_000;
    let with = |millis| DeleteRequest { hold_off: ms(millis), ..delete("k") };
    let batch = |millis| BatchDeleteRequest {
        keys: vec![key_ref("k")],
        hold_off: ms(millis),
        ..Default::default()
    };
    expect_violation(env.cache.delete(with(-1)).await, "hold_off");
    expect_violation(env.cache.batch_delete(batch(-1)).await, "hold_off");
    let (code, reason) = (Code::InvalidArgument, "INVALID_ARGUMENT");
    expect_over_limit(env.cache.delete(with(hour + 1)).await, code, reason, "hold_off", 3600);
    expect_over_limit(
        env.cache.batch_delete(batch(hour + 1)).await,
        code,
        reason,
        "hold_off",
        3600,
    );
    assert_eq!(env.cache.read("k").await.as_deref(), Some("v"));
    assert!(env.cache.delete(with(hour)).await.unwrap().existed);
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hold_off_applies_to_every_replica() {
    let origin = Origin::start().await;
    let config = read_through(&origin.url("/v/{key}"), "", ORIGIN_TIMEOUTS);
    let fleet = Fleet::start(2, &config).await;
    origin.hold();
    let fetching = call(&fleet.caches[0], "k");
    eventually("the value is being fetched", SOON, async || {
        (origin.in_flight() == 1).then_some(())
    })
    .await;
    delete_with_hold_off(&fleet.caches[1], "k", LONG).await;
    origin.release();
    assert_eq!(fetching.await.unwrap().fill(), FillResult::Invalidated);
    for cache in fleet.caches.iter().chain(&fleet.caches) {
        assert_eq!(cache.fetched("k").await.1.fill(), FillResult::Invalidated);
        assert_eq!(cache.read("k").await, None);
    }
}

/// Deletes with a hold-off in milliseconds. Returns whether there was an entry.
async fn delete_with_hold_off(cache: &Cache, key: &str, millis: i64) -> bool {
    cache.delete(DeleteRequest { hold_off: ms(millis), ..delete(key) }).await.unwrap().existed
}

async fn try_fill(cache: &Cache, key: &str, lease: &Lease) -> SetResult {
    cache.set(fill(key, text("filled"), lease)).await.unwrap().result()
}

async fn renew(cache: &Cache, key: &str, lease: &Lease) -> RenewResult {
    cache.renew(renewal(key, lease)).await.unwrap().result()
}

fn call(cache: &Cache, key: &str) -> JoinHandle<GetOrFetchResponse> {
    let cache = cache.clone();
    let request = fetch(key, 50_000);
    tokio::spawn(async move { cache.get_or_fetch(request).await.unwrap() })
}

fn text_of(answer: GetOrFetchResponse) -> Option<String> {
    as_text(answer.expect_found().value)
}
