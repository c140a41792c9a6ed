//! One origin call per key, also when somebody dies.

use std::time::{Duration, Instant};

use larder::pb::v1::{GetOrFetchResponse, SetResult, get_or_fetch_response::Outcome as Answer};
use tokio::task::JoinHandle;
use tonic::Status;

use super::Fleet;
use crate::support::{
    client::{Cache, Fetched as _, abandon, as_text, delete, fetch, fill, text},
    wait::{SOON, eventually, throughout},
};

type Caller = JoinHandle<Result<GetOrFetchResponse, Status>>;

/// "As soon as", on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_a_hundred_callers_on_two_replicas_computes() {
    let fleet = Fleet::start(&[]).await;
    for round in 0..3 {
        let key = format!("k{round}");
        let mut callers: Vec<Caller> =
            (0..100).map(|number| call(&fleet.caches[number % 2], &key)).collect();
        eventually("somebody gets the lease", SOON, async || {
            callers.iter().any(Caller::is_finished).then_some(())
        })
        .await;
        // Time for a second one to get it as well, if the replicas do not agree.
        throughout(Duration::from_millis(300), async || {}).await;
        let done = callers.extract_if(.., |caller| caller.is_finished()).collect::<Vec<_>>();
        assert_eq!(done.len(), 1, "more than one caller was answered");
        let lease = done.into_iter().next().unwrap().await.unwrap().unwrap().expect_lease();

        fleet.caches[round % 2].set(fill(&key, text("v"), &lease)).await.unwrap();
        let landed = Instant::now();
        for caller in callers {
            let found = caller.await.unwrap().unwrap().expect_found();
            assert_eq!(as_text(found.value).as_deref(), Some("v"));
        }
        let took = landed.elapsed();
        eprintln!("99 callers had the value after {took:?}");
        assert!(took < AT_ONCE, "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_of_the_other_replica_are_woken() {
    let fleet = Fleet::start(&[]).await;
    let [here, there] = &fleet.caches;
    for round in 0..5 {
        let key = format!("k{round}");
        let lease = here.lease(&key).await;
        there.get_or_fetch(fetch(&key, 0)).await.unwrap().expect_contended();
        let waiter = call(there, &key);
        throughout(Duration::from_millis(100), async || assert!(!waiter.is_finished())).await;
        here.set(fill(&key, text("v"), &lease)).await.unwrap();
        let landed = Instant::now();
        waiter.await.unwrap().unwrap().expect_found();
        eprintln!("the other replica's caller had the value after {:?}", landed.elapsed());
        assert!(landed.elapsed() < AT_ONCE, "{:?}", landed.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_can_be_filled_and_abandoned_through_either_replica() {
    let fleet = Fleet::start(&[]).await;
    let [here, there] = &fleet.caches;
    let lease = here.lease("fill").await;
    assert_eq!(
        there.set(fill("fill", text("v"), &lease)).await.unwrap().result(),
        SetResult::Stored
    );
    assert_eq!(here.read("fill").await.as_deref(), Some("v"));

    let lease = here.lease("abandon").await;
    let waiter = call(here, "abandon");
    there.abandon(abandon("abandon", &lease)).await.unwrap();
    there.get_or_fetch(fetch("abandon", 0)).await.unwrap().expect_contended();
    let abandoned = Instant::now();
    waiter.await.unwrap().unwrap().expect_lease();
    assert!(abandoned.elapsed() < Duration::from_secs(1) + AT_ONCE, "{:?}", abandoned.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delete_through_the_other_replica_wakes_the_next() {
    let fleet = Fleet::start(&[]).await;
    let [here, there] = &fleet.caches;
    let lost = here.lease("k").await;
    let waiter = call(here, "k");
    throughout(Duration::from_millis(100), async || assert!(!waiter.is_finished())).await;
    there.delete(delete("k")).await.unwrap();
    let deleted = Instant::now();
    let next = waiter.await.unwrap().unwrap().expect_lease();
    assert!(deleted.elapsed() < AT_ONCE, "{:?}", deleted.elapsed());
    assert_ne!(there.set(fill("k", text("old"), &lost)).await.unwrap().result(), SetResult::Stored);
    assert_eq!(there.set(fill("k", text("new"), &next)).await.unwrap().result(), SetResult::Stored);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_holder_dies_with_its_replica_the_next_one_computes() {
    let mut fleet = Fleet::start(&[("LARDER_DEFAULTS__LEASE_TTL", "1500ms")]).await;
    let there = fleet.caches[1].clone();
    let asked = Instant::now();
    fleet.caches[0].lease("k").await;
    let waiters: Vec<Caller> = (0..10).map(|_| call(&there, "k")).collect();
    fleet.servers[0].kill();
    // One of the waiters takes over after the lease has run out, fills, and thereby answers the others.
    let mut fills = Vec::new();
    let taken_over = eventually("one takes over", SOON, async || {
        waiters.iter().any(Caller::is_finished).then(|| asked.elapsed())
    })
    .await;
    assert!(taken_over >= Duration::from_millis(1490), "{taken_over:?}");
    assert!(taken_over < Duration::from_millis(1500) + AT_ONCE, "{taken_over:?}");
    let (done, waiting): (Vec<_>, Vec<_>) = waiters.into_iter().partition(Caller::is_finished);
    for caller in done.into_iter().chain(waiting) {
        match caller.await.unwrap().unwrap().outcome.unwrap() {
            Answer::Lease(lease) => {
                fills.push(there.set(fill("k", text("v"), &lease)).await.unwrap().result());
            }
            Answer::Found(found) => assert_eq!(as_text(found.value).as_deref(), Some("v")),
            other @ (Answer::Contended(_) | Answer::NotCached(_)) => panic!("{other:?}"),
        }
    }
    assert_eq!(fills, [SetResult::Stored]);
}

fn call(cache: &Cache, key: &str) -> Caller {
    let cache = cache.clone();
    let request = fetch(key, 50_000);
    tokio::spawn(async move { cache.get_or_fetch(request).await })
}
