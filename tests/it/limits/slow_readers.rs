//! Clients that do not read what they asked for: nobody else waits for them, and nothing of it is lost.

use futures::future::join_all;
use larder::pb::v1::{BatchGetResponse, BatchSetRequest, value::Kind};
use tonic::Streaming;

use crate::support::{
    client::{Cache, batch_get, data, key_ref, set},
    observe::metric,
    proxy::{Proxy, Upstream},
    server::Larder,
    wait::{SOON, eventually},
};

const VALUES: usize = 200;
const SIZE: usize = 64 * 1024;
const SMALL: usize = 200;
const MIB: u32 = 1024 * 1024;

on_both_stores!(others_on_the_connection_do_not_wait_for_an_unread_stream, |env| {
    store(&env.cache).await;
    // More than any client keeps for a reader who pauses.
    let mut stream = begin(&env.cache, 3).await;
    let first = stream.message().await.unwrap().unwrap();
    small_gets(&env.cache).await;
    in_flight(&env.larder, 1).await;
    small_gets(&env.cache).await;
    check(first, stream, 3).await;
});

on_both_stores!(others_on_the_connection_do_not_wait_for_many_unread_streams, |env| {
    store(&env.cache).await;
    let cache = Cache::connect_with_windows(env.larder.address(), SIZE as u32, 4 * MIB).await;
    let unread: Vec<_> = join_all((0..10).map(|_| begin(&cache, 1))).await;
    in_flight(&env.larder, unread.len()).await;
    small_gets(&cache).await;
    in_flight(&env.larder, unread.len()).await;
    join_all(unread.into_iter().enumerate().map(async |(number, mut stream)| {
        // Who leaves in the middle takes nothing from the others.
        let first = stream.message().await.unwrap().unwrap();
        if number % 2 == 0 {
            check(first, stream, 1).await;
        }
    }))
    .await;
    in_flight(&env.larder, 0).await;
    small_gets(&cache).await;
});

on_both_stores!(nothing_is_lost_on_a_socket_that_is_not_read_for_a_while, |env| {
    store(&env.cache).await;
    let mut proxy = Proxy::start(Upstream::Address(env.larder.address())).await;
    // So that it is the socket which is full, and not a window.
    let cache = Cache::connect_with_windows(proxy.address(), 64 * MIB, 1024 * MIB).await;
    small_gets(&cache).await;
    for _ in 0..3 {
        let hits = metric(&env.larder, "larder_hits_total").await;
        proxy.hold_replies();
        let streams = tokio::spawn({
            let cache = cache.clone();
            async move {
                let each = || async {
                    let mut stream = begin(&cache, 1).await;
                    let first = stream.message().await.unwrap().unwrap();
                    check(first, stream, 1).await;
                };
                join_all((0..4).map(|_| each())).await;
            }
        });
        eventually("the streams have begun", SOON, async || {
            (metric(&env.larder, "larder_hits_total").await > hits).then_some(())
        })
        .await;
        let waiting = tokio::spawn({
            let cache = cache.clone();
            async move { small_gets(&cache).await }
        });
        // Its own connection is not anybody else's.
        small_gets(&env.cache).await;
        assert!(!streams.is_finished() && !waiting.is_finished());
        proxy.restore().await;
        let all = async { tokio::try_join!(streams, waiting).unwrap() };
        tokio::time::timeout(SOON * 3, all).await.expect("what was held back arrives");
        in_flight(&env.larder, 0).await;
    }
});

/// Bytes that differ with the number and with their place.
fn distinct(number: usize) -> Vec<u8> {
    let mut state = number as u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()
    };
    std::iter::repeat_with(next).take(SIZE / 4).flatten().collect()
}

async fn store(cache: &Cache) {
    for begin in (0..VALUES).step_by(40) {
        let items = (begin..begin + 40)
            .map(|number| set(&format!("k{number}"), data(distinct(number))))
            .collect();
        cache.batch_set(BatchSetRequest { items }).await.unwrap();
    }
    cache.put("small", "v").await;
}

/// Asks for all values so many times.
async fn begin(cache: &Cache, times: usize) -> Streaming<BatchGetResponse> {
    let keys =
        (0..VALUES * times).map(|number| key_ref(&format!("k{}", number % VALUES))).collect();
    cache.rpc().batch_get(batch_get(keys)).await.unwrap().into_inner()
}

/// Reads the rest and checks all of it.
async fn check(first: BatchGetResponse, mut stream: Streaming<BatchGetResponse>, times: usize) {
    let (mut chunk, mut read) = (Some(first), 0);
    while let Some(some) = chunk {
        for result in some.results {
            match result.value.and_then(|value| value.kind) {
                Some(Kind::Data(bytes)) => {
                    assert!(bytes == distinct(read % VALUES), "value {read}")
                }
                other => panic!("no data for value {read}, but {other:?}"),
            }
            read += 1;
        }
        chunk = stream.message().await.unwrap();
    }
    assert_eq!(read, VALUES * times);
}

/// Many calls at once, all of which are answered.
async fn small_gets(cache: &Cache) {
    let answers = join_all((0..SMALL).map(|_| cache.read("small"))).await;
    assert!(answers.iter().all(|answer| answer.as_deref() == Some("v")), "{answers:?}");
}

/// Waits until so many calls are not answered completely.
async fn in_flight(larder: &Larder, calls: usize) {
    let expected = format!("larder_requests_in_flight {calls}");
    eventually(&expected, SOON, async || {
        let metrics = larder.admin("/metrics").await.body;
        metrics.lines().any(|line| line == expected).then_some(())
    })
    .await;
}
