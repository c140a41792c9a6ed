//! Truncated and invalid HTTP responses.

use larder::pb::v1::Outcome;

use crate::support::{
    client::{fetch, get},
    origin::{Reply, numbered},
    status::reason,
};

fn raw(head: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{head}\r\ncontent-type: text/plain\r\n\r\n{body}").into_bytes()
}

with_origin!(
    incomplete_response_is_an_error,
    origin: "retries = 0\ntimeout = '2s'\nerror_backoff = '1ms'\nbreaker_threshold = 0",
    |env, origin| {
        let chunked = |body| raw("transfer-encoding: chunked", body);
        let many_headers: String =
            (0..5_000).map(|number| format!("x-{number}: {number}\r\n")).collect();
        for (name, reply, expected) in [
            ("truncated body", Reply::Raw(raw("content-length: 100", "abc")), "ORIGIN_UNREACHABLE"),
            ("missing body", Reply::Raw(raw("content-length: 100", "")), "ORIGIN_UNREACHABLE"),
            ("truncated chunk", Reply::Raw(chunked("5\r\nab")), "ORIGIN_UNREACHABLE"),
            ("missing last chunk", Reply::Raw(chunked("2\r\nab\r\n")), "ORIGIN_UNREACHABLE"),
            (
                "chunk without a size",
                Reply::Raw(chunked("zz\r\nab\r\n0\r\n\r\n")),
                "ORIGIN_UNREACHABLE",
            ),
            (
                "truncated head",
                Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-le".to_vec()),
                "ORIGIN_UNREACHABLE",
            ),
            ("stalled body", Reply::Stall(raw("content-length: 100", "abc")), "ORIGIN_TIMEOUT"),
            ("stalled chunks", Reply::Stall(chunked("2\r\nab\r\n")), "ORIGIN_TIMEOUT"),
            ("stalled head", Reply::Stall(b"HTTP/1.1 200 OK\r\n".to_vec()), "ORIGIN_TIMEOUT"),
            ("garbage", Reply::Raw(b"\x16\x03\x01\x02garbage\r\n\r\n".to_vec()), "ORIGIN_INVALID"),
            (
                "two lengths",
                Reply::Raw(raw("content-length: 3\r\ncontent-length: 5", "abcde")),
                "ORIGIN_INVALID",
            ),
            ("invalid length", Reply::Raw(raw("content-length: -3", "abc")), "ORIGIN_INVALID"),
            ("NUL in a header", Reply::Raw(raw("x-\0: 1", "abc")), "ORIGIN_INVALID"),
            (
                "too many headers",
                Reply::Raw(raw(&format!("{many_headers}content-length: 3"), "abc")),
                "ORIGIN_INVALID",
            ),
            ("empty response", Reply::Raw(Vec::new()), "ORIGIN_UNREACHABLE"),
        ] {
            origin.always(reply);
            let error = env.cache.get_or_fetch(fetch(name, 20_000)).await.unwrap_err();
            assert_eq!(reason(&error), expected, "{name}: {error:?}");
            assert_eq!(env.cache.get(get(name)).await.unwrap().outcome(), Outcome::Miss, "{name}");
            // The remaining bytes are not used as the response to the next request.
            origin.answer(numbered);
            let next = env.cache.fetched(&format!("next-{}", origin.calls())).await.0.unwrap();
            assert!(next.starts_with("/v/next-"), "{name}: {next}");
        }
    }
);

with_origin!(bytes_after_the_body_are_discarded, origin: "retries = 0", |env, origin| {
    let smuggled =
        "abcHTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-type: text/plain\r\n\r\nevil";
    for reply in [
        Reply::Raw(raw("content-length: 3", smuggled)),
        Reply::Stall(raw("content-length: 3", smuggled)),
    ] {
        origin.always(reply);
        let key = format!("k{}", origin.calls());
        assert_eq!(env.cache.fetched(&key).await.0.as_deref(), Some("abc"));
        origin.answer(numbered);
        let (next, _) = env.cache.fetched(&format!("next-{key}")).await;
        assert_eq!(next, Some(format!("/v/next-{key}#1")));
    }
});

with_origin!(body_without_a_length_ends_with_the_connection, |env, origin| {
    origin.always(Reply::Raw(raw("connection: close", "all of it")));
    assert_eq!(env.cache.fetched("k").await.0.as_deref(), Some("all of it"));
});
