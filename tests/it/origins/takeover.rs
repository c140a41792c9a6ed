//! What becomes of a fetch when its replica, or the store, goes away.

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

/// What a busy machine may add to any time.
const SLACK: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_replica_takes_over_when_the_lease_has_run_out() {
    let (mut fleet, origin) = start(3, "", "min_lease = '500ms'\ntimeout = '5s'").await;
    // How long fetches take is known of each replica by itself.
    for number in 0..20 {
        fleet.caches[0].fetched(&format!("quick{number}")).await;
    }
    let took = kill_in_mid_fetch(&mut fleet, &origin).await;
    eprintln!("with quick fetches before: taken over {took:?} after the kill");
    assert!(took < Duration::from_millis(500) + SLACK, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_fetch_of_all_is_taken_over_within_lease_ttl() {
    let (mut fleet, origin) = start(3, "lease_ttl = '1500ms'", "timeout = '5s'").await;
    let took = kill_in_mid_fetch(&mut fleet, &origin).await;
    eprintln!("in the first fetch, with a lease of 1.5 s: taken over {took:?} after the kill");
    assert!(took < Duration::from_millis(1500) + SLACK, "{took:?}");
}

/// Kills the first replica while it fetches and others wait; returns when the second fetch began.
async fn kill_in_mid_fetch(fleet: &mut Fleet, origin: &Origin) -> Duration {
    origin.hold();
    let before = origin.calls();
    let doomed = call(&fleet.caches[0], "k");
    asked(origin, before + 1).await;
    let callers: Vec<Caller> =
        (0..40).map(|number| call(&fleet.caches[1 + number % 2], "k")).collect();
    let waiting = async || (fleet.metric("larder_waiting").await == 41.0).then_some(());
    eventually("all wait", SOON, waiting).await;
    fleet.servers[0].kill();
    let killed = Instant::now();
    asked(origin, before + 2).await;
    let took = killed.elapsed();
    origin.release();
    for caller in callers {
        assert_eq!(text_of(caller.await.unwrap().unwrap()).as_deref(), Some("/v/k#2"));
    }
    doomed.await.unwrap().unwrap_err();
    assert_eq!(origin.calls(), before + 2);
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_shuts_down_finishes_its_fetches() {
    let (mut fleet, origin) = start(2, "", "timeout = '30s'").await;
    origin.hold();
    let callers = [call(&fleet.caches[0], "k"), call(&fleet.caches[1], "k")];
    asked(&origin, 1).await;
    let first = usize::from(
        crate::support::fleet::metric(&fleet.servers[1], "larder_origin_in_flight").await > 0.0,
    );
    fleet.servers[first].signal(Signal::SIGTERM);
    let logged = async || fleet.servers[first].logs().contains("shutting down").then_some(());
    eventually("it shuts down", SOON, logged).await;
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
async fn a_replica_without_time_to_finish_gives_its_lease_back() {
    let config = "shutdown_timeout = '200ms'\n[defaults]\nlease_ttl = '60s'";
    let origin = Origin::start().await;
    let config = format!(
        "{config}\n{}",
        read_through(&origin.url("/v/{key}"), "", "timeout = '30s'\nmin_lease = '60s'")
    );
    let mut fleet = Fleet::start(2, &config).await;
    origin.hold();
    let (here, there) = (call(&fleet.caches[0], "k"), fleet.caches[1].clone());
    asked(&origin, 1).await;
    let there = call(&there, "k");
    eventually("both wait", SOON, async || {
        (fleet.metric("larder_waiting").await == 2.0).then_some(())
    })
    .await;
    fleet.servers[0].signal(Signal::SIGTERM);
    let stopped = Instant::now();
    asked(&origin, 2).await;
    eprintln!(
        "the lease was given back {:?} after SIGTERM, with 200 ms to finish",
        stopped.elapsed()
    );
    assert!(stopped.elapsed() < Duration::from_millis(200) + SLACK, "{:?}", stopped.elapsed());
    origin.release();
    assert_eq!(text_of(there.await.unwrap().unwrap()).as_deref(), Some("/v/k#2"));
    assert!(fleet.servers[0].wait_exit(SOON).await.success());
    // Its connection was cut.
    let _ = here.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_that_takes_longer_than_its_lease_keeps_it() {
    let (fleet, origin) =
        start(3, "lease_ttl = '2500ms'", "min_lease = '2500ms'\ntimeout = '30s'").await;
    origin.hold();
    let callers: Vec<Caller> = (0..30).map(|number| call(&fleet.caches[number % 3], "k")).collect();
    asked(&origin, 1).await;
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

/// What took so long says that fetches take long, which must not keep the short lease waiting for its next extension.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_is_gone_when_it_is_confirmed_is_fetched_under_the_same_lease() {
    let (fleet, origin) = start(2, "", "keep = '1s'\nmin_lease = '1500ms'\ntimeout = '30s'").await;
    let lifetime = [("cache-control", "max-age=0"), ("etag", "\"v\"")];
    for number in 0..20 {
        fleet.caches[0].fetched(&format!("quick{number}")).await;
    }
    origin.always(ok("old", &lifetime));
    fleet.caches[0].fetched("k").await;
    let before = origin.calls();
    origin.answer(move |asked| match asked.header("if-none-match") {
        Some(_) => after(Duration::from_millis(3_000), send(304, "", &lifetime)),
        None => after(Duration::from_millis(3_000), ok("new", &[])),
    });
    let here = call(&fleet.caches[0], "k");
    asked(&origin, before + 1).await;
    let there = call(&fleet.caches[1], "k");
    for caller in [here, there] {
        assert_eq!(text_of(caller.await.unwrap().unwrap()).as_deref(), Some("new"));
    }
    // The confirmation, and the value.
    assert_eq!(origin.calls(), before + 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_stopped_beyond_its_lease_overwrites_nothing() {
    let (fleet, origin) =
        start(2, "lease_ttl = '500ms'", "min_lease = '500ms'\ntimeout = '30s'").await;
    origin.hold();
    let late = call(&fleet.caches[0], "k");
    asked(&origin, 1).await;
    fleet.servers[0].signal(Signal::SIGSTOP);
    let stopped = Instant::now();
    let next = call(&fleet.caches[1], "k");
    asked(&origin, 2).await;
    let took = stopped.elapsed();
    eprintln!("with a lease of 500 ms: taken over {took:?} after the replica stopped");
    assert!(took < Duration::from_millis(500) + SLACK, "{took:?}");
    origin.release();
    assert_eq!(text_of(next.await.unwrap().unwrap()).as_deref(), Some("/v/k#2"));
    fleet.servers[0].signal(Signal::SIGCONT);
    let answer = late.await.unwrap().unwrap();
    assert_eq!(
        (answer.fetch_status(), answer.fill()),
        (FetchStatus::Fetched, FillResult::LeaseLost)
    );
    // Its own caller keeps what was fetched for it, and nobody else sees it.
    assert_eq!(text_of(answer).as_deref(), Some("/v/k#1"));
    for cache in &fleet.caches {
        assert_eq!(cache.read("k").await.as_deref(), Some("/v/k#2"));
    }
    assert_eq!(origin.calls(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_store_the_caller_still_gets_the_value() {
    let (mut fleet, origin) = start(2, "", "timeout = '30s'").await;
    origin.hold();
    let caller = call(&fleet.caches[0], "k");
    asked(&origin, 1).await;
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
    stores_again(&fleet).await;
    for cache in &fleet.caches {
        assert_eq!(cache.read("k").await, None);
    }
    assert_eq!(text_of(fleet.caches[1].fetched("k").await.1).as_deref(), Some("/v/k#2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_fetched_before_the_store_lost_everything_is_not_stored() {
    let (mut fleet, origin) = start(2, "", "timeout = '30s'").await;
    origin.hold();
    let caller = call(&fleet.caches[0], "k");
    asked(&origin, 1).await;
    fleet.redis.kill();
    fleet.redis.restart().await;
    stores_again(&fleet).await;
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

async fn asked(origin: &Origin, calls: usize) {
    eventually("the origin is asked", SOON, async || (origin.calls() >= calls).then_some(())).await;
    assert_eq!(origin.calls(), calls);
}

/// Every server has found the store again.
async fn stores_again(fleet: &Fleet) {
    for cache in &fleet.caches {
        let stored =
            async || (!cache.set(set("probe", text("v"))).await.ok()?.degraded).then_some(());
        eventually("the store is back", SOON, stored).await;
    }
}

fn text_of(answer: GetOrFetchResponse) -> Option<String> {
    as_text(answer.expect_found().value)
}
