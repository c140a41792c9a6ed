//! FetchStream: a lease that lives as long as the caller's stream.

use std::time::{Duration, Instant};

use larder::pb::v1::{
    FetchStreamAbandon, FetchStreamFill, FetchStreamRequest, GetOrFetchRequest, SetResult,
    fetch_stream_request::Message as Said, fetch_stream_response::Message as Told,
    get_or_fetch_response::Outcome,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::support::{
    client::{Fetched as _, as_text, data, delete, fetch, invalidate, set, text},
    redis::RedisServer,
    server::Larder,
    status::{expect_violation, reason},
    stream::Stream,
    wait::{SOON, eventually},
};

/// Leases that nobody waits for to expire.
const LONG: [(&str, &str); 2] =
    [("LARDER_DEFAULTS__LEASE_TTL", "50s"), ("LARDER_STORE__TIMEOUT", "10s")];
const SHORT: [(&str, &str); 2] =
    [("LARDER_DEFAULTS__LEASE_TTL", "600ms"), ("LARDER_STORE__TIMEOUT", "10s")];
/// Long for a hand-over, and short beside the leases.
const AT_ONCE: Duration = Duration::from_secs(5);

on_both_stores!(a_value_that_is_there_ends_the_stream, env: LONG, |env| {
    env.cache.put("k", "v").await;
    let (mut stream, outcome) = Stream::open(&env.cache, "k").await;
    let Outcome::Found(found) = outcome else { panic!("{outcome:?}") };
    assert_eq!(as_text(found.value).as_deref(), Some("v"));
    assert!(stream.next().await.unwrap().is_none());
});

on_both_stores!(a_lease_is_filled, env: LONG, |env| {
    let mut stream = Stream::lease(&env.cache, "k").await;
    let waiter = tokio::spawn({ let cache = env.cache.clone(); async move { cache.fetched("k").await.0 } });
    assert_eq!(stream.fill("v").await, SetResult::Stored);
    assert!(stream.next().await.unwrap().is_none());
    assert_eq!(waiter.await.unwrap().as_deref(), Some("v"));
});

on_both_stores!(the_lease_lives_as_long_as_the_stream, env: SHORT, |env| {
    let began = Instant::now();
    let mut stream = Stream::lease(&env.cache, "k").await;
    // Three times what the lease would last.
    while began.elapsed() < Duration::from_millis(1800) {
        env.cache.get_or_fetch(fetch("k", 100)).await.unwrap().expect_contended();
    }
    assert_eq!(stream.fill("v").await, SetResult::Stored);
    assert_eq!(env.cache.read("k").await.as_deref(), Some("v"));
});

on_both_stores!(a_stream_that_breaks_hands_its_lease_on, env: LONG, |env| {
    let breaks: [fn(Stream); 2] = [
        drop,
        // Only the caller's side ends, without a word.
        |Stream { say, told }| { drop(say); std::mem::forget(told); },
    ];
    for (number, end) in breaks.into_iter().enumerate() {
        let key = format!("k{number}");
        let stream = Stream::lease(&env.cache, &key).await;
        let next = tokio::spawn({
            let (cache, key) = (env.cache.clone(), key.clone());
            async move { cache.get_or_fetch(fetch(&key, 50_000)).await.unwrap().expect_lease() }
        });
        eventually("the next caller waits", SOON, async || waiting(&env.larder).await.then_some(())).await;
        let broke = Instant::now();
        end(stream);
        next.await.unwrap();
        println!("handed on after {:?}", broke.elapsed());
        assert!(broke.elapsed() < AT_ONCE, "{:?}", broke.elapsed());
    }
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_dies_makes_room_for_the_next_on_another_replica() {
    let redis = RedisServer::start().await;
    let start = async || Larder::redis(&redis.url()).envs(&LONG).start().await;
    let (here, there) = (start().await, start().await);
    let other = there.client().await;
    // A connection of its own, which ends with the client.
    let dying = here.client().await;
    let stream = Stream::lease(&dying, "k").await;
    let next = tokio::spawn(async move {
        other.get_or_fetch(fetch("k", 50_000)).await.unwrap().expect_lease()
    });
    eventually("the next caller waits", SOON, async || waiting(&there).await.then_some(())).await;
    let died = Instant::now();
    drop((stream, dying));
    next.await.unwrap();
    println!("handed on to the other replica after {:?}", died.elapsed());
    assert!(died.elapsed() < AT_ONCE, "{:?}", died.elapsed());
}

on_both_stores!(a_lease_that_is_given_up_is_not_granted_for_a_while, env: LONG, |env| {
    let mut stream = Stream::lease(&env.cache, "k").await;
    stream.say(Said::Abandon(FetchStreamAbandon { reason: "no database".to_owned() })).await;
    assert!(stream.next().await.unwrap().is_none());
    env.cache.get_or_fetch(fetch("k", 0)).await.unwrap().expect_contended();
});

on_both_stores!(a_lease_that_is_lost_is_told, env: SHORT, |env| {
    let mut deleted = Stream::lease(&env.cache, "deleted").await;
    env.cache.delete(delete("deleted")).await.unwrap();
    assert_eq!(deleted.next().await.unwrap(), Some(Told::Lost(SetResult::Invalidated.into())));
    assert!(deleted.next().await.unwrap().is_none());
    let mut written = Stream::lease(&env.cache, "written").await;
    env.cache.put("written", "v").await;
    assert_eq!(written.next().await.unwrap(), Some(Told::Lost(SetResult::Superseded.into())));
    let mut invalidated = Stream::lease(&env.cache, "invalidated").await;
    env.cache.invalidate_namespace(invalidate("ns")).await.unwrap();
    assert_eq!(invalidated.next().await.unwrap(), Some(Told::Lost(SetResult::Invalidated.into())));
});

on_both_stores!(a_fill_that_comes_too_late_is_refused, env: LONG, |env| {
    let mut stream = Stream::lease(&env.cache, "k").await;
    env.cache.set(set("k", text("newer"))).await.unwrap();
    assert_eq!(stream.fill("older").await, SetResult::Superseded);
    assert_eq!(env.cache.read("k").await.as_deref(), Some("newer"));
});

const SHORT_LIVED: [(&str, &str); 2] =
    [("LARDER_DEFAULTS__LEASE_TTL", "200ms"), ("LARDER_DEFAULTS__LEASE_MAX", "1s")];

on_both_stores!(no_stream_holds_a_lease_for_ever, env: SHORT_LIVED, |env| {
    let mut stream = Stream::lease(&env.cache, "k").await;
    assert_eq!(stream.next().await.unwrap(), Some(Told::Lost(SetResult::LeaseLost.into())));
    env.cache.get_or_fetch(fetch("k", 20_000)).await.unwrap().expect_lease();
});

on_both_stores!(what_is_said_wrongly_is_refused, env: LONG, |env| {
    let first = async |said| match Stream::begin(&env.cache, said).await {
        Ok(mut stream) => stream.next().await,
        Err(status) => Err(status),
    };
    expect_violation(first(Said::Abandon(FetchStreamAbandon::default())).await, "open");
    expect_violation(first(Said::Open(GetOrFetchRequest { key: String::new(), ..fetch("k", 0) })).await, "open.key");
    let after = async |key: &str, said| {
        let mut stream = Stream::lease(&env.cache, key).await;
        stream.say(said).await;
        stream.next().await
    };
    expect_violation(after("a", Said::Open(fetch("a", 0))).await, "open");
    expect_violation(after("b", Said::Fill(FetchStreamFill::default())).await, "fill.value");
    let large = FetchStreamFill { value: Some(data(vec![0; 1024 * 1024 + 1])), ..Default::default() };
    let error = after("c", Said::Fill(large)).await.unwrap_err();
    assert_eq!((error.code(), reason(&error).as_str()), (Code::ResourceExhausted, "VALUE_TOO_LARGE"));
    // The lease of each went back.
    for key in ["a", "b", "c"] {
        env.cache.get_or_fetch(fetch(key, 20_000)).await.unwrap().expect_lease();
    }
});

on_both_stores!(a_message_that_says_nothing_is_not_the_end_of_the_stream, env: LONG, |env| {
    let mut stream = Stream::silent(&env.cache).await;
    stream.say(None).await;
    expect_violation(stream.next().await, "open");
    let mut stream = Stream::lease(&env.cache, "k").await;
    stream.say(None).await;
    expect_violation(stream.next().await, "message");
    // The lease went back.
    env.cache.get_or_fetch(fetch("k", 20_000)).await.unwrap().expect_lease();
});

on_both_stores!(the_deadline_ends_the_stream, env: LONG, |env| {
    let (say, said) = mpsc::channel(4);
    say.send(FetchStreamRequest { message: Some(Said::Open(fetch("k", 0))) }).await.unwrap();
    let mut request = tonic::Request::new(ReceiverStream::new(said));
    request.set_timeout(Duration::from_secs(1));
    let mut told = env.cache.rpc().fetch_stream(request).await.unwrap().into_inner();
    assert!(told.message().await.unwrap().is_some());
    // The client's own clock may be the first.
    let error = told.message().await.unwrap_err();
    assert!(matches!(error.code(), Code::DeadlineExceeded | Code::Cancelled), "{error:?}");
    env.cache.get_or_fetch(fetch("k", 20_000)).await.unwrap().expect_lease();
});

async fn waiting(larder: &Larder) -> bool {
    larder
        .admin("/metrics")
        .await
        .body
        .lines()
        .any(|line| line.starts_with("larder_waiting ") && !line.ends_with(" 0"))
}
