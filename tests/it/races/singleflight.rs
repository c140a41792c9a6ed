//! One lease per key across replicas, also when its holder dies.

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

/// Upper bound for "at once" on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_caller_of_a_hundred_is_granted_the_lease() {
    let fleet = Fleet::start(&[]).await;
    for round in 0..3 {
        let key = format!("k{round}");
        let mut callers: Vec<Caller> =
            (0..100).map(|number| call(&fleet.caches[number % 2], &key)).collect();
        eventually("a caller is granted the lease", SOON, async || {
            callers.iter().any(Caller::is_finished).then_some(())
        })
        .await;
        // Time for a second lease to be granted, if the replicas disagree.
        throughout(Duration::from_millis(300), async || {}).await;
        let done = callers.extract_if(.., |caller| caller.is_finished()).collect::<Vec<_>>();
        assert_eq!(done.len(), 1, "more than one caller was answered");
        let lease = done.into_iter().next().unwrap().await.unwrap().unwrap().expect_lease();

        fleet.caches[round % 2].set(fill(&key, text("v"), &lease)).await.unwrap();
        let filled = Instant::now();
        for caller in callers {
            let found = caller.await.unwrap().unwrap().expect_found();
            assert_eq!(as_text(found.value).as_deref(), Some("v"));
        }
        let took = filled.elapsed();
        eprintln!("99 callers received the value after {took:?}");
        assert!(took < AT_ONCE, "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiters_on_the_other_replica_are_woken() {
    let fleet = Fleet::start(&[]).await;
    let [first, second] = &fleet.caches;
    for round in 0..5 {
        let key = format!("k{round}");
        let lease = first.lease(&key).await;
        second.get_or_fetch(fetch(&key, 0)).await.unwrap().expect_contended();
        let waiter = call(second, &key);
        throughout(Duration::from_millis(100), async || assert!(!waiter.is_finished())).await;
        first.set(fill(&key, text("v"), &lease)).await.unwrap();
        let filled = Instant::now();
        waiter.await.unwrap().unwrap().expect_found();
        eprintln!(
            "the caller on the other replica received the value after {:?}",
            filled.elapsed()
        );
        assert!(filled.elapsed() < AT_ONCE, "{:?}", filled.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lease_can_be_filled_and_abandoned_on_either_replica() {
    let fleet = Fleet::start(&[]).await;
    let [first, second] = &fleet.caches;
    let lease = first.lease("fill").await;
    assert_eq!(
        second.set(fill("fill", text("v"), &lease)).await.unwrap().result(),
        SetResult::Stored
    );
    assert_eq!(first.read("fill").await.as_deref(), Some("v"));

    let lease = first.lease("abandon").await;
    let waiter = call(first, "abandon");
    second.abandon(abandon("abandon", &lease)).await.unwrap();
    let abandoned = Instant::now();
    second.get_or_fetch(fetch("abandon", 0)).await.unwrap().expect_contended();
    waiter.await.unwrap().unwrap().expect_contended();
    assert!(abandoned.elapsed() < AT_ONCE, "{:?}", abandoned.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delete_on_the_other_replica_wakes_the_next_waiter() {
    let fleet = Fleet::start(&[]).await;
    let [first, second] = &fleet.caches;
    let lost = first.lease("k").await;
    let waiter = call(first, "k");
    throughout(Duration::from_millis(100), async || assert!(!waiter.is_finished())).await;
    second.delete(delete("k")).await.unwrap();
    let deleted = Instant::now();
    let next = waiter.await.unwrap().unwrap().expect_lease();
    assert!(deleted.elapsed() < AT_ONCE, "{:?}", deleted.elapsed());
    assert_ne!(
        second.set(fill("k", text("old"), &lost)).await.unwrap().result(),
        SetResult::Stored
    );
    assert_eq!(
        second.set(fill("k", text("new"), &next)).await.unwrap().result(),
        SetResult::Stored
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn next_waiter_is_granted_the_lease_after_the_holders_replica_dies() {
    let mut fleet = Fleet::start(&[("LARDER_DEFAULTS__LEASE_TTL", "1500ms")]).await;
    let second = fleet.caches[1].clone();
    let started = Instant::now();
    fleet.caches[0].lease("k").await;
    let waiters: Vec<Caller> = (0..10).map(|_| call(&second, "k")).collect();
    fleet.servers[0].kill();
    // After the lease expires, one waiter is granted it; its fill answers the others.
    let mut fills = Vec::new();
    let regranted = eventually("a waiter is granted the lease", SOON, async || {
        waiters.iter().any(Caller::is_finished).then(|| started.elapsed())
    })
    .await;
    assert!(regranted >= Duration::from_millis(1490), "{regranted:?}");
    assert!(regranted < Duration::from_millis(1500) + AT_ONCE, "{regranted:?}");
    let (done, waiting): (Vec<_>, Vec<_>) = waiters.into_iter().partition(Caller::is_finished);
    for caller in done.into_iter().chain(waiting) {
        match caller.await.unwrap().unwrap().outcome.unwrap() {
            Answer::Lease(lease) => {
                fills.push(second.set(fill("k", text("v"), &lease)).await.unwrap().result());
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
