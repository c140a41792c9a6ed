//! Balancing over several addresses that come, go and fail.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::{sync::Semaphore, time::Instant};
use tonic::Request;

use super::support::{Script, TestServer, eventually, options, origin, request, text};
use crate::{
    origin::{FetchRequest, Origin as _, OriginErrorKind, grpc::GrpcOrigin},
    pb::origin::v1 as wire,
};

fn answering() -> Script {
    Script::always(Ok(text("v")))
}

async fn fetch_all(origin: &GrpcOrigin, count: usize) -> Vec<OriginErrorKind> {
    let orders: Vec<FetchRequest> = (0..count).map(|_| request("k")).collect();
    let results = join_all(orders.iter().map(|order| origin.fetch(order))).await;
    results.into_iter().filter_map(|result| result.err().map(|error| error.kind)).collect()
}

/// A server whose answers each wait for a permit.
async fn blocked() -> (TestServer, Arc<Semaphore>) {
    let permits = Arc::new(Semaphore::new(0));
    let answers = permits.clone();
    let script = Script::new(move |_: Request<wire::FetchRequest>| {
        let answers = answers.clone();
        async move {
            answers.acquire().await.unwrap().forget();
            Ok(text("v"))
        }
    });
    (TestServer::start(script).await, permits)
}

#[tokio::test]
async fn calls_are_spread_over_all_addresses() {
    let servers = [
        TestServer::start(answering()).await,
        TestServer::start(answering()).await,
        TestServer::start(answering()).await,
    ];
    let (origin, _resolver) = origin(&servers.each_ref());
    assert_eq!(fetch_all(&origin, 300).await, []);
    for server in &servers {
        assert!((50..200).contains(&server.fetches()), "{}", server.fetches());
    }
}

#[tokio::test]
async fn calls_avoid_busy_endpoints() {
    let (busy, permits) = blocked().await;
    let idle = TestServer::start(answering()).await;
    let (origin, _resolver) = origin(&[&busy, &idle]);
    let origin = Arc::new(origin);
    let fetch = |origin: Arc<GrpcOrigin>| async move { origin.fetch(&request("k")).await };
    let filling: Vec<_> = (0..20).map(|_| tokio::spawn(fetch(origin.clone()))).collect();
    let stuck = eventually("all calls have arrived, and some are answered", async || {
        let answered = filling.iter().filter(|call| call.is_finished()).count();
        (busy.fetches() > 0 && busy.fetches() + answered == 20).then(|| busy.fetches())
    })
    .await;
    for _ in 0..50 {
        assert!(fetch(origin.clone()).await.is_ok());
    }
    assert_eq!(busy.fetches(), stuck);
    permits.add_permits(20);
    for call in filling {
        assert!(call.await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn silent_endpoint_is_ejected() {
    let (silent, _permits) = blocked().await;
    let healthy = TestServer::start(answering()).await;
    let (origin, _resolver) = origin(&[&silent, &healthy]);
    let mut late = 0;
    for _ in 0..100 {
        let request =
            FetchRequest { deadline: Instant::now() + Duration::from_millis(200), ..request("k") };
        late += usize::from(origin.fetch(&request).await.is_err());
    }
    assert!(late < 20, "{late} of 100");
}

#[tokio::test]
async fn dead_endpoint_fails_no_call_and_is_used_again_after_a_restart() {
    let (one, other) = (TestServer::start(answering()).await, TestServer::start(answering()).await);
    let (origin, _resolver) = origin(&[&one, &other]);
    assert_eq!(fetch_all(&origin, 20).await, []);
    let address = one.address;
    one.kill();
    for _ in 0..50 {
        assert_eq!(fetch_all(&origin, 1).await, []);
    }
    let again = TestServer::restart(address, answering()).await;
    eventually("it is used again", async || {
        assert_eq!(fetch_all(&origin, 1).await, []);
        (again.fetches() > 5).then_some(())
    })
    .await;
}

#[tokio::test]
async fn call_on_a_broken_connection_is_repeated_once() {
    let doomed = [blocked().await.0, blocked().await.0, blocked().await.0];
    let (origin, _resolver) = origin(&doomed.each_ref());
    let mut doomed = Vec::from(doomed);
    let request = request("k");
    let mut waiting = Box::pin(origin.fetch(&request));
    for _ in 0..2 {
        let victim = eventually("the call has arrived", async || {
            let _ = tokio::time::timeout(Duration::from_millis(10), &mut waiting).await;
            doomed.iter().position(|server| server.fetches() == 1)
        });
        let victim = victim.await;
        doomed.swap_remove(victim).kill();
    }
    assert_eq!(waiting.await.unwrap_err().kind, OriginErrorKind::Unreachable);
    assert_eq!(doomed[0].fetches(), 0);
}

#[tokio::test]
async fn restarted_origin_is_reconnected() {
    let server = TestServer::start(answering()).await;
    let (origin, _resolver) = origin(&[&server]);
    assert_eq!(fetch_all(&origin, 1).await, []);
    let address = server.address;
    server.kill();
    eventually("the connection is lost", async || {
        (fetch_all(&origin, 1).await == [OriginErrorKind::Unreachable]).then_some(())
    })
    .await;
    let again = TestServer::restart(address, answering()).await;
    eventually("it is connected again", async || {
        fetch_all(&origin, 1).await.is_empty().then_some(())
    })
    .await;
    assert_eq!(fetch_all(&origin, 20).await, []);
    assert!(again.fetches() > 20);
}

#[tokio::test]
async fn graceful_shutdown_fails_no_call() {
    let (draining, staying) =
        (TestServer::start(answering()).await, TestServer::start(answering()).await);
    let (origin, _resolver) = origin(&[&draining, &staying]);
    for round in 0..40 {
        if round == 10 {
            draining.drain();
        }
        assert_eq!(fetch_all(&origin, 20).await, [], "round {round}");
    }
}

#[tokio::test]
async fn endpoints_follow_the_resolver() {
    let (old, permits) = blocked().await;
    let new = TestServer::start(answering()).await;
    let (origin, resolver) = origin(&[&old]);
    let request = request("k");
    let mut waiting = Box::pin(origin.fetch(&request));
    eventually("the call has arrived", async || {
        let _ = tokio::time::timeout(Duration::from_millis(10), &mut waiting).await;
        (old.fetches() == 1).then_some(())
    })
    .await;
    resolver.set(&[&new]);
    permits.add_permits(1_000);
    eventually("the new endpoint is used", async || {
        assert_eq!(fetch_all(&origin, 1).await, []);
        (new.fetches() > 0).then_some(())
    })
    .await;
    let before = old.fetches();
    assert_eq!(fetch_all(&origin, 20).await, []);
    assert_eq!(old.fetches(), before);
    // A removed endpoint stays connected until its last call has ended.
    assert!(waiting.await.is_ok());
}

#[tokio::test]
async fn calls_fail_until_the_name_resolves() {
    let server = TestServer::start(answering()).await;
    let (origin, resolver) = origin(&[]);
    let error = origin.fetch(&request("k")).await.unwrap_err();
    assert_eq!(error.kind, OriginErrorKind::Unreachable);
    assert!(error.cause.contains("does not resolve"), "{error}");
    resolver.set(&[&server]);
    eventually("it has addresses", async || fetch_all(&origin, 1).await.is_empty().then_some(()))
        .await;
    // A failed lookup keeps the known endpoints.
    resolver.set(&[]);
    tokio::time::timeout(Duration::from_millis(700), async {
        loop {
            assert_eq!(fetch_all(&origin, 1).await, []);
        }
    })
    .await
    .unwrap_err();
}

#[tokio::test]
async fn dropped_origin_stops_resolving() {
    let server = TestServer::start(answering()).await;
    let (origin, resolver) = origin(&[&server]);
    assert_eq!(fetch_all(&origin, 1).await, []);
    assert!(resolver.is_used());
    drop(origin);
    eventually("the resolver is dropped", async || (!resolver.is_used()).then_some(())).await;
}

#[tokio::test]
async fn closed_port_fails_all_calls_at_once() {
    let server = TestServer::start(answering()).await;
    let (origin, _resolver) = origin(&[&server]);
    server.kill();
    let failures =
        tokio::time::timeout(Duration::from_secs(5), fetch_all(&origin, 100)).await.unwrap();
    assert_eq!(failures, vec![OriginErrorKind::Unreachable; 100]);
}

#[tokio::test]
async fn host_names_and_addresses_are_resolved() {
    let server = TestServer::start(answering()).await;
    for host in ["localhost", "127.0.0.1"] {
        let mut options = options();
        options.url = format!("http://{host}:{}", server.address.port()).parse().unwrap();
        let origin = GrpcOrigin::new(options).unwrap();
        assert_eq!(fetch_all(&origin, 10).await, [], "{host}");
    }
}
