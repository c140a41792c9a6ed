//! Deadlines of callers.

use std::time::{Duration, Instant};

use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use larder::pb::v1::{GetOrFetchRequest, cache_service_client::CacheServiceClient};
use tonic::{Code, Request, body::Body};

use crate::support::{
    client::{Fetched as _, abandon, fetch, get, set, text},
    redis::RedisServer,
    server::Larder,
    status::expect_error,
};

/// A client that sends its deadline without enforcing it, so that every answer is the server's.
type RawClient = CacheServiceClient<Client<HttpConnector, Body>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missed_deadline_is_reported() {
    let redis = RedisServer::start().await;
    let larder = Larder::redis(&redis.url()).env("LARDER_STORE__TIMEOUT", "20s").start().await;
    let mut client = raw_client(&larder);
    client.get(get("k")).await.unwrap();
    redis.pause();
    let start = Instant::now();
    let late = client.get(with_deadline("300m", get("k"))).await;
    let waited = start.elapsed();
    expect_error(late, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    assert!((Duration::from_millis(250)..Duration::from_secs(5)).contains(&waited), "{waited:?}");
    let late = client.set(with_deadline("100m", set("k", text("v")))).await;
    expect_error(late, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    redis.resume();
    client.get(get("k")).await.unwrap();
}

// The deadlines are long enough that their reserved margin exceeds the time of an answer on a busy
// machine.
on_both_stores!(
    a_wait_ends_before_the_deadline,
    env: [("LARDER_DEFAULTS__ABANDON_BACKOFF", "1m")],
    |env| {
        let mut client = raw_client(&env.larder);
        let lease = env.cache.lease("k").await;
        let start = Instant::now();
        let answer = client
            .get_or_fetch(with_deadline("2000m", fetch("k", 50_000)))
            .await
            .unwrap()
            .into_inner();
        let waited = start.elapsed();
        answer.expect_contended();
        assert!((Duration::from_secs(1)..Duration::from_secs(5)).contains(&waited), "{waited:?}");

        // The wait for a back-off ends before the deadline as well.
        env.cache.abandon(abandon("k", &lease)).await.unwrap();
        let answer = client
            .get_or_fetch(with_deadline("2000m", fetch("k", 50_000)))
            .await
            .unwrap()
            .into_inner();
        answer.expect_contended();
    }
);

on_both_stores!(an_ordinary_client_is_answered_in_time, |env| {
    env.cache.lease("k").await;
    let mut request = Request::new(fetch("k", 50_000));
    request.set_timeout(Duration::from_secs(3));
    env.cache.get_or_fetch(request).await.unwrap().expect_contended();
});

on_both_stores!(a_distant_deadline_has_no_effect, |env| {
    let mut client = raw_client(&env.larder);
    client.set(with_deadline("30S", set("k", text("v")))).await.unwrap();
    for deadline in ["99999999H", "1H", "60M", "30000000u"] {
        let answer = client.get(with_deadline(deadline, get("k"))).await.unwrap().into_inner();
        assert_eq!(answer.value, Some(text("v")), "{deadline}");
    }
});

on_both_stores!(the_longest_wait_is_accepted, env: [("LARDER_DEFAULTS__LEASE_TTL", "2s")], |env| {
    // The lease expires first; the test is that the longest possible wait is accepted.
    env.cache.lease("k").await;
    let longest = Some(prost_types::Duration { seconds: 315_576_000_000, nanos: 0 });
    let request = GetOrFetchRequest { wait: longest, ..fetch("k", 0) };
    env.cache.get_or_fetch(request).await.unwrap().expect_lease();
});

fn raw_client(larder: &Larder) -> RawClient {
    let client = Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .http2_only(true)
        .build_http();
    CacheServiceClient::with_origin(client, format!("http://{}", larder.address()).parse().unwrap())
}

/// A request with a deadline in the format of the `grpc-timeout` header.
fn with_deadline<T>(deadline: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("grpc-timeout", deadline.parse().unwrap());
    request
}
