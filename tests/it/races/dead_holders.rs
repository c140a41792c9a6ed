//! Callers that die while they hold a lease by a stream: the next one has it at once, on whichever replica it waits.

use std::{
    env,
    net::SocketAddr,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use larder::pb::v1::{GetOrFetchResponse, SetResult};
use nix::sys::signal::Signal;
use tokio::task::JoinHandle;
use tonic::Code;

use super::Fleet;
use crate::support::{
    client::{Cache, Fetched as _, as_text, fetch},
    proxy::{Proxy, Upstream},
    status::expect_retry,
    stream::Stream,
    wait::{SOON, eventually, throughout},
};

/// Far longer than what is called "at once", so that nobody has a lease because one expired.
const FLEET: [(&str, &str); 3] = [
    ("LARDER_DEFAULTS__LEASE_TTL", "50s"),
    ("LARDER_STORE__TIMEOUT", "10s"),
    ("LARDER_LIMITS__KEEPALIVE_INTERVAL", "1s"),
];
/// On a busy machine.
const AT_ONCE: Duration = Duration::from_secs(5);
/// Names the server to the process that [`the_client_process_is_killed`] kills.
const HOLD_AT: &str = "TEST_HOLDS_A_LEASE_AT";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_connection_goes_silent() {
    let mut variables = FLEET.to_vec();
    variables.push(("LARDER_LIMITS__KEEPALIVE_TIMEOUT", "1s"));
    let fleet = Fleet::start(&variables).await;
    let (proxy, holder) = through_proxy(&fleet).await;
    let _stream = Stream::lease(&holder, "k").await;
    let waiter = wait_for(&fleet.caches[1], "k").await;
    proxy.blackhole();
    // Probed after a second, and given up after another.
    handed_over("the connection went silent", Instant::now(), waiter, AT_ONCE * 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_process_is_killed() {
    let fleet = Fleet::start(&FLEET).await;
    for (key, there) in fleet.caches.iter().enumerate() {
        let key = key.to_string();
        let mut client = Command::new(env::current_exe().unwrap());
        client.args(["--exact", "races::dead_holders::holds_until_it_is_killed", "--ignored"]);
        client.env(HOLD_AT, format!("{}/{key}", fleet.servers[0].address())).stdout(Stdio::null());
        let mut client = client.spawn().unwrap();
        eventually("the process has the lease", SOON, async || {
            there.read(&format!("{key} is held")).await
        })
        .await;
        let waiter = wait_for(there, &key).await;
        client.kill().unwrap();
        let killed = Instant::now();
        client.wait().unwrap();
        handed_over("the client was killed", killed, waiter, AT_ONCE).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "is the process that another test kills"]
async fn holds_until_it_is_killed() {
    let Ok(place) = env::var(HOLD_AT) else { return };
    let (address, key) = place.split_once('/').unwrap();
    let cache = Cache::connect(address.parse::<SocketAddr>().unwrap()).await;
    let mut stream = Stream::lease(&cache, key).await;
    cache.put(&format!("{key} is held"), "yes").await;
    let _ = stream.next().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_has_no_more_time() {
    let mut variables = FLEET.to_vec();
    variables.push(("LARDER_SHUTDOWN_TIMEOUT", "100ms"));
    let mut fleet = Fleet::start(&variables).await;
    let mut holder = Stream::lease(&fleet.caches[0], "k").await;
    let waiter = wait_for(&fleet.caches[1], "k").await;
    fleet.servers[0].signal(Signal::SIGTERM);
    handed_over("the server was stopped", Instant::now(), waiter, AT_ONCE).await;
    expect_retry(holder.next().await, Code::Unavailable, "SHUTTING_DOWN");
    assert_eq!(fleet.servers[0].wait_exit(SOON).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_at_work_when_the_server_is_stopped_may_finish() {
    let mut fleet = Fleet::start(&FLEET).await;
    let mut holder = Stream::lease(&fleet.caches[0], "k").await;
    let waiter = wait_for(&fleet.caches[1], "k").await;
    fleet.servers[0].signal(Signal::SIGTERM);
    let stopping = async || fleet.servers[0].logs().contains("shutting down").then_some(());
    eventually("the server has heard it", SOON, stopping).await;
    assert_eq!(holder.fill("v").await, SetResult::Stored);
    assert_eq!(holder.next().await.unwrap(), None);
    let found = waiter.await.unwrap().expect_found();
    assert_eq!(as_text(found.value).as_deref(), Some("v"));
    // Long before the time for a shutdown is over.
    assert_eq!(fleet.servers[0].wait_exit(SOON).await.code(), Some(0));
}

/// A way to the first server that can be broken.
async fn through_proxy(fleet: &Fleet) -> (Proxy, Cache) {
    let proxy = Proxy::start(Upstream::Address(fleet.servers[0].address())).await;
    let holder = Cache::connect(proxy.address()).await;
    (proxy, holder)
}

/// A caller that waits for a key, and has had the time to begin to.
async fn wait_for(cache: &Cache, key: &str) -> JoinHandle<GetOrFetchResponse> {
    let (cache, request) = (cache.clone(), fetch(key, 40_000));
    let waiter = tokio::spawn(async move { cache.get_or_fetch(request).await.unwrap() });
    throughout(Duration::from_millis(100), async || {
        assert!(!waiter.is_finished(), "it did not wait")
    })
    .await;
    waiter
}

/// The caller is the next who computes.
async fn handed_over(
    what: &str,
    at: Instant,
    waiter: JoinHandle<GetOrFetchResponse>,
    limit: Duration,
) {
    waiter.await.unwrap().expect_lease();
    let took = at.elapsed();
    println!("handed over {took:?} after {what}");
    assert!(took < limit, "{took:?}");
}
