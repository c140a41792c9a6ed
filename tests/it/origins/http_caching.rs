//! Freshness and storability of responses according to HTTP headers (RFC 9111).

use std::time::{Duration, SystemTime};

use larder::pb::v1::{EntryInfo, FetchStatus, FillResult, GetOrFetchRequest, Outcome};

use crate::support::{
    client::{Fetched as _, duration, fetch, get},
    env::{Env, read_through},
    observe::becomes,
    origin::{Origin, ok, send},
    redis::RedisServer,
    server::Larder,
    status::reason,
    wait::{SOON, eventually, throughout},
};

/// Longer than any call, in seconds: a remaining TTL identifies the header that it came from.
const LEEWAY: u64 = 8;

type Headers<'a> = &'a [(&'static str, &'a str)];

with_origin!(headers_determine_the_ttl, namespace: "ttl = '200s'\nmax_ttl = '1h'", |env, origin| {
    let now = SystemTime::now();
    let date = httpdate::fmt_http_date(now);
    let expires = httpdate::fmt_http_date(now + Duration::from_secs(50));
    let past = httpdate::fmt_http_date(now - Duration::from_secs(50));
    let old = httpdate::fmt_http_date(now - Duration::from_secs(30));
    let cases: [(Headers<'_>, u64); 15] = [
        (&[("cache-control", "max-age=60")], 60),
        (&[("cache-control", "max-age=60, s-maxage=30")], 30),
        (&[("cache-control", "s-maxage=90, max-age=0")], 90),
        (&[("cache-control", "max-age=60"), ("age", "20")], 40),
        (&[("cache-control", "max-age=60"), ("date", &old)], 30),
        (&[("cache-control", "max-age=60"), ("date", &old), ("age", "45")], 15),
        (&[("date", &date), ("expires", &expires)], 50),
        (&[("date", &date), ("expires", &past), ("cache-control", "max-age=60")], 60),
        (&[("cache-control", "public, MAX-AGE=\"60\"")], 60),
        (
            &[("cache-control", "max-age=60"), ("set-cookie", "a=b"), ("cache-control", "public")],
            60,
        ),
        (&[("cache-control", "max-age=60"), ("vary", "accept-language")], 60),
        // The namespace gives the default and the maximum.
        (&[], 200),
        (&[("cache-control", "public")], 200),
        (&[("age", "20")], 180),
        (&[("cache-control", "max-age=86400")], 3600),
    ];
    for (number, (headers, seconds)) in cases.into_iter().enumerate() {
        origin.always(ok("v", headers));
        let (key, most) = (format!("k{number}"), Duration::from_secs(seconds));
        let (_, answer) = env.cache.fetched(&key).await;
        assert_eq!(
            (answer.fetch_status(), answer.fill()),
            (FetchStatus::Fetched, FillResult::Stored),
            "{headers:?}"
        );
        for entry in [
            answer.expect_found().entry.unwrap(),
            env.cache.get(get(&key)).await.unwrap().entry.unwrap(),
        ] {
            let left = duration(entry.ttl_remaining);
            assert!(
                left <= most && left + Duration::from_secs(LEEWAY) > most,
                "{headers:?}: {left:?}"
            );
        }
    }
});

with_origin!(
    redirects_limit_the_ttl,
    namespace: "ttl = '200s'",
    origin: "max_redirects = 2",
    |env, origin| {
        for (key, redirect, expected) in [
            ("plain", "public", Some(100)),
            ("short", "max-age=50", Some(50)),
            ("secret", "no-store", None),
            ("personal", "private", None),
        ] {
            origin.answer(move |request| match request.target.as_str() {
                "/target" => ok("v", &[("cache-control", "max-age=100")]),
                _ => send(302, "", &[("location", "/target"), ("cache-control", redirect)]),
            });
            let (value, answer) = env.cache.fetched(key).await;
            assert_eq!(value.as_deref(), Some("v"));
            let fill = expected.map_or(FillResult::Uncacheable, |_| FillResult::Stored);
            assert_eq!(answer.fill(), fill, "{key}");
            let entry = env.cache.get(get(key)).await.unwrap().entry;
            let ttl = entry.map(|entry| duration(entry.ttl_remaining));
            match (ttl, expected.map(Duration::from_secs)) {
                (None, None) => {}
                (Some(left), Some(most)) => assert!(
                    left <= most && left + Duration::from_secs(LEEWAY) > most,
                    "{key}: {left:?}"
                ),
                other => panic!("{key}: {other:?}"),
            }
        }
    }
);

with_origin!(uncacheable_responses_are_answered_but_not_stored, |env, origin| {
    let cases: [Headers<'_>; 10] = [
        &[("cache-control", "no-store")],
        &[("cache-control", "max-age=60, no-store")],
        &[("cache-control", "private")],
        &[("cache-control", "private=\"x-name\", max-age=60")],
        &[("cache-control", "max-age=60"), ("vary", "*")],
        &[("cache-control", "max-age=60"), ("set-cookie", "a=b")],
        // Stale on arrival, without a validator.
        &[("cache-control", "max-age=0")],
        &[("cache-control", "no-cache")],
        &[("expires", "0")],
        &[("cache-control", "max-age=60"), ("age", "60")],
    ];
    for (number, headers) in cases.into_iter().enumerate() {
        let key = format!("k{number}");
        let sent: Vec<(&'static str, String)> =
            headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        origin.answer(move |request| {
            let headers: Vec<_> =
                sent.iter().map(|(name, value)| (*name, value.as_str())).collect();
            ok(format!("#{}", request.before + 1), &headers)
        });
        let before = origin.calls();
        for expected in ["#1", "#2"] {
            let (value, answer) = env.cache.fetched(&key).await;
            assert_eq!(value.as_deref(), Some(expected), "{headers:?}");
            let result = (answer.fetch_status(), answer.fill(), answer.degraded);
            assert_eq!(
                result,
                (FetchStatus::Fetched, FillResult::Uncacheable, false),
                "{headers:?}"
            );
            let found = answer.expect_found();
            assert_eq!(
                (found.outcome(), found.entry.unwrap().version.as_str()),
                (Outcome::Hit, ""),
                "{headers:?}"
            );
            assert_eq!(
                env.cache.get(get(&key)).await.unwrap().outcome(),
                Outcome::Miss,
                "{headers:?}"
            );
        }
        assert_eq!(origin.calls() - before, 2, "{headers:?}");
    }
});

with_origin!(
    uncacheable_response_answers_only_earlier_callers,
    origin: "timeout = '20s'",
    |env, origin| {
        origin.always(ok("v", &[("cache-control", "no-store")]));
        origin.hold();
        let call = || {
            let cache = env.cache.clone();
            tokio::spawn(async move { cache.fetched("k").await })
        };
        let early = call();
        eventually("the value is fetched", SOON, async || (origin.calls() == 1).then_some(()))
            .await;
        let late = call();
        origin.release();
        for answer in [early, late] {
            let (value, answer) = answer.await.unwrap();
            assert_eq!((value.as_deref(), answer.fill()), (Some("v"), FillResult::Uncacheable));
        }
        assert_eq!(origin.calls(), 2, "later callers need a new fetch");
    }
);

with_origin!(key_that_becomes_cacheable_is_stored, |env, origin| {
    origin.always(ok("v", &[("cache-control", "no-store")]));
    assert_eq!(env.cache.fetched("k").await.1.fill(), FillResult::Uncacheable);
    origin.always(ok("v", &[]));
    // A fetch shortly afterwards may run without a lease and is then not stored. It is no longer
    // reported as uncacheable.
    let answer = env.cache.fetched("k").await.1;
    assert!([FillResult::NotStored, FillResult::Stored].contains(&answer.fill()), "{answer:?}");
    env.cache.fetched("k").await;
    assert_eq!(env.cache.read("k").await.as_deref(), Some("v"));
    assert!(origin.calls() <= 3, "{} calls", origin.calls());
});

/// Longer than the time for which a key is assumed to be uncacheable.
const PREDICTION_EXPIRY: Duration = Duration::from_millis(1_200);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn formerly_uncacheable_key_is_fetched_under_a_lease_but_does_not_wait_for_one() {
    let (redis, origin) = (RedisServer::start().await, Origin::start().await);
    let config = read_through(&origin.url("/v/{key}"), "", "timeout = '20s'\nmin_lease = '10s'");
    let start = async || Larder::redis(&redis.url()).config(&config).start().await;
    let (first, second) = (start().await, start().await);
    let (first, second) = (first.client().await, second.client().await);
    origin.always(ok("v", &[("cache-control", "no-store")]));
    for key in ["single", "shared"] {
        assert_eq!(first.fetched(key).await.1.fill(), FillResult::Uncacheable);
    }
    throughout(PREDICTION_EXPIRY, async || assert_eq!(origin.calls(), 2)).await;
    origin.always(ok("v", &[]));
    assert_eq!(first.fetched("single").await.1.fill(), FillResult::Stored);
    // While another replica holds the lease, the key is fetched without one.
    origin.hold();
    let leased = tokio::spawn(async move { second.fetched("shared").await.1.fill() });
    eventually("the value is fetched", SOON, async || (origin.in_flight() == 1).then_some(()))
        .await;
    let unleased = tokio::spawn(async move { first.fetched("shared").await.1.fill() });
    eventually("the second fetch does not wait for the lease", SOON, async || {
        (origin.in_flight() == 2).then_some(())
    })
    .await;
    origin.release();
    assert_eq!(leased.await.unwrap(), FillResult::Stored);
    assert_eq!(unleased.await.unwrap(), FillResult::NotStored);
}

with_origin!(
    cache_headers_can_be_ignored,
    namespace: "ttl = '200s'",
    origin: "cache_headers = false",
    |env, origin| {
        let cases: [Headers<'_>; 4] = [
            &[("cache-control", "no-store")],
            &[("cache-control", "private, max-age=1")],
            &[("cache-control", "s-maxage=0"), ("expires", "0"), ("age", "100")],
            &[("set-cookie", "a=b"), ("vary", "*")],
        ];
        for (number, headers) in cases.into_iter().enumerate() {
            origin.always(ok("v", headers));
            let (_, answer) = env.cache.fetched(&format!("k{number}")).await;
            assert_eq!(answer.fill(), FillResult::Stored, "{headers:?}");
            let left = duration(answer.expect_found().entry.unwrap().ttl_remaining);
            assert!(left > Duration::from_secs(200 - LEEWAY), "{headers:?}: {left:?}");
        }
    }
);

with_origin!(
    not_found_has_its_own_ttl,
    namespace: "max_ttl = '1h'",
    origin: "negative_ttl = '30s'",
    |env, origin| {
        for (key, status, headers, seconds) in [
            ("silent", 404, [].as_slice(), 30),
            ("gone", 410, &[], 30),
            ("timed", 404, &[("cache-control", "max-age=90")], 90),
            ("gone-timed", 410, &[("cache-control", "s-maxage=90")], 90),
            ("long", 404, &[("cache-control", "max-age=86400")], 3600),
            ("aged", 404, &[("age", "15")], 15),
        ] {
            origin.always(send(status, "no such thing", headers));
            let entry = negative(&env, key, FillResult::Stored).await;
            let (left, most) = (duration(entry.ttl_remaining), Duration::from_secs(seconds));
            assert!(left <= most && left + Duration::from_secs(LEEWAY) > most, "{key}: {left:?}");
            assert_eq!(
                env.cache.get(get(key)).await.unwrap().outcome(),
                Outcome::Negative,
                "{key}"
            );
        }
        origin.always(send(404, "", &[("cache-control", "no-store")]));
        negative(&env, "unstored", FillResult::Uncacheable).await;
        assert_eq!(env.cache.get(get("unstored")).await.unwrap().outcome(), Outcome::Miss);
    }
);

with_origin!(
    not_found_is_never_served_stale,
    namespace: "stale_while_revalidate = '1m'\nstale_if_error = '1m'",
    origin: "negative_ttl = '1s'\nretries = 0",
    |env, origin| {
        origin.always(send(404, "", &[("etag", "\"none\"")]));
        negative(&env, "k", FillResult::Stored).await;
        becomes(&env.cache, "k", Outcome::Miss).await;
        origin.always(send(500, "", &[]));
        let error = env.cache.get_or_fetch(fetch("k", 20_000)).await.unwrap_err();
        assert_eq!(reason(&error), "ORIGIN_FAILED");
        assert_eq!(origin.requests()[1].header("if-none-match"), None);
    }
);

with_origin!(not_found_is_not_revalidated, |env, origin| {
    // Many frameworks send validators with a 404 page.
    origin.always(send(
        404,
        "",
        &[("etag", "\"none\""), ("last-modified", "Mon, 07 Nov 1994 08:49:37 GMT")],
    ));
    negative(&env, "k", FillResult::Stored).await;
    let no_cache = GetOrFetchRequest { no_cache: true, ..fetch("k", 20_000) };
    env.cache.get_or_fetch(no_cache).await.unwrap();
    let received = origin.requests().pop().unwrap();
    assert_eq!(
        (received.header("if-none-match"), received.header("if-modified-since")),
        (None, None)
    );
    assert_eq!(origin.calls(), 2);
});

with_origin!(
    origin_can_forbid_stale_values,
    namespace: "stale_while_revalidate = '1m'\nstale_if_error = '1m'",
    origin: "retries = 0\nearly_refresh = 0\nbreaker_threshold = 0",
    |env, origin| {
        for strict in ["max-age=1, must-revalidate", "max-age=1, proxy-revalidate", "s-maxage=1"] {
            origin.always(ok("v", &[("cache-control", strict)]));
            env.cache.fetched(strict).await;
            becomes(&env.cache, strict, Outcome::Miss).await;
            origin.always(send(500, "", &[]));
            let error = env.cache.get_or_fetch(fetch(strict, 20_000)).await.unwrap_err();
            assert_eq!(reason(&error), "ORIGIN_FAILED", "{strict}");
        }
    }
);

with_origin!(
    origin_can_allow_stale_values,
    origin: "retries = 0\nearly_refresh = 0",
    |env, origin| {
        origin.always(ok("v", &[("cache-control", "max-age=1, stale-while-revalidate=60")]));
        env.cache.fetched("swr").await;
        origin.always(ok("v", &[("cache-control", "max-age=1, stale-if-error=60")]));
        env.cache.fetched("sie").await;
        becomes(&env.cache, "swr", Outcome::Stale).await;
        becomes(&env.cache, "sie", Outcome::Miss).await;
        origin.always(send(500, "", &[]));
        for (key, status) in [("swr", FetchStatus::Refreshing), ("sie", FetchStatus::Failed)] {
            let (value, answer) = env.cache.fetched(key).await;
            assert_eq!((value.as_deref(), answer.fetch_status()), (Some("v"), status), "{key}");
            assert_eq!(answer.expect_found().outcome(), Outcome::Stale, "{key}");
        }
    }
);

async fn negative(env: &Env, key: &str, fill: FillResult) -> EntryInfo {
    let answer = env.cache.get_or_fetch(fetch(key, 20_000)).await.unwrap();
    assert_eq!((answer.fetch_status(), answer.fill()), (FetchStatus::Fetched, fill), "{key}");
    let found = answer.expect_found();
    assert_eq!((found.outcome(), found.value), (Outcome::Negative, None), "{key}");
    found.entry.unwrap()
}
