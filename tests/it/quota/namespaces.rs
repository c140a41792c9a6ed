//! Rates and concurrency of namespaces.

use larder::pb::v1::{
    BatchGetOrFetchRequest, BatchSetRequest, GetRequest, SetRequest, SetResult,
    batch_get_or_fetch_result::Result as ItemResult,
};

use super::{expect_exceeded, is_exceeded};
use crate::support::{
    client::{
        Fetched as _, NS, abandon, batch_get, data, fetch, fill, get, key_ref, set, set_for, text,
    },
    env::Env,
    observe::waiting,
    wait::{SOON, eventually},
    watch::watch_request,
};

const SUBJECT: &str = "namespace ns";

fn other(key: &str) -> GetRequest {
    GetRequest { namespace: "other".to_owned(), ..get(key) }
}

on_both_stores!(
    calls_per_second_are_limited,
    config: "[namespaces.ns.quota]\nrequests_per_second = 20",
    |env| {
        let mut refused = None;
        for _ in 0..200 {
            let answer = env.cache.get(get("k")).await;
            if is_exceeded(&answer) {
                refused = Some(answer);
                break;
            }
            answer.unwrap();
        }
        let details = expect_exceeded(refused.unwrap(), SUBJECT, "requests_per_second");
        assert!(details.retry_info().is_some());
        for _ in 0..100 {
            env.cache.get(other("k")).await.unwrap();
        }
        let served = async || env.cache.get(get("k")).await.ok();
        eventually("the rate allows a call again", SOON, served).await;
    }
);

on_both_stores!(
    each_key_of_a_batch_is_a_call,
    config: "[namespaces.ns.quota]\nrequests_per_second = 10",
    |env| {
        let keys = (0..1000).map(|index| key_ref(&index.to_string())).collect();
        env.cache.batch_get(batch_get(keys)).await.unwrap();
        let details =
            expect_exceeded(env.cache.get(get("k")).await, SUBJECT, "requests_per_second");
        let delay = details.retry_info().unwrap().retry_delay.unwrap();
        assert!(delay.as_secs() > 60, "{delay:?}");
    }
);

on_both_stores!(
    bytes_per_second_are_limited,
    config: "[namespaces.ns.quota]\nbytes_per_second = '10KiB'",
    |env| {
        let large = data(vec![7; 900_000]);
        let large = SetRequest { namespace: "other".to_owned(), ..set("k", large) };
        env.cache.set(large).await.unwrap();
        env.cache.get(other("k")).await.unwrap();
        env.cache.set(set("k", data(vec![7; 500_000]))).await.unwrap();
        let details = expect_exceeded(env.cache.get(get("k")).await, SUBJECT, "bytes_per_second");
        let delay = details.retry_info().unwrap().retry_delay.unwrap();
        assert!((30..60).contains(&delay.as_secs()), "{delay:?}");
    }
);

on_both_stores!(
    answers_count_for_the_bytes,
    config: "[namespaces.ns]\nmax_value_bytes = '1MiB'\n[namespaces.ns.quota]\n\
        bytes_per_second = '1MiB'",
    |env| {
        env.cache.set(set("k", data(vec![7; 500_000]))).await.unwrap();
        let read = async || is_exceeded(&env.cache.get(get("k")).await).then_some(());
        eventually("the answers use up the rate", SOON, read).await;
    }
);

on_both_stores!(
    calls_in_flight_are_limited,
    config: "[namespaces.ns.quota]\nin_flight = 2",
    |env| {
        let lease = env.cache.lease("k").await;
        let calls: Vec<_> = (0..2)
            .map(|_| {
                let cache = env.cache.clone();
                tokio::spawn(async move { cache.get_or_fetch(fetch("k", 20_000)).await })
            })
            .collect();
        waiting(&env.larder, 2).await;
        expect_exceeded(env.cache.get(get("k")).await, SUBJECT, "in_flight");
        env.cache.get(other("k")).await.unwrap();
        // A waiter that leaves makes room for the fill.
        calls[0].abort();
        let stored = async || {
            let answer = env.cache.set(fill("k", text("v"), &lease)).await;
            (answer.ok()?.result() == SetResult::Stored).then_some(())
        };
        eventually("the value is stored", SOON, stored).await;
        for call in calls {
            if let Ok(answer) = call.await {
                answer.unwrap().expect_found();
            }
        }
        env.cache.get(get("k")).await.unwrap();
    }
);

on_both_stores!(
    open_streams_are_limited,
    config: "[namespaces.ns.quota]\nstreams = 1",
    |env| {
        let watch = || async { env.cache.rpc().watch(watch_request(&[NS], true, &[])).await };
        let first = watch().await.unwrap();
        expect_exceeded(watch().await, SUBJECT, "streams");
        env.cache.get(get("k")).await.unwrap();
        drop(first);
        eventually("the stream ends", SOON, async || watch().await.ok()).await;
    }
);

on_both_stores!(
    leases_are_limited,
    config: "[namespaces.ns]\nabandon_backoff = '0s'\n[namespaces.ns.quota]\nleases = 2",
    |env| {
        env.cache.put("hit", "v").await;
        let first = env.cache.lease("a").await;
        let second = env.cache.lease("b").await;
        let refused = env.cache.get_or_fetch(fetch("c", 0)).await;
        assert!(expect_exceeded(refused, SUBJECT, "leases").retry_info().is_some());
        env.cache.get_or_fetch(fetch("hit", 0)).await.unwrap().expect_found();
        env.cache.set(fill("a", text("v"), &first)).await.unwrap();
        // A lease that was refused is not held, or not for longer than it takes to give it back.
        let third = env.cache.get_or_fetch(fetch("c", 20_000)).await.unwrap().expect_lease();
        expect_exceeded(env.cache.get_or_fetch(fetch("d", 0)).await, SUBJECT, "leases");
        env.cache.abandon(abandon("b", &second)).await.unwrap();
        env.cache.get_or_fetch(fetch("d", 20_000)).await.unwrap().expect_lease();
        // Also by a batch.
        let items = vec![fill("c", text("v"), &third)];
        env.cache.batch_set(BatchSetRequest { items }).await.unwrap();
        let keys = ["e", "f", "hit"].map(key_ref).to_vec();
        let request = BatchGetOrFetchRequest { keys, ..Default::default() };
        let results = env.cache.batch_get_or_fetch(request).await.unwrap();
        let outcomes = results.into_iter().map(|result| match result.result.unwrap() {
            ItemResult::Answer(answer) => match answer.outcome.unwrap() {
                larder::pb::v1::get_or_fetch_response::Outcome::Lease(_) => "lease".to_owned(),
                _ => "other".to_owned(),
            },
            ItemResult::Error(error) => error.reason,
        });
        assert_eq!(outcomes.collect::<Vec<_>>(), ["lease", "QUOTA_EXCEEDED", "other"]);
    }
);

on_both_stores!(
    an_expired_lease_does_not_count,
    config: "[namespaces.ns]\nlease_ttl = '300ms'\n[namespaces.ns.quota]\nleases = 1",
    |env| {
        env.cache.lease("a").await;
        let answer = async || env.cache.get_or_fetch(fetch("b", 0)).await.ok();
        eventually("the first lease expires", SOON, answer).await.expect_lease();
    }
);

on_both_stores!(
    a_stale_value_is_served_without_a_lease,
    config: "[namespaces.ns]\nstale_while_revalidate = '1h'\n[namespaces.ns.quota]\nleases = 0",
    |env| {
        env.cache.set(set_for("k", text("v"), 1)).await.unwrap();
        let answer = eventually("the value is stale", SOON, async || {
            let answer = env.cache.get(get("k")).await.unwrap();
            (answer.outcome() == larder::pb::v1::Outcome::Stale).then_some(())
        });
        answer.await;
        let found = env.cache.get_or_fetch(fetch("k", 0)).await.unwrap().expect_found();
        assert_eq!(found.outcome(), larder::pb::v1::Outcome::Stale);
        expect_exceeded(env.cache.get_or_fetch(fetch("miss", 0)).await, SUBJECT, "leases");
    }
);

#[tokio::test]
async fn a_reload_changes_quotas() {
    let env = Env::memory(&[], "[namespaces.ns.quota]\nleases = 0").await;
    expect_exceeded(env.cache.get_or_fetch(fetch("k", 0)).await, SUBJECT, "leases");
    env.larder.rewrite_config("[namespaces.ns.quota]\nleases = 1");
    env.larder.signal(nix::sys::signal::Signal::SIGHUP);
    let leased = async || env.cache.get_or_fetch(fetch("k", 0)).await.ok();
    eventually("the quota is larger", SOON, leased).await.expect_lease();
}

on_both_stores!(
    a_token_does_not_end_the_count_of_another_lease,
    config: "[namespaces.ns]\nabandon_backoff = '0s'\n[namespaces.ns.quota]\nleases = 1",
    |env| {
        let lease = env.cache.lease("a").await;
        env.cache.abandon(abandon("other", &lease)).await.unwrap();
        let lost = env.cache.set(fill("third", text("v"), &lease)).await.unwrap();
        assert_eq!(lost.result(), SetResult::LeaseLost);
        expect_exceeded(env.cache.get_or_fetch(fetch("b", 0)).await, SUBJECT, "leases");
        env.cache.abandon(abandon("a", &lease)).await.unwrap();
        env.cache.get_or_fetch(fetch("b", 20_000)).await.unwrap().expect_lease();
    }
);
