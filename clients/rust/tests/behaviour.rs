//! Behaviour that the conformance cases cannot express, on the fake.
#![allow(clippy::expect_used, clippy::panic, clippy::wildcard_enum_match_arm)]

mod support;

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use larder_client::{
    Client, Code, Error, FetchError, FetchOptions, Key, Loaded, NearCache, Outcome, Read, Tier, pb,
    testing::{FakeCall, FakeFailure, FakeLarder, FakeNamespace},
};
use support::{LIMIT, abandoned, methods, until};
use tokio::sync::Semaphore;

type Result = std::result::Result<(), Error>;

/// Waits for what must come.
#[tokio::test]
async fn the_drop_of_the_first_caller_leaves_the_computation_to_the_others() -> Result {
    let fake = FakeLarder::new();
    let users = fake.client().connect_lazy()?.namespace::<u32>("users");
    let gate = Arc::new(Semaphore::new(0));
    let loads = Arc::new(AtomicUsize::new(0));
    let call = || {
        let (gate, loads, users) = (Arc::clone(&gate), Arc::clone(&loads), users.clone());
        tokio::spawn(async move {
            users
                .get_or_fetch("k", move || async move {
                    loads.fetch_add(1, SeqCst);
                    let _permit = gate.acquire().await;
                    Ok::<_, Infallible>(7)
                })
                .await
        })
    };
    let first = call();
    until("the loader", || loads.load(SeqCst) == 1).await;
    let second = call();
    tokio::time::sleep(Duration::from_millis(20)).await;
    first.abort();
    assert!(first.await.is_err_and(|error| error.is_cancelled()));
    gate.add_permits(2);
    let read = second.await.expect("no panic").map_err(|error| match error {
        FetchError::Cache(error) => error,
        FetchError::Loader(never) => match *never {},
    })?;
    assert_eq!((read.value(), read.joined), (Some(&7), true));
    assert_eq!(loads.load(SeqCst), 1);
    assert!(abandoned(&fake).is_empty());
    Ok(())
}

#[tokio::test]
async fn the_drop_of_all_callers_ends_the_loader_and_passes_the_lease_on() -> Result {
    struct Ended(Arc<AtomicUsize>);
    impl Drop for Ended {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    let fake = FakeLarder::new();
    let users = fake.client().connect_lazy()?.namespace::<u32>("users");
    let ended = Arc::new(AtomicUsize::new(0));
    let guard = Ended(Arc::clone(&ended));
    let load = || async move {
        let _guard = guard;
        std::future::pending::<std::result::Result<u32, Infallible>>().await
    };
    let call = users.get_or_fetch("k", load);
    assert!(tokio::time::timeout(Duration::from_millis(50), call).await.is_err());
    until("the end of the loader", || ended.load(SeqCst) == 1).await;
    until("the call", || abandoned(&fake).len() == 1).await;
    assert!(abandoned(&fake)[0].pass_on);
    Ok(())
}

#[tokio::test]
async fn close_gives_the_leases_of_what_runs_up() -> Result {
    let fake = FakeLarder::new();
    let client = fake.client().connect_lazy()?;
    let users = client.namespace::<u32>("users");
    let call = tokio::spawn(async move {
        let load = || std::future::pending::<std::result::Result<u32, Infallible>>();
        users.get_or_fetch("k", load).await
    });
    until("the lease", || methods(&fake, "GetOrFetch") == 1).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    client.close().await;
    assert_eq!(abandoned(&fake).len(), 1);
    let ended = call.await.expect("no panic");
    assert!(matches!(ended, Err(FetchError::Cache(error)) if error.is_closed()));
    Ok(())
}

#[tokio::test]
async fn a_loader_that_panics_is_an_error_of_its_callers() -> Result {
    let fake = FakeLarder::new();
    let client = fake.client().connect_lazy()?;
    let users = client.namespace::<u32>("users");
    let load = || async {
        if true {
            panic!("on purpose");
        }
        Ok::<u32, Infallible>(1)
    };
    let ended = users.get_or_fetch("k", load).await;
    let Err(FetchError::Cache(error)) = ended else { panic!("an error is expected") };
    assert_eq!((error.code(), error.reason()), (Code::Internal, "LOADER_PANICKED"));
    until("the lease is given up", || abandoned(&fake).len() == 1).await;
    assert_eq!((&*abandoned(&fake)[0].reason, abandoned(&fake)[0].pass_on), ("panic", false));
    assert_eq!(client.counters()["users"].load_errors, 1);
    Ok(())
}

async fn stale_answers(client: &Client, fake: &FakeLarder) -> [Read<u32>; 2] {
    fake.configure(
        "stale",
        FakeNamespace {
            stale_while_revalidate: Duration::from_secs(3600),
            ..FakeNamespace::default()
        },
    );
    let values = client.namespace::<u32>("stale");
    for key in ["a", "b"] {
        values.set(key, &1).await.expect("a write");
    }
    fake.advance(Duration::from_secs(31 * 60));
    let never = || std::future::pending::<std::result::Result<u32, Infallible>>();
    let first = values.get_or_fetch("a", never).await.expect("the stale value");
    let second = values.get_or_fetch("b", || async { Ok::<_, Infallible>(2) }).await;
    [first, second.expect("a value")]
}

#[tokio::test]
async fn stale_values_are_refreshed_in_the_background() -> Result {
    let fake = FakeLarder::new();
    let client = fake.client().connect_lazy()?;
    let [_, second] = stale_answers(&client, &fake).await;
    assert_eq!((second.outcome, second.value()), (Outcome::Stale, Some(&1)));
    let values = client.namespace::<u32>("stale");
    let begun = tokio::time::Instant::now();
    while values.get("b").await?.value() != Some(&2) {
        assert!(begun.elapsed() < LIMIT, "the value is not refreshed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

#[tokio::test]
async fn without_room_in_the_background_the_loader_runs_before_the_answer() -> Result {
    let fake = FakeLarder::new();
    let client = fake.client().background(1).connect_lazy()?;
    let [first, second] = stale_answers(&client, &fake).await;
    assert_eq!(first.outcome, Outcome::Stale);
    assert_eq!((second.outcome, second.value()), (Outcome::Hit, Some(&2)));
    Ok(())
}

#[tokio::test]
async fn hits_of_the_near_cache_share_the_value() -> Result {
    let fake = FakeLarder::new();
    let values = fake.client().connect_lazy()?.namespace::<Bytes>("values");
    let values = values.near_cache(NearCache::default());
    values.set("k", &Bytes::from(vec![1; 1024])).await?;
    let begun = tokio::time::Instant::now();
    while values.get("k").await?.tier != Some(Tier::Client) {
        assert!(begun.elapsed() < LIMIT, "the near cache is not used");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let (first, second) = (values.get("k").await?, values.get("k").await?);
    let (first, second) = (first.value.expect("a value"), second.value.expect("a value"));
    assert!(Arc::ptr_eq(&first, &second));
    // A lost stream makes it unused.
    fake.fail(FakeFailure { methods: vec!["Watch".to_owned()], ..FakeFailure::default() });
    fake.break_watches();
    while values.get("k").await?.tier == Some(Tier::Client) {
        assert!(begun.elapsed() < 2 * LIMIT, "the near cache is used without its feed");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

#[tokio::test]
async fn near_caches_are_bounded() -> Result {
    let fake = FakeLarder::new();
    let values = fake.client().connect_lazy()?.namespace::<Bytes>("values");
    let values = values.near_cache(NearCache::default().max_entries(2));
    let keys = ["a", "b", "c"];
    for key in keys {
        values.set(key, &Bytes::from_static(b"1")).await?;
    }
    let begun = tokio::time::Instant::now();
    while values.get("c").await?.tier != Some(Tier::Client) {
        assert!(begun.elapsed() < LIMIT, "the near cache is not used");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for key in keys {
        values.get(key).await?;
    }
    // The least recently used entry has gone.
    assert_eq!(values.get("c").await?.tier, Some(Tier::Client));
    assert_eq!(values.get("b").await?.tier, Some(Tier::Client));
    assert_eq!(values.get("a").await?.tier, Some(Tier::Store));
    Ok(())
}

#[tokio::test]
async fn a_key_that_a_batch_names_twice_is_asked_for_once() -> Result {
    let fake = FakeLarder::new();
    let users = fake.client().connect_lazy()?.namespace::<u32>("users");
    users.set("b", &2).await?;
    let reads = users.get_many(["b", "c", "a", "b"]).await?;
    let found: Vec<_> = reads.iter().map(|(key, read)| (key.text(), read.value())).collect();
    assert_eq!(found, [("a", None), ("b", Some(&2)), ("c", None)]);
    let calls = fake.calls();
    let batch = calls.iter().find(|call| call.method == "BatchGet").and_then(FakeCall::decode);
    assert_eq!(batch.map(|batch: pb::BatchGetRequest| batch.keys.len()), Some(3));
    Ok(())
}

#[tokio::test]
async fn the_handles_of_a_client_keep_it_open() -> Result {
    let fake = FakeLarder::new();
    let users = fake.client().connect_lazy()?.namespace::<u32>("users");
    assert_eq!(users.get("k").await?.outcome, Outcome::Miss);
    Ok(())
}

#[tokio::test]
async fn loaders_of_several_keys_decide_on_each() -> Result {
    let fake = FakeLarder::new();
    let values = fake.client().connect_lazy()?.namespace::<u32>("values");
    let load = |keys: Vec<Key<'static>>| async move {
        let unstored = |key: Key<'static>| (key, Loaded::new(1).unstored());
        Ok::<Vec<_>, Infallible>(keys.into_iter().map(unstored).collect())
    };
    let results = values.get_or_fetch_many(["a", "b"], FetchOptions::default(), load).await;
    let results = results.map_err(|error| match error {
        FetchError::Cache(error) => error,
        FetchError::Loader(never) => match *never {},
    })?;
    assert_eq!(results.len(), 2);
    assert!(results.values().all(|read| read.value() == Some(&1)));
    assert_eq!(values.get("a").await?.outcome, Outcome::Miss);
    Ok(())
}
