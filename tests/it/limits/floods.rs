//! Frames of HTTP/2 that bring no request: they cost no memory and no log lines, and other clients
//! are served.

use std::{fs, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{
    client::get,
    fleet::metric,
    http2::{
        ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Http2Peer, PING, PREFACE, PRIORITY,
        RST_STREAM, SETTINGS, WINDOW_UPDATE, frame, grpc_headers, literal,
    },
    observe::in_flight,
    server::Larder,
    wait::{SOON, eventually},
};

const GET: &str = "/larder.v1.CacheService/Get";
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const WARM: &str = "/larder.v1.AdminService/Warm";
const FRAMES: usize = 20_000;
const MAX_GROWTH: u64 = 32 * 1024 * 1024;
/// Frames with an error of this stream do not end the connection.
const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// Sends bytes on one connection, and reads what the server sends. Returns whether it took all.
async fn flood(larder: &Larder, bytes: Vec<u8>) -> bool {
    let stream = TcpStream::connect(larder.address()).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let reading = tokio::spawn(async move {
        let mut buffer = vec![0; 64 * 1024];
        while reader.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    });
    let hello = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    let sent = async {
        writer.write_all(&hello).await?;
        writer.write_all(&bytes).await?;
        // The server reads all of it before it reads the end.
        writer.shutdown().await
    };
    let is_sent = tokio::time::timeout(SOON * 3, sent).await.unwrap().is_ok();
    // It ends the connection, with or without an error.
    tokio::time::timeout(SOON * 3, reading).await.unwrap().unwrap();
    is_sent
}

fn rss(larder: &Larder) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", larder.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Calls with these headers, and what follows the headers of each.
fn calls(count: usize, headers: &[u8], flags: u8, then: &[(u8, u8, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for stream in (1..).step_by(2).take(count) {
        bytes.extend(frame(HEADERS, END_HEADERS | flags, stream, headers));
        for (kind, flags, payload) in then {
            bytes.extend(frame(*kind, *flags, stream, payload));
        }
    }
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_without_a_request_cost_nothing_that_lasts() {
    let larder = Larder::memory().start().await;
    let other = larder.client().await;
    let begun = rss(&larder);
    let table_size =
        [frame(SETTINGS, 0, 0, b"\0\x01\0\0\0\0"), frame(SETTINGS, 0, 0, &[])].concat();
    let windows =
        [frame(SETTINGS, 0, 0, b"\0\x04\0\0\xff\xff"), frame(SETTINGS, 0, 0, b"\0\x04\0\x01\0\0")]
            .concat();
    let many_headers: Vec<u8> =
        grpc_headers(GET).into_iter().chain((0..1000).flat_map(|_| literal("a", "b"))).collect();
    let indexed: Vec<u8> = grpc_headers(GET).into_iter().chain([0x90; 15_000]).collect();
    let open = frame(HEADERS, END_HEADERS, 1, &grpc_headers(GET));
    let floods: [(&str, Vec<u8>); 15] = [
        ("SETTINGS", frame(SETTINGS, 0, 0, &[]).repeat(FRAMES)),
        ("SETTINGS of the table", table_size.repeat(FRAMES / 2)),
        (
            "SETTINGS of windows with open streams",
            [calls(1000, &grpc_headers(GET), 0, &[]), windows.repeat(1000)].concat(),
        ),
        ("PING", frame(PING, 0, 0, &[7; 8]).repeat(FRAMES)),
        ("PRIORITY", frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 7]).repeat(FRAMES)),
        ("unknown frames", frame(0x42, 0, 0, &[7; 100]).repeat(FRAMES)),
        ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).repeat(FRAMES)),
        ("GOAWAY", frame(GOAWAY, 0, 0, &[0; 8]).repeat(FRAMES)),
        ("empty DATA", [open.clone(), frame(DATA, 0, 1, &[]).repeat(FRAMES)].concat()),
        ("padded DATA", [open, frame(DATA, 8, 1, &[0]).repeat(FRAMES)].concat()),
        ("resets", calls(FRAMES, &grpc_headers(GET), 0, &[(RST_STREAM, 0, &CANCEL)])),
        ("unknown methods", calls(1000, &grpc_headers("/a.B/C"), END_STREAM, &[])),
        ("many headers", calls(100, &many_headers, END_STREAM, &[])),
        ("indexed headers", calls(100, &indexed, END_STREAM, &[])),
        ("no HTTP/2 after the preface", vec![0xff; 200_000]),
    ];
    for (name, bytes) in floods {
        let before = larder.logs().lines().count();
        tokio::join!(flood(&larder, bytes), async {
            for _ in 0..20 {
                tokio::time::timeout(SOON, other.get(get("k"))).await.unwrap().unwrap();
                // Not a wait: the calls are spread over the flood.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let lines = larder.logs().lines().count() - before;
        assert!(lines <= 1, "{name}: {}", larder.logs());
        let growth = rss(&larder).saturating_sub(begun);
        assert!(growth < MAX_GROWTH, "{name}: {growth} bytes");
    }
    in_flight(&larder, 0).await;
}

// While its answers are not read, the service does not read its questions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_frames_of_a_stalled_stream_are_not_queued() {
    let larder = Larder::memory().start().await;
    let mut peer = Http2Peer::connect(larder.address()).await;
    peer.send(SETTINGS, 0, 0, b"\0\x04\0\0\0\0").await;
    peer.call(1, REFLECTION, false).await;
    let list = Bytes::from_static(b"\0\0\0\0\x02\x3a\0");
    peer.send(DATA, 0, 1, &list.repeat(40)).await;
    assert!(peer.is_open().await);
    let begun = rss(&larder);
    let frames = frame(DATA, 0, 1, &[]).repeat(10_000);
    for _ in 0..100 {
        if !peer.send_bytes(&frames).await {
            break;
        }
    }
    let growth = rss(&larder).saturating_sub(begun);
    assert!(growth < MAX_GROWTH, "{growth} bytes");
}

// Of a method that is not admitted before its message is complete.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incomplete_messages_of_operators_are_bounded_too() {
    let larder = Larder::memory()
        .env("LARDER_LIMITS__MAX_BUFFERED_BYTES", "8MiB")
        .env("LARDER_LIMITS__REQUEST_BODY_TIMEOUT", "2s")
        .start()
        .await;
    let mut peer = Http2Peer::connect(larder.address()).await;
    // The server's settings have arrived, with windows above the default ones.
    assert!(peer.is_open().await);
    peer.send(SETTINGS, ACK, 0, &[]).await;
    let begin = [&[0][..], &(4_u32 << 20).to_be_bytes(), &[0; 16_000]].concat();
    for stream in (1..).step_by(2).take(64) {
        peer.call(stream, WARM, false).await;
        for _ in 0..20 {
            peer.send(DATA, 0, stream, &begin).await;
        }
        assert!(peer.is_open().await);
    }
    let buffered = metric(&larder, "larder_buffered_bytes").await;
    assert!(buffered > 0.0 && buffered <= f64::from(8 << 20), "{buffered}");
    eventually("they end in time", SOON, async || {
        (metric(&larder, "larder_buffered_bytes").await == 0.0).then_some(())
    })
    .await;
    let rejected = metric(&larder, "larder_requests_rejected_total").await;
    assert_eq!(rejected, 64.0, "for lack of room, or of time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incomplete_messages_of_streams_are_bounded_too() {
    let larder = Larder::memory().env("LARDER_LIMITS__MAX_BUFFERED_BYTES", "8MiB").start().await;
    let mut peer = Http2Peer::connect(larder.address()).await;
    assert!(peer.is_open().await);
    peer.send(SETTINGS, ACK, 0, &[]).await;
    let begin = [&[0][..], &(4_u32 << 20).to_be_bytes(), &[0; 16_000]].concat();
    for stream in (1..).step_by(2).take(64) {
        peer.call(stream, "/larder.v1.CacheService/FetchStream", false).await;
        for _ in 0..20 {
            peer.send(DATA, 0, stream, &begin).await;
        }
        assert!(peer.is_open().await);
    }
    let buffered = metric(&larder, "larder_buffered_bytes").await;
    assert!(buffered > f64::from(1 << 20) && buffered <= f64::from(8 << 20), "{buffered}");
    let rejected = metric(&larder, "larder_requests_rejected_total").await;
    assert!(rejected >= 32.0, "{rejected}");
    drop(peer);
    eventually("nothing is held", SOON, async || {
        (metric(&larder, "larder_buffered_bytes").await == 0.0).then_some(())
    })
    .await;
}
