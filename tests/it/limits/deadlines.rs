//! The caller's deadline, and callers who leave.

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

/// A client that tells the server its deadline and does not watch it itself, so that every answer is the server's.
type PatientClient = CacheServiceClient<Client<HttpConnector, Body>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_past_its_deadline_says_so() {
    let redis = RedisServer::start().await;
    let larder = Larder::redis(&redis.url()).env("LARDER_STORE__TIMEOUT", "20s").start().await;
    let mut client = patient_client(&larder);
    client.get(get("k")).await.unwrap();
    redis.pause();
    let start = Instant::now();
    let late = client.get(within("300m", get("k"))).await;
    let waited = start.elapsed();
    expect_error(late, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    assert!((Duration::from_millis(250)..Duration::from_secs(5)).contains(&waited), "{waited:?}");
    let late = client.set(within("100m", set("k", text("v")))).await;
    expect_error(late, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    redis.resume();
    client.get(get("k")).await.unwrap();
}

// The deadlines are long enough for what is kept back of them to be more than a busy machine takes for an answer.
on_both_stores!(a_wait_ends_before_the_deadline, env: [("LARDER_DEFAULTS__ABANDON_BACKOFF", "1m")], |env| {
    let mut client = patient_client(&env.larder);
    let lease = env.cache.lease("k").await;
    let start = Instant::now();
    let answer = client.get_or_fetch(within("2000m", fetch("k", 50_000))).await.unwrap().into_inner();
    let waited = start.elapsed();
    answer.expect_contended();
    assert!((Duration::from_secs(1)..Duration::from_secs(5)).contains(&waited), "{waited:?}");

    // So does the one for a back-off.
    env.cache.abandon(abandon("k", &lease)).await.unwrap();
    let answer = client.get_or_fetch(within("2000m", fetch("k", 50_000))).await.unwrap().into_inner();
    answer.expect_contended();
});

on_both_stores!(an_ordinary_client_gets_its_answer_in_time, |env| {
    env.cache.lease("k").await;
    let mut request = Request::new(fetch("k", 50_000));
    request.set_timeout(Duration::from_secs(3));
    env.cache.get_or_fetch(request).await.unwrap().expect_contended();
});

on_both_stores!(a_deadline_without_haste_changes_nothing, |env| {
    let mut client = patient_client(&env.larder);
    client.set(within("30S", set("k", text("v")))).await.unwrap();
    for deadline in ["99999999H", "1H", "60M", "30000000u"] {
        let answer = client.get(within(deadline, get("k"))).await.unwrap().into_inner();
        assert_eq!(answer.value, Some(text("v")), "{deadline}");
    }
});

on_both_stores!(a_wait_is_never_longer_than_a_minute, env: [("LARDER_DEFAULTS__LEASE_TTL", "2s")], |env| {
    // The lease runs out first; what is tested is that the longest possible wait is not refused.
    env.cache.lease("k").await;
    let longest = Some(prost_types::Duration { seconds: 315_576_000_000, nanos: 0 });
    let request = GetOrFetchRequest { wait: longest, ..fetch("k", 0) };
    env.cache.get_or_fetch(request).await.unwrap().expect_lease();
});

fn patient_client(larder: &Larder) -> PatientClient {
    let client = Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .http2_only(true)
        .build_http();
    CacheServiceClient::with_origin(client, format!("http://{}", larder.address()).parse().unwrap())
}

/// A request with a deadline in the notation of the protocol.
fn within<T>(deadline: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("grpc-timeout", deadline.parse().unwrap());
    request
}
