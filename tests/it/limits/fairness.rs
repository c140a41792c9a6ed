//! No connection shuts out the others, whatever it begins and does not finish.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::future::join_all;
use http::{HeaderMap, Request, header::CONTENT_TYPE};
use larder::pb::v1::get_or_fetch_response::Outcome;
use tokio::{net::TcpStream, task::JoinHandle};
use tonic::{Code, Status};

use crate::support::{
    client::{Cache, batch_get, data, fetch, fill, get, key_ref, set, text},
    fleet::metric,
    observe::{in_flight, waiting},
    status::{expect_error, expect_retry, reason},
    stream::Stream,
    wait::{SOON, eventually},
};

/// An HTTP/2 client that can leave calls incomplete and responses unread.
struct RawClient {
    address: SocketAddr,
    requests: h2::client::SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

/// A call whose request can be continued.
struct RawCall {
    response: h2::client::ResponseFuture,
    message: h2::SendStream<Bytes>,
}

impl RawClient {
    async fn connect(address: SocketAddr, window: u32) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(window).initial_connection_window_size((1 << 31) - 1);
        let handshake = builder.handshake(stream);
        let (requests, connection) = handshake.await.unwrap();
        Self { address, requests, connection: tokio::spawn(connection) }
    }

    /// Sends the headers of a call.
    async fn begin(&mut self, rpc: &str) -> RawCall {
        let path = format!("http://{}/larder.v1.CacheService/{rpc}", self.address);
        let request = Request::post(path).header(CONTENT_TYPE, "application/grpc");
        let request = request.header("te", "trailers").body(()).unwrap();
        self.requests = self.requests.clone().ready().await.unwrap();
        let (response, message) = self.requests.send_request(request, false).unwrap();
        RawCall { response, message }
    }

    async fn call(&mut self, rpc: &str, message: &impl prost::Message) -> RawCall {
        let mut call = self.begin(rpc).await;
        call.message.send_data(frame(message), true).unwrap();
        call
    }
}

impl RawCall {
    /// The status of a response without messages.
    async fn status(self) -> Status {
        let response = tokio::time::timeout(SOON, self.response).await.unwrap().unwrap();
        let headers: &HeaderMap = response.headers();
        Status::from_header_map(headers).expect("a response without messages")
    }
}

/// A message with its gRPC frame header.
fn frame(message: &impl prost::Message) -> Bytes {
    let encoded = message.encode_to_vec();
    let length = u32::try_from(encoded.len()).unwrap();
    [&[0], &length.to_be_bytes()[..], &encoded].concat().into()
}

const FEW_CALLS: [(&str, &str); 2] = [
    ("LARDER_LIMITS__MAX_CONCURRENT_REQUESTS", "8"),
    ("LARDER_LIMITS__REQUEST_BODY_TIMEOUT", "1s"),
];

on_both_stores!(incomplete_requests_take_no_permit_and_end, env: FEW_CALLS, |env| {
    let begun = Instant::now();
    let mut greedy = RawClient::connect(env.larder.address(), 65_535).await;
    let mut calls = Vec::new();
    for part in 0..64 {
        let mut call = greedy.begin("Get").await;
        // Some have sent nothing, some a part of the message.
        call.message.send_data(frame(&get("k")).slice(..part % 5), false).unwrap();
        calls.push(call);
    }
    env.cache.put("k", "v").await;
    assert_eq!(env.cache.read("k").await.as_deref(), Some("v"));
    in_flight(&env.larder, 0).await;
    for call in calls {
        let status = call.status().await;
        assert_eq!((status.code(), &*reason(&status)), (Code::DeadlineExceeded, "REQUEST_TIMEOUT"));
    }
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(metric(&env.larder, "larder_buffered_bytes").await, 0.0);
    // The connection goes on, and a message may arrive in parts.
    let mut call = greedy.begin("Get").await;
    let message = frame(&get("k"));
    call.message.send_data(message.slice(..3), false).unwrap();
    eventually("the part has arrived", SOON, async || {
        (metric(&env.larder, "larder_buffered_bytes").await > 0.0).then_some(())
    })
    .await;
    call.message.send_data(message.slice(3..), true).unwrap();
    assert!(tokio::time::timeout(SOON, call.response).await.unwrap().is_ok());
});

const FEW_BYTES: [(&str, &str); 2] = [
    ("LARDER_LIMITS__MAX_BUFFERED_BYTES", "8MiB"),
    ("LARDER_LIMITS__RESPONSE_STALL_TIMEOUT", "2s"),
];

on_both_stores!(unread_responses_are_bounded_and_reset, env: FEW_BYTES, |env| {
    const SIZE: usize = 1024 * 1024 - 1024;
    env.cache.set(set("large", data(vec![7; SIZE]))).await.unwrap();
    let mut greedy = RawClient::connect(env.larder.address(), 0).await;
    let mut calls = Vec::new();
    for _ in 0..32 {
        calls.push(greedy.call("Get", &get("large")).await);
    }
    let answers = join_all(calls.into_iter().map(async |call| {
        let response = tokio::time::timeout(SOON, call.response).await.unwrap().unwrap();
        match Status::from_header_map(response.headers()) {
            Some(status) => {
                expect_retry::<()>(Err(status), Code::ResourceExhausted, "OVERLOADED");
                None
            }
            None => Some(response.into_body()),
        }
    }))
    .await;
    let mut unread: Vec<_> = answers.into_iter().flatten().collect();
    assert!((1..=5).contains(&unread.len()), "{} of 32 are half of the limit", unread.len());
    assert!(metric(&env.larder, "larder_requests_in_flight").await >= 1.0);
    assert!(metric(&env.larder, "larder_buffered_bytes").await <= 5.0 * 1024.0 * 1024.0);
    // Others read large values, too.
    let other = Cache::connect(env.larder.address()).await;
    assert!(other.get(get("large")).await.unwrap().value.is_some());
    for body in &mut unread {
        let end = tokio::time::timeout(SOON, body.data()).await.unwrap();
        assert!(end.is_some_and(|data| data.is_err_and(|error| error.is_reset())));
    }
    eventually("nothing is held", SOON, async || {
        (metric(&env.larder, "larder_buffered_bytes").await == 0.0).then_some(())
    })
    .await;
    in_flight(&env.larder, 0).await;
    assert!(!greedy.connection.is_finished(), "only the streams are reset");
});

on_both_stores!(unread_streams_are_bounded_and_reset, env: FEW_BYTES, |env| {
    env.cache.set(set("large", data(vec![7; 512 * 1024]))).await.unwrap();
    let mut greedy = RawClient::connect(env.larder.address(), 65_535).await;
    let batch = batch_get(vec![key_ref("large"), key_ref("large"), key_ref("large")]);
    let mut bodies = Vec::new();
    for _ in 0..32 {
        let call = greedy.call("BatchGet", &batch).await;
        bodies.push(tokio::time::timeout(SOON, call.response).await.unwrap().unwrap().into_body());
    }
    let limit = 8.0 * 1024.0 * 1024.0;
    assert!(metric(&env.larder, "larder_buffered_bytes").await <= limit);
    // Others read large values, too.
    assert!(env.cache.get(get("large")).await.unwrap().value.is_some());
    for mut body in bodies {
        let end = async { while body.data().await.is_some_and(|data| data.is_ok()) {} };
        tokio::time::timeout(SOON, end).await.expect("a stream that is not read ends");
    }
    eventually("nothing is held", SOON, async || {
        (metric(&env.larder, "larder_buffered_bytes").await == 0.0).then_some(())
    })
    .await;
    in_flight(&env.larder, 0).await;
    assert!(!greedy.connection.is_finished(), "only the streams are reset");
});

on_both_stores!(unread_responses_are_bounded_with_a_small_window, env: FEW_BYTES, |env| {
    const SIZE: usize = 1024 * 1024 - 1024;
    env.cache.set(set("large", data(vec![7; SIZE]))).await.unwrap();
    let mut greedy = RawClient::connect(env.larder.address(), 1000).await;
    let mut bodies = Vec::new();
    for _ in 0..32 {
        let call = greedy.call("Get", &get("large")).await;
        let response = tokio::time::timeout(SOON, call.response).await.unwrap().unwrap();
        if Status::from_header_map(response.headers()).is_none() {
            bodies.push(response.into_body());
        }
    }
    assert!((1..=5).contains(&bodies.len()), "{} of 32 are half of the limit", bodies.len());
    assert!(metric(&env.larder, "larder_buffered_bytes").await >= SIZE as f64);
    // They hold bytes, and no place of a call for long.
    in_flight(&env.larder, 0).await;
    for body in &mut bodies {
        let end = async { while body.data().await.is_some_and(|data| data.is_ok()) {} };
        tokio::time::timeout(SOON, end).await.expect("a stream that is not read ends");
    }
    eventually("nothing is held", SOON, async || {
        (metric(&env.larder, "larder_buffered_bytes").await == 0.0).then_some(())
    })
    .await;
    assert!(!greedy.connection.is_finished(), "only the streams are reset");
});

const SLOW_STORE: [(&str, &str); 1] = [("LARDER_STORE__TIMEOUT", "20s")];

on_both_stores!(many_greedy_connections_leave_a_part_to_others, env: SLOW_STORE, |env| {
    env.cache.set(set("large", data(vec![7; 16 * 1024]))).await.unwrap();
    env.cache.put("small", "v").await;
    let mut greedy = Vec::new();
    for (connections, calls) in [(128, 64), (172, 24)] {
        for _ in 0..connections {
            let mut client = RawClient::connect(env.larder.address(), 0).await;
            let mut unread = Vec::new();
            for _ in 0..calls {
                unread.push(client.call("Get", &get("large")).await);
            }
            greedy.push((client, unread));
        }
        for _ in 0..20 {
            assert_eq!(env.cache.read("small").await.as_deref(), Some("v"));
            assert!(env.cache.get(get("large")).await.unwrap().value.is_some());
        }
    }
});

on_both_stores!(open_streams_of_many_connections_leave_a_part_to_others, |env| {
    let mut greedy = Vec::new();
    for _ in 0..72 {
        let mut client = RawClient::connect(env.larder.address(), 65_535).await;
        let mut open = Vec::new();
        for _ in 0..64 {
            open.push(client.begin("FetchStream").await);
        }
        greedy.push((client, open));
    }
    eventually("all of them are open or rejected", SOON, async || {
        let open = metric(&env.larder, "larder_fetch_streams_open").await;
        let rejected = metric(&env.larder, "larder_requests_rejected_total").await;
        (open + rejected >= 72.0 * 64.0).then_some(())
    })
    .await;
    let _stream = Stream::lease(&env.cache, "k").await;
});

const FEW_STREAMS: [(&str, &str); 2] =
    [("LARDER_LIMITS__MAX_CONCURRENT_REQUESTS", "4"), ("LARDER_LIMITS__MAX_FETCH_STREAMS", "6")];

on_both_stores!(open_fetch_streams_take_no_permit, env: FEW_STREAMS, |env| {
    let mut streams = Vec::new();
    for index in 0..6 {
        streams.push(Stream::lease(&env.cache, &format!("k{index}")).await);
    }
    let (larder, cache) = (&env.larder, &env.cache);
    assert_eq!(metric(larder, "larder_fetch_streams_open").await, 6.0);
    let rejected = cache.rpc().fetch_stream(tokio_stream::pending()).await.map(drop);
    expect_retry(rejected, Code::ResourceExhausted, "OVERLOADED");
    cache.put("other", "v").await;
    assert_eq!(cache.read("other").await.as_deref(), Some("v"));
    drop(streams.pop());
    eventually("another can be opened", SOON, async || {
        cache.rpc().fetch_stream(tokio_stream::pending()).await.ok().map(drop)
    })
    .await;
    assert!(larder.logs().contains("calls are rejected because of overload"));
    assert!(larder.logs().contains("fetch_streams"));
    eventually("the end is logged", 2 * SOON, async || {
        larder.logs().contains("calls are no longer rejected").then_some(())
    })
    .await;
});

on_both_stores!(a_fill_is_not_stuck_behind_its_waiters, |env| {
    let lease = env.cache.lease("k").await;
    let wait = || {
        let cache = env.cache.clone();
        tokio::spawn(async move { cache.get_or_fetch(fetch("k", 50_000)).await.unwrap() })
    };
    let waiters: Vec<_> = (0..300).map(|_| wait()).collect();
    waiting(&env.larder, 300).await;
    // More than half of the streams of the connection.
    let more: Vec<_> = (0..900).map(|_| wait()).collect();
    waiting(&env.larder, 512).await;
    let contended = eventually("the rest is contended", SOON, async || {
        let ended = more.iter().filter(|call| call.is_finished()).count();
        (ended >= 688).then_some(ended)
    })
    .await;
    assert_eq!(contended, 688);
    // Those alone are rejected, and no call that is answered without a wait.
    env.cache.put("hit", "v").await;
    let hit = env.cache.get_or_fetch(fetch("hit", 50_000)).await.unwrap();
    assert!(matches!(hit.outcome, Some(Outcome::Found(_))), "{hit:?}");
    assert_eq!(metric(&env.larder, "larder_requests_rejected_total").await, 688.0);
    let begun = Instant::now();
    env.cache.set(fill("k", text("v"), &lease)).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let mut found = 0;
    for call in waiters.into_iter().chain(more) {
        match call.await.unwrap().outcome {
            Some(Outcome::Found(_)) => found += 1,
            Some(Outcome::Contended(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(found, 512);
});

const SHORT_DEADLINE: [(&str, &str); 1] = [("LARDER_LIMITS__DEFAULT_DEADLINE", "600ms")];

on_both_stores!(calls_without_a_deadline_get_one, env: SHORT_DEADLINE, |env| {
    env.cache.lease("k").await;
    // A waiter is answered before its deadline.
    let answer = env.cache.get_or_fetch(fetch("k", 50_000)).await.unwrap();
    assert!(matches!(answer.outcome, Some(Outcome::Contended(_))), "{answer:?}");
    // A FetchStream stays open.
    let mut stream = Stream::lease(&env.cache, "other").await;
    let waited = tokio::time::timeout(Duration::from_millis(1_500), stream.next()).await;
    assert!(waited.is_err(), "{waited:?}");
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_message_is_not_longer_than_the_limit() {
    let env =
        crate::support::env::Env::memory(&[("LARDER_LIMITS__MAX_BUFFERED_BYTES", "1MiB")], "")
            .await;
    let mut greedy = RawClient::connect(env.larder.address(), 65_535).await;
    let mut calls = Vec::new();
    for _ in 0..4 {
        let mut call = greedy.begin("Get").await;
        call.message.reserve_capacity(512 * 1024);
        call.message.send_data(vec![0; 512 * 1024].into(), false).unwrap();
        calls.push(call);
    }
    let mut rejected = 0;
    for call in calls {
        if let Ok(response) = tokio::time::timeout(Duration::from_secs(2), call.response).await {
            let status = Status::from_header_map(response.unwrap().headers()).unwrap();
            expect_error::<()>(Err(status), Code::ResourceExhausted, "OVERLOADED");
            rejected += 1;
        }
    }
    assert!(rejected >= 2, "{rejected}");
    env.cache.put("k", "v").await;
}
