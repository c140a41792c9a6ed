//! Values past their TTL. Namespace `swr` has a stale-while-revalidate window, `sie` a
//! stale-if-error window, `brief` has both.

use std::time::{Duration, Instant};

use larder::pb::v1::{
    AbandonRequest, DeleteRequest, Found, GetOrFetchRequest, GetRequest, GetResponse, Outcome,
    SetRequest, TouchRequest, get_or_fetch_response::Outcome as Answer,
};

use crate::support::{
    client::{
        Cache, Fetched as _, abandon, as_text, delete, duration, fetch, fill, get, invalidate, ms,
        set_for, text, touch,
    },
    wait::{CLOCK_ERROR, SOON, eventually, throughout},
};

const WINDOWS: &str = r#"
[defaults]
abandon_backoff = "5s"
[namespaces.swr]
stale_while_revalidate = "60s"
[namespaces.sie]
stale_if_error = "60s"
[namespaces.brief]
stale_while_revalidate = "300ms"
stale_if_error = "300ms"
"#;

on_both_stores!(get_serves_a_stale_value_within_the_window, config: WINDOWS, |env| {
    let answer = make_stale(&env.cache, "swr").await;
    assert_eq!(
        (answer.outcome(), answer.value, answer.degraded),
        (Outcome::Stale, Some(text("old")), false)
    );
    let entry = answer.entry.unwrap();
    assert_eq!(duration(entry.ttl_remaining), Duration::ZERO);
    assert!(duration(entry.age) >= Duration::from_millis(50), "{:?}", entry.age);
    assert!(!entry.version.is_empty());

    let answer =
        env.cache.rpc().get(GetRequest { namespace: "swr".to_owned(), ..get("k") }).await.unwrap();
    assert_eq!(answer.metadata().get("x-cache").unwrap(), "STALE");
    assert_eq!(answer.metadata().get("x-cache-ttl-remaining").unwrap(), "0");
});

on_both_stores!(max_stale_narrows_the_window, config: WINDOWS, |env| {
    make_stale(&env.cache, "swr").await;
    let within = async |millis: i64| {
        let request = GetRequest { namespace: "swr".to_owned(), max_stale: ms(millis), ..get("k") };
        env.cache.get(request).await.unwrap().outcome()
    };
    assert_eq!(within(0).await, Outcome::Miss);
    assert_eq!(within(30_000).await, Outcome::Stale);
    assert_eq!(within(3_600_000).await, Outcome::Stale);
    eventually("the caller's window is over", SOON, async || {
        (within(200).await == Outcome::Miss).then_some(())
    })
    .await;
    assert_eq!(within(30_000).await, Outcome::Stale);
});

on_both_stores!(max_stale_cannot_widen_the_window, config: WINDOWS, |env| {
    let start = Instant::now();
    let request = SetRequest { namespace: "brief".to_owned(), ..set_for("k", text("old"), 100) };
    env.cache.set(request).await.unwrap();
    let stored = Instant::now();
    let loose = GetRequest { namespace: "brief".to_owned(), max_stale: ms(3_600_000), ..get("k") };
    eventually("the namespace's window is over", SOON, async || {
        (env.cache.get(loose.clone()).await.unwrap().outcome() == Outcome::Miss).then_some(())
    })
    .await;
    // 100 ms fresh and 300 ms stale.
    let passed = start.elapsed();
    assert!(passed >= Duration::from_millis(400) - CLOCK_ERROR, "gone after {passed:?}");
    assert!(stored.elapsed() < Duration::from_secs(2), "served for {:?}", stored.elapsed());
});

on_both_stores!(get_ignores_stale_if_error, config: WINDOWS, |env| {
    let answer = make_stale(&env.cache, "sie").await;
    assert_eq!((answer.outcome(), answer.value, answer.entry), (Outcome::Miss, None, None));
});

on_both_stores!(one_caller_refreshes_and_the_others_get_stale, config: WINDOWS, |env| {
    make_stale(&env.cache, "swr").await;
    let lease = env.cache.get_or_fetch(fetch_in("swr", 30_000)).await.unwrap().expect_lease();
    assert_stale(lease.stale.clone().expect("the old value comes with the lease"));
    let start = Instant::now();
    for _ in 0..5 {
        assert_stale(env.cache.get_or_fetch(fetch_in("swr", 30_000)).await.unwrap().expect_found());
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());

    let refreshed = SetRequest { namespace: "swr".to_owned(), ..fill("k", text("new"), &lease) };
    env.cache.set(refreshed).await.unwrap();
    let found = env.cache.get_or_fetch(fetch_in("swr", 0)).await.unwrap().expect_found();
    assert_eq!((found.outcome(), as_text(found.value).as_deref()), (Outcome::Hit, Some("new")));
});

on_both_stores!(max_stale_zero_waits_for_a_fresh_value, config: WINDOWS, |env| {
    make_stale(&env.cache, "swr").await;
    let fresh_only = GetOrFetchRequest { max_stale: ms(0), ..fetch_in("swr", 0) };
    let lease = env.cache.get_or_fetch(fresh_only.clone()).await.unwrap().expect_lease();
    assert_eq!(lease.stale, None);
    env.cache.get_or_fetch(fresh_only.clone()).await.unwrap().expect_contended();

    let waiting = GetOrFetchRequest { wait: ms(30_000), ..fresh_only };
    let cache = env.cache.clone();
    let waiter = tokio::spawn(async move { cache.get_or_fetch(waiting).await });
    let refreshed = SetRequest { namespace: "swr".to_owned(), ..fill("k", text("new"), &lease) };
    env.cache.set(refreshed).await.unwrap();
    let found = waiter.await.unwrap().unwrap().expect_found();
    assert_eq!((found.outcome(), as_text(found.value).as_deref()), (Outcome::Hit, Some("new")));
});

on_both_stores!(stale_if_error_applies_after_a_failure, config: WINDOWS, |env| {
    make_stale(&env.cache, "sie").await;
    let lease = env.cache.get_or_fetch(fetch_in("sie", 0)).await.unwrap().expect_lease();
    assert_stale(lease.stale.clone().expect("the old value comes with the lease"));
    // Until a failure is reported, the other callers wait.
    env.cache.get_or_fetch(fetch_in("sie", 0)).await.unwrap().expect_contended();

    let failed = AbandonRequest { namespace: "sie".to_owned(), ..abandon("k", &lease) };
    env.cache.abandon(failed).await.unwrap();
    let start = Instant::now();
    assert_stale(env.cache.get_or_fetch(fetch_in("sie", 30_000)).await.unwrap().expect_found());
    assert_stale(env.cache.get_or_fetch(fetch_in("sie", 0)).await.unwrap().expect_found());
    assert!(start.elapsed() < Duration::from_secs(4), "the callers waited: {:?}", start.elapsed());
    let after = eventually("the back-off is over", SOON, async || {
        let answer = env.cache.get_or_fetch(fetch_in("sie", 0)).await.unwrap();
        matches!(answer.outcome, Some(Answer::Lease(_))).then_some(answer)
    })
    .await;
    assert_stale(after.expect_lease().stale.expect("the old value comes with the lease"));
});

on_both_stores!(no_value_outlives_both_windows, config: WINDOWS, |env| {
    let request = SetRequest { namespace: "brief".to_owned(), ..set_for("k", text("old"), 100) };
    env.cache.set(request).await.unwrap();
    let stored = Instant::now();
    let get = GetRequest { namespace: "brief".to_owned(), ..get("k") };
    throughout(Duration::from_millis(800), async || {
        let waited = stored.elapsed();
        let outcome = env.cache.get(get.clone()).await.unwrap().outcome();
        assert!(
            outcome == Outcome::Miss || waited < Duration::from_millis(400),
            "{outcome:?} after {waited:?}"
        );
    })
    .await;
    let lease = env.cache.get_or_fetch(fetch_in("brief", 0)).await.unwrap().expect_lease();
    assert_eq!(lease.stale, None);
});

on_both_stores!(a_set_makes_the_value_fresh, config: WINDOWS, |env| {
    make_stale(&env.cache, "swr").await;
    let request = SetRequest { namespace: "swr".to_owned(), ..set_for("k", text("new"), 60_000) };
    env.cache.set(request).await.unwrap();
    let answer =
        env.cache.get(GetRequest { namespace: "swr".to_owned(), ..get("k") }).await.unwrap();
    assert_eq!((answer.outcome(), answer.value), (Outcome::Hit, Some(text("new"))));
});

on_both_stores!(touch_ignores_a_stale_entry, config: WINDOWS, |env| {
    make_stale(&env.cache, "swr").await;
    let request = TouchRequest { namespace: "swr".to_owned(), ..touch("k", 60_000) };
    assert!(!env.cache.touch(request).await.unwrap().found);
    let answer =
        env.cache.get(GetRequest { namespace: "swr".to_owned(), ..get("k") }).await.unwrap();
    assert_eq!(answer.outcome(), Outcome::Stale);
});

on_both_stores!(stale_values_can_be_deleted_and_invalidated, config: WINDOWS, |env| {
    for namespace in ["swr", "sie"] {
        for whole_namespace in [false, true] {
            make_stale(&env.cache, namespace).await;
            if whole_namespace {
                env.cache.invalidate_namespace(invalidate(namespace)).await.unwrap();
            } else {
                let request = DeleteRequest { namespace: namespace.to_owned(), ..delete("k") };
                env.cache.delete(request).await.unwrap();
            }
            let request = GetRequest { namespace: namespace.to_owned(), ..get("k") };
            assert_eq!(env.cache.get(request).await.unwrap().outcome(), Outcome::Miss);
            let lease =
                env.cache.get_or_fetch(fetch_in(namespace, 0)).await.unwrap().expect_lease();
            assert_eq!(lease.stale, None, "{namespace}");
        }
    }
});

/// Stores an entry, waits until it is no longer fresh, and returns the answer of Get. The reads
/// after it may estimate the time of Redis a little earlier: hence the margin.
async fn make_stale(cache: &Cache, namespace: &str) -> GetResponse {
    let request = SetRequest { namespace: namespace.to_owned(), ..set_for("k", text("old"), 50) };
    cache.set(request).await.unwrap();
    let stored = Instant::now();
    eventually("the entry is past its TTL", SOON, async || {
        let answer =
            cache.get(GetRequest { namespace: namespace.to_owned(), ..get("k") }).await.unwrap();
        let is_certain = stored.elapsed() > Duration::from_millis(100);
        (is_certain && answer.outcome() != Outcome::Hit).then_some(answer)
    })
    .await
}

fn fetch_in(namespace: &str, wait: i64) -> GetOrFetchRequest {
    GetOrFetchRequest { namespace: namespace.to_owned(), ..fetch("k", wait) }
}

fn assert_stale(found: Found) {
    assert_eq!((found.outcome(), as_text(found.value).as_deref()), (Outcome::Stale, Some("old")));
    assert_eq!(duration(found.entry.unwrap().ttl_remaining), Duration::ZERO);
}
