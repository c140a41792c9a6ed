//! FetchStream: a lease that lasts as long as the caller's stream.

use std::time::{Duration, Instant};

use larder::pb::v1::{
    FetchStreamAbandon, FetchStreamFill, FetchStreamRequest, GetOrFetchRequest, SetResult,
    fetch_stream_request::Message as ClientMessage,
    fetch_stream_response::Message as ServerMessage, get_or_fetch_response::Outcome,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::support::{
    client::{Fetched as _, as_text, data, delete, fetch, invalidate, set, text},
    observe::waiting,
    redis::RedisServer,
    server::Larder,
    status::{expect_violation, reason},
    stream::Stream,
};

/// Leases that do not expire within a test.
const LONG: [(&str, &str); 1] = [("LARDER_DEFAULTS__LEASE_TTL", "50s")];
const SHORT: [(&str, &str); 1] = [("LARDER_DEFAULTS__LEASE_TTL", "600ms")];
/// Limit for passing on a lease; short compared with the lease TTL.
const AT_ONCE: Duration = Duration::from_secs(5);

on_both_stores!(a_cached_value_ends_the_stream, env: LONG, |env| {
    env.cache.put("k", "v").await;
    let (mut stream, outcome) = Stream::open(&env.cache, "k").await;
    let Outcome::Found(found) = outcome else { panic!("{outcome:?}") };
    assert_eq!(as_text(found.value).as_deref(), Some("v"));
    assert!(stream.next().await.unwrap().is_none());
});

on_all_stores!(a_stream_fills_its_lease, env: LONG, |env| {
    let mut stream = Stream::lease(&env.cache, "k").await;
    let waiter = tokio::spawn({
        let cache = env.cache.clone();
        async move { cache.fetched("k").await.0 }
    });
    assert_eq!(stream.fill("v").await, SetResult::Stored);
    assert!(stream.next().await.unwrap().is_none());
    assert_eq!(waiter.await.unwrap().as_deref(), Some("v"));
});

on_both_stores!(an_open_stream_keeps_its_lease, env: SHORT, |env| {
    let began = Instant::now();
    let mut stream = Stream::lease(&env.cache, "k").await;
    // Three times the lease TTL.
    while began.elapsed() < Duration::from_millis(1800) {
        env.cache.get_or_fetch(fetch("k", 100)).await.unwrap().expect_contended();
    }
    assert_eq!(stream.fill("v").await, SetResult::Stored);
    assert_eq!(env.cache.read("k").await.as_deref(), Some("v"));
});

on_both_stores!(a_broken_stream_releases_its_lease, env: LONG, |env| {
    let endings: [fn(Stream); 2] = [
        drop,
        // Only the request side ends, without a message.
        |Stream { requests, responses }| {
            drop(requests);
            std::mem::forget(responses);
        },
    ];
    for (number, end) in endings.into_iter().enumerate() {
        let key = format!("k{number}");
        let stream = Stream::lease(&env.cache, &key).await;
        let next = tokio::spawn({
            let (cache, key) = (env.cache.clone(), key.clone());
            async move { cache.get_or_fetch(fetch(&key, 50_000)).await.unwrap().expect_lease() }
        });
        waiting(&env.larder, 1).await;
        let ended = Instant::now();
        end(stream);
        next.await.unwrap();
        println!("passed on after {:?}", ended.elapsed());
        assert!(ended.elapsed() < AT_ONCE, "{:?}", ended.elapsed());
    }
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_releases_the_lease_to_another_replica() {
    let redis = RedisServer::start().await;
    let start = async || Larder::redis(&redis.url()).envs(&LONG).start().await;
    let (here, there) = (start().await, start().await);
    let other = there.client().await;
    // A separate connection, which closes with the client.
    let lost = here.client().await;
    let stream = Stream::lease(&lost, "k").await;
    let next = tokio::spawn(async move {
        other.get_or_fetch(fetch("k", 50_000)).await.unwrap().expect_lease()
    });
    waiting(&there, 1).await;
    let lost_at = Instant::now();
    drop((stream, lost));
    next.await.unwrap();
    println!("passed on to the other replica after {:?}", lost_at.elapsed());
    assert!(lost_at.elapsed() < AT_ONCE, "{:?}", lost_at.elapsed());
}

on_both_stores!(an_abandoned_lease_backs_off, env: LONG, |env| {
    let mut stream = Stream::lease(&env.cache, "k").await;
    stream
        .send(ClientMessage::Abandon(FetchStreamAbandon { reason: "no database".to_owned() }))
        .await;
    assert!(stream.next().await.unwrap().is_none());
    env.cache.get_or_fetch(fetch("k", 0)).await.unwrap().expect_contended();
});

on_both_stores!(a_lost_lease_is_reported, env: SHORT, |env| {
    let mut deleted = Stream::lease(&env.cache, "deleted").await;
    env.cache.delete(delete("deleted")).await.unwrap();
    assert_eq!(
        deleted.next().await.unwrap(),
        Some(ServerMessage::Lost(SetResult::Invalidated.into()))
    );
    assert!(deleted.next().await.unwrap().is_none());
    let mut written = Stream::lease(&env.cache, "written").await;
    env.cache.put("written", "v").await;
    assert_eq!(
        written.next().await.unwrap(),
        Some(ServerMessage::Lost(SetResult::Superseded.into()))
    );
    let mut invalidated = Stream::lease(&env.cache, "invalidated").await;
    env.cache.invalidate_namespace(invalidate("ns")).await.unwrap();
    assert_eq!(
        invalidated.next().await.unwrap(),
        Some(ServerMessage::Lost(SetResult::Invalidated.into()))
    );
});

on_both_stores!(a_late_fill_is_refused, env: LONG, |env| {
    let mut stream = Stream::lease(&env.cache, "k").await;
    env.cache.set(set("k", text("newer"))).await.unwrap();
    assert_eq!(stream.fill("older").await, SetResult::Superseded);
    assert_eq!(env.cache.read("k").await.as_deref(), Some("newer"));
});

const SHORT_LIVED: [(&str, &str); 2] =
    [("LARDER_DEFAULTS__LEASE_TTL", "200ms"), ("LARDER_DEFAULTS__LEASE_MAX", "1s")];

on_both_stores!(a_stream_lease_has_a_maximum_duration, env: SHORT_LIVED, |env| {
    let mut stream = Stream::lease(&env.cache, "k").await;
    assert_eq!(
        stream.next().await.unwrap(),
        Some(ServerMessage::Lost(SetResult::LeaseLost.into()))
    );
    env.cache.get_or_fetch(fetch("k", 20_000)).await.unwrap().expect_lease();
});

on_both_stores!(invalid_messages_are_refused, env: LONG, |env| {
    let first = async |message| match Stream::start(&env.cache, message).await {
        Ok(mut stream) => stream.next().await,
        Err(status) => Err(status),
    };
    expect_violation(first(ClientMessage::Abandon(FetchStreamAbandon::default())).await, "open");
    expect_violation(
        first(ClientMessage::Open(GetOrFetchRequest { key: String::new(), ..fetch("k", 0) })).await,
        "open.key",
    );
    let after = async |key: &str, message| {
        let mut stream = Stream::lease(&env.cache, key).await;
        stream.send(message).await;
        stream.next().await
    };
    expect_violation(after("a", ClientMessage::Open(fetch("a", 0))).await, "open");
    expect_violation(
        after("b", ClientMessage::Fill(FetchStreamFill::default())).await,
        "fill.value",
    );
    let large =
        FetchStreamFill { value: Some(data(vec![0; 1024 * 1024 + 1])), ..Default::default() };
    let error = after("c", ClientMessage::Fill(large)).await.unwrap_err();
    assert_eq!(
        (error.code(), reason(&error).as_str()),
        (Code::ResourceExhausted, "VALUE_TOO_LARGE")
    );
    // Each lease was released.
    for key in ["a", "b", "c"] {
        env.cache.get_or_fetch(fetch(key, 20_000)).await.unwrap().expect_lease();
    }
});

on_both_stores!(an_empty_message_is_refused, env: LONG, |env| {
    let mut stream = Stream::open_empty(&env.cache).await;
    stream.send(None).await;
    expect_violation(stream.next().await, "open");
    let mut stream = Stream::lease(&env.cache, "k").await;
    stream.send(None).await;
    expect_violation(stream.next().await, "message");
    // The lease was released.
    env.cache.get_or_fetch(fetch("k", 20_000)).await.unwrap().expect_lease();
});

on_both_stores!(the_deadline_ends_the_stream, env: LONG, |env| {
    let (messages, requests) = mpsc::channel(4);
    messages.send(FetchStreamRequest { message: Some(ClientMessage::Open(fetch("k", 0))) })
        .await
        .unwrap();
    let mut request = tonic::Request::new(ReceiverStream::new(requests));
    request.set_timeout(Duration::from_secs(1));
    let mut answers = env.cache.rpc().fetch_stream(request).await.unwrap().into_inner();
    assert!(answers.message().await.unwrap().is_some());
    // The client's own timer may fire first.
    let error = answers.message().await.unwrap_err();
    assert!(matches!(error.code(), Code::DeadlineExceeded | Code::Cancelled), "{error:?}");
    env.cache.get_or_fetch(fetch("k", 20_000)).await.unwrap().expect_lease();
});
