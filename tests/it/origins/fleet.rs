//! One fetch for a whole fleet.

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
    origin::{Asked, Origin, Reply, after, numbered, ok, status},
    status::expect_error,
    wait::{SOON, eventually, throughout},
};

/// What a caller was answered, and when.
type Caller = JoinHandle<(Result<GetOrFetchResponse, Status>, Instant)>;

const REPLICAS: usize = 3;
const FETCH_TIME: Duration = Duration::from_millis(300);
/// "Soon", on a busy machine.
const LANDING: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_callers_cause_one_fetch() {
    let (fleet, origin) = start("", "").await;
    let callers: Vec<Caller> =
        (0..1000).map(|number| call(&fleet.caches[number % REPLICAS], "k")).collect();
    let answered = origin_answered(&origin, 1).await;
    let mut late = Vec::new();
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
        late.push(at.saturating_duration_since(answered));
    }
    assert_eq!((origin.calls(), fetched), (1, 1));
    late.sort_unstable();
    let (median, last) = (late[late.len() / 2], late[late.len() - 1]);
    eprintln!(
        "1000 callers were answered {median:?} (median), {last:?} (last) after the origin's answer"
    );
    assert!(last < LANDING, "{last:?}");

    // Those who come late find it.
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
async fn one_who_comes_while_it_is_fetched_gets_the_same() {
    let (fleet, origin) = start("", "").await;
    origin.hold();
    let mut callers = vec![call(&fleet.caches[0], "k")];
    eventually("it is being fetched", SOON, async || (origin.in_flight() == 1).then_some(())).await;
    for cache in &fleet.caches {
        callers.push(call(cache, "k"));
    }
    eventually("all wait", SOON, async || {
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
async fn many_cold_keys_cause_one_fetch_each() {
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
async fn a_stampede_at_expiry_causes_one_fetch() {
    let (fleet, origin) = start("", "early_refresh = 0").await;
    origin.answer(|asked| {
        after(FETCH_TIME, for_seconds(asked, if asked.before == 0 { 1 } else { 60 }))
    });
    fleet.caches[0].fetched("k").await;
    eventually("it expires", SOON, async || {
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
async fn a_stampede_on_a_stale_value_causes_one_refresh() {
    let (fleet, origin) = start("stale_while_revalidate = '60s'", "").await;
    // Stale from the start.
    origin.answer(|asked| for_seconds(asked, if asked.before == 0 { 0 } else { 60 }));
    fleet.caches[0].fetched("k").await;
    origin.hold();
    let (_, answer) = fleet.caches[0].fetched("k").await;
    assert_eq!(answer.fetch_status(), FetchStatus::Refreshing);
    eventually("it is being refreshed", SOON, async || (origin.in_flight() == 1).then_some(()))
        .await;
    // Nobody waits for the refresh, and nobody else begins one.
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
        eventually("it is new", SOON, async || (cache.read("k").await? == "/v/k#2").then_some(()))
            .await;
    }
    assert_eq!(origin.calls(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_is_known_to_all_replicas() {
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
async fn early_refreshes_are_one_at_a_time() {
    let (fleet, origin) = start("ttl = '2s'", "early_refresh = 3.0").await;
    origin.answer(|asked| after(Duration::from_millis(100), numbered(asked)));
    fleet.caches[0].fetched("k").await;
    let mut early = 0;
    // On a busy machine, some fetches come only when it has expired.
    eventually("it is refreshed early, again and again", SOON * 3, async || {
        for cache in &fleet.caches {
            let answer = cache.get_or_fetch(fetch("k", 20_000)).await.unwrap();
            early += usize::from(answer.fetch_status() == FetchStatus::RefreshingEarly);
            assert_eq!(answer.expect_found().outcome(), Outcome::Hit);
        }
        // Several replicas may begin the same refresh; one of them fetches.
        (early >= 3 && origin.calls() >= 4).then_some(())
    })
    .await;
    eprintln!("{} fetches, {early} callers who asked for one early", origin.calls());
    assert_eq!(origin.most_in_flight(), 1);
}

async fn start(namespace: &str, config: &str) -> (Fleet, Origin) {
    let origin = Origin::start().await;
    origin.answer(|asked| after(FETCH_TIME, numbered(asked)));
    // A busy machine neither loses leases nor gives fetches up.
    let config = format!("min_lease = '10s'\ntimeout = '30s'\n{config}");
    let fleet =
        Fleet::start(REPLICAS, &read_through(&origin.url("/v/{key}"), namespace, &config)).await;
    (fleet, origin)
}

/// The default answer, with a TTL.
fn for_seconds(asked: &Asked, ttl: u64) -> Reply {
    let lifetime = format!("max-age={ttl}");
    ok(format!("{}#{}", asked.target, asked.before + 1), &[("cache-control", &lifetime)])
}

fn call(cache: &Cache, key: &str) -> Caller {
    let cache = cache.clone();
    let request = fetch(key, 20_000);
    tokio::spawn(async move { (cache.get_or_fetch(request).await, Instant::now()) })
}

/// When it had answered so many requests.
async fn origin_answered(origin: &Origin, calls: usize) -> Instant {
    eventually("the origin has answered", SOON, async || {
        (origin.calls() >= calls && origin.in_flight() == 0)
            .then(|| origin.asked()[calls - 1].at + FETCH_TIME)
    })
    .await
}

fn fetches(origin: &Origin) -> BTreeMap<String, usize> {
    let mut fetches = BTreeMap::new();
    for asked in origin.asked() {
        *fetches.entry(asked.target).or_default() += 1;
    }
    fetches
}

fn text_of(answer: GetOrFetchResponse) -> Option<String> {
    as_text(answer.expect_found().value)
}
