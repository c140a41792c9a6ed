//! Clients that read slowly or not at all: other calls are not delayed, and no data is lost.

use futures::future::join_all;
use larder::pb::v1::{BatchGetResponse, BatchSetRequest, value::Kind};
use tonic::Streaming;

use crate::support::{
    client::{Cache, batch_get, data, key_ref, set},
    observe::{in_flight, metric},
    proxy::{Proxy, Upstream},
    wait::{SOON, eventually},
};

const VALUES: usize = 200;
const SIZE: usize = 64 * 1024;
const SMALL: usize = 200;
const MIB: u32 = 1024 * 1024;

on_both_stores!(an_unread_stream_does_not_block_its_connection, |env| {
    store_values(&env.cache).await;
    // More than any client buffers for a paused reader.
    let mut stream = start_batch(&env.cache, 3).await;
    let first = stream.message().await.unwrap().unwrap();
    small_gets(&env.cache).await;
    in_flight(&env.larder, 1).await;
    small_gets(&env.cache).await;
    check_stream(first, stream, 3).await;
});

on_both_stores!(many_unread_streams_do_not_block_their_connection, |env| {
    store_values(&env.cache).await;
    let cache = Cache::connect_with_windows(env.larder.address(), SIZE as u32, 4 * MIB).await;
    let unread: Vec<_> = join_all((0..10).map(|_| start_batch(&cache, 1))).await;
    in_flight(&env.larder, unread.len()).await;
    small_gets(&cache).await;
    in_flight(&env.larder, unread.len()).await;
    join_all(unread.into_iter().enumerate().map(async |(number, mut stream)| {
        // Cancelled streams do not affect the others.
        let first = stream.message().await.unwrap().unwrap();
        if number % 2 == 0 {
            check_stream(first, stream, 1).await;
        }
    }))
    .await;
    in_flight(&env.larder, 0).await;
    small_gets(&cache).await;
});

on_both_stores!(a_paused_socket_loses_no_data, |env| {
    store_values(&env.cache).await;
    let mut proxy = Proxy::start(Upstream::Address(env.larder.address())).await;
    // Large windows, so that the socket fills up and not a flow-control window.
    let cache = Cache::connect_with_windows(proxy.address(), 64 * MIB, 1024 * MIB).await;
    small_gets(&cache).await;
    for _ in 0..3 {
        let hits = metric(&env.larder, "larder_hits_total").await;
        proxy.hold_replies();
        let streams = tokio::spawn({
            let cache = cache.clone();
            async move {
                let each = || async {
                    let mut stream = start_batch(&cache, 1).await;
                    let first = stream.message().await.unwrap().unwrap();
                    check_stream(first, stream, 1).await;
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
        // Another connection is not affected.
        small_gets(&env.cache).await;
        assert!(!streams.is_finished() && !waiting.is_finished());
        proxy.restore().await;
        let all = async { tokio::try_join!(streams, waiting).unwrap() };
        tokio::time::timeout(SOON * 3, all).await.expect("the delayed answers arrive");
        in_flight(&env.larder, 0).await;
    }
});

/// Bytes that depend on the number and on their position.
fn distinct(number: usize) -> Vec<u8> {
    let mut state = number as u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()
    };
    std::iter::repeat_with(next).take(SIZE / 4).flatten().collect()
}

async fn store_values(cache: &Cache) {
    for first in (0..VALUES).step_by(40) {
        let items = (first..first + 40)
            .map(|number| set(&format!("k{number}"), data(distinct(number))))
            .collect();
        cache.batch_set(BatchSetRequest { items }).await.unwrap();
    }
    cache.put("small", "v").await;
}

/// Requests all values `times` times in one batch.
async fn start_batch(cache: &Cache, times: usize) -> Streaming<BatchGetResponse> {
    let keys =
        (0..VALUES * times).map(|number| key_ref(&format!("k{}", number % VALUES))).collect();
    cache.rpc().batch_get(batch_get(keys)).await.unwrap().into_inner()
}

/// Reads the rest of the stream, and checks every value.
async fn check_stream(
    first: BatchGetResponse,
    mut stream: Streaming<BatchGetResponse>,
    times: usize,
) {
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

/// Makes many concurrent calls, all of which must be answered.
async fn small_gets(cache: &Cache) {
    let answers = join_all((0..SMALL).map(|_| cache.read("small"))).await;
    assert!(answers.iter().all(|answer| answer.as_deref() == Some("v")), "{answers:?}");
}
