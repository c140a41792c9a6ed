//! Refreshes before a value is stale.

use std::time::Duration;

use larder::pb::v1::{
    FetchStatus, GetOrFetchRequest, Outcome, get_or_fetch_response::Outcome as Answer,
};

use crate::support::{
    client::{Fetched as _, as_text, fetch},
    observe::becomes_text,
    origin::{Asked, Reply, after, ok},
    wait::{SOON, eventually},
};

/// Each takes long to fetch; the first is not fresh for much longer.
fn slow(asked: &Asked) -> Reply {
    let cache_control = if asked.before == 0 { "max-age=2" } else { "max-age=100" };
    after(
        Duration::from_millis(300),
        ok(format!("#{}", asked.before + 1), &[("cache-control", cache_control)]),
    )
}

with_origin!(a_value_is_refreshed_before_it_expires, origin: "early_refresh = 10\ntimeout = '1m'", |env, origin| {
    origin.answer(slow);
    // Whether a call is chosen is a matter of chance, more likely than not for each. When none was, try another key.
    let key = eventually("a refresh comes before the end", SOON, async || {
        origin.release();
        let key = format!("k{}", origin.calls());
        env.cache.fetched(&key).await;
        // From here on nobody is answered who waits for the origin.
        origin.hold();
        loop {
            let answer = env.cache.get_or_fetch(fetch(&key, 0)).await.unwrap();
            match answer.fetch_status() {
                FetchStatus::Unspecified if matches!(answer.outcome, Some(Answer::Contended(_))) => return None,
                FetchStatus::Unspecified => {}
                FetchStatus::RefreshingEarly => {
                    let found = answer.expect_found();
                    assert_eq!(found.outcome(), Outcome::Hit);
                    assert_eq!(as_text(found.value).as_deref(), Some("#1"));
                    return Some(key);
                }
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
    // The others are not told of it, and none of them begins another.
    let answer = env.cache.get_or_fetch(fetch(&key, 0)).await.unwrap();
    assert_ne!(answer.fetch_status(), FetchStatus::RefreshingEarly);
    origin.release();
    becomes_text(&env.cache, &key, "#2").await;
    assert_eq!(origin.asked().iter().filter(|asked| asked.target == format!("/v/{key}")).count(), 2);
});

with_origin!(no_value_is_refreshed_early_unless_it_is_wanted,
    origin: "early_refresh = 0\ntimeout = '1m'",
    |env, origin| {
    origin.answer(slow);
    env.cache.fetched("k").await;
    loop {
        let (value, answer) = env.cache.fetched("k").await;
        match answer.fetch_status() {
            // The latter when it is stale by the clock of the replica, and by that of the store not quite.
            FetchStatus::Unspecified | FetchStatus::Coalesced => assert_eq!(value.as_deref(), Some("#1")),
            FetchStatus::Fetched => break assert_eq!(value.as_deref(), Some("#2")),
            other => panic!("{other:?}"),
        }
        assert_eq!(origin.calls(), 1);
    }
});

with_origin!(who_only_reads_refreshes_nothing, origin: "early_refresh = 100\ntimeout = '1m'", |env, origin| {
    origin.answer(slow);
    env.cache.fetched("k").await;
    loop {
        let request = GetOrFetchRequest { only_if_cached: true, ..fetch("k", 0) };
        let answer = env.cache.get_or_fetch(request).await.unwrap();
        assert_eq!(answer.fetch_status(), FetchStatus::Unspecified);
        if matches!(answer.outcome, Some(Answer::NotCached(_))) {
            break;
        }
    }
    assert_eq!(origin.calls(), 1);
});

with_origin!(a_value_that_somebody_set_is_not_refreshed,
    namespace: "ttl = '1s'",
    origin: "early_refresh = 100",
    |env, origin| {
    origin.answer(slow);
    env.cache.put("k", "mine").await;
    loop {
        let (value, answer) = env.cache.fetched("k").await;
        if answer.fetch_status() == FetchStatus::Fetched {
            break;
        }
        assert_eq!(value.as_deref(), Some("mine"));
        assert_ne!(answer.fetch_status(), FetchStatus::RefreshingEarly);
        assert_eq!(origin.calls(), 0, "how long fetching takes is not known");
    }
});
