//! Kinds of values and tags of HTTP responses.

use larder::pb::v1::{FillResult, Outcome, value::Kind};
use tonic::Code;

use crate::support::{
    client::{Fetched as _, fetch, get},
    origin::{ok, send, status},
    status::expect_error,
};

with_origin!(content_type_determines_the_kind, |env, origin| {
    let text = |text: &str| Kind::Text(text.to_owned().into());
    let json = |text: &str| Kind::Json(text.to_owned().into());
    for (number, (content_type, body, expected)) in [
        ("application/json", b"{\"a\": [1, \"\xc3\xbc\"]}".as_slice(), json("{\"a\": [1, \"ü\"]}")),
        ("application/problem+json; charset=utf-8", b"null", json("null")),
        ("application/json", b"\xef\xbb\xbf{}", json("{}")),
        ("text/plain", "ü".as_bytes(), text("ü")),
        ("text/html; charset=UTF-8", b"", text("")),
        ("text/plain", b"\xff", Kind::Data(b"\xff".as_slice().into())),
        ("text/plain; charset=iso-8859-1", b"a", Kind::Data(b"a".as_slice().into())),
        (
            "application/octet-stream",
            b"\0\x01\r\n\r\n",
            Kind::Data(b"\0\x01\r\n\r\n".as_slice().into()),
        ),
        ("image/png", b"", Kind::Data(b"".as_slice().into())),
    ]
    .into_iter()
    .enumerate()
    {
        origin.always(ok(body, &[("content-type", content_type)]));
        let key = format!("k{number}");
        let fetched = env
            .cache
            .get_or_fetch(fetch(&key, 20_000))
            .await
            .unwrap()
            .expect_found()
            .value
            .unwrap();
        assert_eq!(fetched.kind, Some(expected), "{content_type}");
        assert_eq!(env.cache.get(get(&key)).await.unwrap().value, Some(fetched), "{content_type}");
    }
});

with_origin!(no_content_is_an_empty_value, |env, origin| {
    origin.always(status(204));
    let found = env.cache.get_or_fetch(fetch("k", 20_000)).await.unwrap().expect_found();
    assert_eq!(found.outcome(), Outcome::Hit);
    assert_eq!(found.value.unwrap().kind, Some(Kind::Data(b"".as_slice().into())));
});

with_origin!(invalid_body_is_an_error, |env, origin| {
    for (key, headers, body) in [
        ("broken", [("content-type", "application/json")], b"{\"secret\": ".as_slice()),
        ("two", [("content-type", "application/json")], b"1 2"),
        ("empty", [("content-type", "application/json")], b""),
        ("latin", [("content-type", "application/json")], b"\"\xff\""),
        ("compressed", [("content-encoding", "gzip")], b"\x1f\x8b"),
    ] {
        origin.always(ok(body, &headers));
        let error = env.cache.get_or_fetch(fetch(key, 20_000)).await.unwrap_err();
        // Errors do not quote the body, which may be confidential.
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
        expect_error::<()>(Err(error), Code::Unavailable, "ORIGIN_INVALID");
        assert_eq!(env.cache.get(get(key)).await.unwrap().outcome(), Outcome::Miss, "{key}");
    }
    assert_eq!(origin.calls(), 5, "invalid responses are not retried");
});

with_origin!(number_of_header_lines_and_depth_of_json_are_limited, |env, origin| {
    let header_lines = |lines| ok("v", &vec![("x-line", "v"); lines]);
    let nested = |depth| {
        let body = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        ok(body, &[("content-type", "application/json")])
    };
    for (key, reply, cause) in [
        ("300 lines", header_lines(300), None),
        ("1001 lines", header_lines(1001), Some("the limit is 1000 lines")),
        ("128 levels", nested(128), None),
        ("129 levels", nested(129), Some("the limit is 128")),
    ] {
        origin.always(reply);
        let answer = env.cache.get_or_fetch(fetch(key, 20_000)).await;
        let Some(cause) = cause else {
            assert!(answer.is_ok(), "{key}: {answer:?}");
            continue;
        };
        let details = expect_error(answer, Code::Unavailable, "ORIGIN_INVALID");
        let info = details.error_info().unwrap();
        assert!(info.metadata["cause"].contains(cause), "{key}: {info:?}");
    }
});

with_origin!(tags_are_read_from_headers, |env, origin| {
    for (key, headers, tags) in [
        ("none", [].as_slice(), [].as_slice()),
        ("commas", &[("cache-tag", "b, a b,,c"), ("cache-tag", "a")], &["a", "a b", "b", "c"]),
        ("spaces", &[("surrogate-key", "b a,b  c")], &["a,b", "b", "c"]),
        ("both", &[("surrogate-key", "b a"), ("cache-tag", "c,ü,b")], &["a", "b", "c", "ü"]),
    ] {
        origin.always(ok("v", headers));
        let (_, answer) = env.cache.fetched(key).await;
        assert_eq!(answer.expect_found().entry.unwrap().tags, tags, "{key}");
        assert_eq!(env.cache.get(get(key)).await.unwrap().entry.unwrap().tags, tags, "{key}");
    }
});

with_origin!(response_with_invalid_tags_is_not_stored, |env, origin| {
    let many = (0..33).map(|number| number.to_string()).collect::<Vec<_>>().join(",");
    for (key, tags) in [("many", many), ("long", "x".repeat(129))] {
        origin.always(send(200, "v", &[("cache-tag", &tags)]));
        let (value, answer) = env.cache.fetched(key).await;
        assert_eq!(
            (value.as_deref(), answer.fill()),
            (Some("v"), FillResult::Uncacheable),
            "{key}"
        );
    }
});
