//! BatchGetOrFetch with leases: missing keys are leased, and batches do not deadlock.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use futures::future::join_all;
use larder::pb::v1::{
    BatchGetOrFetchRequest, FetchStatus, KeyRef, Outcome, get_or_fetch_response::Outcome as Answer,
};
use tokio::task::JoinHandle;

use crate::support::{
    batch::{answers, batch, spawn},
    client::{Fetched as _, as_text, fill, invalidate, key_ref, ms, params, set_for, text},
    redis::RedisServer,
    server::Larder,
    stream::Stream,
    wait::{SOON, eventually, throughout},
};

/// Limit for an immediate answer on a busy machine; far below the waits of these tests.
const AT_ONCE: Duration = Duration::from_secs(5);
/// Leases that do not expire within a test.
const LONG_LEASE: [(&str, &str); 1] = [("LARDER_DEFAULTS__LEASE_TTL", "50s")];

on_both_stores!(a_duplicate_key_is_leased_once, env: LONG_LEASE, |env| {
    let start = Instant::now();
    let answered = answers(&env.cache, batch(&["k", "k", "k"])).await;
    let leases =
        answered.iter().filter(|answer| matches!(answer.outcome, Some(Answer::Lease(_)))).count();
    let contended = answered
        .iter()
        .filter(|answer| matches!(answer.outcome, Some(Answer::Contended(_))))
        .count();
    assert_eq!((leases, contended), (1, 2), "{answered:?}");
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
});

on_both_stores!(params_and_namespaces_distinguish_keys, |env| {
    let key = |namespace: &str, page: &str| KeyRef {
        namespace: namespace.to_owned(),
        params: params(&[("page", page)]),
        ..key_ref("k")
    };
    let request = BatchGetOrFetchRequest {
        keys: vec![key("ns", "1"), key("ns", "2"), key("ns2", "1"), key_ref("k")],
        ..BatchGetOrFetchRequest::default()
    };
    let leases =
        answers(&env.cache, request).await.into_iter().map(|answer| answer.expect_lease().token);
    assert_eq!(leases.collect::<BTreeSet<_>>().len(), 4);
});

on_all_stores!(concurrent_batches_lease_each_key_once, env: LONG_LEASE, |env| {
    for round in 0..10 {
        let keys: Vec<String> = (0..20).map(|number| format!("{round}-{number}")).collect();
        let forward: Vec<&str> = keys.iter().map(String::as_str).collect();
        let backward: Vec<&str> = forward.iter().rev().copied().collect();
        let start = Instant::now();
        let calls = [
            spawn(&env.cache, BatchGetOrFetchRequest { wait: ms(3_000), ..batch(&forward) }),
            spawn(&env.cache, BatchGetOrFetchRequest { wait: ms(3_000), ..batch(&backward) }),
        ];
        let mut leases = 0;
        for call in calls {
            for answer in call.await.unwrap() {
                match answer.outcome {
                    Some(Answer::Lease(_)) => leases += 1,
                    Some(Answer::Contended(_)) => {}
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(leases, 20, "each key is leased once");
        assert!(start.elapsed() < Duration::from_secs(3) + AT_ONCE, "{:?}", start.elapsed());
    }
});

on_both_stores!(a_granted_lease_ends_the_wait, env: LONG_LEASE, |env| {
    let a = Stream::lease(&env.cache, "a").await;
    let _b = Stream::lease(&env.cache, "b").await;
    let waiting = spawn(&env.cache, batch(&["b", "a"]));
    assert_waiting(&waiting).await;
    drop(a);
    let released = Instant::now();
    let mut answers = waiting.await.unwrap().into_iter();
    answers.next().unwrap().expect_contended();
    answers.next().unwrap().expect_lease();
    assert!(released.elapsed() < AT_ONCE, "{:?}", released.elapsed());
});

// Each batch could be granted the key that the other one waits for.
on_both_stores!(batches_over_the_same_keys_do_not_deadlock, env: LONG_LEASE, |env| {
    for _ in 0..5 {
        let a = Stream::lease(&env.cache, "a").await;
        let b = Stream::lease(&env.cache, "b").await;
        let waiting =
            [spawn(&env.cache, batch(&["a", "b", "a"])), spawn(&env.cache, batch(&["b", "a"]))];
        for waiting in &waiting {
            assert_waiting(waiting).await;
        }
        let released = Instant::now();
        drop((a, b));
        // Concurrently, because one may be granted a lease that the other still waits for.
        let answered = waiting.into_iter().map(async |call| {
            for answer in call.await.unwrap() {
                if let Some(Answer::Lease(lease)) = answer.outcome {
                    for key in ["a", "b"] {
                        env.cache.set(fill(key, text("v"), &lease)).await.unwrap();
                    }
                }
            }
        });
        join_all(answered).await;
        assert!(released.elapsed() < AT_ONCE * 2, "{:?}", released.elapsed());
        env.cache.invalidate_namespace(invalidate("ns")).await.unwrap();
    }
});

on_both_stores!(the_wait_covers_the_whole_batch, env: LONG_LEASE, |env| {
    for key in ["a", "b", "c"] {
        env.cache.lease(key).await;
    }
    let start = Instant::now();
    for answer in
        answers(&env.cache, BatchGetOrFetchRequest { wait: ms(1_000), ..batch(&["a", "b", "c"]) })
            .await
    {
        answer.expect_contended();
    }
    let waited = start.elapsed();
    assert!(
        (Duration::from_millis(990)..Duration::from_secs(1) + AT_ONCE).contains(&waited),
        "{waited:?}"
    );
});

const STALE: &str = "[namespaces.ns]\nstale_while_revalidate = '60s'\n";

on_both_stores!(one_caller_refreshes_a_stale_value, config: STALE, |env| {
    env.cache.set(set_for("k", text("old"), 50)).await.unwrap();
    let lease = eventually("the value is stale", SOON, async || {
        let answer = answers(&env.cache, batch(&["k"])).await.remove(0);
        matches!(answer.outcome, Some(Answer::Lease(_))).then(|| answer.expect_lease())
    });
    assert_eq!(as_text(lease.await.stale.unwrap().value).as_deref(), Some("old"));
    let answer = answers(&env.cache, batch(&["k"])).await.remove(0);
    assert_eq!(answer.fetch_status(), FetchStatus::Refreshing);
    let found = answer.expect_found();
    assert_eq!((found.outcome(), as_text(found.value).as_deref()), (Outcome::Stale, Some("old")));
});

on_both_stores!(batches_support_no_cache_and_only_if_cached, |env| {
    env.cache.put("there", "v").await;
    let only = BatchGetOrFetchRequest { only_if_cached: true, ..batch(&["there", "missing"]) };
    let mut read = answers(&env.cache, only.clone()).await.into_iter();
    read.next().unwrap().expect_found();
    assert!(matches!(read.next().unwrap().outcome, Some(Answer::NotCached(_))));
    let forced = BatchGetOrFetchRequest { no_cache: true, ..batch(&["there", "missing"]) };
    for answer in answers(&env.cache, forced).await {
        answer.expect_lease();
    }
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_store_every_caller_gets_a_lease() {
    let mut redis = RedisServer::start().await;
    let larder = Larder::redis(&redis.url()).default_timeouts().start().await;
    let cache = larder.client().await;
    redis.kill();
    for _ in 0..2 {
        for answer in answers(&cache, batch(&["a", "b"])).await {
            assert!(answer.degraded);
            answer.expect_lease();
        }
    }
}

/// Gives the call time to start waiting, and checks that it is not answered.
async fn assert_waiting<T>(call: &JoinHandle<T>) {
    throughout(Duration::from_millis(100), async || {
        assert!(!call.is_finished(), "the call did not wait")
    })
    .await;
}
