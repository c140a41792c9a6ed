//! Lease holders that die: when a stream that holds a lease breaks, the next waiter is granted the
//! lease at once, on any replica.

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

/// The lease TTL is far longer than [`AT_ONCE`], so that no lease is granted by expiry.
const FLEET: [(&str, &str); 2] =
    [("LARDER_DEFAULTS__LEASE_TTL", "50s"), ("LARDER_LIMITS__KEEPALIVE_INTERVAL", "1s")];
/// Upper bound for "at once" on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(5);
/// Variable that passes `address/key` to the process that
/// [`killed_client_releases_the_lease`] kills.
const HOLDER_TARGET: &str = "TEST_LEASE_HOLDER_TARGET";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connection_releases_the_lease() {
    let mut variables = FLEET.to_vec();
    variables.push(("LARDER_LIMITS__KEEPALIVE_TIMEOUT", "1s"));
    let fleet = Fleet::start(&variables).await;
    let (proxy, holder) = through_proxy(&fleet).await;
    let _stream = Stream::lease(&holder, "k").await;
    let waiter = wait_for(&fleet.caches[1], "k").await;
    proxy.blackhole();
    // A keepalive ping is sent after 1 s and times out after another.
    expect_handover("the connection went silent", Instant::now(), waiter, AT_ONCE * 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_client_releases_the_lease() {
    let fleet = Fleet::start(&FLEET).await;
    for (key, waiting_replica) in fleet.caches.iter().enumerate() {
        let key = key.to_string();
        let mut client = Command::new(env::current_exe().unwrap());
        client.args([
            "--exact",
            "races::lease_holder_failures::hold_lease_until_killed",
            "--ignored",
        ]);
        client
            .env(HOLDER_TARGET, format!("{}/{key}", fleet.servers[0].address()))
            .stdout(Stdio::null());
        let mut client = client.spawn().unwrap();
        eventually("the process holds the lease", SOON, async || {
            waiting_replica.read(&format!("{key} is held")).await
        })
        .await;
        let waiter = wait_for(waiting_replica, &key).await;
        client.kill().unwrap();
        let killed = Instant::now();
        client.wait().unwrap();
        expect_handover("the client was killed", killed, waiter, AT_ONCE).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs as the process that another test kills"]
async fn hold_lease_until_killed() {
    let Ok(target) = env::var(HOLDER_TARGET) else { return };
    let (address, key) = target.split_once('/').unwrap();
    let cache = Cache::connect(address.parse::<SocketAddr>().unwrap()).await;
    let mut stream = Stream::lease(&cache, key).await;
    cache.put(&format!("{key} is held"), "yes").await;
    let _ = stream.next().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_timeout_releases_the_lease() {
    let mut variables = FLEET.to_vec();
    variables.push(("LARDER_SHUTDOWN_TIMEOUT", "100ms"));
    let mut fleet = Fleet::start(&variables).await;
    let mut holder = Stream::lease(&fleet.caches[0], "k").await;
    let waiter = wait_for(&fleet.caches[1], "k").await;
    fleet.servers[0].signal(Signal::SIGTERM);
    expect_handover("the server was stopped", Instant::now(), waiter, AT_ONCE).await;
    expect_retry(holder.next().await, Code::Unavailable, "SHUTTING_DOWN");
    assert_eq!(fleet.servers[0].wait_exit(SOON).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lease_holder_may_fill_during_shutdown() {
    let mut fleet = Fleet::start(&FLEET).await;
    let mut holder = Stream::lease(&fleet.caches[0], "k").await;
    let waiter = wait_for(&fleet.caches[1], "k").await;
    fleet.servers[0].signal(Signal::SIGTERM);
    let stopping = async || fleet.servers[0].logs().contains("shutting down").then_some(());
    eventually("the server starts to shut down", SOON, stopping).await;
    assert_eq!(holder.fill("v").await, SetResult::Stored);
    assert_eq!(holder.next().await.unwrap(), None);
    let found = waiter.await.unwrap().expect_found();
    assert_eq!(as_text(found.value).as_deref(), Some("v"));
    // The server exits long before the shutdown timeout.
    assert_eq!(fleet.servers[0].wait_exit(SOON).await.code(), Some(0));
}

/// A client of the first server, through a proxy that can break the connection.
async fn through_proxy(fleet: &Fleet) -> (Proxy, Cache) {
    let proxy = Proxy::start(Upstream::Address(fleet.servers[0].address())).await;
    let holder = Cache::connect(proxy.address()).await;
    (proxy, holder)
}

/// Starts a caller and checks that it waits for the key.
async fn wait_for(cache: &Cache, key: &str) -> JoinHandle<GetOrFetchResponse> {
    let (cache, request) = (cache.clone(), fetch(key, 40_000));
    let waiter = tokio::spawn(async move { cache.get_or_fetch(request).await.unwrap() });
    throughout(Duration::from_millis(100), async || {
        assert!(!waiter.is_finished(), "the caller did not wait")
    })
    .await;
    waiter
}

/// Checks that the waiter is granted the lease within `limit` of `at`.
async fn expect_handover(
    what: &str,
    at: Instant,
    waiter: JoinHandle<GetOrFetchResponse>,
    limit: Duration,
) {
    waiter.await.unwrap().expect_lease();
    let took = at.elapsed();
    println!("lease granted {took:?} after {what}");
    assert!(took < limit, "{took:?}");
}
