//! Batches of keys with and without an origin: neither kind delays the other.

use std::time::{Duration, Instant};

use larder::pb::v1::{
    BatchGetOrFetchRequest, BatchGetOrFetchResult, GetOrFetchRequest, KeyRef, Lease, SetRequest,
    SetResult, get_or_fetch_response::Outcome as Answer,
};

use crate::support::{
    batch::answered,
    client::{Cache, Fetched as _, as_text, fetch, fill, key_ref, ms, text},
    origin::{after, ok},
    wait::{SOON, eventually},
};

/// Namespace without an origin: callers compute the values.
const LEASED_NS: &str = "own";
/// The lease TTL is far longer than [`AT_ONCE`], so that no lease is granted by expiry.
const LONG_LEASE: &str = "timeout = '1m'\n[namespaces.own]\nlease_ttl = '50s'";
/// The lease TTL is shorter than [`FETCH_TIME`].
const SHORT_LEASE: &str = "timeout = '1m'\n[namespaces.own]\nlease_ttl = '2s'";
const FETCH_TIME: Duration = Duration::from_secs(4);
/// Upper bound for "at once" on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(10);

with_origin!(
    lease_does_not_expire_while_other_keys_are_fetched,
    origin: SHORT_LEASE,
    |env, origin| {
        origin.always(after(FETCH_TIME, ok("v", &[])));
        let mut answers = env
            .cache
            .batch_get_or_fetch(batch(vec![leased_key("a"), key_ref("a")]))
            .await
            .unwrap()
            .into_iter();
        let lease = lease(answers.next().unwrap()).expect("a lease");
        assert_eq!(fill_leased(&env.cache, "a", &lease).await, SetResult::Stored);
        assert_eq!(fetched(answers.next().unwrap()).as_deref(), Some("v"));
    }
);

with_origin!(
    lease_is_granted_while_a_batch_waits_for_the_origin,
    origin: LONG_LEASE,
    |env, origin| {
        origin.hold();
        let slow = tokio::spawn({
            let cache = env.cache.clone();
            async move {
                cache.batch_get_or_fetch(batch(vec![leased_key("a"), key_ref("a")])).await.unwrap()
            }
        });
        eventually("the origin is called", SOON, async || (origin.calls() == 1).then_some(()))
            .await;
        let started = Instant::now();
        let request = GetOrFetchRequest { namespace: LEASED_NS.to_owned(), ..fetch("a", 50_000) };
        let lease = env.cache.get_or_fetch(request).await.unwrap().expect_lease();
        println!("the lease was granted after {:?}", started.elapsed());
        assert!(started.elapsed() < AT_ONCE, "{:?}", started.elapsed());
        assert_eq!(fill_leased(&env.cache, "a", &lease).await, SetResult::Stored);
        origin.release();
        let values: Vec<_> = slow.await.unwrap().into_iter().map(fetched).collect();
        assert_eq!(values, [Some("own".to_owned()), Some("/v/a#1".to_owned())]);
    }
);

with_origin!(leases_are_sent_before_other_keys_are_fetched, origin: LONG_LEASE, |env, origin| {
    origin.hold();
    // More keys than one chunk.
    let keys =
        (0..200).map(|number| leased_key(&number.to_string())).chain([key_ref("last")]).collect();
    let mut stream = env.cache.rpc().batch_get_or_fetch(batch(keys)).await.unwrap().into_inner();
    let first = tokio::time::timeout(AT_ONCE, stream.message())
        .await
        .expect("leases without waiting for the origin");
    let mut results = first.unwrap().unwrap().results;
    assert!(!results.is_empty() && results.len() <= 200, "{}", results.len());
    assert!(results.iter().all(|result| lease(result.clone()).is_some()));
    origin.release();
    while let Some(message) = stream.message().await.unwrap() {
        results.extend(message.results);
    }
    assert_eq!(results.len(), 201);
    assert_eq!(fetched(results.pop().unwrap()).as_deref(), Some("/v/last#1"));
    for (number, result) in results.into_iter().enumerate() {
        assert!(lease(result).is_some(), "{number}");
    }
});

with_origin!(wait_applies_to_the_whole_batch, origin: LONG_LEASE, |env, origin| {
    origin.always(after(Duration::from_secs(3), ok("v", &[])));
    let request = GetOrFetchRequest { namespace: LEASED_NS.to_owned(), ..fetch("a", 0) };
    env.cache.get_or_fetch(request).await.unwrap().expect_lease();
    let started = Instant::now();
    let request =
        BatchGetOrFetchRequest { wait: ms(6_000), ..batch(vec![leased_key("a"), key_ref("a")]) };
    let mut answers = env.cache.batch_get_or_fetch(request).await.unwrap().into_iter();
    let waited = started.elapsed();
    assert!(
        (Duration::from_millis(5_900)..Duration::from_millis(8_500)).contains(&waited),
        "{waited:?}"
    );
    answered(answers.next().unwrap()).expect_contended();
    assert_eq!(fetched(answers.next().unwrap()).as_deref(), Some("v"));
});

fn leased_key(key: &str) -> KeyRef {
    KeyRef { namespace: LEASED_NS.to_owned(), ..key_ref(key) }
}

fn batch(keys: Vec<KeyRef>) -> BatchGetOrFetchRequest {
    BatchGetOrFetchRequest { keys, wait: ms(50_000), ..Default::default() }
}

fn lease(result: BatchGetOrFetchResult) -> Option<Lease> {
    match answered(result).outcome {
        Some(Answer::Lease(lease)) => Some(lease),
        _ => None,
    }
}

fn fetched(result: BatchGetOrFetchResult) -> Option<String> {
    as_text(answered(result).expect_found().value)
}

async fn fill_leased(cache: &Cache, key: &str, lease: &Lease) -> SetResult {
    let request = SetRequest { namespace: LEASED_NS.to_owned(), ..fill(key, text("own"), lease) };
    cache.set(request).await.unwrap().result()
}
