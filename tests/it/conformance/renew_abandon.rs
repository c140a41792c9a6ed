//! Renew, and the reason given with Abandon.

use std::time::{Duration, Instant};

use larder::pb::v1::{
    AbandonRequest, FetchStatus, GetOrFetchRequest, Lease, RenewRequest, RenewResult, SetResult,
    get_or_fetch_response::Outcome as Answer,
};

use crate::support::{
    client::{
        Cache, Fetched as _, NS, abandon, as_text, delete, fetch, fill, invalidate, ms, renewal,
        set_for, text,
    },
    observe::waiting as waiting_calls,
    wait::{SOON, eventually, throughout},
};

/// Long enough that a busy machine does not look like a failing store.
const WINDOW: &str = "[defaults]\nabandon_backoff = '30s'\nstale_if_error = '60s'";

on_both_stores!(
    a_renewed_lease_does_not_expire,
    env: [("LARDER_DEFAULTS__LEASE_TTL", "3s")],
    |env| {
        let lease = env.cache.lease("k").await;
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(4_500) {
            let answer = env.cache.renew(renewal("k", &lease)).await.unwrap();
            assert_eq!(
                (answer.result(), answer.expires_in, answer.degraded),
                (RenewResult::Renewed, ms(3_000), false)
            );
            env.cache.get_or_fetch(fetch("k", 0)).await.unwrap().expect_contended();
            throughout(Duration::from_millis(150), async || {}).await;
        }
        assert_eq!(try_fill(&env.cache, "k", &lease).await, SetResult::Stored);
        assert_eq!(renew_result(&env.cache, "k", &lease).await, RenewResult::LeaseLost);
    }
);

on_both_stores!(
    an_expired_lease_is_not_renewed,
    env: [("LARDER_DEFAULTS__LEASE_TTL", "100ms")],
    |env| {
        let lease = env.cache.lease("k").await;
        throughout(Duration::from_millis(200), async || {}).await;
        assert_eq!(renew_result(&env.cache, "k", &lease).await, RenewResult::LeaseLost);
        env.cache.lease("k").await;
        assert_eq!(renew_result(&env.cache, "k", &lease).await, RenewResult::LeaseLost);
    }
);

on_both_stores!(renew_reports_why_the_lease_is_lost, |env| {
    let lease = env.cache.lease("deleted").await;
    env.cache.delete(delete("deleted")).await.unwrap();
    assert_eq!(renew_result(&env.cache, "deleted", &lease).await, RenewResult::Invalidated);

    let lease = env.cache.lease("written").await;
    env.cache.put("written", "newer").await;
    assert_eq!(renew_result(&env.cache, "written", &lease).await, RenewResult::Superseded);

    let lease = env.cache.lease("abandoned").await;
    env.cache.abandon(abandon("abandoned", &lease)).await.unwrap();
    assert_eq!(renew_result(&env.cache, "abandoned", &lease).await, RenewResult::LeaseLost);

    let lease = env.cache.lease("invalidated").await;
    env.cache.invalidate_namespace(invalidate(NS)).await.unwrap();
    assert_eq!(renew_result(&env.cache, "invalidated", &lease).await, RenewResult::Invalidated);
});

on_both_stores!(a_lease_is_renewed_only_by_its_own_token, |env| {
    let lease = env.cache.lease("k").await;
    let other = env.cache.lease("other").await;
    assert_eq!(renew_result(&env.cache, "k", &other).await, RenewResult::LeaseLost);
    assert_eq!(renew_result(&env.cache, "unasked", &lease).await, RenewResult::LeaseLost);
    let elsewhere = RenewRequest { namespace: "ns2".to_owned(), ..renewal("k", &lease) };
    assert_eq!(env.cache.renew(elsewhere).await.unwrap().result(), RenewResult::LeaseLost);
    let made_up = RenewRequest { lease_token: vec![7; 16].into(), ..renewal("k", &lease) };
    assert_eq!(env.cache.renew(made_up).await.unwrap().result(), RenewResult::LeaseLost);
    assert_eq!(renew_result(&env.cache, "k", &lease).await, RenewResult::Renewed);
});

on_both_stores!(later_callers_get_the_abandon_reason, config: WINDOW, |env| {
    // The second reason is truncated at a character boundary.
    for (key, reason, reported) in [
        ("short", "the database is down".to_owned(), "the database is down".to_owned()),
        ("long", "é".repeat(100), "é".repeat(48)),
    ] {
        env.cache.set(set_for(key, text("old"), 50)).await.unwrap();
        let expired =
            async || match env.cache.get_or_fetch(fetch(key, 0)).await.unwrap().outcome.unwrap() {
                Answer::Lease(lease) => Some(lease),
                _ => None,
            };
        let lease = eventually("the value is stale", SOON, expired).await;
        env.cache.abandon(AbandonRequest { reason, ..abandon(key, &lease) }).await.unwrap();
        for wait in [0, 5_000] {
            let answer = env.cache.get_or_fetch(fetch(key, wait)).await.unwrap();
            assert_eq!(
                (answer.fetch_status(), answer.cause.as_str()),
                (FetchStatus::Failed, reported.as_str()),
                "{wait}"
            );
            assert_eq!(as_text(answer.expect_found().value).as_deref(), Some("old"));
        }
        // A caller that accepts no stale value gets the time to retry.
        let request = GetOrFetchRequest { max_stale: ms(0), ..fetch(key, 0) };
        env.cache.get_or_fetch(request).await.unwrap().expect_contended();
    }
});

on_all_stores!(a_lease_that_is_passed_on_goes_to_a_caller_that_waits, |env| {
    let lease = env.cache.lease("k").await;
    let cache = env.cache.clone();
    let waiting = tokio::spawn(async move { cache.get_or_fetch(fetch("k", 30_000)).await });
    waiting_calls(&env.larder, 1).await;
    let passed_on = AbandonRequest { pass_on: true, ..abandon("k", &lease) };
    env.cache.abandon(passed_on.clone()).await.unwrap();
    let next = waiting.await.unwrap().unwrap().expect_lease();
    assert_eq!(renew_result(&env.cache, "k", &lease).await, RenewResult::LeaseLost);
    // The token of a lost lease has no effect.
    env.cache.abandon(passed_on).await.unwrap();
    assert_eq!(try_fill(&env.cache, "k", &next).await, SetResult::Stored);
});

on_both_stores!(a_lease_that_is_passed_on_has_no_back_off, |env| {
    for key in ["a", "b"] {
        let lease = env.cache.lease(key).await;
        let reason = "is not used".to_owned();
        let passed_on = AbandonRequest { pass_on: true, reason, ..abandon(key, &lease) };
        env.cache.abandon(passed_on).await.unwrap();
        env.cache.lease(key).await;
    }
});

async fn try_fill(cache: &Cache, key: &str, lease: &Lease) -> SetResult {
    cache.set(fill(key, text("filled"), lease)).await.unwrap().result()
}

async fn renew_result(cache: &Cache, key: &str, lease: &Lease) -> RenewResult {
    cache.renew(renewal(key, lease)).await.unwrap().result()
}
