//! What was stored does not outlive the origin's word.

use larder::pb::v1::{FetchStatus, Outcome};

use crate::support::{
    client::{Fetched as _, as_text, fetch, get, increment},
    origin::{ok, send},
    wait::{SOON, eventually},
};

with_origin!(
    what_the_origin_takes_back_is_not_served_any_more,
    namespace: "stale_while_revalidate = '1h'",
    |env, origin| {
        origin.always(ok("old", &[("cache-control", "max-age=1")]));
        assert_eq!(env.cache.fetched("k").await.0.as_deref(), Some("old"));
        // It may not be stored that there is no value; but that there was one must not be believed any longer.
        origin.always(send(404, "", &[("cache-control", "no-store")]));
        eventually("the old value is stale", SOON, async || {
            let answer = env.cache.get_or_fetch(fetch("k", 20_000)).await.unwrap();
            (answer.fetch_status() == FetchStatus::Refreshing).then_some(())
        })
        .await;
        eventually("the old value is gone", SOON, async || {
            (env.cache.get(get("k")).await.unwrap().outcome() == Outcome::Miss).then_some(())
        })
        .await;
        let found = env.cache.get_or_fetch(fetch("k", 20_000)).await.unwrap().expect_found();
        assert_eq!(found.outcome(), Outcome::Negative);
    }
);

with_origin!(a_counter_is_not_what_the_origin_sent, |env, origin| {
    origin.always(ok("5", &[("etag", "\"five\""), ("cache-control", "max-age=1")]));
    assert_eq!(env.cache.fetched("k").await.0.as_deref(), Some("5"));
    assert_eq!(env.cache.increment(increment("k", 1)).await.unwrap().value, 6);
    let refetched =
        eventually("the counter is stale, and the value fetched anew", SOON, async || {
            let answer = env.cache.get_or_fetch(fetch("k", 20_000)).await.unwrap();
            let is_fetched = answer.fetch_status() == FetchStatus::Fetched;
            as_text(answer.expect_found().value).filter(|_| is_fetched)
        });
    assert_eq!(refetched.await, "5");
    assert!(origin.asked().iter().all(|asked| asked.header("if-none-match").is_none()));
});
