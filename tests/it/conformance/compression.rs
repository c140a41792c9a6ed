//! Encodings of messages, by the specification of compression in gRPC.

use bytes::Bytes;
use larder::pb::v1::SetRequest;
use prost::Message as _;
use tonic::Code;

use crate::support::{
    client::{data, get, set, text},
    raw_call::{Answer, GET, GRPC, framed, message, send},
    status::reason,
};

const SET: &str = "/larder.v1.CacheService/Set";

fn with<'a>(headers: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [GRPC.as_slice(), headers].concat()
}

/// Whether the first message of an answer is compressed.
fn is_compressed(answer: &Answer) -> bool {
    answer.body[0] == 1
}

on_both_stores!(an_unknown_encoding_is_unimplemented_and_the_known_ones_are_named, |env| {
    for encoding in ["snappy", "br", "gzip, zstd", "GZIP "] {
        let headers = with(&[("grpc-encoding", encoding)]);
        let answer = send(env.larder.address(), "POST", GET, &headers, message(&get("k"))).await;
        assert_eq!(answer.status().code(), Code::Unimplemented, "{encoding}");
        assert_eq!(answer.head.headers()["grpc-accept-encoding"], "gzip,zstd,identity");
    }
});

on_both_stores!(a_compressed_message_needs_an_encoding, |env| {
    for headers in [with(&[]), with(&[("grpc-encoding", "identity")])] {
        let flagged = framed(1, &get("k").encode_to_vec());
        let status = send(env.larder.address(), "POST", GET, &headers, flagged).await.status();
        assert_eq!((status.code(), &*reason(&status)), (Code::Internal, "INTERNAL"), "{status:?}");
        assert!(status.message().contains("compressed-flag"), "{status:?}");
    }
});

on_both_stores!(a_message_that_cannot_be_decompressed_is_an_error, |env| {
    for encoding in ["gzip", "zstd"] {
        let headers = with(&[("grpc-encoding", encoding)]);
        for garbage in [Bytes::from_static(b"no such stream"), Bytes::new()] {
            let flagged = framed(1, &garbage);
            let answer = send(env.larder.address(), "POST", GET, &headers, flagged).await;
            assert_ne!(answer.status().code(), Code::Ok, "{encoding}");
        }
    }
    assert!(env.cache.get(get("k")).await.is_ok());
});

on_both_stores!(a_message_may_be_uncompressed_in_spite_of_an_encoding, |env| {
    let headers = with(&[("grpc-encoding", "gzip")]);
    let request = SetRequest { ..set("k", text("v")) };
    let answer = send(env.larder.address(), "POST", SET, &headers, message(&request)).await;
    assert_eq!(answer.status().code(), Code::Ok);
    assert_eq!(env.cache.read("k").await.as_deref(), Some("v"));
});

on_both_stores!(only_answers_that_shrink_are_compressed, |env| {
    env.cache.put("small", "a small value").await;
    env.cache.set(set("large", data(vec![7; 10_000]))).await.unwrap();
    let accepting = with(&[("grpc-encoding", "gzip"), ("grpc-accept-encoding", "gzip")]);
    let ask = async |key: &str, headers: &[(&str, &str)]| {
        send(env.larder.address(), "POST", GET, headers, message(&get(key))).await
    };
    let large = ask("large", &accepting).await;
    assert!(is_compressed(&large) && large.body.len() < 500);
    assert_eq!(large.head.headers()["grpc-encoding"], "gzip");
    assert!(!is_compressed(&ask("small", &accepting).await));
    assert!(!is_compressed(&ask("absent", &accepting).await));
    // An encoding that the server does not support is not used.
    let unknown = with(&[("grpc-encoding", "gzip"), ("grpc-accept-encoding", "br,snappy")]);
    assert!(!is_compressed(&ask("large", &unknown).await));
    assert!(!is_compressed(&ask("large", &GRPC).await));
});
