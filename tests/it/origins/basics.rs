//! A value, a missing value and a failure, fetched once.

use larder::pb::v1::{FetchStatus, FillResult, Outcome, Tier};
use tonic::Code;

use crate::support::{
    client::{Fetched as _, fetch, get},
    origin::{ok, status},
    status::reason,
    wait::{SOON, eventually},
};

with_origin!(missing_value_is_fetched_once_and_stored, |env, origin| {
    let (value, answer) = env.cache.fetched("k").await;
    assert_eq!(value.as_deref(), Some("/v/k#1"));
    assert_eq!((answer.fetch_status(), answer.fill()), (FetchStatus::Fetched, FillResult::Stored));
    let entry = answer.expect_found().entry.unwrap();
    assert_eq!(entry.tier(), Tier::Origin);

    let (value, answer) = env.cache.fetched("k").await;
    assert_eq!(value.as_deref(), Some("/v/k#1"));
    assert_eq!(
        (answer.fetch_status(), answer.fill()),
        (FetchStatus::Unspecified, FillResult::Unspecified)
    );
    let stored = answer.expect_found().entry.unwrap();
    assert_eq!((stored.tier(), stored.version), (Tier::Store, entry.version));
    assert_eq!(env.cache.read("k").await.as_deref(), Some("/v/k#1"));
    assert_eq!(origin.calls(), 1);
});

with_origin!(not_found_is_cached, |env, origin| {
    origin.always(status(404));
    for _ in 0..2 {
        let found = env.cache.get_or_fetch(fetch("k", 20_000)).await.unwrap().expect_found();
        assert_eq!((found.outcome(), found.value), (Outcome::Negative, None));
    }
    assert_eq!(env.cache.get(get("k")).await.unwrap().outcome(), Outcome::Negative);
    assert_eq!(origin.calls(), 1);
    env.cache.put("k", "v").await;
    assert_eq!(env.cache.read("k").await.as_deref(), Some("v"));
});

with_origin!(
    error_is_returned_and_not_cached,
    origin: "retries = 0\nerror_backoff = '1ms'",
    |env, origin| {
        origin.always(status(500));
        let error = env.cache.get_or_fetch(fetch("k", 20_000)).await.unwrap_err();
        assert_eq!(
            (error.code(), reason(&error).as_str()),
            (Code::Unavailable, "ORIGIN_FAILED"),
            "{error:?}"
        );
        assert_eq!(env.cache.get(get("k")).await.unwrap().outcome(), Outcome::Miss);
        origin.always(ok("recovered", &[]));
        let value = eventually("the value is fetched", SOON, async || {
            let answer = env.cache.get_or_fetch(fetch("k", 20_000)).await.ok()?;
            crate::support::client::as_text(answer.expect_found().value)
        });
        assert_eq!(value.await, "recovered");
    }
);
