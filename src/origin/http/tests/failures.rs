use axum::body::Body;
use futures_util::{StreamExt as _, stream};

use super::{server::*, *};

async fn failure(server: &Server) -> Error {
    ask(server).await.unwrap_err()
}

#[tokio::test]
async fn a_status_that_is_no_answer_is_named() {
    for (status, kind) in [
        (500, ErrorKind::Failed),
        (429, ErrorKind::Failed),
        (403, ErrorKind::Refused),
        (302, ErrorKind::Refused),
        (206, ErrorKind::Invalid),
    ] {
        let headers = [("location", "/elsewhere"), ("www-authenticate", "secret")];
        let server =
            Server::http(Speaks::Http1, None, move |_| with_body(status, &headers, "secret")).await;
        assert_eq!(failure(&server).await, Error::new(kind, format_args!("status {status}")));
        assert_eq!(server.seen.lock().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn an_origin_in_trouble_says_when_to_come_back() {
    let server = Server::saying(|| answer(503, &[("retry-after", "3")])).await;
    assert_eq!(failure(&server).await.retry_after, Some(Duration::from_secs(3)));
}

#[tokio::test]
async fn redirects_are_followed_only_where_they_stay_and_only_so_often() {
    let server = Server::http(Speaks::Http1, None, |request| match request.uri.path() {
        "/k" => answer(307, &[("location", "/2")]),
        "/2" => answer(301, &[("location", "/3")]),
        "/3" => with_body(200, &[], "there"),
        _ => answer(302, &[("location", "http://localhost:1/")]),
    })
    .await;
    let limited =
        |path: &str, max_redirects| HttpOptions { max_redirects, ..options(&server.url(path)) };
    let there = ask_with(limited("/{key}", 2)).await.unwrap().content;
    assert_eq!(there, FetchBody::Value { kind: Kind::Bytes, data: Bytes::from_static(b"there") });
    assert_eq!(server.header("referer"), None);
    for (path, max_redirects, status) in
        [("/{key}", 0, 307), ("/{key}", 1, 301), ("/away/{key}", 2, 302)]
    {
        let error = ask_with(limited(path, max_redirects)).await.unwrap_err();
        assert_eq!(error, Error::new(ErrorKind::Refused, format_args!("status {status}")));
    }
}

#[tokio::test]
async fn a_value_may_be_as_large_as_allowed_and_no_larger() {
    let chunks = |size: usize| {
        let chunk = move |_| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; size / 10]));
        Body::from_stream(stream::iter(0..10).map(chunk))
    };
    let bodies: [fn(usize) -> Body; 2] = [|size| Body::from(vec![b'x'; size]), chunks];
    for body in bodies {
        for (size, fits) in [(1000, true), (1010, false)] {
            let server =
                Server::http(Speaks::Http1, None, move |_| with_body(200, &[], body(size))).await;
            match ask(&server).await {
                Ok(FetchResponse { content: FetchBody::Value { data, .. }, .. }) => {
                    assert!(fits && data.len() == size)
                }
                other => assert_eq!((other.unwrap_err().kind, fits), (ErrorKind::TooLarge, false)),
            }
        }
    }
}

#[tokio::test]
async fn a_body_without_end_is_cut_off() {
    let server = Server::saying(|| {
        let endless = stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(b"more")));
        with_body(200, &[], Body::from_stream(endless))
    })
    .await;
    assert_eq!(failure(&server).await.kind, ErrorKind::TooLarge);
}

#[tokio::test]
async fn what_claims_to_be_too_large_is_not_read() {
    let server =
        Server::lying(b"HTTP/1.1 200 OK\r\ncontent-length: 9223372036854775807\r\n\r\nx").await;
    assert_eq!(failure(&server).await.kind, ErrorKind::TooLarge);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_none() {
    for answer in [
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf".as_slice(),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
    ] {
        let error = failure(&Server::lying(answer).await).await;
        assert_eq!(error.kind, ErrorKind::Unreachable);
        assert!(error.cause.starts_with("the answer broke off"), "{error}");
    }
}

#[tokio::test]
async fn an_answer_ends_where_it_says() {
    for answer in [
        b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhalfHTTP/1.1 200 OK\r\n\r\nx".as_slice(),
        b"HTTP/1.0 200 OK\r\n\r\nhalf",
    ] {
        let content = FetchBody::Value { kind: Kind::Bytes, data: Bytes::from_static(b"half") };
        assert_eq!(ask(&Server::lying(answer).await).await.unwrap().content, content);
    }
}

#[tokio::test]
async fn other_protocols_are_not_understood() {
    for answer in [b"SSH-2.0-OpenSSH_9.9\r\n\r\n".as_slice(), b"HTTP/1.1 2x0 OK\r\n\r\n"] {
        assert_eq!(
            failure(&Server::lying(answer).await).await,
            Error::new(ErrorKind::Invalid, "its answer cannot be read as HTTP")
        );
    }
    let nothing = failure(&Server::lying(b"").await).await;
    assert_eq!(nothing, Error::new(ErrorKind::Unreachable, "the connection was closed"));
}

#[tokio::test]
async fn what_is_not_what_it_claims_to_be_cannot_be_used() {
    for (name, value) in [("content-type", "application/json"), ("content-encoding", "gzip")] {
        let server =
            Server::http(Speaks::Http1, None, move |_| with_body(200, &[(name, value)], "{secret"))
                .await;
        let error = failure(&server).await;
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(!error.cause.contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn a_key_that_has_no_url_is_not_asked_for() {
    let origin = HttpOrigin::new(options("http://127.0.0.1:1/{key}?x={params.x}")).unwrap();
    for (key, field) in [("..", "key"), ("k", "params.x")] {
        let ErrorKind::BadKey(violation) = origin.fetch(&order(key)).await.unwrap_err().kind else {
            panic!("{key}")
        };
        assert_eq!(violation.field(), field);
    }
}

#[tokio::test]
async fn nothing_is_waited_for_beyond_the_deadline() {
    let hanging = Server::silent().await;
    let dripping = Server::saying(|| {
        let drip = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"x"))])
            .chain(stream::pending());
        with_body(200, &[], Body::from_stream(drip))
    })
    .await;
    for (server, cause) in
        [(hanging, "nothing came back"), (dripping, "its answer was not complete")]
    {
        let origin = HttpOrigin::new(options(&server.url("/{key}"))).unwrap();
        let started = Instant::now();
        // The headers must be there in time, and the body must not be.
        let deadline = started + 5 * IMPATIENCE;
        let error = origin.fetch(&FetchRequest { deadline, ..order("k") }).await.unwrap_err();
        assert_eq!(error, Error::new(ErrorKind::Timeout, cause));
        assert!(started.elapsed() < PATIENCE / 2);
    }
}
