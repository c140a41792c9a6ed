//! The ends of clients, computations, streams and near caches, on the fake.
#![allow(clippy::expect_used, clippy::panic)]

mod support;

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use larder_client::{
    Change, Error, FetchError, FetchOptions, Json, Key, ListedKey, NearCache, Outcome, Targets, pb,
    testing::{FakeFailure, FakeLarder},
};
use support::{LIMIT, abandoned, methods, until};
use tokio::{sync::Semaphore, time::Instant};

type Result = std::result::Result<(), Error>;
type Never = std::result::Result<u32, Infallible>;

fn watches_fail() -> FakeFailure {
    FakeFailure { methods: vec!["Watch".to_owned()], ..FakeFailure::default() }
}

/// Counts its end.
struct Ended(Arc<AtomicUsize>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[tokio::test]
async fn close_ends_computations_that_later_calls_do_not_join() -> Result {
    let fake = FakeLarder::new();
    let client = fake.client().connect_lazy()?;
    let users = client.namespace::<u32>("users");
    let ended = Arc::new(AtomicUsize::new(0));
    let (guard, handle) = (Ended(Arc::clone(&ended)), users.clone());
    let call = tokio::spawn(async move {
        let load = || async move {
            let _guard = guard;
            std::future::pending::<Never>().await
        };
        handle.get_or_fetch("k", load).await
    });
    until("the lease", || methods(&fake, "GetOrFetch") == 1).await;
    users.invalidate(&Targets::new().tags(["any"])).await?;
    let begun = Instant::now();
    client.close().await;
    assert!(begun.elapsed() < Duration::from_millis(900), "close waits for the computation");
    let calls = abandoned(&fake);
    assert!(calls.len() == 1 && calls[0].pass_on, "{calls:?}");
    let read = call.await.expect("no panic");
    assert!(matches!(read, Err(FetchError::Cache(error)) if error.is_closed()));
    assert_eq!(ended.load(SeqCst), 1);
    Ok(())
}

#[tokio::test]
async fn close_ends_the_loader_of_several_keys_and_gives_its_leases_up() -> Result {
    let fake = FakeLarder::new();
    let client = fake.client().connect_lazy()?;
    let users = client.namespace::<u32>("users");
    let loads = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&loads);
    let call = tokio::spawn(async move {
        let load = move |_: Vec<Key<'static>>| {
            counter.fetch_add(1, SeqCst);
            std::future::pending::<std::result::Result<Vec<(Key<'static>, u32)>, Infallible>>()
        };
        users.get_or_fetch_many(["a", "b"], FetchOptions::default(), load).await
    });
    until("the loader", || loads.load(SeqCst) == 1).await;
    client.close().await;
    let calls = abandoned(&fake);
    assert!(calls.len() == 2 && calls.iter().all(|call| call.pass_on), "{calls:?}");
    let read = call.await.expect("no panic");
    assert!(matches!(read, Err(FetchError::Cache(error)) if error.is_closed()));
    Ok(())
}

#[tokio::test]
async fn the_generated_clients_keep_the_client_open() -> Result {
    let fake = FakeLarder::new();
    let mut stub = fake.client().connect_lazy()?.cache_stub();
    let (namespace, key) = ("n".to_owned(), "k".to_owned());
    let answer = stub.get(pb::GetRequest { namespace, key, ..Default::default() }).await;
    assert_eq!(answer.expect("an answer").into_inner().outcome(), pb::Outcome::Miss);
    Ok(())
}

#[tokio::test]
async fn handles_with_equal_codecs_join() -> Result {
    let fake = FakeLarder::new();
    let client = fake.client().connect_lazy()?;
    let loads = Arc::new(AtomicUsize::new(0));
    let gate = Arc::new(Semaphore::new(0));
    let call = || {
        let handle = client.namespace::<u32>("n").codec::<u32>(Json);
        let (gate, loads) = (Arc::clone(&gate), Arc::clone(&loads));
        let load = || async move {
            loads.fetch_add(1, SeqCst);
            let _permit = gate.acquire().await;
            Ok::<_, Infallible>(7)
        };
        tokio::spawn(async move { handle.get_or_fetch("k", load).await })
    };
    let first = call();
    until("the loader", || loads.load(SeqCst) == 1).await;
    let second = call();
    tokio::task::yield_now().await;
    gate.add_permits(2);
    assert!(!first.await.expect("no panic").expect("a value").joined);
    assert!(second.await.expect("no panic").expect("a value").joined);
    assert_eq!((loads.load(SeqCst), methods(&fake, "GetOrFetch")), (1, 1));
    Ok(())
}

#[tokio::test]
async fn a_watch_goes_on_with_its_attempts_after_calls_that_were_dropped() -> Result {
    let fake = FakeLarder::new();
    fake.fail(watches_fail());
    let mut watch = fake.client().connect_lazy()?.namespace::<u32>("n").watch(false)?;
    // Shorter than the pause between two attempts, and than an attempt.
    let tick = Duration::from_millis(20);
    let begun = Instant::now();
    while methods(&fake, "Watch") < 3 {
        assert!(tokio::time::timeout(tick, watch.next()).await.is_err());
        assert!(begun.elapsed() < LIMIT, "there is no other attempt");
    }
    fake.recover();
    fake.delay(3 * tick);
    let next = loop {
        if let Ok(next) = tokio::time::timeout(tick, watch.next()).await {
            break next?;
        }
        assert!(begun.elapsed() < LIMIT, "the stream does not open");
    };
    assert_eq!(next, Some(Change::Ready { resumed: false }));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_stream_of_near_caches_that_are_gone_ends_while_the_server_is_away() -> Result {
    let fake = FakeLarder::new();
    fake.fail(watches_fail());
    let client = fake.client().connect_lazy()?;
    let near = client.namespace::<u32>("n").near_cache(NearCache::default());
    assert_eq!(near.get("k").await?.outcome, Outcome::Miss);
    until("some attempts", || methods(&fake, "Watch") > 2).await;
    drop(near);
    // The time of the test is not that of a clock.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let attempts = methods(&fake, "Watch");
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(methods(&fake, "Watch"), attempts);
    Ok(())
}

#[tokio::test]
async fn the_fake_announces_a_touch() -> Result {
    let fake = FakeLarder::new();
    let values = fake.client().connect_lazy()?.namespace::<u32>("n");
    values.set("k", &1).await?;
    let mut watch = values.watch(true)?;
    assert_eq!(watch.next().await?, Some(Change::Ready { resumed: false }));
    assert!(values.touch("k", Duration::from_secs(5)).await?.found);
    let next = tokio::time::timeout(LIMIT, watch.next()).await.expect("a change")?;
    let Some(Change::Keys(keys)) = next else { panic!("{next:?}") };
    assert!(matches!(&*keys, [ListedKey { key, .. }] if key == "k"), "{keys:?}");
    Ok(())
}
