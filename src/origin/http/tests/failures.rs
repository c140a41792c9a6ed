//! Failed requests, malformed responses and limits.

use axum::body::Body;
use futures_util::{StreamExt as _, stream};

use super::{server::*, *};

async fn failure(server: &Server) -> Error {
    fetch(server).await.unwrap_err()
}

#[tokio::test]
async fn stale_values_are_for_the_configured_statuses() {
    for (status, by_default, configured) in [
        (302, false, false),
        (401, false, false),
        (403, false, false),
        (429, false, true),
        (451, false, false),
        (500, true, false),
        (501, false, false),
        (502, true, false),
        (503, true, false),
        (504, true, false),
    ] {
        let server = Server::http(Protocol::Http1, None, move |_| answer(status, &[])).await;
        let options = options(&server.url("/{key}"));
        let error = fetch_with(options.clone()).await.unwrap_err();
        assert_eq!(error.allows_stale, by_default, "{status}");
        let only_429 = HttpOptions { stale_if_error_statuses: vec![429], ..options };
        assert_eq!(fetch_with(only_429).await.unwrap_err().allows_stale, configured, "{status}");
    }
}

#[tokio::test]
async fn number_of_header_lines_is_limited_and_named() {
    // The server adds two lines.
    for (lines, cause) in [
        (200, None),
        (998, None),
        (1000, Some("the response has too many headers, the limit is 1000 lines or 400 KiB")),
    ] {
        let server = Server::http(Protocol::Http1, None, move |_| {
            let headers = vec![("x-line", "v"); lines];
            with_body(200, &headers, "value")
        })
        .await;
        let error = fetch(&server).await.err();
        assert_eq!(error.as_ref().map(|error| error.cause.as_str()), cause, "{lines}");
        assert!(error.is_none_or(|error| error.kind == OriginErrorKind::Invalid));
    }
}

#[tokio::test]
async fn unexpected_status_is_the_cause() {
    for (status, kind) in [
        (500, OriginErrorKind::Failed),
        (429, OriginErrorKind::Failed),
        (403, OriginErrorKind::Refused),
        (302, OriginErrorKind::Refused),
        (206, OriginErrorKind::Invalid),
    ] {
        let headers = [("location", "/elsewhere"), ("www-authenticate", "secret")];
        let server =
            Server::http(Protocol::Http1, None, move |_| with_body(status, &headers, "secret"))
                .await;
        let allows_stale = status == 500;
        let cause = format_args!("status {status}");
        let expected = Error { allows_stale, ..Error::new(kind, cause) };
        assert_eq!(failure(&server).await, expected);
        assert_eq!(server.seen.lock().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn retry_after_is_read() {
    let server = Server::answering(|| answer(503, &[("retry-after", "3")])).await;
    assert_eq!(failure(&server).await.retry_after, Some(Duration::from_secs(3)));
}

#[tokio::test]
async fn values_up_to_the_limit_are_accepted() {
    let chunks = |size: usize| {
        let chunk = move |_| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; size / 10]));
        Body::from_stream(stream::iter(0..10).map(chunk))
    };
    let bodies: [fn(usize) -> Body; 2] = [|size| Body::from(vec![b'x'; size]), chunks];
    for body in bodies {
        for (size, fits) in [(1000, true), (1010, false)] {
            let server =
                Server::http(Protocol::Http1, None, move |_| with_body(200, &[], body(size))).await;
            match fetch(&server).await {
                Ok(FetchResponse { body: FetchBody::Value { data, .. }, .. }) => {
                    assert!(fits && data.len() == size)
                }
                other => {
                    assert_eq!((other.unwrap_err().kind, fits), (OriginErrorKind::TooLarge, false))
                }
            }
        }
    }
}

#[tokio::test]
async fn endless_body_is_too_large() {
    let server = Server::answering(|| {
        let endless = stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(b"more")));
        with_body(200, &[], Body::from_stream(endless))
    })
    .await;
    assert_eq!(failure(&server).await.kind, OriginErrorKind::TooLarge);
}

#[tokio::test]
async fn announced_oversize_is_rejected_without_reading() {
    let server =
        Server::sending(b"HTTP/1.1 200 OK\r\ncontent-length: 9223372036854775807\r\n\r\nx").await;
    assert_eq!(failure(&server).await.kind, OriginErrorKind::TooLarge);
}

#[tokio::test]
async fn incomplete_response_is_a_failure() {
    for answer in [
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf".as_slice(),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
    ] {
        let error = failure(&Server::sending(answer).await).await;
        assert_eq!(error.kind, OriginErrorKind::Unreachable);
        assert!(error.cause.starts_with("the response is incomplete"), "{error}");
    }
}

#[tokio::test]
async fn response_ends_at_its_content_length() {
    for answer in [
        b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhalfHTTP/1.1 200 OK\r\n\r\nx".as_slice(),
        b"HTTP/1.0 200 OK\r\n\r\nhalf",
    ] {
        let expected = FetchBody::Value { kind: Kind::Bytes, data: Bytes::from_static(b"half") };
        assert_eq!(fetch(&Server::sending(answer).await).await.unwrap().body, expected);
    }
}

#[tokio::test]
async fn other_protocols_are_invalid() {
    for answer in [b"SSH-2.0-OpenSSH_9.9\r\n\r\n".as_slice(), b"HTTP/1.1 2x0 OK\r\n\r\n"] {
        assert_eq!(
            failure(&Server::sending(answer).await).await,
            Error::new(OriginErrorKind::Invalid, "the response is not HTTP")
        );
    }
    let nothing = failure(&Server::sending(b"").await).await;
    assert_eq!(nothing, Error::new(OriginErrorKind::Unreachable, "the connection was closed"));
}

#[tokio::test]
async fn mislabelled_values_are_invalid() {
    for (name, value) in [("content-type", "application/json"), ("content-encoding", "gzip")] {
        let server = Server::http(Protocol::Http1, None, move |_| {
            with_body(200, &[(name, value)], "{secret")
        })
        .await;
        let error = failure(&server).await;
        assert_eq!(error.kind, OriginErrorKind::Invalid);
        assert!(!error.cause.contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn key_without_a_url_is_a_bad_key() {
    let origin = HttpOrigin::new(options("http://127.0.0.1:1/{key}?x={params.x}")).unwrap();
    for (key, field) in [("..", "key"), ("k", "params.x")] {
        let error = origin.fetch(&request(key)).await.unwrap_err();
        let sentence = error.to_string();
        let OriginErrorKind::BadKey(violation) = error.kind else { panic!("{key}") };
        assert_eq!(violation.field(), field);
        // The text in Warm's results and in the log.
        assert_eq!(sentence, format!("the origin has no URL for the key: {violation}"));
    }
}

#[tokio::test]
async fn deadline_applies_to_headers_and_body() {
    let hanging = Server::silent().await;
    let dripping = Server::answering(|| {
        let drip = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"x"))])
            .chain(stream::pending());
        with_body(200, &[], Body::from_stream(drip))
    })
    .await;
    for (server, cause) in [
        (hanging, "no response before the deadline"),
        (dripping, "no complete response before the deadline"),
    ] {
        let origin = HttpOrigin::new(options(&server.url("/{key}"))).unwrap();
        let started = Instant::now();
        // Long enough for the headers, which must arrive in time.
        let deadline = started + 5 * SHORT;
        let error = origin.fetch(&FetchRequest { deadline, ..request("k") }).await.unwrap_err();
        assert_eq!(error, Error::new(OriginErrorKind::Timeout, cause));
        assert!(started.elapsed() < LONG / 2);
    }
}
