//! Computations whose answers come late, in parts, or in a form of another release.
#![allow(clippy::expect_used, clippy::panic)]

mod support;

use std::{convert::Infallible, sync::Arc, time::Duration};

use larder_client::{
    Client, Code, Error, FetchError, FetchOptions, Key, Many, Namespace, NearCache, OnError, Read,
    Reason, Tier, WriteOptions,
    testing::{FakeFailure, FakeLarder, FakeNamespace},
};
use support::{LIMIT, abandoned, methods, until};
use tokio::sync::Semaphore;

type Result = std::result::Result<(), Error>;

async fn fetch(on: &Namespace<u32>) -> std::result::Result<Read<u32>, FetchError<Infallible>> {
    on.get_or_fetch("k", || async { Ok::<_, Infallible>(7) }).await
}

#[tokio::test]
async fn a_call_that_goes_on_without_the_cache_does_not_join_one_that_fails() -> Result {
    let fake = FakeLarder::new();
    let open = fake.client().connect_lazy()?.namespace::<u32>("n");
    let raising = open.clone().on_error(OnError::Raise);
    let after = Duration::from_millis(100);
    let code = Code::ResourceExhausted;
    fake.fail(FakeFailure { code, after, ..FakeFailure::default() });
    let first = tokio::spawn(async move { fetch(&raising).await });
    until("the first call", || methods(&fake, "GetOrFetch") == 1).await;
    let read = fetch(&open).await.expect("the value of the loader");
    assert_eq!((read.value(), read.degraded), (Some(&7), true));
    let first = first.await.expect("no panic");
    assert!(matches!(first, Err(FetchError::Cache(error)) if error.code() == code));
    Ok(())
}

#[tokio::test]
async fn a_value_that_cannot_be_decoded_twice_is_computed_and_not_stored() -> Result {
    let fake = FakeLarder::new();
    let client = fake.client().connect_lazy()?;
    let (old, new) = (client.namespace::<String>("n"), client.namespace::<u32>("n"));
    old.set("k", &"old form".to_owned()).await?;
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let writer = tokio::spawn(async move {
        let options = FetchOptions::default().refresh();
        let load = || async move {
            let _permit = opened.acquire().await;
            Ok::<_, Infallible>("old form again".to_owned())
        };
        old.get_or_fetch_with("k", options, load).await
    });
    until("the lease of the old form", || methods(&fake, "GetOrFetch") == 1).await;
    let reader = tokio::spawn(async move { fetch(&new).await });
    until("the second question", || methods(&fake, "GetOrFetch") == 3).await;
    gate.add_permits(1);
    assert!(writer.await.expect("no panic").expect("a value").found());
    let read = reader.await.expect("no panic").expect("a value");
    assert_eq!((read.value(), read.tier), (Some(&7), Some(Tier::Loader)));
    assert_eq!(read.stored.and_then(|write| write.reason()), Some(Reason::NotStored));
    Ok(())
}

async fn fetch_many(
    on: &Namespace<u32>,
) -> std::result::Result<Many<Read<u32>>, FetchError<Infallible>> {
    let load = |keys: Vec<Key<'static>>| async move {
        Ok::<Vec<_>, Infallible>(keys.into_iter().map(|key| (key, 7)).collect())
    };
    on.get_or_fetch_many(["a", "b"], FetchOptions::default(), load).await
}

fn late() -> FakeFailure {
    let methods = vec!["BatchGetOrFetch".to_owned()];
    FakeFailure { methods, late: true, ..FakeFailure::default() }
}

#[tokio::test]
async fn leases_of_a_batch_that_breaks_are_filled() -> Result {
    let fake = FakeLarder::new();
    let values = fake.client().connect_lazy()?.namespace::<u32>("n");
    fake.fail(late());
    let results = fetch_many(&values).await.expect("values");
    assert!(
        results.values().all(|read| read.stored.as_ref().is_some_and(|write| write.is_stored()))
    );
    assert_eq!(results.len(), 2);
    assert_eq!(methods(&fake, "BatchGetOrFetch"), 1, "a call whose leases are held is repeated");
    assert!(abandoned(&fake).is_empty());
    Ok(())
}

#[tokio::test]
async fn leases_of_a_batch_that_fails_pass_on() -> Result {
    let fake = FakeLarder::new();
    let values = fake.client().connect_lazy()?.namespace::<u32>("n").on_error(OnError::Raise);
    fake.fail(late());
    let error = fetch_many(&values).await;
    assert!(matches!(error, Err(FetchError::Cache(error)) if error.code() == Code::Unavailable));
    until("the leases pass on", || abandoned(&fake).len() == 2).await;
    assert!(abandoned(&fake).iter().all(|call| call.pass_on));
    Ok(())
}

#[tokio::test]
async fn a_loader_of_several_keys_that_panics_gives_its_leases_up() -> Result {
    let fake = FakeLarder::new();
    let client = fake.client().connect_lazy()?;
    let values = client.namespace::<u32>("n");
    let ended = tokio::spawn(async move {
        let load = |keys: Vec<Key<'static>>| async move {
            assert!(keys.is_empty(), "on purpose");
            Ok::<Vec<(Key<'static>, u32)>, Infallible>(Vec::new())
        };
        values.get_or_fetch_many(["a", "b"], FetchOptions::default(), load).await.is_ok()
    });
    assert!(ended.await.is_err_and(|error| error.is_panic()));
    until("the leases are given up", || abandoned(&fake).len() == 2).await;
    for call in abandoned(&fake) {
        assert_eq!((&*call.reason, call.pass_on), ("panic", false));
    }
    assert_eq!(client.counters()["n"].load_errors, 1);
    Ok(())
}

#[tokio::test]
async fn values_of_a_batch_that_cannot_be_decoded_are_replaced() -> Result {
    let fake = FakeLarder::new();
    let client = fake.client().connect_lazy()?;
    client.namespace::<String>("n").set("a", &"old form".to_owned()).await?;
    let values = client.namespace::<u32>("n");
    values.set("b", &5).await?;
    let first = fetch_many(&values).await.expect("values");
    let read = &first[&Key::new("a")];
    assert_eq!((read.value(), read.tier), (Some(&7), Some(Tier::Loader)));
    assert!(read.stored.as_ref().is_some_and(|write| write.is_stored()), "{read:?}");
    assert_eq!(first[&Key::new("b")].value(), Some(&5));
    assert_eq!(client.counters()["n"].undecodable, 1);
    assert_eq!(values.get("a").await?.value(), Some(&7));
    Ok(())
}

#[tokio::test]
async fn a_value_does_not_end_a_newer_one_after_the_loss_of_its_lease() -> Result {
    let fake = FakeLarder::new();
    let lease_ttl = Duration::from_millis(600);
    fake.configure("n", FakeNamespace { lease_ttl, ..FakeNamespace::default() });
    let values = fake.client().connect_lazy()?.namespace::<u32>("n");
    let gate = Arc::new(Semaphore::new(0));
    let (opened, handle) = (Arc::clone(&gate), values.clone());
    let loading = tokio::spawn(async move {
        let load = || async move {
            let _permit = opened.acquire().await;
            Ok::<_, Infallible>(1)
        };
        handle.get_or_fetch_with("k", FetchOptions::default().ttl(Duration::ZERO), load).await
    });
    until("the lease", || methods(&fake, "Renew") > 0).await;
    values.set("k", &5).await?;
    let before = methods(&fake, "Renew");
    until("the loss of the lease", || methods(&fake, "Renew") > before).await;
    gate.add_permits(1);
    let read = loading.await.expect("no panic").expect("a value");
    assert_eq!(read.stored.and_then(|write| write.reason()), Some(Reason::Superseded));
    assert_eq!(values.get("k").await?.value(), Some(&5));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_the_fake_waits_once_for_the_computations_of_others() -> Result {
    let fake = FakeLarder::new();
    let holder = fake.client().connect_lazy()?.namespace::<u32>("n");
    for key in ["a", "b"] {
        let holder = holder.clone();
        tokio::spawn(async move {
            let never = || std::future::pending::<std::result::Result<u32, Infallible>>();
            holder.get_or_fetch(key, never).await.is_ok()
        });
    }
    until("the leases", || methods(&fake, "GetOrFetch") == 2).await;
    let values = fake.client().connect_lazy()?.namespace::<u32>("n");
    let results = fetch_many(&values).await.expect("values");
    for read in results.values() {
        assert!(!read.degraded, "{read:?}");
        assert_eq!(read.stored.as_ref().and_then(|write| write.reason()), Some(Reason::NotStored));
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_over_the_limit_of_the_client_is_no_outage() -> Result {
    let fake = FakeLarder::new();
    let max_value_bytes = 32 * 1024 * 1024;
    fake.configure("n", FakeNamespace { max_value_bytes, ..FakeNamespace::default() });
    let values = fake.client().connect_lazy()?.namespace::<bytes::Bytes>("n");
    values.set_with("k", &vec![1; 17 << 20].into(), &WriteOptions::default()).await?;
    let error = values.get("k").await.expect_err("an error");
    assert_eq!((error.code(), error.reason()), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"));
    assert!(!error.is_outage());
    Ok(())
}

async fn near_read(client: &Client) -> Result {
    let near = client.namespace::<u32>("n").near_cache(NearCache::default());
    near.get("k").await.map(|_| ())
}

#[tokio::test]
async fn the_stream_of_near_caches_that_are_gone_ends() -> Result {
    let fake = FakeLarder::new();
    let client = fake.client().connect_lazy()?;
    let ended = async {
        while methods(&fake, "Watch") < 2 {
            near_read(&client).await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    };
    tokio::time::timeout(LIMIT, ended).await.expect("a second stream")
}
