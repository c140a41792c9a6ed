//! Limits of whole messages and headers.

use larder::pb::v1::{
    BatchSetRequest, FetchStreamFill, fetch_stream_request::Message as ClientMessage,
};
use tonic::{Code, Request, codec::CompressionEncoding, metadata::MetadataValue};

use crate::support::{
    client::{Fetched as _, data, fetch, get, set, text},
    status::{expect_error, expect_over_limit},
    stream::Stream,
};

on_both_stores!(an_oversized_message_is_refused, |env| {
    let items =
        (0..5).map(|number| set(&format!("k{number}"), data(vec![0; 1024 * 1024]))).collect();
    let refused = env.cache.batch_set(BatchSetRequest { items }).await;
    let details = expect_error(refused, Code::ResourceExhausted, "MESSAGE_TOO_LARGE");
    let limit = details.error_info().unwrap().metadata.get("limit").cloned();
    assert_eq!(limit.as_deref(), Some("4194304"));
    assert_eq!(env.cache.get(get("k0")).await.unwrap().value, None);
});

on_both_stores!(
    the_message_limit_is_configurable,
    env: [
        ("LARDER_LIMITS__MAX_REQUEST_BYTES", "128KiB"),
        ("LARDER_DEFAULTS__MAX_VALUE_BYTES", "64KiB"),
    ],
    |env| {
        env.cache.set(set("k", data(vec![0; 60 * 1024]))).await.unwrap();
        let refused = env.cache.set(set("k", data(vec![0; 140 * 1024]))).await;
        expect_error(refused, Code::ResourceExhausted, "MESSAGE_TOO_LARGE");
    }
);

on_both_stores!(
    stream_messages_have_the_same_limit,
    env: [("LARDER_DEFAULTS__LEASE_TTL", "50s")],
    |env| {
        let fill = || {
            ClientMessage::Fill(FetchStreamFill {
                value: Some(data(vec![0; 5 * 1024 * 1024])),
                ..Default::default()
            })
        };
        let refused = match Stream::start(&env.cache, fill()).await {
            Ok(mut stream) => stream.next().await,
            Err(status) => Err(status),
        };
        expect_over_limit(
            refused,
            Code::ResourceExhausted,
            "MESSAGE_TOO_LARGE",
            "request",
            4 * 1024 * 1024,
        );
        let mut stream = Stream::lease(&env.cache, "k").await;
        stream.send(fill()).await;
        let refused = stream.next().await;
        expect_over_limit(
            refused,
            Code::ResourceExhausted,
            "MESSAGE_TOO_LARGE",
            "request",
            4 * 1024 * 1024,
        );
        // The lease was released.
        env.cache.get_or_fetch(fetch("k", 20_000)).await.unwrap().expect_lease();
    }
);

on_both_stores!(oversized_headers_are_refused, |env| {
    env.cache.put("k", "v").await;
    let mut request = Request::new(get("k"));
    let long = "x".repeat(20 * 1024);
    request.metadata_mut().insert("x-long", MetadataValue::try_from(long.as_str()).unwrap());
    env.cache.get(request).await.unwrap_err();
    // A new connection is served.
    assert_eq!(env.larder.client().await.read("k").await.as_deref(), Some("v"));
});

on_both_stores!(an_unsupported_compression_is_refused, |env| {
    env.cache.put("k", "v").await;
    let compressed = |encoding| {
        let mut request = Request::new(get("k"));
        request.metadata_mut().insert("grpc-encoding", MetadataValue::from_static(encoding));
        request
    };
    let Err(refused) = env.cache.get(compressed("snappy")).await else {
        panic!("the call was answered")
    };
    let accepted = refused.metadata().get("grpc-accept-encoding").unwrap();
    assert_eq!(accepted.to_str().unwrap(), "gzip,zstd,identity");
    expect_error::<()>(Err(refused), Code::Unimplemented, "UNIMPLEMENTED");
    let answer = env.cache.get(compressed("identity")).await.unwrap();
    assert_eq!(answer.value, Some(text("v")));
});

on_both_stores!(compressed_requests_are_accepted, |env| {
    let value = "a compressible value, ".repeat(10_000);
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
        let mut client = env.cache.rpc().send_compressed(encoding).accept_compressed(encoding);
        client.set(set("k", text(&value))).await.unwrap();
        let answer = client.get(get("k")).await.unwrap();
        let sent = answer.metadata().get("grpc-encoding").unwrap().to_str().unwrap();
        assert_eq!(sent, encoding.to_string());
        assert_eq!(answer.into_inner().value, Some(text(&value)));
        // A client that only accepts compression is not answered with it.
        let answer = env.cache.rpc().accept_compressed(encoding).get(get("k")).await.unwrap();
        assert!(!answer.metadata().contains_key("grpc-encoding"), "{answer:?}");
    }
});

on_both_stores!(a_decompression_bomb_is_refused, |env| {
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
        let mut client = env.cache.rpc().send_compressed(encoding);
        let bomb = client.set(set("k", data(vec![0; 64 * 1024 * 1024]))).await;
        expect_over_limit(
            bomb,
            Code::ResourceExhausted,
            "MESSAGE_TOO_LARGE",
            "request",
            4 * 1024 * 1024,
        );
    }
    env.cache.put("k", "v").await;
});

on_both_stores!(an_oversized_message_keeps_the_connection, |env| {
    for _ in 0..3 {
        env.cache.set(set("k", data(vec![0; 5 * 1024 * 1024]))).await.unwrap_err();
        env.cache.set(set("k", text("v"))).await.unwrap();
        assert_eq!(env.cache.read("k").await.as_deref(), Some("v"));
    }
});
