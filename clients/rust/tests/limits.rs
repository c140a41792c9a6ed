//! Wrong and extreme arguments, on the fake.
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
    Client, Code, DeleteOptions, Error, FetchError, FetchOptions, Key, Loaded, Outcome,
    ReadOptions, Reason, Targets, Tier, WriteOptions,
    testing::{FakeFailure, FakeLarder},
};
use support::{abandoned, until};

type Result = std::result::Result<(), Error>;

fn wrong<T>(ended: std::result::Result<T, Error>, message: &str) {
    let error = ended.err().unwrap_or_else(|| panic!("{message}: no error"));
    assert_eq!((error.code(), error.message()), (Code::InvalidArgument, message));
}

fn cache_error<E>(error: FetchError<E>) -> Error {
    match error {
        FetchError::Cache(error) => error,
        FetchError::Loader(_) => panic!("the loader's error"),
    }
}

#[tokio::test]
async fn durations_without_end_are_limits_of_a_hundred_years() -> Result {
    let fake = FakeLarder::new();
    let longest = Duration::MAX;
    let client = fake.client().call_timeout(longest).wait(longest).wait_margin(longest);
    let values = client.connect_lazy()?.namespace::<u32>("n");
    assert!(values.set_with("k", &1, &WriteOptions::default().timeout(longest)).await?.is_stored());
    let options = ReadOptions::default().timeout(longest).max_stale(longest);
    assert_eq!(values.get_with("k", &options).await?.value(), Some(&1));
    let options = || FetchOptions::default().timeout(longest).ttl(longest);
    let read = values.get_or_fetch_with("l", options(), || async { Ok::<_, Infallible>(2) }).await;
    assert_eq!(read.map_err(cache_error)?.tier, Some(Tier::Loader));
    let load = |keys: Vec<Key<'static>>| async move {
        Ok::<Vec<_>, Infallible>(keys.into_iter().map(|key| (key, 3)).collect())
    };
    let many = values.get_or_fetch_many(["m"], options(), load).await.map_err(cache_error)?;
    assert_eq!(many[&Key::new("m")].value(), Some(&3));

    let away = Client::builder("127.0.0.1:1").call_timeout(longest).connect_timeout(longest);
    let away = away.keepalive(Some(longest)).keepalive_timeout(longest).max_idle(Some(longest));
    assert!(away.connect_lazy()?.namespace::<u32>("n").get("k").await?.degraded);
    Ok(())
}

#[tokio::test]
async fn wrong_tags_are_refused_whether_the_cache_is_there_or_not() -> Result {
    let fake = FakeLarder::new();
    let values = fake.client().connect_lazy()?.namespace::<u32>("n");
    let loads = Arc::new(AtomicUsize::new(0));
    let load = || {
        let loads = Arc::clone(&loads);
        move || {
            loads.fetch_add(1, SeqCst);
            std::future::ready(Ok::<u32, Infallible>(1))
        }
    };
    let load_many = || {
        let load = load();
        move |_: Vec<Key<'static>>| {
            let loading = load();
            async move { loading.await.map(|value| vec![(Key::new("k"), value)]) }
        }
    };
    for is_away in [false, true] {
        if is_away {
            fake.fail(FakeFailure::default());
        }
        for (tag, message) in [
            (String::new(), "tags[0]: must not be empty"),
            ("x".repeat(129), "tags[0]: is 129 bytes long, the limit is 128"),
        ] {
            let options = WriteOptions::default().tags([&tag]);
            wrong(values.set_with("k", &1, &options).await, message);
            wrong(values.set_many([("k", &1)], &options).await, message);
            wrong(values.invalidate(&Targets::new().tags([&tag])).await, message);
            let options = FetchOptions::default().tags([&tag]);
            let ended = values.get_or_fetch_with("k", options.clone(), load()).await;
            wrong(ended.map_err(cache_error), message);
            let ended = values.get_or_fetch_many(["k"], options, load_many()).await;
            wrong(ended.map_err(cache_error), message);
        }
        let tags: Vec<_> = (0..33).map(|number| number.to_string()).collect();
        let message = "tags: has 33 elements, the limit is 32";
        let handle = values.clone().tags(tags[..32].iter().cloned());
        wrong(handle.set_with("k", &1, &WriteOptions::default().tags(["32"])).await, message);
        let late = Duration::from_secs(3601);
        let message = "hold_off: at most 1 h is possible";
        let options = DeleteOptions::default().hold_off(late);
        wrong(values.delete_with("k", &options).await, message);
        wrong(values.delete_many(["k"], &options).await, message);
        wrong(values.invalidate(&Targets::new().keys(["k"]).hold_off(late)).await, message);
    }
    assert_eq!((loads.load(SeqCst), fake.calls().len()), (0, 0));
    Ok(())
}

#[tokio::test]
async fn wrong_tags_of_a_loader_are_an_error_with_back_off() -> Result {
    let fake = FakeLarder::new();
    let values = fake.client().connect_lazy()?.namespace::<u32>("n");
    let load = || async { Ok::<_, Infallible>(Loaded::new(1).tags([""])) };
    let ended = values.get_or_fetch("k", load).await.map_err(cache_error);
    wrong(ended, "tags[0]: must not be empty");
    let load = |keys: Vec<Key<'static>>| async move {
        let tagged = |key: Key<'static>| (key, Loaded::new(1).tags([""]));
        Ok::<Vec<_>, Infallible>(keys.into_iter().map(tagged).collect())
    };
    let ended = values.get_or_fetch_many(["a", "b"], FetchOptions::default(), load).await;
    wrong(ended.map_err(cache_error), "tags[0]: must not be empty");
    until("the leases are given up", || abandoned(&fake).len() == 3).await;
    let calls = abandoned(&fake);
    assert!(calls.iter().all(|call| !call.pass_on), "{calls:?}");
    Ok(())
}

#[tokio::test]
async fn a_value_without_a_lifetime_ends_the_entry_before_the_answer() -> Result {
    let fake = FakeLarder::new();
    let values = fake.client().connect_lazy()?.namespace::<u32>("n");
    let refresh = || FetchOptions::default().refresh().ttl(Duration::ZERO);
    let fetch = async || {
        let load = || async { Ok::<_, Infallible>(2) };
        let read = values.get_or_fetch_with("k", refresh(), load).await.map_err(cache_error)?;
        Ok::<_, Error>(read.stored.and_then(|write| write.reason()))
    };
    values.set("k", &1).await?;
    assert_eq!(fetch().await?, Some(Reason::Expired));
    assert_eq!(values.get("k").await?.outcome, Outcome::Miss);
    fake.fail(FakeFailure { methods: vec!["Delete".to_owned()], ..FakeFailure::default() });
    assert_eq!(fetch().await?, Some(Reason::Unavailable));
    fake.recover();

    for key in ["a", "b"] {
        values.set(key, &1).await?;
    }
    let load = |keys: Vec<Key<'static>>| async move {
        Ok::<Vec<_>, Infallible>(keys.into_iter().map(|key| (key, 2)).collect())
    };
    let many = values.get_or_fetch_many(["a", "b"], refresh(), load).await.map_err(cache_error)?;
    for (key, read) in many {
        let reason = read.stored.and_then(|write| write.reason());
        assert_eq!((read.value.as_deref(), reason), (Some(&2), Some(Reason::Expired)));
        assert_eq!(values.get(key).await?.outcome, Outcome::Miss);
    }
    assert_eq!(fake.calls().iter().filter(|call| call.method == "BatchDelete").count(), 1);
    Ok(())
}
