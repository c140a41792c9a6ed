//! Requests, and the conversion of successful responses.

use super::{server::*, *};

#[tokio::test]
async fn value_has_the_directives_of_its_headers() {
    let server = Server::answering(|| {
        let headers = [
            ("content-type", "application/json"),
            ("cache-control", "max-age=60, stale-while-revalidate=5"),
            ("cache-tag", "b,a"),
            ("etag", "\"v1\""),
            ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ];
        with_body(200, &headers, "{\"id\": 1}")
    })
    .await;
    let answer = fetch(&server).await.unwrap();
    let expected = FetchBody::Value { kind: Kind::Json, data: Bytes::from_static(b"{\"id\": 1}") };
    assert_eq!(answer.body, expected);
    let directives = CacheDirectives {
        no_store: false,
        ttl: Some(Duration::from_secs(60)),
        stale_while_revalidate: Some(Duration::from_secs(5)),
        stale_if_error: None,
        tags: Some(["a".to_owned(), "b".to_owned()].into()),
        validators: Validators {
            etag: Some("\"v1\"".into()),
            last_modified: Some("Sun, 06 Nov 1994 08:49:37 GMT".into()),
        },
    };
    assert_eq!(answer.directives, directives);
}

#[tokio::test]
async fn no_content_is_an_empty_value() {
    let server = Server::answering(|| answer(204, &[])).await;
    let expected = FetchBody::Value { kind: Kind::Bytes, data: Bytes::new() };
    assert_eq!(
        fetch(&server).await.unwrap(),
        FetchResponse { body: expected, directives: CacheDirectives::default() }
    );
}

#[tokio::test]
async fn not_found_and_gone_are_absent_values() {
    for respond in
        [|| with_body(404, &[("age", "4")], "no such user"), || answer(410, &[("age", "4")])]
    {
        let server = Server::answering(respond).await;
        let answer = fetch(&server).await.unwrap();
        assert_eq!(answer.body, FetchBody::NotFound);
        assert_eq!(
            answer.directives.ttl,
            Some(Duration::from_secs(5)),
            "the namespace's negative TTL less the age"
        );
    }
}

#[tokio::test]
async fn unchanged_value_is_revalidated() {
    let server = Server::http(Protocol::Http1, None, |request| {
        let is_current = request.headers.get("if-none-match").is_some_and(|etag| etag == "\"v1\"");
        if is_current {
            answer(304, &[("cache-control", "max-age=7"), ("etag", "\"v1\"")])
        } else {
            answer(500, &[])
        }
    })
    .await;
    let validators =
        Validators { etag: Some("\"v1\"".into()), last_modified: Some("yesterday".into()) };
    let origin = HttpOrigin::new(options(&server.url("/{key}"))).unwrap();
    let answer = origin
        .fetch(&FetchRequest { validators: validators.clone(), ..request("k") })
        .await
        .unwrap();
    assert_eq!(answer.body, FetchBody::NotModified);
    assert_eq!(
        answer.directives,
        CacheDirectives {
            ttl: Some(Duration::from_secs(7)),
            validators,
            ..CacheDirectives::default()
        }
    );
    assert_eq!(server.header("if-modified-since").unwrap(), "yesterday");
}

#[tokio::test]
async fn not_modified_needs_a_condition() {
    let server = Server::answering(|| answer(304, &[])).await;
    assert_eq!(fetch(&server).await.unwrap_err().kind, OriginErrorKind::Invalid);
}

#[tokio::test]
async fn cache_headers_can_be_ignored() {
    let server = Server::answering(|| {
        answer(
            200,
            &[
                ("cache-control", "no-store"),
                ("age", "5"),
                ("etag", "\"v\""),
                ("surrogate-key", "a"),
            ],
        )
    })
    .await;
    let options = HttpOptions { respect_cache_headers: false, ..options(&server.url("/{key}")) };
    let directives = fetch_with(options).await.unwrap().directives;
    let validators = Validators { etag: Some("\"v\"".into()), last_modified: None };
    assert_eq!(
        directives,
        CacheDirectives {
            tags: Some(["a".to_owned()].into()),
            validators,
            ..CacheDirectives::default()
        }
    );
}

#[tokio::test]
async fn response_with_unusable_tags_is_not_stored() {
    let server =
        Server::http(Protocol::Http1, None, |_| answer(200, &[("cache-tag", &"t".repeat(129))]))
            .await;
    for respect_cache_headers in [true, false] {
        let options = HttpOptions { respect_cache_headers, ..options(&server.url("/{key}")) };
        let directives = fetch_with(options).await.unwrap().directives;
        assert!(directives.no_store && directives.tags.is_none());
    }
}

#[tokio::test]
async fn request_has_only_the_expected_headers() {
    let server = Server::answering(|| answer(204, &[])).await;
    let mut headers = HeaderMap::new();
    headers.insert("x-api-key", HeaderValue::from_static("secret"));
    headers.insert("host", HeaderValue::from_static("users.internal"));
    let url = server.url("/v1/{key}?x={namespace}").replace("://", "://larder:pass%20word@");
    let options = HttpOptions { headers, ..options(&url) };
    let debug = format!("{options:?}");
    assert!(
        debug.contains("x-api-key") && !debug.contains("secret") && !debug.contains("pass"),
        "{debug}"
    );
    let origin = HttpOrigin::new(options).unwrap();
    assert!(origin.headers["x-api-key"].is_sensitive());
    origin.fetch(&request("../a")).await.unwrap_err();
    origin.fetch(&request("a b/\u{fc}")).await.unwrap();

    let seen = server.seen.lock();
    let [request] = seen.as_slice() else { panic!("{seen:?}") };
    assert_eq!(request.uri, "/v1/a%20b%2F%C3%BC?x=user");
    let headers =
        request.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
    let expected = [
        ("accept", "*/*"),
        ("accept-encoding", "identity"),
        ("authorization", "Basic bGFyZGVyOnBhc3Mgd29yZA=="),
        ("host", "users.internal"),
        ("user-agent", USER_AGENT),
        ("x-api-key", "secret"),
    ];
    assert_eq!(headers.collect::<BTreeMap<_, _>>(), BTreeMap::from(expected));
}

#[tokio::test]
async fn trace_context_is_propagated() {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::{propagation::TraceContextPropagator, trace::SdkTracerProvider};
    use tracing::Instrument as _;
    use tracing_subscriber::layer::SubscriberExt as _;

    global::set_text_map_propagator(TraceContextPropagator::new());
    let tracer = SdkTracerProvider::builder().build().tracer("test");
    let subscriber =
        tracing_subscriber::registry().with(tracing_opentelemetry::layer().with_tracer(tracer));
    let _guard = tracing::subscriber::set_default(subscriber);
    let server = Server::answering(|| answer(204, &[])).await;
    fetch(&server).instrument(tracing::info_span!("fetch")).await.unwrap();
    let traceparent = server.header("traceparent").unwrap();
    assert!(traceparent.starts_with("00-") && traceparent.ends_with("-01"), "{traceparent}");
}

#[test]
fn contradictory_options_are_rejected() {
    let with = |url: &str, name: &'static str| {
        let headers =
            [(HeaderName::from_static(name), HeaderValue::from_static("x"))].into_iter().collect();
        HttpOrigin::new(HttpOptions { headers, ..options(url) }).err()
    };
    assert_eq!(with("http://u:p@h/", "authorization"), Some(HttpBuildError::TwoCredentials));
    assert_eq!(with("http://h/", "range"), Some(HttpBuildError::ReservedHeader(header::RANGE)));
    assert_eq!(with("http://h/", "authorization"), None);
    for pem in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let options = HttpOptions { ca_pem: Some(pem.into()), ..options("https://h/") };
        assert!(matches!(HttpOrigin::new(options), Err(HttpBuildError::Ca(_))), "{pem}");
    }
}
