//! URLs, headers, redirects and size limits of HTTP requests. Independent of the store.

use larder::pb::v1::{FetchStatus, GetOrFetchRequest};
use tonic::{Code, Request};

use crate::support::{
    client::{Cache, Fetched as _, fetch, params},
    env::read_through,
    origin::{Origin, Reply, ok, send},
    server::Larder,
    status::{expect_error, expect_violation, reason},
};

/// A server with an origin at this URL template, with further configuration.
async fn with_template(template: &str, config: &str) -> (Larder, Cache, Origin) {
    let origin = Origin::start().await;
    let larder =
        Larder::memory().config(&read_through(&origin.url(template), "", config)).start().await;
    let cache = larder.client().await;
    (larder, cache, origin)
}

fn with_params(key: &str, pairs: &[(&str, &str)]) -> GetOrFetchRequest {
    GetOrFetchRequest { params: params(pairs), ..fetch(key, 20_000) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn url_is_built_from_namespace_key_and_params() {
    let template = "/{namespace}/{params.lang}/{key}.json?fixed=1&p={params.page}&{params}";
    let (_larder, cache, origin) = with_template(template, "").await;
    cache
        .get_or_fetch(with_params("a b", &[("lang", "de"), ("page", "2&3"), ("x", "=?#")]))
        .await
        .unwrap();
    let received = origin.requests().pop().unwrap();
    assert_eq!(received.target, "/ns/de/a%20b.json?fixed=1&p=2%263&lang=de&page=2%263&x=%3D%3F%23");
    assert!(received.header("host").unwrap().starts_with("127.0.0.1:"), "{received:?}");
    assert!(received.header("user-agent").unwrap().starts_with("larder/"), "{received:?}");
    assert_eq!(received.header("accept-encoding"), Some("identity"));

    // Params are part of the key: each page is a separate entry, and is fetched once.
    let page = |page| with_params("k", &[("lang", "de"), ("page", page)]);
    for (page_number, status) in
        [("1", FetchStatus::Fetched), ("2", FetchStatus::Fetched), ("1", FetchStatus::Unspecified)]
    {
        let answer = cache.get_or_fetch(page(page_number)).await.unwrap();
        assert_eq!(answer.fetch_status(), status, "{page_number}");
    }
    let missing = cache.get_or_fetch(with_params("k", &[("lang", "de")])).await;
    expect_violation(missing, "params.page");
    assert_eq!(origin.calls(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_and_params_cannot_escape_the_url_segment() {
    let (_larder, cache, origin) =
        with_template("/v/{key}/{params.x}/end?q={params.x}&fixed", "").await;
    // Name, key or param, and its encoding in the URL; none if the call is refused.
    for (name, value, encoded) in [
        ("up", "../admin", None),
        ("two dots", "..", None),
        ("one dot", ".", None),
        ("up in the middle", "a/../../admin", None),
        ("up with a backslash", "..\\admin", None),
        ("up behind a semicolon", "..;/admin", None),
        ("encoded dots", "%2e%2e", Some("%252e%252e")),
        ("encoded slash", "%2f..%2f", Some("%252f..%252f")),
        ("another host", "//evil.example/", Some("%2F%2Fevil.example%2F")),
        ("another scheme", "http://evil.example", Some("http%3A%2F%2Fevil.example")),
        ("credentials", "user:password@evil.example", Some("user%3Apassword%40evil.example")),
        ("query", "a?admin=1&b", Some("a%3Fadmin%3D1%26b")),
        ("fragment", "a#b", Some("a%23b")),
        ("backslash", "a\\b", Some("a%5Cb")),
        (
            "header",
            "a HTTP/1.1\r\nx-evil: 1\r\n\r\nGET /admin",
            Some("a%20HTTP%2F1.1%0D%0Ax-evil%3A%201%0D%0A%0D%0AGET%20%2Fadmin"),
        ),
        ("newline", "a\nb", Some("a%0Ab")),
        ("NUL", "a\0b", Some("a%00b")),
        ("unicode", "ü\u{202e}/\u{ff0e}\u{ff0e}", Some("%C3%BC%E2%80%AE%2F%EF%BC%8E%EF%BC%8E")),
        ("placeholder", "{params.x}", Some("%7Bparams.x%7D")),
        ("plus and percent", "+%", Some("%2B%25")),
    ] {
        let before = origin.calls();
        for (field, key, param) in [("key", value, "x"), ("params.x", "x", value)] {
            let answer = cache.get_or_fetch(with_params(key, &[("x", param)])).await;
            let Some(encoded) = encoded else {
                expect_violation(answer, field);
                continue;
            };
            assert!(answer.is_ok(), "{name}: {answer:?}");
            let (key, param) = if field == "key" { (encoded, "x") } else { ("x", encoded) };
            let received = origin.requests().pop().unwrap();
            assert_eq!(received.target, format!("/v/{key}/{param}/end?q={param}&fixed"), "{name}");
            assert_eq!(received.header("x-evil"), None, "{name}");
        }
        assert_eq!(origin.calls() - before, if encoded.is_some() { 2 } else { 0 }, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn params_override_no_name_of_the_template() {
    let (_larder, cache, origin) = with_template("/v/{key}?u=v&{params}", "").await;
    let refused = cache.get_or_fetch(with_params("k", &[("u", "override")])).await;
    expect_violation(refused, "params.u");
    assert_eq!(origin.calls(), 0);
    cache.get_or_fetch(with_params("k", &[("x", "1")])).await.unwrap();
    assert_eq!(origin.requests().pop().unwrap().target, "/v/k?u=v&x=1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_are_refused_by_default() {
    let (_larder, cache, origin) = with_template("/v/{key}", "retries = 3").await;
    let elsewhere = origin.url("/elsewhere?token=hidden");
    for status in [301, 302, 303, 307, 308] {
        origin.always(send(status, "", &[("location", &elsewhere)]));
        let error = cache.get_or_fetch(fetch(&status.to_string(), 20_000)).await.unwrap_err();
        assert!(!format!("{error:?}").contains("hidden"), "{error:?}");
        let details = expect_error::<()>(Err(error), Code::Unavailable, "ORIGIN_REFUSED");
        assert_eq!(details.error_info().unwrap().metadata["cause"], format!("status {status}"));
    }
    assert_eq!(origin.calls(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_are_followed_up_to_the_limit() {
    let (_larder, cache, origin) =
        with_template("/hops/{key}", "max_redirects = 2\nerror_backoff = '1ms'").await;
    let other = Origin::start().await;
    let away = other.url("/away");
    origin.answer(move |request| match request.target.as_str() {
        "/hops/away" => send(302, "", &[("location", &away)]),
        "/hops/0" => ok("arrived", &[]),
        hops => {
            let left: u32 = hops.trim_start_matches("/hops/").parse().unwrap();
            send(302, "", &[("location", &format!("/hops/{}", left - 1))])
        }
    });
    assert_eq!(cache.fetched("2").await.0.as_deref(), Some("arrived"));
    assert_eq!(origin.calls(), 3);
    // One redirect too many, and one to another server, which receives no request.
    for key in ["3", "away"] {
        let error = cache.get_or_fetch(fetch(key, 20_000)).await.unwrap_err();
        assert_eq!(reason(&error), "ORIGIN_REFUSED", "{error:?}");
    }
    assert_eq!(other.calls(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trace_context_is_propagated_to_the_origin() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const PARENT: &str = "b7ad6b7169203331";
    let origin = Origin::start().await;
    let larder = Larder::memory()
        // Not reachable: this test does not check exported spans.
        .env("LARDER_TELEMETRY__OTLP_ENDPOINT", "http://127.0.0.1:1")
        .env("LARDER_TELEMETRY__SAMPLE_RATIO", "0")
        .config(&read_through(&origin.url("/v/{key}"), "", ""))
        .start()
        .await;
    let cache = larder.client().await;
    for (key, flags) in [("recorded", "01"), ("not", "00")] {
        let mut request = Request::new(fetch(key, 20_000));
        request
            .metadata_mut()
            .insert("traceparent", format!("00-{TRACE}-{PARENT}-{flags}").parse().unwrap());
        cache.get_or_fetch(request).await.unwrap().expect_found();
        let received = origin.requests().pop().unwrap();
        let context: Vec<&str> =
            received.header("traceparent").expect("a traceparent").split('-').collect();
        let [version, trace, parent, sampled] = context[..] else { panic!("{context:?}") };
        assert_eq!((version, trace, sampled), ("00", TRACE, flags), "{key}");
        assert_eq!(parent.len(), 16);
        if flags == "01" {
            assert_ne!(parent, PARENT, "the caller of the origin is Larder");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespace_limits_the_response_size() {
    let origin = Origin::start().await;
    let config = read_through(&origin.url("/v/{key}"), "max_value_bytes = 1000", "");
    let larder = Larder::memory().config(&config).start().await;
    let cache = larder.client().await;
    let chunked = |size: usize| {
        let chunk = format!("{size:x}\r\n{}\r\n", "x".repeat(size));
        let head =
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-type: text/plain\r\n\r\n";
        Reply::Raw(format!("{head}{chunk}{chunk}0\r\n\r\n").into_bytes())
    };
    for (key, reply, fits) in [
        ("announced", ok("x".repeat(1000), &[]), true),
        ("announced-too-large", ok("x".repeat(1001), &[]), false),
        ("chunked", chunked(500), true),
        ("chunked-too-large", chunked(501), false),
        // No memory is reserved for an announced length.
        (
            "announced-huge",
            Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999\r\n\r\n".to_vec()),
            false,
        ),
    ] {
        origin.always(reply);
        let answer = cache.get_or_fetch(fetch(key, 20_000)).await;
        if fits {
            assert!(answer.is_ok(), "{key}: {answer:?}");
        } else {
            let details = expect_error(answer, Code::Unavailable, "ORIGIN_TOO_LARGE");
            assert_eq!(
                details.error_info().unwrap().metadata["cause"],
                "more than 1000 bytes (max_value_bytes)",
                "{key}"
            );
        }
    }
    assert_eq!(origin.calls(), 5);
}
