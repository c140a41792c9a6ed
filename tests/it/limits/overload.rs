//! Overload: more concurrent calls than the server admits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use futures::future::{join_all, try_join_all};
use larder::pb::v1::GetOrFetchResponse;
use nix::sys::signal::Signal;
use tokio::{net::TcpStream, task::JoinHandle};
use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::support::{
    client::{Cache, delete, fetch, fill, get, increment, set, text},
    env::Env,
    fleet::metric,
    observe::{in_flight, waiting},
    status::expect_retry,
    wait::{SOON, eventually},
};

const FOUR_CALLS: [(&str, &str); 1] = [("LARDER_LIMITS__MAX_CONCURRENT_REQUESTS", "4")];
const THREE_WAITERS: [(&str, &str); 1] = [("LARDER_LIMITS__MAX_WAITING", "3")];

on_both_stores!(excess_calls_are_shed_with_a_retry_delay, env: FOUR_CALLS, |env| {
    let lease = env.cache.lease("k").await;
    let waiters = start_waiters(&env, 4).await;
    eventually("the server is full", SOON, async || env.cache.get(get("k")).await.err()).await;
    expect_retry(env.cache.get(get("k")).await, Code::ResourceExhausted, "OVERLOADED");
    expect_retry(
        env.cache.set(set("other", text("v"))).await,
        Code::ResourceExhausted,
        "OVERLOADED",
    );
    expect_retry(env.cache.delete(delete("other")).await, Code::ResourceExhausted, "OVERLOADED");
    expect_retry(
        env.cache.increment(increment("n", 1)).await,
        Code::ResourceExhausted,
        "OVERLOADED",
    );

    // Health checks of an overloaded server are answered.
    let mut health = HealthClient::new(env.cache.channel());
    let check = HealthCheckRequest { service: String::new() };
    health.check(check).await.unwrap();

    waiters[0].abort();
    eventually("a slot is free again", SOON, async || {
        env.cache.set(fill("k", text("v"), &lease)).await.ok()
    })
    .await;
    for waiter in waiters.into_iter().skip(1) {
        waiter.await.unwrap().unwrap();
    }
    assert_eq!(env.cache.read("k").await.as_deref(), Some("v"));
});

const ONE_CALL: [(&str, &str); 1] = [("LARDER_LIMITS__MAX_CONCURRENT_REQUESTS", "1")];

on_both_stores!(overloading_connections_are_paused_and_then_served, env: ONE_CALL, |env| {
    env.cache.put("other", "v").await;
    let lease = env.cache.lease("k").await;
    let waiter = start_waiters(&env, 1).await.remove(0);
    let clients: Vec<_> = join_all((0..4).map(|_| Cache::connect(env.larder.address()))).await;
    let served = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = clients
        .iter()
        .cycle()
        .take(64)
        .map(|cache| {
            let (cache, served) = (cache.clone(), served.clone());
            tokio::spawn(async move {
                loop {
                    match cache.get(get("other")).await {
                        Ok(_) => _ = served.fetch_add(1, SeqCst),
                        Err(status) => {
                            expect_retry::<()>(Err(status), Code::ResourceExhausted, "OVERLOADED")
                        }
                    }
                }
            })
        })
        .collect();
    eventually("connections are paused", SOON, async || {
        (metric(&env.larder, "larder_connections_held_back").await > 0.0).then_some(())
    })
    .await;
    assert_eq!(served.load(SeqCst), 0, "no slot was free");
    // Health checks on a paused connection are answered, and the call in progress continues.
    let mut health = HealthClient::new(clients[0].channel());
    health.check(HealthCheckRequest { service: String::new() }).await.unwrap();
    assert!(!waiter.is_finished());
    waiter.abort();
    eventually("all callers are served", SOON, async || {
        (served.load(SeqCst) > 256).then_some(())
    })
    .await;
    callers.iter().for_each(JoinHandle::abort);
    for caller in callers {
        assert!(
            caller.await.is_err_and(|end| end.is_cancelled()),
            "a caller got an unexpected answer"
        );
    }
    eventually("no call is left", SOON, async || {
        env.cache.set(fill("k", text("v"), &lease)).await.ok()
    })
    .await;
    eventually("no connection is paused", SOON, async || {
        (metric(&env.larder, "larder_connections_held_back").await == 0.0).then_some(())
    })
    .await;
});

/// After a restart all clients connect at once, while the replica may be busy with the first ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_connections_is_accepted() {
    let env = Env::memory(&[], "").await;
    let address = env.larder.address();
    env.larder.signal(Signal::SIGSTOP);
    // The kernel completes handshakes for a stopped process, up to the backlog.
    let clients = (0..400).map(|_| TcpStream::connect(address));
    let connected = tokio::time::timeout(Duration::from_secs(20), try_join_all(clients)).await;
    env.larder.signal(Signal::SIGCONT);
    assert_eq!(connected.expect("the backlog holds all connections").unwrap().len(), 400);
    env.cache.put("k", "v").await;
}

on_both_stores!(excess_waiters_are_answered_at_once, env: THREE_WAITERS, |env| {
    let lease = env.cache.lease("k").await;
    let waiters = start_waiters(&env, 3).await;
    let start = std::time::Instant::now();
    match env.cache.get_or_fetch(fetch("k", 50_000)).await {
        Ok(answer) => assert!(
            matches!(
                answer.outcome,
                Some(larder::pb::v1::get_or_fetch_response::Outcome::Contended(_))
            ),
            "{answer:?}"
        ),
        Err(status) => expect_retry::<()>(Err(status), Code::ResourceExhausted, "OVERLOADED"),
    }
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    // Calls that do not wait are served.
    assert_eq!(env.cache.read("k").await, None);
    env.cache.put("other", "v").await;
    env.cache.set(fill("k", text("v"), &lease)).await.unwrap();
    for waiter in waiters {
        waiter.await.unwrap().unwrap();
    }
});

on_both_stores!(
    cancelled_waiters_free_their_slots,
    env: [("LARDER_LIMITS__MAX_CONCURRENT_REQUESTS", "8"), ("LARDER_LIMITS__MAX_WAITING", "6")],
    |env| {
        env.cache.lease("k").await;
        for _ in 0..20 {
            let waiters = start_waiters(&env, 5).await;
            for waiter in &waiters {
                waiter.abort();
            }
            eventually("the calls are cancelled", SOON, async || {
                waiters.iter().all(JoinHandle::is_finished).then_some(())
            })
            .await;
            in_flight(&env.larder, 0).await;
        }
        // All slots are free: six callers can wait, and other calls are served meanwhile.
        let waiters = start_waiters(&env, 6).await;
        assert_eq!(env.cache.read("k").await, None);
        env.cache.put("k", "v").await;
        for waiter in waiters {
            waiter.await.unwrap().unwrap();
        }
    }
);

/// Starts callers that wait for the key `k`.
async fn start_waiters(
    env: &Env,
    number: usize,
) -> Vec<JoinHandle<Result<GetOrFetchResponse, Status>>> {
    let waiters: Vec<_> = (0..number)
        .map(|_| {
            let cache = env.cache.clone();
            tokio::spawn(async move { cache.get_or_fetch(fetch("k", 50_000)).await })
        })
        .collect();
    waiting(&env.larder, number).await;
    waiters
}
