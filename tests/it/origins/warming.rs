//! AdminService.Warm: counts, rate, concurrency and cancellation.

use std::time::Instant;

use larder::pb::v1::{
    GetOrFetchRequest, Tier, WarmKey, WarmRequest, WarmResponse,
    admin_service_client::AdminServiceClient,
};
use nix::sys::signal::Signal;
use tonic::{Code, Status, Streaming};

use crate::support::{
    client::{Cache, Fetched as _, NS, fetch, params},
    env::{Env, read_through},
    origin::{Origin, OriginRequest, numbered, ok, status},
    status::{expect_error, expect_over_limit, expect_retry, expect_violation},
    wait::{SOON, eventually},
};

/// Long enough for a busy machine not to lose leases.
pub(super) const LONG_LEASE: &str = "min_lease = '10s'";
const NO_RETRIES: &str = "min_lease = '10s'\nretries = 0\nbreaker_threshold = 0";

with_origin!(every_key_is_counted_by_outcome, origin: NO_RETRIES, |env, origin| {
    origin.answer(|request: &OriginRequest| match request.target.as_str() {
        "/v/private" => ok("v", &[("cache-control", "no-store")]),
        "/v/absent" => status(404),
        "/v/broken" => status(500),
        _ => numbered(request),
    });
    env.cache.put("fresh", "v").await;
    let last = warmed(&env.cache, keys(&["a", "fresh", "private", "absent", "broken", "b"])).await;
    let expected = WarmResponse {
        total: 6,
        done: 6,
        stored: 3,
        fresh: 1,
        not_stored: 1,
        failed: 1,
        ..last.clone()
    };
    assert_eq!(last, expected);
    assert!(last.last_error.contains("500"), "{last:?}");
    assert!(last.took.is_some_and(|took| took.seconds > 0 || took.nanos > 0), "{last:?}");
    assert_eq!(origin.calls(), 5);

    // Stored values are read by other calls.
    assert_eq!(env.cache.read("a").await.as_deref(), Some("/v/a#1"));
    let again = warmed(&env.cache, keys(&["a", "absent", "b"])).await;
    assert_eq!((again.fresh, again.done, again.last_error.as_str()), (3, 3, ""));
    assert_eq!(origin.calls(), 5);
});

with_origin!(refresh_fetches_fresh_keys, origin: LONG_LEASE, |env, origin| {
    env.cache.put("k", "old").await;
    let last = warmed(&env.cache, WarmRequest { refresh: true, ..keys(&["k"]) }).await;
    assert_eq!((last.stored, last.fresh), (1, 0), "{last:?}");
    assert_eq!(env.cache.read("k").await.as_deref(), Some("/v/k#1"));
    warmed(&env.cache, WarmRequest { refresh: true, ..keys(&["k"]) }).await;
    assert_eq!(env.cache.read("k").await.as_deref(), Some("/v/k#2"));
    assert_eq!(origin.calls(), 2);
});

with_origin!(rate_is_limited_and_progress_is_reported, origin: LONG_LEASE, |env, origin| {
    let (count, rate) = (31, 20);
    let names: Vec<String> = (0..count).map(|number| format!("k{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let started = Instant::now();
    let reports =
        collect(open(&env.cache, WarmRequest { rate, ..keys(&names) }).await.unwrap()).await;
    let took = started.elapsed();
    // The first key does not wait. The factor allows for clock differences.
    assert!(took.as_secs_f64() > 0.9 * f64::from(count - 1) / f64::from(rate), "{took:?}");
    assert!(reports.len() > 1, "{reports:?}");
    assert!(reports.is_sorted_by_key(|report| report.done), "{reports:?}");
    assert!(reports[0].done < 31 && reports.iter().all(|report| report.total == 31), "{reports:?}");
    let last = reports.last().unwrap();
    assert_eq!((last.done, last.stored), (31, 31), "{last:?}");
    assert_eq!(origin.calls(), 31);
});

with_origin!(
    warming_uses_half_of_the_concurrency_limit,
    origin: "max_concurrency = 4\nmin_lease = '10s'",
    |env, origin| {
        origin.hold();
        let warming = open(&env.cache, keys(&["a", "b", "c", "d", "e", "f"])).await.unwrap();
        eventually("two keys are being fetched", SOON, async || {
            (origin.in_flight() == 2).then_some(())
        })
        .await;
        let caller = {
            let cache = env.cache.clone();
            tokio::spawn(async move { cache.fetched("k").await.0 })
        };
        eventually("the caller's key is fetched concurrently", SOON, async || {
            (origin.in_flight() == 3).then_some(())
        })
        .await;
        origin.release();
        assert_eq!(collect(warming).await.last().unwrap().stored, 6);
        assert_eq!(caller.await.unwrap().as_deref(), Some("/v/k#1"));
        assert!(origin.max_in_flight() <= 3, "{}", origin.max_in_flight());
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_can_have_params() {
    let origin = Origin::start().await;
    let config = read_through(&origin.url("/v/{key}?{params}"), "", LONG_LEASE);
    for store in Store::BOTH {
        let (env, before) = (store.start(&config).await, origin.calls());
        let page = |number: &str| WarmKey {
            key: "list".to_owned(),
            params: params(&[("page", number), ("a", "b")]),
        };
        let request = WarmRequest { keys: vec![page("1"), page("2"), page("1")], ..keys(&[]) };
        let last = warmed(&env.cache, request).await;
        assert_eq!((last.done, last.stored + last.fresh, last.failed), (3, 3, 0), "{last:?}");
        let mut targets: Vec<String> =
            origin.requests()[before..].iter().map(|request| request.target.clone()).collect();
        targets.sort();
        assert_eq!(targets, ["/v/list?a=b&page=1", "/v/list?a=b&page=2"]);
        let request = GetOrFetchRequest { params: page("2").params, ..fetch("list", 20_000) };
        let entry = env.cache.get_or_fetch(request).await.unwrap().expect_found().entry.unwrap();
        assert_eq!(entry.tier(), Tier::Store);
        assert_eq!(env.cache.read("list").await, None);
        assert_eq!(origin.calls(), before + 2);
    }
}

with_origin!(limits_are_checked_before_any_fetch, origin: LONG_LEASE, |env, origin| {
    let rate = open(&env.cache, WarmRequest { rate: 100_001, ..keys(&["k"]) }).await;
    expect_over_limit(rate, Code::InvalidArgument, "INVALID_ARGUMENT", "rate", 100_000);
    let too_many = open(&env.cache, keys(&vec!["k"; 10_001])).await;
    expect_over_limit(too_many, Code::InvalidArgument, "BATCH_TOO_LARGE", "keys", 10_000);
    expect_violation(open(&env.cache, keys(&["a", ""])).await, "keys[1].key");
    expect_violation(open(&env.cache, keys(&["a", "b", &"k".repeat(1025)])).await, "keys[2].key");
    let empty_param = WarmKey { key: "k".to_owned(), params: params(&[("", "v")]) };
    expect_violation(
        open(&env.cache, WarmRequest { keys: vec![empty_param], ..keys(&[]) }).await,
        "keys[0].params",
    );
    let invalid_namespace = WarmRequest { namespace: "no where".to_owned(), ..keys(&["k"]) };
    expect_violation(open(&env.cache, invalid_namespace).await, "namespace");
    assert_eq!(origin.calls(), 0);
    let largest =
        open(&env.cache, WarmRequest { rate: 100_000, ..keys(&vec!["k"; 10_000]) }).await.unwrap();
    assert_eq!(collect(largest).await.last().unwrap().done, 10_000);
    assert_eq!(origin.calls(), 1);
});

on_both_stores!(namespace_without_an_origin_cannot_be_warmed, |env| {
    for request in [keys(&["k"]), keys(&[])] {
        expect_error(open(&env.cache, request).await, Code::FailedPrecondition, "NO_ORIGIN");
    }
});

with_origin!(cancelled_call_starts_no_more_fetches, |env, origin| {
    let names: Vec<String> = (0..1000).map(|number| format!("k{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut warming = open(&env.cache, WarmRequest { rate: 20, ..keys(&names) }).await.unwrap();
    assert!(warming.message().await.unwrap().unwrap().done > 0);
    drop(warming);
    // Without the cancellation, the call would take another 49 s.
    let mut last = (origin.calls(), Instant::now());
    eventually("no more fetches start", SOON, async || {
        let calls = origin.calls();
        if calls != last.0 {
            last = (calls, Instant::now());
        }
        (last.1.elapsed().as_millis() > 500).then_some(())
    })
    .await;
    assert!(origin.calls() < 1000);
});

with_origin!(shutdown_starts_no_more_fetches, origin: LONG_LEASE, |env, origin| {
    let mut larder = env.larder;
    origin.hold();
    let names: Vec<String> = (0..100).map(|number| format!("k{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut warming = open(&env.cache, keys(&names)).await.unwrap();
    let at_once = 32;
    eventually("the origin is called", SOON, async || {
        (origin.in_flight() == at_once).then_some(())
    })
    .await;
    larder.signal(Signal::SIGTERM);
    let refused = loop {
        match warming.message().await {
            Ok(Some(_)) => {}
            other => break other,
        }
    };
    expect_retry(refused, Code::Unavailable, "SHUTTING_DOWN");
    // The server exits long before the shutdown timeout.
    assert_eq!(larder.wait_exit(SOON).await.code(), Some(0));
    assert_eq!(origin.calls(), at_once);
});

with_origin!(four_calls_run_concurrently, origin: LONG_LEASE, |env, origin| {
    origin.hold();
    let mut warming = Vec::new();
    for key in ["a", "b", "c", "d"] {
        warming.push(open(&env.cache, keys(&[key])).await.unwrap());
    }
    expect_retry(open(&env.cache, keys(&["e"])).await, Code::ResourceExhausted, "OVERLOADED");
    // A cancelled call frees its slot, although its fetch continues.
    drop(warming.pop());
    let next =
        eventually("a slot is free", SOON, async || open(&env.cache, keys(&["e"])).await.ok())
            .await;
    warming.push(next);
    origin.release();
    for each in warming {
        assert_eq!(collect(each).await.last().unwrap().stored, 1);
    }
    eventually("a slot is free again", SOON, async || open(&env.cache, keys(&["f"])).await.ok())
        .await;
});

/// A store, for tests that `with_origin!` cannot configure.
#[derive(Clone, Copy)]
pub(super) enum Store {
    Memory,
    Redis,
}

impl Store {
    pub(super) const BOTH: [Self; 2] = [Self::Memory, Self::Redis];

    pub(super) async fn start(self, config: &str) -> Env {
        match self {
            Self::Memory => Env::memory(&[], config).await,
            Self::Redis => Env::redis(&[], config).await,
        }
    }
}

/// A call for these keys of [`NS`], at a rate that does not slow down a test.
fn keys(names: &[&str]) -> WarmRequest {
    let key = |name: &&str| WarmKey { key: (*name).to_owned(), ..WarmKey::default() };
    let keys = names.iter().map(key).collect();
    WarmRequest { namespace: NS.to_owned(), keys, rate: 10_000, ..WarmRequest::default() }
}

pub(super) async fn open(
    cache: &Cache,
    request: WarmRequest,
) -> Result<Streaming<WarmResponse>, Status> {
    AdminServiceClient::new(cache.channel()).warm(request).await.map(tonic::Response::into_inner)
}

/// All reports of a call, at least one.
async fn collect(mut warming: Streaming<WarmResponse>) -> Vec<WarmResponse> {
    let mut reports = Vec::new();
    while let Some(report) = warming.message().await.unwrap() {
        reports.push(report);
    }
    assert!(!reports.is_empty());
    reports
}

/// The last report of a call.
pub(super) async fn warmed(cache: &Cache, request: WarmRequest) -> WarmResponse {
    collect(open(cache, request).await.unwrap()).await.pop().unwrap()
}
