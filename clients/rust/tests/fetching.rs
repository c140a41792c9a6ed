//! Computations whose answers come late, in parts, or in a form of another release.
#![allow(clippy::expect_used, clippy::panic)]

use std::{convert::Infallible, sync::Arc, time::Duration};

use larder_client::{
    Client, Code, Error, FetchError, FetchOptions, Key, Many, Namespace, NearCache, OnError, Read,
    Reason, Tier, Write, WriteOptions, pb,
    testing::{FakeFailure, FakeLarder, FakeNamespace},
};
use tokio::sync::Semaphore;

type Result = std::result::Result<(), Error>;

const LIMIT: Duration = Duration::from_secs(10);

async fn until(what: &str, is: impl Fn() -> bool) {
    let come = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(LIMIT, come).await.is_ok(), "{what}: not within {LIMIT:?}");
}

fn methods(fake: &FakeLarder, method: &str) -> usize {
    fake.calls().iter().filter(|call| call.method == method).count()
}

fn abandoned(fake: &FakeLarder) -> Vec<pb::AbandonRequest> {
    let calls = fake.calls();
    calls.iter().filter(|call| call.method == "Abandon").filter_map(|call| call.decode()).collect()
}

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
    assert!(matches!(read.stored, Some(Write::NotStored { reason: Reason::NotStored, .. })));
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
    assert!(results.values().all(|read| read.stored.as_ref().is_some_and(Write::is_stored)));
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
async fn a_loader_of_several_keys_that_panics_passes_its_leases_on() -> Result {
    let fake = FakeLarder::new();
    let values = fake.client().connect_lazy()?.namespace::<u32>("n");
    let ended = tokio::spawn(async move {
        let load = |keys: Vec<Key<'static>>| async move {
            assert!(keys.is_empty(), "on purpose");
            Ok::<Vec<(Key<'static>, u32)>, Infallible>(Vec::new())
        };
        values.get_or_fetch_many(["a", "b"], FetchOptions::default(), load).await.is_ok()
    });
    assert!(ended.await.is_err_and(|error| error.is_panic()));
    until("the leases pass on", || abandoned(&fake).len() == 2).await;
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
