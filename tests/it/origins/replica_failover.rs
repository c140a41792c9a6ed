//! Fetches when a replica or the store fails.

use std::time::{Duration, Instant};

use larder::pb::v1::{FetchStatus, FillResult, GetOrFetchResponse};
use nix::sys::signal::Signal;
use tokio::task::JoinHandle;
use tonic::Status;

use crate::support::{
    client::{Cache, Fetched as _, as_text, fetch, set, text},
    env::read_through,
    fleet::Fleet,
    origin::{Origin, after, ok, send},
    wait::{SOON, eventually, throughout},
};

type Caller = JoinHandle<Result<GetOrFetchResponse, Status>>;

/// Added to every time limit for a busy machine.
const SLACK: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_replica_fetches_after_the_lease_expires() {
    let (mut fleet, origin) = start(3, "", "min_lease = '500ms'\ntimeout = '5s'").await;
    // Each replica estimates the fetch duration from its own fetches.
    for number in 0..20 {
        fleet.caches[0].fetched(&format!("quick{number}")).await;
    }
    let took = kill_during_fetch(&mut fleet, &origin).await;
    eprintln!("after quick fetches: fetched by another replica {took:?} after the kill");
    assert!(took < Duration::from_millis(500) + SLACK, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_fetch_fails_over_within_the_lease_ttl() {
    let (mut fleet, origin) = start(3, "lease_ttl = '1500ms'", "timeout = '5s'").await;
    let took = kill_during_fetch(&mut fleet, &origin).await;
    eprintln!("first fetch, lease of 1.5 s: fetched by another replica {took:?} after the kill");
    assert!(took < Duration::from_millis(1500) + SLACK, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_fetch_fails_over_within_the_timeout_of_a_fetch() {
    // The default lease_ttl is 10 s.
    let (mut fleet, origin) = start(3, "", "timeout = '3s'").await;
    let took = kill_during_fetch(&mut fleet, &origin).await;
    assert!(took < Duration::from_secs(3) + SLACK, "{took:?}");
}

/// Kills the first replica during a fetch that others wait for. Returns the time until another
/// replica fetches.
async fn kill_during_fetch(fleet: &mut Fleet, origin: &Origin) -> Duration {
    origin.hold();
    let before = origin.calls();
    let killed_call = call(&fleet.caches[0], "k");
    await_origin_calls(origin, before + 1).await;
    let callers: Vec<Caller> =
        (0..40).map(|number| call(&fleet.caches[1 + number % 2], "k")).collect();
    let waiting = async || (fleet.metric("larder_waiting").await == 41.0).then_some(());
    eventually("all callers wait", SOON, waiting).await;
    fleet.servers[0].kill();
    let killed = Instant::now();
    await_origin_calls(origin, before + 2).await;
    let took = killed.elapsed();
    origin.release();
    for caller in callers {
        assert_eq!(text_of(caller.await.unwrap().unwrap()).as_deref(), Some("/v/k#2"));
    }
    killed_call.await.unwrap().unwrap_err();
    assert_eq!(origin.calls(), before + 2);
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_waits_for_running_fetches() {
    let (mut fleet, origin) = start(2, "", "timeout = '30s'").await;
    origin.hold();
    let callers = [call(&fleet.caches[0], "k"), call(&fleet.caches[1], "k")];
    await_origin_calls(&origin, 1).await;
    let first = usize::from(
        crate::support::fleet::metric(&fleet.servers[1], "larder_origin_in_flight").await > 0.0,
    );
    fleet.servers[first].signal(Signal::SIGTERM);
    let logged = async || fleet.servers[first].logs().contains("shutting down").then_some(());
    eventually("the server shuts down", SOON, logged).await;
    throughout(Duration::from_millis(200), async || {
        assert!(callers.iter().all(|caller| !caller.is_finished()))
    })
    .await;
    origin.release();
    for caller in callers {
        assert_eq!(text_of(caller.await.unwrap().unwrap()).as_deref(), Some("/v/k#1"));
    }
    assert!(fleet.servers[first].wait_exit(SOON).await.success());
    assert_eq!(origin.calls(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_timeout_releases_the_lease() {
    let config = "shutdown_timeout = '200ms'\n[defaults]\nlease_ttl = '60s'";
    let origin = Origin::start().await;
    let config = format!(
        "{config}\n{}",
        read_through(&origin.url("/v/{key}"), "", "timeout = '30s'\nmin_lease = '60s'")
    );
    let mut fleet = Fleet::start(2, &config).await;
    origin.hold();
    let (first_call, second_cache) = (call(&fleet.caches[0], "k"), fleet.caches[1].clone());
    await_origin_calls(&origin, 1).await;
    let second_call = call(&second_cache, "k");
    eventually("both callers wait", SOON, async || {
        (fleet.metric("larder_waiting").await == 2.0).then_some(())
    })
    .await;
    fleet.servers[0].signal(Signal::SIGTERM);
    let stopped = Instant::now();
    await_origin_calls(&origin, 2).await;
    eprintln!(
        "the lease was released {:?} after SIGTERM, with a shutdown timeout of 200 ms",
        stopped.elapsed()
    );
    assert!(stopped.elapsed() < Duration::from_millis(200) + SLACK, "{:?}", stopped.elapsed());
    origin.release();
    assert_eq!(text_of(second_call.await.unwrap().unwrap()).as_deref(), Some("/v/k#2"));
    assert!(fleet.servers[0].wait_exit(SOON).await.success());
    // The connection was closed during the call.
    let _ = first_call.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lease_is_extended_during_a_long_fetch() {
    let (fleet, origin) =
        start(3, "lease_ttl = '2500ms'", "min_lease = '2500ms'\ntimeout = '30s'").await;
    origin.hold();
    let callers: Vec<Caller> = (0..30).map(|number| call(&fleet.caches[number % 3], "k")).collect();
    await_origin_calls(&origin, 1).await;
    throughout(Duration::from_secs(6), async || assert_eq!(origin.calls(), 1)).await;
    origin.release();
    let mut fetched = 0;
    for caller in callers {
        let answer = caller.await.unwrap().unwrap();
        if answer.fetch_status() == FetchStatus::Fetched {
            assert_eq!(answer.fill(), FillResult::Stored);
            fetched += 1;
        }
        assert_eq!(text_of(answer).as_deref(), Some("/v/k#1"));
    }
    assert_eq!((fetched, origin.calls()), (1, 1));
}

/// The slow revalidation raises the estimated fetch duration. This must not delay the next
/// extension of the short lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entry_that_expires_during_revalidation_is_fetched_under_the_same_lease() {
    let (fleet, origin) = start(2, "", "keep = '1s'\nmin_lease = '1500ms'\ntimeout = '30s'").await;
    let lifetime = [("cache-control", "max-age=0"), ("etag", "\"v\"")];
    for number in 0..20 {
        fleet.caches[0].fetched(&format!("quick{number}")).await;
    }
    origin.always(ok("old", &lifetime));
    fleet.caches[0].fetched("k").await;
    let before = origin.calls();
    origin.answer(move |await_origin_calls| match await_origin_calls.header("if-none-match") {
        Some(_) => after(Duration::from_millis(3_000), send(304, "", &lifetime)),
        None => after(Duration::from_millis(3_000), ok("new", &[])),
    });
    let first_call = call(&fleet.caches[0], "k");
    await_origin_calls(&origin, before + 1).await;
    let second_call = call(&fleet.caches[1], "k");
    for caller in [first_call, second_call] {
        assert_eq!(text_of(caller.await.unwrap().unwrap()).as_deref(), Some("new"));
    }
    // The revalidation and the fetch.
    assert_eq!(origin.calls(), before + 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replica_paused_beyond_its_lease_does_not_overwrite() {
    let (fleet, origin) =
        start(2, "lease_ttl = '500ms'", "min_lease = '500ms'\ntimeout = '30s'").await;
    origin.hold();
    let paused_call = call(&fleet.caches[0], "k");
    await_origin_calls(&origin, 1).await;
    fleet.servers[0].signal(Signal::SIGSTOP);
    let stopped = Instant::now();
    let second_call = call(&fleet.caches[1], "k");
    await_origin_calls(&origin, 2).await;
    let took = stopped.elapsed();
    eprintln!("lease of 500 ms: fetched by another replica {took:?} after the pause");
    assert!(took < Duration::from_millis(500) + SLACK, "{took:?}");
    origin.release();
    assert_eq!(text_of(second_call.await.unwrap().unwrap()).as_deref(), Some("/v/k#2"));
    fleet.servers[0].signal(Signal::SIGCONT);
    let answer = paused_call.await.unwrap().unwrap();
    assert_eq!(
        (answer.fetch_status(), answer.fill()),
        (FetchStatus::Fetched, FillResult::LeaseLost)
    );
    // The paused replica's caller receives the value of its fetch, which is not stored.
    assert_eq!(text_of(answer).as_deref(), Some("/v/k#1"));
    for cache in &fleet.caches {
        assert_eq!(cache.read("k").await.as_deref(), Some("/v/k#2"));
    }
    assert_eq!(origin.calls(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_outage_does_not_fail_the_fetch() {
    let (mut fleet, origin) = start(2, "", "timeout = '30s'").await;
    origin.hold();
    let caller = call(&fleet.caches[0], "k");
    await_origin_calls(&origin, 1).await;
    fleet.redis.kill();
    origin.release();
    let answer = caller.await.unwrap().unwrap();
    assert_eq!(
        (answer.fetch_status(), answer.fill()),
        (FetchStatus::Fetched, FillResult::NotStored)
    );
    assert!(answer.degraded, "{answer:?}");
    assert_eq!(text_of(answer).as_deref(), Some("/v/k#1"));

    fleet.redis.restart().await;
    await_store(&fleet).await;
    for cache in &fleet.caches {
        assert_eq!(cache.read("k").await, None);
    }
    assert_eq!(text_of(fleet.caches[1].fetched("k").await.1).as_deref(), Some("/v/k#2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fill_from_before_a_store_wipe_is_refused() {
    let (mut fleet, origin) = start(2, "", "timeout = '30s'").await;
    origin.hold();
    let caller = call(&fleet.caches[0], "k");
    await_origin_calls(&origin, 1).await;
    fleet.redis.kill();
    fleet.redis.restart().await;
    await_store(&fleet).await;
    fleet.caches[1].set(set("k", text("newer"))).await.unwrap();
    origin.release();
    let answer = caller.await.unwrap().unwrap();
    assert_eq!(
        (answer.fetch_status(), answer.fill()),
        (FetchStatus::Fetched, FillResult::LeaseLost)
    );
    assert_eq!(text_of(answer).as_deref(), Some("/v/k#1"));
    for cache in &fleet.caches {
        assert_eq!(cache.read("k").await.as_deref(), Some("newer"));
    }
}

async fn start(size: usize, namespace: &str, config: &str) -> (Fleet, Origin) {
    let origin = Origin::start().await;
    let fleet = Fleet::start(size, &read_through(&origin.url("/v/{key}"), namespace, config)).await;
    (fleet, origin)
}

fn call(cache: &Cache, key: &str) -> Caller {
    let cache = cache.clone();
    let request = fetch(key, 50_000);
    tokio::spawn(async move { cache.get_or_fetch(request).await })
}

async fn await_origin_calls(origin: &Origin, calls: usize) {
    eventually("the origin is called", SOON, async || (origin.calls() >= calls).then_some(()))
        .await;
    assert_eq!(origin.calls(), calls);
}

/// Waits until every server stores values again.
async fn await_store(fleet: &Fleet) {
    for cache in &fleet.caches {
        let stored =
            async || (!cache.set(set("probe", text("v"))).await.ok()?.degraded).then_some(());
        eventually("the store is reachable again", SOON, stored).await;
    }
}

fn text_of(answer: GetOrFetchResponse) -> Option<String> {
    as_text(answer.expect_found().value)
}
