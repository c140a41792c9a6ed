//! Limits, slow readers, disconnects and shutdown.

use std::time::{Duration, Instant};

use larder::pb::v1::{BatchSetRequest, ResetReason};
use nix::sys::signal::Signal;
use tonic::Code;

use crate::support::{
    client::{Cache, NS, set, text},
    fleet::metric,
    status::{expect_error, expect_retry},
    wait::{SOON, eventually},
    watch::{Watch, WatchEvent, watch_request},
};

const FEW: [(&str, &str); 2] =
    [("LARDER_LIMITS__MAX_CONCURRENT_REQUESTS", "4"), ("LARDER_LIMITS__MAX_WATCH_STREAMS", "6")];

on_both_stores!(open_streams_are_limited_and_take_no_permit, env: FEW, |env| {
    let (larder, cache) = (&env.larder, &env.cache);
    let mut watches = Vec::new();
    for _ in 0..6 {
        watches.push(Watch::of_ns(cache, false).await);
    }
    assert_eq!(metric(larder, "larder_watch_streams").await, 6.0);
    let open = async || Watch::open(cache, watch_request(&[NS], false, b"")).await;
    expect_retry(open().await.map(drop), Code::ResourceExhausted, "OVERLOADED");
    cache.put("other", "v").await;
    assert_eq!(cache.read("other").await.as_deref(), Some("v"));
    // A client that leaves makes room.
    drop(watches.pop());
    let mut another =
        eventually("another can be opened", SOON, async || open().await.ok()).await;
    another.ready().await;
    assert!(larder.logs().contains("watch_streams"));
});

on_both_stores!(
    watched_namespaces_are_limited,
    env: [("LARDER_WATCH__MAX_NAMESPACES", "2")],
    |env| {
        let open = async |names: &[&str]| {
            Watch::open(&env.cache, watch_request(names, false, b"")).await
        };
        let first = open(&["a", "b"]).await.unwrap();
        expect_error(open(&["c"]).await.map(drop), Code::ResourceExhausted, "OVERLOADED");
        let mut same = open(&["b"]).await.unwrap();
        same.ready().await;
        assert_eq!(metric(&env.larder, "larder_watch_namespaces").await, 2.0);
        drop(first);
        eventually("a namespace is free", SOON, async || open(&["c"]).await.ok()).await;
    }
);

const SMALL: [(&str, &str); 2] =
    [("LARDER_WATCH__BUFFER_BYTES", "1MiB"), ("LARDER_WATCH__MAX_DELAY", "60s")];

on_both_stores!(a_client_that_does_not_read_is_reset_and_costs_no_memory, env: SMALL, |env| {
    let slow = Cache::connect_with_windows(env.larder.address(), 65_535, 65_535).await;
    let mut unread = Watch::of_ns(&slow, true).await;
    let mut read = Watch::of_ns(&env.cache, true).await;
    for round in 0..60 {
        let last = format!("{round}-{:0>200}", 499);
        let keys = (0..500).map(|number| format!("{round}-{number:0>200}"));
        let items = keys.map(|key| set(&key, text("v"))).collect();
        env.cache.batch_set(BatchSetRequest { items }).await.unwrap();
        // A stream that is read misses nothing.
        read.expect_keys(&[&last]).await;
    }
    let buffered = metric(&env.larder, "larder_watch_buffered_bytes").await;
    assert!(buffered > 1000.0 && buffered <= 1_200_000.0, "{buffered}");
    // Events that the connection had taken come first.
    assert_eq!(unread.reset().await, ResetReason::SlowReader);
    unread.ready().await;
    env.cache.put("after", "v").await;
    unread.expect_keys(&["after"]).await;
});

const SHUTDOWN: [(&str, &str); 1] = [("LARDER_SHUTDOWN_TIMEOUT", "4s")];

on_both_stores!(streams_end_with_a_reset_at_shutdown, env: SHUTDOWN, |env| {
    let mut larder = env.larder;
    let mut watch = Watch::of_ns(&env.cache, true).await;
    larder.signal(Signal::SIGTERM);
    let start = Instant::now();
    assert_eq!(watch.news().await, WatchEvent::Reset(ResetReason::ShuttingDown));
    expect_retry(watch.next().await, Code::Unavailable, "SHUTTING_DOWN");
    assert_eq!(larder.wait_exit(Duration::from_secs(7)).await.code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
});

/// The deadline of a call ends its stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ends_at_its_deadline() {
    let env = crate::support::env::Env::memory(&[], "").await;
    let mut request = tonic::Request::new(watch_request(&[NS], true, b""));
    request.set_timeout(Duration::from_millis(700));
    let mut stream = env.cache.rpc().watch(request).await.unwrap().into_inner();
    let ended = eventually("the stream ends", SOON, async || {
        tokio::time::timeout(SOON, stream.message()).await.expect("an end").err()
    })
    .await;
    assert_eq!(ended.code(), Code::DeadlineExceeded, "{ended:?}");
    eventually("nothing is held", SOON, async || {
        (metric(&env.larder, "larder_watch_streams").await == 0.0).then_some(())
    })
    .await;
}
