//! Messages in their frames: none, two, in parts, malformed, and calls that end early.

use std::time::{Duration, Instant};

use bytes::Bytes;
use larder::pb::v1::{
    FetchStreamRequest, GetResponse, StatsRequest, fetch_stream_request::Message as ClientMessage,
};
use prost::Message as _;
use tonic::Code;

use crate::support::{
    client::{as_text, fetch, get},
    http2::{DATA, END_STREAM, Frame, GOAWAY, HEADERS, Http2Peer, RST_STREAM},
    observe::in_flight,
    raw_call::{GET, GRPC, framed, message, send, send_open},
    status::{expect_over_limit, reason},
};

const FETCH_STREAM: &str = "/larder.v1.CacheService/FetchStream";
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const STATS: &str = "/larder.v1.CacheService/Stats";
const WATCH: &str = "/grpc.health.v1.Health/Watch";

// The interop case `empty_unary`: a message of zero bytes is a message.
on_both_stores!(a_message_may_be_empty, |env| {
    let empty = message(&StatsRequest::default());
    assert_eq!(empty.len(), 5);
    let answer = send(env.larder.address(), "POST", STATS, &GRPC, empty).await;
    assert_eq!(answer.status().code(), Code::Ok);
    // Unknown fields and an unknown oneof are no errors.
    let unknown = framed(0, b"\xfa\x3f\x03abc");
    let answer = send(env.larder.address(), "POST", STATS, &GRPC, unknown).await;
    assert_eq!(answer.status().code(), Code::Ok);
});

on_both_stores!(a_request_that_is_no_stream_has_one_message, |env| {
    let one = message(&StatsRequest::default());
    for path in [GET, STATS, WATCH] {
        for body in [Bytes::new(), [&one[..], &one[..]].concat().into()] {
            let count = body.len() / one.len();
            let answer = send(env.larder.address(), "POST", path, &GRPC, body).await;
            let status = answer.status();
            assert_eq!(status.code(), Code::Unimplemented, "{count} messages: {path}: {status:?}");
            assert!(status.message().contains("message"), "{status:?}");
        }
    }
});

// Frames of HTTP/2 have no relation to messages.
on_both_stores!(a_message_may_arrive_in_any_parts, |env| {
    env.cache.put("k", "v").await;
    let bytes = message(&get("k"));
    for size in [1, 2, 7] {
        let mut peer = Http2Peer::connect(env.larder.address()).await;
        peer.call(1, GET, false).await;
        for part in bytes.chunks(size) {
            peer.send(DATA, 0, 1, part).await;
            peer.send(DATA, 0, 1, &[]).await;
        }
        // The end in a frame of its own.
        peer.send(DATA, END_STREAM, 1, &[]).await;
        let frame = peer.next_of(DATA).await.unwrap();
        let answer = GetResponse::decode(&frame.payload[5..]).unwrap();
        assert_eq!(as_text(answer.value).as_deref(), Some("v"), "{size}");
    }
});

on_both_stores!(a_message_over_the_limit_is_refused_before_it_has_arrived, |env| {
    let announced = [&[0], &(64_u32 << 20).to_be_bytes()[..], b"the beginning"].concat();
    let answer = send(env.larder.address(), "POST", GET, &GRPC, announced.into()).await;
    expect_over_limit::<()>(
        Err(answer.status()),
        Code::ResourceExhausted,
        "MESSAGE_TOO_LARGE",
        "request",
        4 << 20,
    );
});

on_both_stores!(malformed_messages_are_errors, |env| {
    let cases: [(&str, &[u8], Code); 4] = [
        ("an end in the frame header", b"\0\0\0", Code::Internal),
        ("an end in the message", b"\0\0\0\0\x09abc", Code::Internal),
        ("an invalid flag", b"\x02\0\0\0\0", Code::Internal),
        ("no protobuf", b"\0\0\0\0\x01\xff", Code::InvalidArgument),
    ];
    for (case, body, code) in cases {
        let body = Bytes::copy_from_slice(body);
        let answer = send(env.larder.address(), "POST", GET, &GRPC, body).await;
        let status = answer.status();
        assert_eq!((answer.head.status().as_u16(), status.code()), (200, code), "{case}");
        assert!(!reason(&status).is_empty() && !status.message().is_empty(), "{case}");
    }
});

/// Whether these are the trailers of a call without messages, and the end of its stream.
fn is_trailers_only(frame: &Frame) -> bool {
    frame.kind == HEADERS && frame.flags & END_STREAM != 0
}

on_both_stores!(an_immediate_error_has_trailers_only, |env| {
    let mut peer = Http2Peer::connect(env.larder.address()).await;
    for (stream, path) in [(1, "/larder.v1.CacheService/Nope"), (3, GET)] {
        peer.call(stream, path, false).await;
        peer.send(DATA, END_STREAM, stream, &message(&get(""))).await;
        let frame = peer.next_of(HEADERS).await.unwrap();
        assert!(is_trailers_only(&frame) && frame.stream == stream, "{frame:?}");
    }
    // Before the client has ended its side, and even if it sends more and more.
    for number in 0..2000 {
        let stream = 5 + 2 * number;
        peer.call(stream, "/larder.v1.CacheService/Nope", false).await;
        let frame = peer.next_of(HEADERS).await.unwrap();
        assert!(is_trailers_only(&frame) && frame.stream == stream, "{frame:?}");
        peer.send(DATA, END_STREAM, stream, &message(&get("k"))).await;
    }
    assert!(peer.is_open().await);
});

on_both_stores!(an_answer_has_headers_messages_and_trailers, |env| {
    let mut peer = Http2Peer::connect(env.larder.address()).await;
    peer.call(1, GET, false).await;
    peer.send(DATA, END_STREAM, 1, &message(&get("k"))).await;
    let mut kinds = Vec::new();
    loop {
        let frame = peer.next().await.unwrap();
        assert_eq!(frame.stream, 1);
        kinds.push(frame.kind);
        if frame.flags & END_STREAM != 0 {
            break;
        }
    }
    assert_eq!(kinds, [HEADERS, DATA, HEADERS]);
});

// By RFC 9113, 8.1: the client need not send the rest.
on_both_stores!(a_stream_that_is_answered_early_is_reset_without_an_error, |env| {
    let mut peer = Http2Peer::connect(env.larder.address()).await;
    peer.call(1, "/a.B/C", false).await;
    assert!(is_trailers_only(&peer.next_of(HEADERS).await.unwrap()));
    let reset = peer.next_of(RST_STREAM).await.unwrap();
    assert_eq!((reset.stream, reset.payload), (1, vec![0, 0, 0, 0]));
    assert!(peer.is_open().await);
});

// The interop case `timeout_on_sleeping_server`, for every stream that may stay open.
on_both_stores!(an_open_stream_ends_at_its_deadline, |env| {
    let timeout = [GRPC.as_slice(), &[("grpc-timeout", "300m")]].concat();
    // The stream holds the lease until then.
    let open = FetchStreamRequest { message: Some(ClientMessage::Open(fetch("k", 0))) };
    for (path, body) in [
        (WATCH, framed(0, &[])),
        (REFLECTION, framed(0, b"\x3a\0")),
        (FETCH_STREAM, message(&open)),
    ] {
        let begun = Instant::now();
        let answer = send_open(env.larder.address(), path, &timeout, body, path != WATCH).await;
        assert_eq!(answer.status().code(), Code::DeadlineExceeded, "{path}");
        assert!(begun.elapsed() >= Duration::from_millis(300), "{path}");
    }
});

// The interop case `empty_stream`: no message in either direction is a successful call.
on_both_stores!(a_stream_may_have_no_messages, |env| {
    let answer = send(env.larder.address(), "POST", REFLECTION, &GRPC, Bytes::new()).await;
    assert_eq!((answer.status().code(), answer.body.len()), (Code::Ok, 0));
});

// The interop cases `cancel_after_begin` and `cancel_after_first_response`.
on_both_stores!(a_call_may_be_cancelled_at_any_time, |env| {
    let mut peer = Http2Peer::connect(env.larder.address()).await;
    let cancel = [0, 0, 0, 8];
    for (stream, path) in (1..).step_by(2).zip([GET, FETCH_STREAM, REFLECTION, WATCH]) {
        peer.call(stream, path, false).await;
        peer.send(RST_STREAM, 0, stream, &cancel).await;
    }
    peer.call(9, WATCH, false).await;
    peer.send(DATA, END_STREAM, 9, &[0; 5]).await;
    assert!(peer.next_of(DATA).await.is_some());
    peer.send(RST_STREAM, 0, 9, &cancel).await;
    assert!(peer.is_open().await);
    in_flight(&env.larder, 0).await;
});

// The client may send and receive at the same time, and end its side early.
on_both_stores!(a_half_closed_stream_is_answered, |env| {
    let mut peer = Http2Peer::connect(env.larder.address()).await;
    peer.call(1, WATCH, false).await;
    peer.send(DATA, END_STREAM, 1, &[0; 5]).await;
    let frame = peer.next_of(DATA).await.unwrap();
    assert_eq!((frame.stream, frame.flags & END_STREAM), (1, 0));
    // Data after the end is an error of this stream, and not of the others.
    peer.call(3, GET, false).await;
    peer.send(DATA, 0, 1, &[0; 5]).await;
    peer.send(DATA, END_STREAM, 3, &message(&get("k"))).await;
    let mut answered = false;
    while let Some(frame) = peer.next().await {
        if frame.kind == GOAWAY {
            // HTTP/2 also permits an error of the connection.
            break;
        }
        if frame.stream == 3 && frame.flags & END_STREAM != 0 {
            answered = true;
            break;
        }
    }
    assert!(answered || !peer.is_open().await);
    assert!(env.cache.get(get("k")).await.is_ok());
});
