//! Redirects: which are followed, and how they limit the freshness of the answer.

use super::{server::*, *};

#[tokio::test]
async fn redirects_are_followed_on_the_same_server_up_to_a_limit() {
    let server = Server::http(Protocol::Http1, None, |request| match request.uri.path() {
        "/k" => answer(307, &[("location", "/2")]),
        "/2" => answer(301, &[("location", "/3")]),
        "/3" => with_body(200, &[], "there"),
        _ => answer(302, &[("location", "http://localhost:1/")]),
    })
    .await;
    let limited =
        |path: &str, max_redirects| HttpOptions { max_redirects, ..options(&server.url(path)) };
    let body = fetch_with(limited("/{key}", 2)).await.unwrap().body;
    assert_eq!(body, FetchBody::Value { kind: Kind::Bytes, data: Bytes::from_static(b"there") });
    assert_eq!(server.header("referer"), None);
    for (path, max_redirects, status) in
        [("/{key}", 0, 307), ("/{key}", 1, 301), ("/away/{key}", 2, 302)]
    {
        let error = fetch_with(limited(path, max_redirects)).await.unwrap_err();
        assert_eq!(error, Error::new(OriginErrorKind::Refused, format_args!("status {status}")));
    }
}

#[tokio::test]
async fn redirected_requests_have_the_same_headers() {
    let server = Server::http(Protocol::Http1, None, |request| match request.uri.path() {
        "/k" => answer(302, &[("location", "/2")]),
        _ => answer(204, &[]),
    })
    .await;
    let headers = [(header::COOKIE, HeaderValue::from_static("a=b"))].into_iter().collect();
    let url = server.url("/{key}").replace("http://", "http://user:secret@");
    fetch_with(HttpOptions { headers, max_redirects: 1, ..options(&url) }).await.unwrap();
    let seen = server.seen.lock();
    let of = |name: &str| seen.iter().map(|parts| parts.headers[name].clone()).collect::<Vec<_>>();
    assert_eq!(of("cookie"), ["a=b"; 2]);
    assert_eq!(of("authorization"), ["Basic dXNlcjpzZWNyZXQ="; 2]);
}

type Lines = &'static [(&'static str, &'static str)];

/// Answers through two redirects with their own headers, the first without any.
async fn redirecting(redirect: Lines, response: Lines) -> Server {
    Server::http(Protocol::Http1, None, move |request| match request.uri.path() {
        "/k" => answer(302, &[("location", "/2")]),
        "/2" => answer(307, &[&[("location", "/3")], redirect].concat()),
        _ => with_body(200, response, "v"),
    })
    .await
}

#[tokio::test]
async fn redirects_limit_the_freshness() {
    let secs = |seconds| Some(Duration::from_secs(seconds));
    let cases: [(Lines, Lines, bool, Option<Duration>); 12] = [
        (&[], &[], false, None),
        (&[], &[("cache-control", "max-age=60")], false, secs(60)),
        (&[("cache-control", "max-age=7")], &[("cache-control", "max-age=60")], false, secs(7)),
        (&[("cache-control", "max-age=60")], &[("cache-control", "max-age=7")], false, secs(7)),
        (&[("cache-control", "s-maxage=7")], &[], false, secs(7)),
        (&[("cache-control", "max-age=600")], &[], false, secs(90)),
        (
            &[("cache-control", "max-age=60"), ("age", "50")],
            &[("cache-control", "max-age=60"), ("age", "20")],
            false,
            secs(10),
        ),
        (&[("cache-control", "no-cache")], &[("cache-control", "max-age=60")], false, secs(0)),
        (&[("expires", "0")], &[("cache-control", "max-age=60")], false, secs(0)),
        (&[("cache-control", "no-store")], &[("cache-control", "max-age=60")], true, None),
        (&[("cache-control", "private")], &[("cache-control", "max-age=60")], true, None),
        (&[("vary", "*")], &[("cache-control", "max-age=60")], true, None),
    ];
    for (redirect, response, no_store, ttl) in cases {
        let server = redirecting(redirect, response).await;
        let options = HttpOptions { max_redirects: 2, ..options(&server.url("/{key}")) };
        let directives = fetch_with(options.clone()).await.unwrap().directives;
        assert_eq!((directives.no_store, directives.ttl), (no_store, ttl), "{redirect:?}");
        let ignoring = HttpOptions { respect_cache_headers: false, ..options };
        let directives = fetch_with(ignoring).await.unwrap().directives;
        assert_eq!((directives.no_store, directives.ttl), (false, None), "{redirect:?}");
    }
}

#[tokio::test]
async fn redirects_limit_the_stale_windows() {
    let redirect = &[("cache-control", "must-revalidate")];
    let server = redirecting(redirect, &[("cache-control", "stale-if-error=60")]).await;
    let options = HttpOptions { max_redirects: 2, ..options(&server.url("/{key}")) };
    let directives = fetch_with(options).await.unwrap().directives;
    let windows = (directives.stale_while_revalidate, directives.stale_if_error);
    assert_eq!(windows, (Some(Duration::ZERO), Some(Duration::ZERO)));
}
