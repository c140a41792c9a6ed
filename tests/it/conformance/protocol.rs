//! gRPC over HTTP/2, by the letter of its specification, with a client that can break it.

use tonic::Code;

use crate::support::{
    client::get,
    raw_call::{GET, GRPC, message, send},
    status::{expect_error, expect_over_limit, expect_violation},
};

fn with(headers: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    [GRPC.as_slice(), headers].concat()
}

on_both_stores!(a_request_of_a_browser_is_no_call, |env| {
    let address = env.larder.address();
    env.cache.put("k", "v").await;
    for content_type in ["text/html", "text/plain", "application/grpc-web", "application/json"] {
        let headers = [("content-type", content_type), ("te", "trailers")];
        let answer = send(address, "POST", GET, &headers, message(&get("k"))).await;
        assert_eq!(answer.head.status(), 415, "{content_type}");
        assert!(!answer.head.headers().contains_key("grpc-status"), "{:?}", answer.head);
        assert!(String::from_utf8_lossy(&answer.body).contains("gRPC"));
    }
    let answer = send(address, "POST", GET, &[("te", "trailers")], message(&get("k"))).await;
    assert_eq!(answer.head.status(), 415);
    for method in ["GET", "PUT", "OPTIONS", "DELETE"] {
        let answer = send(address, method, GET, &GRPC, message(&get("k"))).await;
        assert_eq!(answer.head.status(), 405, "{method}");
        assert_eq!(answer.head.headers()["allow"], "POST", "{method}");
    }
    for content_type in ["application/grpc", "application/grpc+proto", "application/grpc;x=y"] {
        // The specification asks only clients for `te`.
        let headers = [("content-type", content_type)];
        let answer = send(address, "POST", GET, &headers, message(&get("k"))).await;
        assert_eq!(answer.head.status(), 200, "{content_type}");
        assert_eq!(answer.head.headers()["content-type"], "application/grpc");
        assert_eq!(answer.status().code(), Code::Ok, "{content_type}");
    }
});

on_both_stores!(a_malformed_timeout_is_refused, |env| {
    for timeout in ["abc", "", "5", "1s", "-1S", "123456789S", "1.5S", "1 S"] {
        let headers = [GRPC.as_slice(), &[("grpc-timeout", timeout)]].concat();
        let answer = send(env.larder.address(), "POST", GET, &headers, message(&get("k"))).await;
        expect_violation::<()>(Err(answer.status()), "grpc-timeout");
    }
    for (timeout, code) in
        [("0S", Code::DeadlineExceeded), ("99999999H", Code::Ok), ("30S", Code::Ok)]
    {
        let headers = with(&[("grpc-timeout", timeout)]);
        let answer = send(env.larder.address(), "POST", GET, &headers, message(&get("k"))).await;
        assert_eq!(answer.status().code(), code, "{timeout}");
    }
});

on_both_stores!(too_much_metadata_exhausts_a_resource, |env| {
    for size in [17_000, 40_000] {
        let long = "x".repeat(size);
        let headers = [GRPC.as_slice(), &[("x-long", long.as_str())]].concat();
        let answer = send(env.larder.address(), "POST", GET, &headers, message(&get("k"))).await;
        let refused: Result<(), _> = Err(answer.status());
        let limit = 16 * 1024;
        expect_over_limit(
            refused,
            Code::ResourceExhausted,
            "METADATA_TOO_LARGE",
            "metadata",
            limit,
        );
    }
    let long = "x".repeat(100_000);
    let headers = [GRPC.as_slice(), &[("x-long", long.as_str())]].concat();
    let answer = send(env.larder.address(), "POST", GET, &headers, message(&get("k"))).await;
    assert_eq!(answer.head.status(), 431);
    assert_eq!(env.larder.client().await.read("k").await, None);
});

// The interop cases `unimplemented_method` and `unimplemented_service`.
on_both_stores!(unknown_methods_and_services_are_unimplemented, |env| {
    for path in [
        "/larder.v1.CacheService/Nope",
        "/larder.v1.NoService/Get",
        "/grpc.health.v1.Health/Nope",
        "/grpc.testing.TestService/UnimplementedCall",
        "/",
        "/larder.v1.CacheService/",
        "/larder.v1.CacheService/get",
    ] {
        let answer = send(env.larder.address(), "POST", path, &GRPC, message(&get("k"))).await;
        assert_eq!(answer.head.status(), 200, "{path}");
        expect_error::<()>(Err(answer.status()), Code::Unimplemented, "UNIMPLEMENTED");
    }
});

// The interop cases `custom_metadata`, `status_code_and_message` and `special_status_message`.
on_both_stores!(metadata_is_ignored_and_messages_are_encoded, |env| {
    let metadata = with(&[
        ("x-grpc-test-echo-initial", "test_initial_metadata_value"),
        ("x-grpc-test-echo-trailing-bin", "q6ur"),
        ("x-padded-bin", "q6s="),
        ("x-padded-bin", "q6urqw,q6s="),
        ("x-not-base64-bin", "!!!"),
        // Not ASCII, but valid in HTTP.
        ("x-text", " \u{e9}\t "),
        ("grpc-unknown", "x"),
        ("user-agent", "grpc-c++/1.60.0"),
    ]);
    let answer = send(env.larder.address(), "POST", GET, &metadata, message(&get("k"))).await;
    assert_eq!(answer.status().code(), Code::Ok);
    // A message beyond ASCII is percent-encoded, and arrives as it was.
    let special = with(&[("grpc-timeout", "☺ 50% 😈")]);
    let answer = send(env.larder.address(), "POST", GET, &special, message(&get("k"))).await;
    let encoded = answer.head.headers()["grpc-message"].to_str().unwrap();
    for character in ["%E2%98%BA", "%25", "%F0%9F%98%88"] {
        assert!(encoded.contains(character), "{encoded}");
    }
    assert!(answer.status().message().contains("☺ 50% 😈"), "{:?}", answer.status());
});
