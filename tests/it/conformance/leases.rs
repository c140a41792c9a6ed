//! Leases: one caller computes, the others wait and are woken.

use std::time::{Duration, Instant};

use futures::future::join_all;
use larder::pb::v1::{
    AbandonRequest, FetchStatus, GetOrFetchRequest, GetOrFetchResponse, Lease, Outcome, SetResult,
    Tier, get_or_fetch_response::Outcome as Answer,
};
use tokio::task::JoinHandle;
use tonic::Status;

use crate::support::{
    client::{
        Cache, Fetched as _, abandon, as_text, delete, duration, fetch, fill, get, set, text,
    },
    wait::{CLOCK_ERROR, SOON, eventually},
};

/// A wait longer than any test, in milliseconds.
const LONG: i64 = 50_000;
/// Limit for an immediate answer on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(3);

on_both_stores!(the_first_caller_computes_and_fills, |env| {
    let answer = env.cache.get_or_fetch(fetch("k", LONG)).await.unwrap();
    assert!(!answer.degraded);
    let lease = answer.expect_lease();
    assert!(lease.token.len() >= 16 && lease.stale.is_none());
    let expires_in = duration(lease.expires_in);
    assert!(
        (Duration::from_secs(8)..=Duration::from_secs(10)).contains(&expires_in),
        "{expires_in:?}"
    );

    let filled = env.cache.set(fill("k", text("v"), &lease)).await.unwrap();
    assert_eq!(filled.result(), SetResult::Stored);
    assert_eq!(duration(filled.ttl), Duration::from_secs(1800));
    let found = env.cache.get_or_fetch(fetch("k", 0)).await.unwrap().expect_found();
    assert_eq!((found.outcome(), as_text(found.value).as_deref()), (Outcome::Hit, Some("v")));
    let entry = found.entry.unwrap();
    assert_eq!((entry.tier(), entry.version), (Tier::Store, filled.version));
});

on_both_stores!(every_lease_has_its_own_token, |env| {
    let one = env.cache.lease("a").await;
    let two = env.cache.lease("b").await;
    assert_ne!(one.token, two.token);
});

on_both_stores!(a_caller_that_does_not_wait_gets_the_time_to_retry, |env| {
    env.cache.lease("k").await;
    let start = Instant::now();
    let contended = env.cache.get_or_fetch(fetch("k", 0)).await.unwrap().expect_contended();
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
    let retry_after = duration(contended.retry_after);
    assert!(
        retry_after > Duration::ZERO && retry_after <= Duration::from_secs(10),
        "{retry_after:?}"
    );
});

on_both_stores!(
    a_wait_ends_after_its_limit,
    env: [("LARDER_DEFAULTS__LEASE_WAIT", "400ms")],
    |env| {
        env.cache.lease("k").await;
        for wait in [fetch("k", 400), GetOrFetchRequest { wait: None, ..fetch("k", 0) }] {
            let start = Instant::now();
            env.cache.get_or_fetch(wait).await.unwrap().expect_contended();
            let waited = start.elapsed();
            assert!((Duration::from_millis(390)..AT_ONCE).contains(&waited), "{waited:?}");
        }
    }
);

on_all_stores!(a_fill_wakes_the_waiters, |env| {
    for round in 0..5 {
        let key = format!("k{round}");
        let lease = env.cache.lease(&key).await;
        let waiters: Vec<_> = (0..10).map(|_| wait_for(&env.cache, &key)).collect();
        assert_all_waiting(&waiters).await;
        env.cache.set(fill(&key, text("v"), &lease)).await.unwrap();
        let stored_at = Instant::now();
        for waiter in waiters {
            let found = waiter.await.unwrap().unwrap().expect_found();
            assert_eq!(
                (found.outcome(), as_text(found.value).as_deref()),
                (Outcome::Hit, Some("v"))
            );
        }
        assert!(stored_at.elapsed() < AT_ONCE, "{:?}", stored_at.elapsed());
    }
});

on_both_stores!(a_plain_set_wakes_the_waiters, |env| {
    env.cache.lease("k").await;
    let waiter = wait_for(&env.cache, "k");
    assert_all_waiting(std::slice::from_ref(&waiter)).await;
    env.cache.put("k", "v").await;
    let stored_at = Instant::now();
    let found = waiter.await.unwrap().unwrap().expect_found();
    assert_eq!(as_text(found.value).as_deref(), Some("v"));
    assert!(stored_at.elapsed() < AT_ONCE, "{:?}", stored_at.elapsed());
});

on_all_stores!(one_of_a_hundred_callers_computes, |env| {
    let callers: Vec<_> = (0..100).map(|_| wait_for(&env.cache, "k")).collect();
    let lease = eventually("a caller gets the lease", SOON, async || {
        env.cache.get(get("k")).await.unwrap();
        callers.iter().any(JoinHandle::is_finished).then_some(())
    });
    lease.await;
    let mut leases = Vec::new();
    let mut waiting = Vec::new();
    for caller in callers {
        if caller.is_finished() {
            leases.push(caller.await.unwrap().unwrap().expect_lease())
        } else {
            waiting.push(caller)
        }
    }
    assert_eq!((leases.len(), waiting.len()), (1, 99));
    env.cache.set(fill("k", text("v"), &leases[0])).await.unwrap();
    for answer in join_all(waiting).await {
        assert_eq!(as_text(answer.unwrap().unwrap().expect_found().value).as_deref(), Some("v"));
    }
});

on_both_stores!(
    callers_get_the_failure_of_an_abandoned_lease_at_once_and_the_lease_after_the_back_off,
    env: [("LARDER_DEFAULTS__ABANDON_BACKOFF", "2s")],
    |env| {
        let lease = env.cache.lease("k").await;
        let waiters = [wait_for(&env.cache, "k"), wait_for(&env.cache, "k")];
        assert_all_waiting(&waiters).await;
        let abandoning = Instant::now();
        let reason = "no database".to_owned();
        let request = AbandonRequest { reason, ..abandon("k", &lease) };
        env.cache.abandon(request.clone()).await.unwrap();
        env.cache.abandon(request).await.unwrap();
        let mut answers = Vec::new();
        for waiter in waiters {
            answers.push(waiter.await.unwrap().unwrap());
        }
        answers.push(env.cache.get_or_fetch(fetch("k", 20_000)).await.unwrap());
        assert!(abandoning.elapsed() < AT_ONCE, "{:?}", abandoning.elapsed());
        for answer in answers {
            assert_eq!(
                (answer.fetch_status(), answer.cause.as_str()),
                (FetchStatus::Failed, "no database")
            );
            let retry_after = duration(answer.expect_contended().retry_after);
            assert!(
                retry_after > Duration::ZERO && retry_after <= Duration::from_secs(2),
                "{retry_after:?}"
            );
        }

        let next = eventually("the back-off is over", SOON, async || {
            match env.cache.get_or_fetch(fetch("k", 0)).await.unwrap().outcome {
                Some(Answer::Lease(lease)) => Some(lease),
                _ => None,
            }
        })
        .await;
        let passed = abandoning.elapsed();
        assert!(passed >= Duration::from_secs(2) - CLOCK_ERROR, "{passed:?}");
        assert_ne!(next.token, lease.token);
        env.cache.get_or_fetch(fetch("k", 0)).await.unwrap().expect_contended();
        let late = env.cache.set(fill("k", text("late"), &lease)).await.unwrap();
        assert_eq!(late.result(), SetResult::LeaseLost);
        let filled = env.cache.set(fill("k", text("v"), &next)).await.unwrap();
        assert_eq!(filled.result(), SetResult::Stored);
    }
);

on_both_stores!(
    a_set_is_found_during_the_back_off,
    env: [("LARDER_DEFAULTS__ABANDON_BACKOFF", "30s")],
    |env| {
        let lease = env.cache.lease("k").await;
        env.cache.abandon(abandon("k", &lease)).await.unwrap();
        env.cache.get_or_fetch(fetch("k", LONG)).await.unwrap().expect_contended();
        env.cache.put("k", "v").await;
        let found = env.cache.get_or_fetch(fetch("k", 0)).await.unwrap().expect_found();
        assert_eq!(as_text(found.value).as_deref(), Some("v"));
    }
);

on_both_stores!(only_the_holder_can_abandon, |env| {
    let lease = env.cache.lease("k").await;
    let foreign = env.cache.lease("other").await;
    let invented = Lease { token: vec![1; 16].into(), ..Default::default() };
    for ignored in [&foreign, &invented] {
        env.cache.abandon(abandon("k", ignored)).await.unwrap();
    }
    env.cache.get_or_fetch(fetch("k", 0)).await.unwrap().expect_contended();
    assert_eq!(
        env.cache.set(fill("k", text("v"), &lease)).await.unwrap().result(),
        SetResult::Stored
    );
    assert_eq!(
        env.cache.set(fill("other", text("v"), &foreign)).await.unwrap().result(),
        SetResult::Stored
    );
    // An old token is ignored as well: it must not remove a value.
    env.cache.abandon(abandon("k", &lease)).await.unwrap();
    assert_eq!(env.cache.read("k").await.as_deref(), Some("v"));
});

on_both_stores!(
    an_expired_lease_goes_to_the_next_caller,
    env: [("LARDER_DEFAULTS__LEASE_TTL", "700ms")],
    |env| {
        let asked = Instant::now();
        let lost = env.cache.lease("k").await;
        assert!(duration(lost.expires_in) <= Duration::from_millis(700), "{lost:?}");
        let next = wait_for(&env.cache, "k").await.unwrap().unwrap().expect_lease();
        let passed = asked.elapsed();
        assert!(passed >= Duration::from_millis(700) - CLOCK_ERROR, "{passed:?}");
        assert!(asked.elapsed() < Duration::from_millis(700) + AT_ONCE, "{:?}", asked.elapsed());
        assert_ne!(next.token, lost.token);
        let late = env.cache.set(fill("k", text("late"), &lost)).await.unwrap();
        assert_eq!(
            (late.result(), late.version.as_str(), late.ttl),
            (SetResult::LeaseLost, "", None)
        );
    }
);

on_both_stores!(cancelled_waiters_do_not_delay_others, |env| {
    let lease = env.cache.lease("k").await;
    let cancelled: Vec<_> = (0..10).map(|_| wait_for(&env.cache, "k")).collect();
    let remaining: Vec<_> = (0..10).map(|_| wait_for(&env.cache, "k")).collect();
    assert_all_waiting(&cancelled).await;
    cancel(&env.cache, &cancelled).await;
    env.cache.set(fill("k", text("v"), &lease)).await.unwrap();
    let stored_at = Instant::now();
    for answer in join_all(remaining).await {
        assert_eq!(as_text(answer.unwrap().unwrap().expect_found().value).as_deref(), Some("v"));
    }
    assert!(stored_at.elapsed() < AT_ONCE, "{:?}", stored_at.elapsed());
});

on_both_stores!(
    the_end_of_a_lease_reaches_the_waiters_behind_cancelled_ones,
    env: [("LARDER_DEFAULTS__ABANDON_BACKOFF", "200ms"), ("LARDER_DEFAULTS__LEASE_TTL", "40s")],
    |env| {
        for round in 0..10 {
            let key = format!("k{round}");
            let lease = env.cache.lease(&key).await;
            let cancelled: Vec<_> = (0..5).map(|_| wait_for(&env.cache, &key)).collect();
            assert_all_waiting(&cancelled).await;
            let remaining = wait_for(&env.cache, &key);
            assert_all_waiting(std::slice::from_ref(&remaining)).await;
            cancel(&env.cache, &cancelled).await;
            env.cache.abandon(abandon(&key, &lease)).await.unwrap();
            let abandoned = Instant::now();
            remaining.await.unwrap().unwrap().expect_contended();
            assert!(abandoned.elapsed() < AT_ONCE, "round {round}: {:?}", abandoned.elapsed());
        }
    }
);

on_both_stores!(one_waiter_computes_a_deleted_key, |env| {
    env.cache.lease("k").await;
    let waiters: Vec<_> = (0..5).map(|_| wait_for(&env.cache, "k")).collect();
    assert_all_waiting(&waiters).await;
    env.cache.delete(delete("k")).await.unwrap();
    let deleted = Instant::now();
    // Concurrently, because the others wait for the caller with the lease.
    let answers = waiters.into_iter().map(|waiter| async {
        match waiter.await.unwrap().unwrap().outcome {
            Some(Answer::Lease(lease)) => {
                let filled = env.cache.set(fill("k", text("v"), &lease)).await.unwrap();
                assert_eq!(filled.result(), SetResult::Stored);
                1
            }
            Some(Answer::Found(found)) => {
                assert_eq!(as_text(found.value).as_deref(), Some("v"));
                0
            }
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(
        futures::future::join_all(answers).await.into_iter().sum::<u32>(),
        1,
        "exactly one waiter fills"
    );
    assert!(deleted.elapsed() < AT_ONCE * 2, "{:?}", deleted.elapsed());
});

on_both_stores!(an_unmet_condition_keeps_the_lease, |env| {
    let lease = env.cache.lease("k").await;
    let condition = Some(larder::pb::v1::set_request::Condition::IfPresent(true));
    let refused = larder::pb::v1::SetRequest { condition, ..set("k", text("x")) };
    assert_eq!(env.cache.set(refused).await.unwrap().result(), SetResult::ConditionNotMet);
    assert_eq!(
        env.cache.set(fill("k", text("v"), &lease)).await.unwrap().result(),
        SetResult::Stored
    );
});

type Waiter = JoinHandle<Result<GetOrFetchResponse, Status>>;

fn wait_for(cache: &Cache, key: &str) -> Waiter {
    spawn(cache, fetch(key, LONG))
}

fn spawn(cache: &Cache, request: GetOrFetchRequest) -> Waiter {
    let cache = cache.clone();
    tokio::spawn(async move { cache.get_or_fetch(request).await })
}

/// Gives the server time to receive all calls, and checks that none is answered.
async fn assert_all_waiting(waiters: &[Waiter]) {
    crate::support::wait::throughout(Duration::from_millis(100), async || {
        assert!(!waiters.iter().any(JoinHandle::is_finished), "a caller did not wait");
    })
    .await;
}

/// Cancels calls and waits until the server has noticed: frames keep their order on a connection.
async fn cancel(cache: &Cache, waiters: &[Waiter]) {
    for waiter in waiters {
        waiter.abort();
    }
    eventually("the calls are cancelled", SOON, async || {
        waiters.iter().all(JoinHandle::is_finished).then_some(())
    })
    .await;
    cache.get(get("something else")).await.unwrap();
}
