//! One fetch per key across replicas.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use larder::pb::v1::{FetchStatus, FillResult, GetOrFetchResponse, Outcome};
use tokio::task::JoinHandle;
use tonic::{Code, Status};

use crate::support::{
    client::{Cache, Fetched as _, as_text, fetch},
    env::read_through,
    fleet::Fleet,
    origin::{Origin, OriginRequest, Reply, after, numbered, ok, status},
    status::expect_error,
    wait::{SOON, eventually, throughout},
};

/// A caller's answer and its time.
type Caller = JoinHandle<(Result<GetOrFetchResponse, Status>, Instant)>;

const REPLICAS: usize = 3;
const FETCH_TIME: Duration = Duration::from_millis(300);
/// Maximum delay of an answer after the origin's response, on a busy machine.
const MAX_ANSWER_DELAY: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousand_callers_cause_one_fetch() {
    let (fleet, origin) = start("", "").await;
    let callers: Vec<Caller> =
        (0..1000).map(|number| call(&fleet.caches[number % REPLICAS], "k")).collect();
    let answered = await_responses(&origin, 1).await;
    let mut delays = Vec::new();
    let mut fetched = 0;
    for caller in callers {
        let (answer, at) = caller.await.unwrap();
        let answer = answer.unwrap();
        match answer.fetch_status() {
            FetchStatus::Fetched => fetched += 1,
            FetchStatus::Coalesced | FetchStatus::Unspecified => {}
            other => panic!("{other:?}"),
        }
        assert!(!answer.degraded, "{answer:?}");
        assert_eq!(text_of(answer).as_deref(), Some("/v/k#1"));
        delays.push(at.saturating_duration_since(answered));
    }
    assert_eq!((origin.calls(), fetched), (1, 1));
    delays.sort_unstable();
    let (median, last) = (delays[delays.len() / 2], delays[delays.len() - 1]);
    eprintln!("1000 callers were answered {median:?} (median), {last:?} (last) after the origin");
    assert!(last < MAX_ANSWER_DELAY, "{last:?}");

    // Later callers find the stored value.
    for cache in &fleet.caches {
        let (value, answer) = cache.fetched("k").await;
        assert_eq!(
            (value.as_deref(), answer.fetch_status()),
            (Some("/v/k#1"), FetchStatus::Unspecified)
        );
    }
    assert_eq!(origin.calls(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_caller_joins_the_running_fetch() {
    let (fleet, origin) = start("", "").await;
    origin.hold();
    let mut callers = vec![call(&fleet.caches[0], "k")];
    eventually("the value is being fetched", SOON, async || {
        (origin.in_flight() == 1).then_some(())
    })
    .await;
    for cache in &fleet.caches {
        callers.push(call(cache, "k"));
    }
    eventually("all callers wait", SOON, async || {
        (fleet.metric("larder_waiting").await == 4.0).then_some(())
    })
    .await;
    origin.release();
    for caller in callers {
        assert_eq!(text_of(caller.await.unwrap().0.unwrap()).as_deref(), Some("/v/k#1"));
    }
    assert_eq!(origin.calls(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cold_keys_cause_one_fetch_each() {
    let (fleet, origin) = start("", "").await;
    let callers = (0..600).map(|number| {
        (number % 20, call(&fleet.caches[number % REPLICAS], &format!("k{}", number % 20)))
    });
    for (key, caller) in callers.collect::<Vec<_>>() {
        assert_eq!(text_of(caller.await.unwrap().0.unwrap()), Some(format!("/v/k{key}#1")));
    }
    assert_eq!(fetches(&origin), (0..20).map(|key| (format!("/v/k{key}"), 1)).collect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stampede_at_expiry_causes_one_fetch() {
    let (fleet, origin) = start("", "early_refresh = 0").await;
    origin.answer(|request| {
        after(FETCH_TIME, numbered_for(request, if request.before == 0 { 1 } else { 60 }))
    });
    fleet.caches[0].fetched("k").await;
    eventually("the value expires", SOON, async || {
        fleet.caches[0].read("k").await.is_none().then_some(())
    })
    .await;
    for caller in
        (0..300).map(|number| call(&fleet.caches[number % REPLICAS], "k")).collect::<Vec<_>>()
    {
        assert_eq!(text_of(caller.await.unwrap().0.unwrap()).as_deref(), Some("/v/k#2"));
    }
    assert_eq!(origin.calls(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stampede_on_a_stale_value_causes_one_refresh() {
    let (fleet, origin) = start("stale_while_revalidate = '60s'", "").await;
    // The first value is stale on arrival.
    origin.answer(|request| numbered_for(request, if request.before == 0 { 0 } else { 60 }));
    fleet.caches[0].fetched("k").await;
    origin.hold();
    let (_, answer) = fleet.caches[0].fetched("k").await;
    assert_eq!(answer.fetch_status(), FetchStatus::Refreshing);
    eventually("the value is being refreshed", SOON, async || {
        (origin.in_flight() == 1).then_some(())
    })
    .await;
    // No caller waits for the refresh, and none starts another one.
    let callers: Vec<Caller> =
        (0..300).map(|number| call(&fleet.caches[number % REPLICAS], "k")).collect();
    for caller in callers {
        let answer = caller.await.unwrap().0.unwrap();
        assert_eq!(
            (answer.fetch_status(), answer.fill()),
            (FetchStatus::Refreshing, FillResult::Unspecified)
        );
        let found = answer.expect_found();
        assert_eq!(
            (found.outcome(), as_text(found.value).as_deref()),
            (Outcome::Stale, Some("/v/k#1"))
        );
    }
    throughout(Duration::from_millis(300), async || assert_eq!(origin.in_flight(), 1)).await;
    origin.release();
    for cache in &fleet.caches {
        eventually("the new value is stored", SOON, async || {
            (cache.read("k").await? == "/v/k#2").then_some(())
        })
        .await;
    }
    assert_eq!(origin.calls(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failure_is_shared_by_all_replicas() {
    let (fleet, origin) = start("", "error_backoff = '30s'\nretries = 0").await;
    origin.always(status(500));
    for (cache, reason) in
        fleet.caches.iter().zip(["ORIGIN_FAILED", "ORIGIN_BACKED_OFF", "ORIGIN_BACKED_OFF"])
    {
        let error = cache.get_or_fetch(fetch("k", 20_000)).await.unwrap_err();
        expect_error(Err::<(), _>(error.clone()), Code::Unavailable, reason);
        assert!(error.message().contains("500"), "{error:?}");
    }
    assert_eq!(origin.calls(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn early_refreshes_do_not_overlap() {
    let (fleet, origin) = start("ttl = '2s'", "early_refresh = 3.0").await;
    origin.answer(|request| after(Duration::from_millis(100), numbered(request)));
    fleet.caches[0].fetched("k").await;
    let mut early = 0;
    // On a busy machine, some fetches start only after the value has expired.
    eventually("the value is refreshed early several times", SOON * 3, async || {
        for cache in &fleet.caches {
            let answer = cache.get_or_fetch(fetch("k", 20_000)).await.unwrap();
            early += usize::from(answer.fetch_status() == FetchStatus::RefreshingEarly);
            assert_eq!(answer.expect_found().outcome(), Outcome::Hit);
        }
        // Several replicas may start the same refresh, but one of them fetches.
        (early >= 3 && origin.calls() >= 4).then_some(())
    })
    .await;
    eprintln!("{} fetches, {early} early refreshes reported", origin.calls());
    assert_eq!(origin.max_in_flight(), 1);
}

async fn start(namespace: &str, config: &str) -> (Fleet, Origin) {
    let origin = Origin::start().await;
    origin.answer(|request| after(FETCH_TIME, numbered(request)));
    // Long enough for a busy machine neither to lose leases nor to time out fetches.
    let config = format!("min_lease = '10s'\ntimeout = '30s'\n{config}");
    let fleet =
        Fleet::start(REPLICAS, &read_through(&origin.url("/v/{key}"), namespace, &config)).await;
    (fleet, origin)
}

/// The default reply, with a TTL in seconds.
fn numbered_for(request: &OriginRequest, ttl: u64) -> Reply {
    let lifetime = format!("max-age={ttl}");
    ok(format!("{}#{}", request.target, request.before + 1), &[("cache-control", &lifetime)])
}

fn call(cache: &Cache, key: &str) -> Caller {
    let cache = cache.clone();
    let request = fetch(key, 20_000);
    tokio::spawn(async move { (cache.get_or_fetch(request).await, Instant::now()) })
}

/// Waits until the origin has answered `calls` requests. Returns the time of the last response.
async fn await_responses(origin: &Origin, calls: usize) -> Instant {
    eventually("the origin has answered", SOON, async || {
        (origin.calls() >= calls && origin.in_flight() == 0)
            .then(|| origin.requests()[calls - 1].at + FETCH_TIME)
    })
    .await
}

fn fetches(origin: &Origin) -> BTreeMap<String, usize> {
    let mut fetches = BTreeMap::new();
    for request in origin.requests() {
        *fetches.entry(request.target).or_default() += 1;
    }
    fetches
}

fn text_of(answer: GetOrFetchResponse) -> Option<String> {
    as_text(answer.expect_found().value)
}
