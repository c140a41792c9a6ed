//! Early refreshes: refreshes of fresh values.

use std::time::Duration;

use larder::pb::v1::{
    FetchStatus, GetOrFetchRequest, Outcome, get_or_fetch_response::Outcome as Answer,
};

use crate::support::{
    client::{Fetched as _, as_text, fetch},
    observe::becomes_text,
    origin::{OriginRequest, Reply, after, ok},
    wait::{SOON, eventually},
};

/// A slow reply. The first expires soon.
fn slow(request: &OriginRequest) -> Reply {
    let cache_control = if request.before == 0 { "max-age=2" } else { "max-age=100" };
    after(
        Duration::from_millis(300),
        ok(format!("#{}", request.before + 1), &[("cache-control", cache_control)]),
    )
}

with_origin!(
    value_is_refreshed_before_it_expires,
    origin: "early_refresh = 10\ntimeout = '1m'",
    |env, origin| {
        origin.answer(slow);
        // Each call starts a refresh with a probability above 1/2. If none does, the next key is
        // tried.
        let key = eventually("a refresh starts before the value expires", SOON, async || {
            origin.release();
            let key = format!("k{}", origin.calls());
            env.cache.fetched(&key).await;
            // From here on, no fetch completes.
            origin.hold();
            loop {
                let answer = env.cache.get_or_fetch(fetch(&key, 0)).await.unwrap();
                match answer.fetch_status() {
                    FetchStatus::Unspecified
                        if matches!(answer.outcome, Some(Answer::Contended(_))) =>
                    {
                        return None;
                    }
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
        // Other calls neither report the running refresh nor start another one.
        let answer = env.cache.get_or_fetch(fetch(&key, 0)).await.unwrap();
        assert_ne!(answer.fetch_status(), FetchStatus::RefreshingEarly);
        origin.release();
        becomes_text(&env.cache, &key, "#2").await;
        assert_eq!(
            origin.requests().iter().filter(|sent| sent.target == format!("/v/{key}")).count(),
            2
        );
    }
);

with_origin!(
    early_refresh_can_be_disabled,
    origin: "early_refresh = 0\ntimeout = '1m'",
    |env, origin| {
        origin.answer(slow);
        env.cache.fetched("k").await;
        loop {
            let (value, answer) = env.cache.fetched("k").await;
            match answer.fetch_status() {
                // Coalesced if the value is stale by the replica's clock and still fresh by the
                // store's.
                FetchStatus::Unspecified | FetchStatus::Coalesced => {
                    assert_eq!(value.as_deref(), Some("#1"))
                }
                FetchStatus::Fetched => break assert_eq!(value.as_deref(), Some("#2")),
                other => panic!("{other:?}"),
            }
            assert_eq!(origin.calls(), 1);
        }
    }
);

with_origin!(
    only_if_cached_does_not_refresh_early,
    origin: "early_refresh = 100\ntimeout = '1m'",
    |env, origin| {
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
    }
);

with_origin!(
    set_value_is_not_refreshed_early,
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
            assert_eq!(origin.calls(), 0, "the duration of a fetch is not known");
        }
    }
);
