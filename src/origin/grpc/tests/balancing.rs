//! Several addresses, and what becomes of the calls when they come and go.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::{sync::Semaphore, time::Instant};
use tonic::Request;

use super::support::{Script, TestServer, eventually, options, order, origin, text};
use crate::{
    origin::{ErrorKind, FetchRequest, Origin as _, grpc::GrpcOrigin},
    pb::origin::v1 as wire,
};

fn answers() -> Script {
    Script::always(Ok(text("v")))
}

async fn fetch_all(origin: &GrpcOrigin, count: usize) -> Vec<ErrorKind> {
    let orders: Vec<FetchRequest> = (0..count).map(|_| order("k")).collect();
    let results = join_all(orders.iter().map(|order| origin.fetch(order))).await;
    results.into_iter().filter_map(|result| result.err().map(|error| error.kind)).collect()
}

/// A server that answers when it is told to.
async fn patient() -> (TestServer, Arc<Semaphore>) {
    let go = Arc::new(Semaphore::new(0));
    let gate = go.clone();
    let script = Script::new(move |_: Request<wire::FetchRequest>| {
        let gate = gate.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            Ok(text("v"))
        }
    });
    (TestServer::start(script).await, go)
}

#[tokio::test]
async fn calls_are_spread_over_all_addresses() {
    let servers = [
        TestServer::start(answers()).await,
        TestServer::start(answers()).await,
        TestServer::start(answers()).await,
    ];
    let (origin, _places) = origin(&servers.each_ref());
    assert_eq!(fetch_all(&origin, 300).await, []);
    for server in &servers {
        assert!((50..200).contains(&server.fetches()), "{}", server.fetches());
    }
}

#[tokio::test]
async fn calls_avoid_the_busy() {
    let (busy, go) = patient().await;
    let idle = TestServer::start(answers()).await;
    let (origin, _places) = origin(&[&busy, &idle]);
    let origin = Arc::new(origin);
    let fetch = |origin: Arc<GrpcOrigin>| async move { origin.fetch(&order("k")).await };
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
    go.add_permits(20);
    for call in filling {
        assert!(call.await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn an_address_that_never_answers_is_set_aside() {
    let (silent, _go) = patient().await;
    let well = TestServer::start(answers()).await;
    let (origin, _places) = origin(&[&silent, &well]);
    let mut late = 0;
    for _ in 0..100 {
        let order =
            FetchRequest { deadline: Instant::now() + Duration::from_millis(200), ..order("k") };
        late += usize::from(origin.fetch(&order).await.is_err());
    }
    assert!(late < 20, "{late} of 100");
}

#[tokio::test]
async fn an_address_that_dies_costs_nothing_and_is_used_again_when_it_is_back() {
    let (one, other) = (TestServer::start(answers()).await, TestServer::start(answers()).await);
    let (origin, _places) = origin(&[&one, &other]);
    assert_eq!(fetch_all(&origin, 20).await, []);
    let address = one.address;
    one.die();
    for _ in 0..50 {
        assert_eq!(fetch_all(&origin, 1).await, []);
    }
    let again = TestServer::start_again(address, answers()).await;
    eventually("it is used again", async || {
        assert_eq!(fetch_all(&origin, 1).await, []);
        (again.fetches() > 5).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_call_whose_connection_breaks_is_made_once_more() {
    let deadly = [patient().await.0, patient().await.0, patient().await.0];
    let (origin, _places) = origin(&deadly.each_ref());
    let mut deadly = Vec::from(deadly);
    let order = order("k");
    let mut waiting = Box::pin(origin.fetch(&order));
    for _ in 0..2 {
        let victim = eventually("the call has arrived", async || {
            let _ = tokio::time::timeout(Duration::from_millis(10), &mut waiting).await;
            deadly.iter().position(|server| server.fetches() == 1)
        });
        let victim = victim.await;
        deadly.swap_remove(victim).die();
    }
    assert_eq!(waiting.await.unwrap_err().kind, ErrorKind::Unreachable);
    assert_eq!(deadly[0].fetches(), 0);
}

#[tokio::test]
async fn an_origin_that_restarts_is_connected_to_again() {
    let server = TestServer::start(answers()).await;
    let (origin, _places) = origin(&[&server]);
    assert_eq!(fetch_all(&origin, 1).await, []);
    let address = server.address;
    server.die();
    eventually("it is gone", async || {
        (fetch_all(&origin, 1).await == [ErrorKind::Unreachable]).then_some(())
    })
    .await;
    let again = TestServer::start_again(address, answers()).await;
    eventually("it is back", async || fetch_all(&origin, 1).await.is_empty().then_some(())).await;
    assert_eq!(fetch_all(&origin, 20).await, []);
    assert!(again.fetches() > 20);
}

#[tokio::test]
async fn a_server_that_leaves_in_good_order_fails_no_call() {
    let (leaving, staying) =
        (TestServer::start(answers()).await, TestServer::start(answers()).await);
    let (origin, _places) = origin(&[&leaving, &staying]);
    for round in 0..40 {
        if round == 10 {
            leaving.drain();
        }
        assert_eq!(fetch_all(&origin, 20).await, [], "round {round}");
    }
}

#[tokio::test]
async fn addresses_come_and_go_with_the_name() {
    let (old, go) = patient().await;
    let new = TestServer::start(answers()).await;
    let (origin, places) = origin(&[&old]);
    let order = order("k");
    let mut waiting = Box::pin(origin.fetch(&order));
    eventually("the call has arrived", async || {
        let _ = tokio::time::timeout(Duration::from_millis(10), &mut waiting).await;
        (old.fetches() == 1).then_some(())
    })
    .await;
    places.set(&[&new]);
    go.add_permits(1_000);
    eventually("the new one is known", async || {
        assert_eq!(fetch_all(&origin, 1).await, []);
        (new.fetches() > 0).then_some(())
    })
    .await;
    let before = old.fetches();
    assert_eq!(fetch_all(&origin, 20).await, []);
    assert_eq!(old.fetches(), before);
    // The old one is let go when its last call has ended, not before.
    assert!(waiting.await.is_ok());
}

#[tokio::test]
async fn a_name_without_addresses_fails_until_it_has_some() {
    let server = TestServer::start(answers()).await;
    let (origin, places) = origin(&[]);
    let error = origin.fetch(&order("k")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert!(error.cause.contains("does not resolve"), "{error}");
    places.set(&[&server]);
    eventually("it has addresses", async || fetch_all(&origin, 1).await.is_empty().then_some(()))
        .await;
    // What was known stays in use when the resolver fails.
    places.set(&[]);
    tokio::time::timeout(Duration::from_millis(700), async {
        loop {
            assert_eq!(fetch_all(&origin, 1).await, []);
        }
    })
    .await
    .unwrap_err();
}

#[tokio::test]
async fn resolving_ends_with_the_origin() {
    let server = TestServer::start(answers()).await;
    let (origin, places) = origin(&[&server]);
    assert_eq!(fetch_all(&origin, 1).await, []);
    assert!(places.is_in_use());
    drop(origin);
    eventually("nobody resolves", async || (!places.is_in_use()).then_some(())).await;
}

#[tokio::test]
async fn nothing_that_listens_is_unreachable_at_once() {
    let server = TestServer::start(answers()).await;
    let (origin, _places) = origin(&[&server]);
    server.die();
    let crowd =
        tokio::time::timeout(Duration::from_secs(5), fetch_all(&origin, 100)).await.unwrap();
    assert_eq!(crowd, vec![ErrorKind::Unreachable; 100]);
}

#[tokio::test]
async fn a_name_is_resolved_by_the_system() {
    let server = TestServer::start(answers()).await;
    for host in ["localhost", "127.0.0.1"] {
        let mut options = options();
        options.url = format!("http://{host}:{}", server.address.port()).parse().unwrap();
        let origin = GrpcOrigin::new(options).unwrap();
        assert_eq!(fetch_all(&origin, 10).await, [], "{host}");
    }
}
