//! Shutdown on SIGTERM and SIGINT.

use std::time::{Duration, Instant};

use larder::pb::v1::get_or_fetch_response::Outcome as Answer;
use nix::sys::signal::Signal;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::support::{
    client::{Cache, fetch, fill, get, text},
    observe::waiting,
    server::Larder,
    status::expect_retry,
    stream::Stream,
    wait::{SOON, eventually},
};

const LIMIT: Duration = Duration::from_secs(4);
const SHUTDOWN: [(&str, &str); 1] = [("LARDER_SHUTDOWN_TIMEOUT", "4s")];
/// Tolerance for a slow machine.
const SLACK: Duration = Duration::from_secs(3);

on_both_stores!(an_idle_server_exits_at_once, env: SHUTDOWN, |env| {
    let mut larder = env.larder;
    env.cache.put("k", "v").await;
    larder.signal(Signal::SIGTERM);
    let start = Instant::now();
    let status = larder.wait_exit(LIMIT + SLACK).await;
    assert_eq!(status.code(), Some(0), "{status:?}");
    assert!(start.elapsed() < LIMIT, "{:?}", start.elapsed());
});

on_both_stores!(sigint_stops_the_server, |env| {
    let mut larder = env.larder;
    larder.signal(Signal::SIGINT);
    assert_eq!(larder.wait_exit(SOON).await.code(), Some(0));
});

on_both_stores!(waiters_are_answered, env: SHUTDOWN, |env| {
    let mut larder = env.larder;
    let waiters = start_waiters(&larder, &env.cache, 5).await;
    larder.signal(Signal::SIGTERM);
    let start = Instant::now();
    for waiter in waiters {
        match waiter.await.unwrap() {
            Ok(answer) => {
                assert!(matches!(answer.outcome, Some(Answer::Contended(_))), "{answer:?}");
            }
            Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status:?}"),
        }
    }
    let status = larder.wait_exit(LIMIT + SLACK).await;
    assert_eq!(status.code(), Some(0));
    assert!(start.elapsed() < LIMIT + SLACK, "{:?}", start.elapsed());
});

on_both_stores!(a_fill_in_progress_is_accepted, env: SHUTDOWN, |env| {
    let mut larder = env.larder;
    let lease = env.cache.lease("k").await;
    let _waiters = start_waiters(&larder, &env.cache, 1).await;
    larder.signal(Signal::SIGTERM);
    // On the existing connection: the stream was opened before GOAWAY, or is refused cleanly.
    match env.cache.set(fill("k", text("v"), &lease)).await {
        Ok(answer) => assert_eq!(answer.result(), larder::pb::v1::SetResult::Stored),
        Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status:?}"),
    }
    assert_eq!(larder.wait_exit(LIMIT + SLACK).await.code(), Some(0));
});

on_both_stores!(health_watchers_are_notified, env: SHUTDOWN, |env| {
    let mut larder = env.larder;
    let request = HealthCheckRequest { service: String::new() };
    let mut watch =
        HealthClient::new(env.cache.channel()).watch(request).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    larder.signal(Signal::SIGTERM);
    let update = watch.message().await.unwrap().unwrap();
    assert_eq!(update.status(), ServingStatus::NotServing);
    // An open stream does not delay shutdown.
    assert_eq!(larder.wait_exit(LIMIT + SLACK).await.code(), Some(0));
});

on_both_stores!(silent_streams_do_not_delay_shutdown, env: SHUTDOWN, |env| {
    let mut larder = env.larder;
    let mut stream = Stream::open_empty(&env.cache).await;
    larder.signal(Signal::SIGTERM);
    let start = Instant::now();
    expect_retry(stream.next().await, Code::Unavailable, "SHUTTING_DOWN");
    assert_eq!(larder.wait_exit(LIMIT + SLACK).await.code(), Some(0));
    assert!(start.elapsed() < LIMIT, "{:?}", start.elapsed());
});

on_both_stores!(silent_connections_do_not_delay_shutdown, env: SHUTDOWN, |env| {
    let mut larder = env.larder;
    let silent = TcpStream::connect(larder.address()).await.unwrap();
    let mut half = TcpStream::connect(larder.address()).await.unwrap();
    half.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    env.cache.get(get("k")).await.unwrap();
    larder.signal(Signal::SIGTERM);
    assert_eq!(larder.wait_exit(LIMIT + SLACK).await.code(), Some(0));
    drop((silent, half));
});

on_both_stores!(connections_receive_goaway, env: SHUTDOWN, |env| {
    let mut larder = env.larder;
    let mut connection = TcpStream::connect(larder.address()).await.unwrap();
    // The client's part of an HTTP/2 handshake: the preface and an empty SETTINGS frame.
    connection.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    assert_eq!(next_frame(&mut connection).await.expect("SETTINGS"), 4);
    larder.signal(Signal::SIGTERM);
    let mut frames = Vec::new();
    while let Some(kind) = next_frame(&mut connection).await {
        frames.push(kind);
    }
    assert!(frames.contains(&7), "no GOAWAY among frames of types {frames:?}");
    assert_eq!(larder.wait_exit(LIMIT + SLACK).await.code(), Some(0));
});

on_both_stores!(new_connections_are_refused, env: SHUTDOWN, |env| {
    let mut larder = env.larder;
    let address = larder.address();
    let _waiters = start_waiters(&larder, &env.cache, 1).await;
    larder.signal(Signal::SIGTERM);
    eventually("connections are refused", SOON, async || {
        TcpStream::connect(address).await.is_err().then_some(())
    })
    .await;
    larder.wait_exit(LIMIT + SLACK).await;
});

/// Every accepted call is answered: the server counts as many hits as the callers saw.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_in_progress_are_completed() {
    let redis = crate::support::redis::RedisServer::start().await;
    let mut larder = Larder::redis(&redis.url()).start().await;
    let cache = larder.client().await;
    cache.put("k", "v").await;
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let cache = cache.clone();
            tokio::spawn(async move {
                let mut answered = 0_u64;
                // Until the server is gone. The error of a call that could not be sent varies.
                while cache.get(get("k")).await.is_ok() {
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    crate::support::wait::throughout(Duration::from_millis(300), async || {}).await;
    larder.signal(Signal::SIGTERM);
    assert_eq!(larder.wait_exit(LIMIT + SLACK).await.code(), Some(0));
    let answered: u64 =
        futures::future::join_all(callers).await.into_iter().map(Result::unwrap).sum();
    let mut counted = redis::cmd("HGET");
    counted.arg("larder:{stats}:total").arg("ns|hits");
    let counted: u64 = counted.query_async(&mut redis.connection().await).await.unwrap();
    assert!(answered > 8, "{answered}");
    assert_eq!(answered, counted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stats_are_flushed() {
    let redis = crate::support::redis::RedisServer::start().await;
    let builder = || Larder::redis(&redis.url()).env("LARDER_STATS__FLUSH_INTERVAL", "1h");
    let mut first = builder().start().await;
    let cache = first.client().await;
    for _ in 0..10 {
        cache.get(get("k")).await.unwrap();
    }
    first.signal(Signal::SIGTERM);
    assert_eq!(first.wait_exit(SOON).await.code(), Some(0));
    let second = builder().start().await;
    let stats = second.client().await.stats(larder::pb::v1::StatsRequest::default()).await.unwrap();
    assert_eq!(stats.totals.unwrap().total.unwrap().misses, 10);
}

async fn start_waiters(
    larder: &Larder,
    cache: &Cache,
    number: usize,
) -> Vec<tokio::task::JoinHandle<Result<larder::pb::v1::GetOrFetchResponse, tonic::Status>>> {
    cache.get_or_fetch(fetch("k", 0)).await.unwrap();
    let waiters = (0..number)
        .map(|_| {
            let cache = cache.clone();
            tokio::spawn(async move { cache.get_or_fetch(fetch("k", 50_000)).await })
        })
        .collect();
    waiting(larder, number).await;
    waiters
}

/// Type of the next HTTP/2 frame; `None` when the connection is closed.
async fn next_frame(connection: &mut TcpStream) -> Option<u8> {
    let mut head = [0; 9];
    connection.read_exact(&mut head).await.ok()?;
    let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    let mut payload = vec![0; length];
    connection.read_exact(&mut payload).await.ok()?;
    Some(head[3])
}
