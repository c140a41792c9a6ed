//! Open connections: idle ones end, and make room for new ones when there are too many.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{
    client::{Cache, get},
    http2::{DATA, END_STREAM, GOAWAY, HEADERS, Http2Peer, PING, RST_STREAM},
    server::{Builder, Larder},
    wait::{SOON, eventually, throughout},
};

const WATCH: &str = "/grpc.health.v1.Health/Watch";

/// A server with this limit on connections. Nothing is connected to its gRPC port.
fn server(max_connections: usize) -> Builder {
    Larder::memory().env("LARDER_LIMITS__MAX_CONNECTIONS", max_connections)
}

/// A peer with an open stream, and the first message of the stream.
async fn busy(larder: &Larder, from: Option<IpAddr>) -> Http2Peer {
    let mut peer = match from {
        Some(local) => Http2Peer::connect_from(local, larder.address()).await,
        None => Http2Peer::connect(larder.address()).await,
    };
    peer.call(1, WATCH, false).await;
    peer.send(DATA, END_STREAM, 1, &[0; 5]).await;
    assert!(peer.next_of(DATA).await.is_some(), "the call is not served");
    peer
}

/// A peer without streams.
async fn idle(larder: &Larder) -> Http2Peer {
    let mut peer = Http2Peer::connect(larder.address()).await;
    assert!(peer.is_open().await);
    peer
}

/// Whether the server ends the connection by GOAWAY without an error.
async fn is_sent_away(peer: &mut Http2Peer) -> bool {
    let Some(frame) = peer.next_of(GOAWAY).await else { return false };
    assert_eq!(frame.payload[4..8], [0; 4], "{frame:?}");
    peer.is_closed_within(SOON).await
}

/// Whether a call on a new connection is answered.
async fn is_served(larder: &Larder) -> bool {
    let cache = Cache::connect(larder.address()).await;
    cache.get(get("k")).await.is_ok()
}

/// A series of a metric.
async fn series(larder: &Larder, name: &str) -> f64 {
    let text = larder.admin("/metrics").await.body;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

async fn closed(larder: &Larder, port: &str, reason: &str) -> f64 {
    let labels = format!("port=\"{port}\",reason=\"{reason}\"");
    series(larder, &format!("larder_connections_closed_total{{{labels}}}")).await
}

async fn open(larder: &Larder) -> f64 {
    series(larder, "larder_connections_open{port=\"grpc\"}").await
}

/// Log lines with this message.
fn lines(larder: &Larder, message: &str) -> Vec<Value> {
    let logs = larder.logs();
    let lines = logs.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let is_it = |line: &Value| {
        line["fields"]["message"].as_str().is_some_and(|text| text.contains(message))
    };
    lines.filter(is_it).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_is_closed_gracefully() {
    let larder = server(10).env("LARDER_LIMITS__MAX_CONNECTION_IDLE", "500ms").start().await;
    let begun = Instant::now();
    let (mut watching, mut peer) = (busy(&larder, None).await, idle(&larder).await);
    assert!(is_sent_away(&mut peer).await);
    assert!(begun.elapsed() >= Duration::from_millis(500), "{:?}", begun.elapsed());
    assert!(!watching.is_closed_within(Duration::from_secs(1)).await, "it is not idle");
    assert_eq!(closed(&larder, "grpc", "idle").await, 1.0);
    // It is when its stream has ended.
    let ended = Instant::now();
    watching.send(RST_STREAM, 0, 1, &[0, 0, 0, 8]).await;
    assert!(is_sent_away(&mut watching).await);
    assert!(ended.elapsed() >= Duration::from_millis(500), "{:?}", ended.elapsed());
    // The client may see the end before the server has counted it.
    eventually("all are closed", SOON, async || (open(&larder).await == 0.0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_keep_a_connection_and_pings_do_not() {
    let larder = server(10).env("LARDER_LIMITS__MAX_CONNECTION_IDLE", "500ms").start().await;
    let cache = larder.client().await;
    let mut pinging = idle(&larder).await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        cache.get(get("k")).await.unwrap();
        pinging.send(PING, 0, 0, &[0; 8]).await;
        // Not a wait: the pace of the calls, below the idle limit.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(is_sent_away(&mut pinging).await);
    assert_eq!(closed(&larder, "grpc", "idle").await, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_and_idle_connections_make_room() {
    let larder = server(4).start().await;
    let mut oldest = idle(&larder).await;
    let mut watching = busy(&larder, None).await;
    let mut silent = TcpStream::connect(larder.address()).await.unwrap();
    eventually("it is accepted", SOON, async || (open(&larder).await == 3.0).then_some(())).await;
    let mut newest = idle(&larder).await;
    // Long enough for a preface to arrive.
    throughout(Duration::from_millis(100), async || {}).await;
    // The silent one first, then the one that is idle longest.
    let _fifth = idle(&larder).await;
    let mut received = Vec::new();
    let end = tokio::time::timeout(SOON, silent.read_to_end(&mut received)).await;
    assert!(end.is_ok(), "it is open");
    let _sixth = idle(&larder).await;
    assert!(is_sent_away(&mut oldest).await);
    assert!(newest.is_open().await && watching.is_open().await);
    assert_eq!(closed(&larder, "grpc", "displaced").await, 2.0);
    assert_eq!(closed(&larder, "grpc", "refused").await, 0.0);
    assert_eq!(series(&larder, "larder_connections_limit{port=\"grpc\"}").await, 4.0);
    let line = &lines(&larder, "limits.max_connections is reached")[0];
    assert_eq!((&line["level"], &line["fields"]["max_connections"]), (&"WARN".into(), &4.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_silent_peers_does_not_shut_clients_out() {
    let larder = server(64).start().await;
    let mut peers = Vec::new();
    for round in 0..10 {
        for _ in 0..100 {
            peers.push(TcpStream::connect(larder.address()).await.unwrap());
        }
        assert!(is_served(&larder).await, "round {round}");
    }
    assert!(open(&larder).await <= 80.0);
    let about_it = lines(&larder, "limits.max_connections").len();
    assert!(about_it <= 2, "{}", larder.logs());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_clients_than_connections_are_served_in_turn() {
    let larder = server(8).start().await;
    let clients = (0..12).map(async |_| {
        let cache = larder.client().await;
        let mut failures = 0;
        for _ in 0..20 {
            failures += usize::from(cache.get(get("k")).await.is_err());
            // Not a wait: the pace at which the clients take turns.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        failures
    });
    let failures: usize = futures::future::join_all(clients).await.into_iter().sum();
    // A call whose connection is closed at this moment may fail.
    assert!(failures <= 12, "{failures} of 240 calls failed");
    assert!(closed(&larder, "grpc", "displaced").await > 12.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_refused_only_while_none_is_idle() {
    let larder = server(2).start().await;
    let mut busy_peers = [busy(&larder, None).await, busy(&larder, None).await];
    for _ in 0..20 {
        let mut refused = Http2Peer::connect(larder.address()).await;
        assert!(refused.is_closed_within(SOON).await);
    }
    assert!(busy_peers[0].is_open().await && busy_peers[1].is_open().await);
    assert_eq!(closed(&larder, "grpc", "refused").await, 20.0);
    let begin = lines(&larder, "connections are refused");
    assert_eq!(begin.len(), 1, "{begin:?}");
    busy_peers[0].send(RST_STREAM, 0, 1, &[0, 0, 0, 8]).await;
    assert!(busy_peers[0].is_open().await);
    assert!(is_served(&larder).await);
    let end = eventually("the end is logged", SOON * 2, async || {
        lines(&larder, "connections are no longer refused").pop()
    })
    .await;
    assert_eq!(end["fields"]["count"], 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_cannot_take_all_connections() {
    let larder = server(4).start().await;
    let (one, other) = (Ipv4Addr::new(127, 0, 0, 1), Ipv4Addr::new(127, 0, 0, 2));
    let mut greedy = Vec::new();
    for _ in 0..4 {
        greedy.push(busy(&larder, Some(one.into())).await);
    }
    let mut refused = Http2Peer::connect_from(one.into(), larder.address()).await;
    assert!(refused.is_closed_within(SOON).await);
    let mut served = busy(&larder, Some(other.into())).await;
    assert!(served.is_open().await);
    // The one that makes room may finish its stream.
    let mut sent_away = 0;
    for peer in &mut greedy {
        peer.send(PING, 0, 0, &[7; 8]).await;
        loop {
            let frame = peer.read().await.expect("an open connection");
            match frame.kind {
                GOAWAY => sent_away += 1,
                PING if frame.payload == [7; 8] => break,
                HEADERS => panic!("{frame:?}"),
                _ => {}
            }
        }
    }
    assert_eq!(sent_away, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_few_files_are_shared_between_connections() {
    let larder = Larder::memory().max_files(40).start().await;
    let lowered = lines(&larder, "the limit on open files is too low").remove(0);
    assert_eq!(lowered["fields"]["connections"], 30);
    let mut peers = Vec::new();
    for _ in 0..100 {
        peers.push(Http2Peer::connect(larder.address()).await);
    }
    for _ in 0..10 {
        assert!(is_served(&larder).await);
        assert_eq!(larder.admin("/livez").await.status, 200);
    }
    for line in lines(&larder, "cannot accept connections") {
        assert!(line["fields"]["cause"].as_str().is_some_and(|cause| cause.contains("files")));
        assert!(line["fields"]["remedy"].is_string(), "{line}");
    }
    assert!(lines(&larder, "cannot accept connections").len() <= 2, "{}", larder.logs());
}

/// A request whose body does not come holds no place that a probe needs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_without_their_body_do_not_keep_probes_out() {
    let token = format!("[admin]\ntoken = 'sha256:{}'\n", "0".repeat(64));
    for (path, config) in [("/actions", ""), ("/login", &*token)] {
        let larder = server(10).config(config).start().await;
        let address = larder.admin_address();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\norigin: http://{address}\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: 1000\r\n\r\na="
        );
        let mut peers = Vec::new();
        for _ in 0..200 {
            let mut peer = TcpStream::connect(address).await.unwrap();
            // One that was closed to make room does not take it.
            let _ = peer.write_all(head.as_bytes()).await;
            peers.push(peer);
        }
        for _ in 0..20 {
            assert_eq!(larder.admin("/livez").await.status, 200, "{path}");
            assert_eq!(larder.admin("/readyz").await.status, 200, "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_of_the_admin_port_are_counted() {
    let larder = server(10).start().await;
    assert_eq!(larder.admin("/livez").await.status, 200);
    let mut peers = Vec::new();
    for _ in 0..300 {
        peers.push(TcpStream::connect(larder.admin_address()).await.unwrap());
    }
    assert_eq!(series(&larder, "larder_connections_limit{port=\"admin\"}").await, 128.0);
    eventually("the others are closed", SOON, async || {
        let open = series(&larder, "larder_connections_open{port=\"admin\"}").await;
        (open <= 129.0).then_some(())
    })
    .await;
    assert!(closed(&larder, "admin", "ended").await >= 1.0);
    assert!(closed(&larder, "admin", "displaced").await >= 170.0);
    assert_eq!(lines(&larder, "the admin port has too many connections").len(), 1);
}
