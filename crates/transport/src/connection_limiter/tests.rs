use std::{
    future::pending,
    task::{Context, Poll},
};

use hyper::rt::Executor as _;

use super::*;
use crate::{
    connection_stats::ConnectionStats,
    connection_table::{NEW_TIME, PREFACE_TIME},
    inline_executor::StreamSet,
};

const A: &str = "10.0.0.1";
const B: &str = "10.0.0.2";
const C: &str = "10.0.0.3";

/// A port, with time that passes between its connections.
struct Port {
    limiter: ConnectionLimiter,
    stats: Arc<ConnectionStats>,
}

/// A connection and its streams.
struct Peer {
    connection: OpenConnection,
    streams: StreamSet,
}

impl Port {
    fn new(limit: usize) -> Self {
        let stats = Arc::new(ConnectionStats::new(limit));
        let table = ConnectionTable::new(stats.clone(), Duration::from_millis(1));
        Self { limiter: ConnectionLimiter::new(table), stats }
    }

    async fn pass(&self, time: Duration) {
        tokio::time::advance(time).await;
        self.limiter.table.tick();
    }

    async fn try_connect(&mut self, address: &str) -> Option<Peer> {
        self.pass(Duration::from_millis(1)).await;
        let peer = SocketAddr::new(address.parse().ok()?, 1);
        let (Admitted::Yes(connection) | Admitted::Displacing(connection)) =
            self.limiter.admit(peer).await
        else {
            return None;
        };
        let streams = StreamSet::new();
        connection.state.begin(streams.executor());
        Some(Peer { connection, streams })
    }

    async fn silent(&mut self, address: &str) -> Peer {
        let Some(peer) = self.try_connect(address).await else { panic!("refused: {address}") };
        peer
    }

    async fn idle(&mut self, address: &str) -> Peer {
        let peer = self.silent(address).await;
        peer.connection.state.preface.complete();
        peer
    }

    async fn busy(&mut self, address: &str) -> Peer {
        let peer = self.idle(address).await;
        peer.streams.executor().execute(pending());
        peer
    }
}

impl Peer {
    fn order(&self) -> Order {
        Order::of(self.connection.state.order.load(SeqCst))
    }

    fn is_displaced(&self) -> bool {
        self.order() != Order::None
    }
}

/// Which of `peers` are displaced.
fn displaced(peers: &[&Peer]) -> Vec<bool> {
    peers.iter().map(|peer| peer.is_displaced()).collect()
}

#[tokio::test(start_paused = true)]
async fn below_the_limit_nothing_is_displaced() {
    let mut port = Port::new(2);
    let one = port.silent(A).await;
    let two = port.silent(A).await;
    assert_eq!((displaced(&[&one, &two]), port.stats.open()), (vec![false, false], 2));
    drop(two);
    let _three = port.silent(A).await;
    assert!(!one.is_displaced());
}

#[tokio::test(start_paused = true)]
async fn the_connection_that_is_idle_longest_is_displaced() {
    let mut port = Port::new(3);
    let (one, two, three) = (port.idle(A).await, port.idle(A).await, port.idle(A).await);
    one.connection.state.set_active(&port.limiter.table);
    let _four = port.idle(A).await;
    assert_eq!(displaced(&[&one, &two, &three]), [false, true, false]);
    assert_eq!(two.order(), Order::MakeRoom);
}

#[tokio::test(start_paused = true)]
async fn silent_connections_are_displaced_before_idle_ones() {
    let mut port = Port::new(3);
    let (idle, silent, busy) = (port.idle(A).await, port.silent(A).await, port.busy(A).await);
    port.pass(PREFACE_TIME).await;
    let _four = port.idle(A).await;
    assert_eq!(displaced(&[&idle, &silent, &busy]), [false, true, false]);
    assert_eq!(silent.order(), Order::MakeRoomNow);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_new_connections_displaces_idle_ones_first() {
    let mut port = Port::new(32);
    let mut idle = Vec::new();
    for _ in 0..30 {
        idle.push(port.idle(A).await);
    }
    let new = [port.silent(A).await, port.silent(A).await];
    let _newer = port.silent(A).await;
    assert_eq!(displaced(&[&new[0], &new[1], &idle[0]]), [false, false, true]);
    // They stay silent.
    port.pass(NEW_TIME).await;
    let _newest = port.silent(A).await;
    assert_eq!(displaced(&[&new[0], &new[1], &idle[1]]), [true, false, false]);
}

#[tokio::test(start_paused = true)]
async fn without_an_idle_connection_the_new_one_is_refused() {
    let mut port = Port::new(2);
    let peers = [port.busy(A).await, port.busy(A).await];
    assert!(port.try_connect(A).await.is_none());
    assert_eq!(displaced(&[&peers[0], &peers[1]]), [false, false]);
    let refused = port.stats.closed().find(|(reason, _)| *reason == CloseReason::Refused);
    assert_eq!(refused, Some((CloseReason::Refused, 1)));
    let [one, _two] = peers;
    drop(one);
    assert!(port.try_connect(A).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn the_address_with_the_most_connections_gives_way() {
    let mut port = Port::new(4);
    let other = port.idle(B).await;
    let greedy = [port.idle(A).await, port.idle(A).await, port.idle(A).await];
    let _new = [port.idle(C).await, port.idle(C).await];
    assert_eq!(displaced(&[&other, &greedy[0], &greedy[1]]), [false, true, true]);
}

#[tokio::test(start_paused = true)]
async fn an_address_displaces_no_address_with_fewer_connections() {
    let mut port = Port::new(4);
    let other = port.idle(B).await;
    let _greedy = [port.busy(A).await, port.busy(A).await, port.busy(A).await];
    assert!(port.try_connect(A).await.is_none());
    assert!(!other.is_displaced());
    assert!(port.try_connect(C).await.is_some());
    assert!(other.is_displaced());
}

#[tokio::test(start_paused = true)]
async fn a_busy_address_that_has_most_connections_gives_one_to_another_address() {
    let mut port = Port::new(4);
    let mut greedy = Vec::new();
    for _ in 0..4 {
        greedy.push(port.busy(A).await);
    }
    assert!(port.try_connect(A).await.is_none());
    let _other = port.busy(B).await;
    let ended = greedy.iter().filter(|peer| peer.order() == Order::MakeRoom).count();
    assert_eq!(ended, 1, "it may finish its streams");
    // Only as many at a time as may be open above the limit.
    assert!(port.try_connect(B).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn every_connection_of_a_series_finds_an_idle_one() {
    let mut port = Port::new(4);
    let mut peers = Vec::new();
    for _ in 0..100 {
        peers.push(port.idle(A).await);
        peers.retain(|peer| peer.order() != Order::MakeRoomNow);
        assert!(port.stats.open() <= 6, "{}", port.stats.open());
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_of_connections_that_have_ended() {
    let mut port = Port::new(2);
    let peers = [port.idle(A).await, port.idle(A).await, port.idle(A).await];
    let states = peers.each_ref().map(|peer| Arc::downgrade(&peer.connection.state));
    drop(peers);
    port.pass(SEARCH_INTERVAL).await;
    port.limiter.tick();
    assert!(states.iter().all(|state| state.strong_count() == 0));
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_is_not_taken_for_a_silent_one_between_two_ticks_of_the_clock() {
    let mut port = Port::new(2);
    let idle = port.idle(A).await;
    tokio::time::advance(2 * NEW_TIME).await;
    let peer = |address: &str| SocketAddr::new(address.parse().unwrap(), 1);
    let Admitted::Yes(new) = port.limiter.admit(peer(A)).await else { panic!("no room") };
    assert!(matches!(port.limiter.admit(peer(A)).await, Admitted::Displacing(_)));
    let order = |connection: &OpenConnection| Order::of(connection.state.order.load(SeqCst));
    assert_eq!((idle.order(), order(&new)), (Order::MakeRoom, Order::None));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_makes_room_has_time_before_the_next_one_does() {
    let mut port = Port::new(4);
    let mut peers = Vec::new();
    for _ in 0..5 {
        peers.push(port.idle(A).await);
    }
    let begun = Instant::now();
    let first = peers.remove(0);
    assert_eq!(first.order(), Order::MakeRoom);
    let (next, ()) = tokio::join!(port.idle(A), async {
        tokio::time::sleep(REACTION_TIME / 2).await;
        assert_eq!(first.order(), Order::MakeRoom);
        drop(first);
    });
    assert_eq!(next.order(), Order::None);
    assert!(begun.elapsed() < REACTION_TIME, "it does not wait once there is room");
}

#[tokio::test(start_paused = true)]
async fn connections_that_do_not_end_are_closed_at_once() {
    let mut port = Port::new(4);
    let mut peers = Vec::new();
    for _ in 0..6 {
        peers.push(port.idle(A).await);
    }
    assert_eq!(peers[0].order(), Order::MakeRoomNow, "it has had time");
    assert_eq!(peers[1].order(), Order::MakeRoom);
}

#[tokio::test(start_paused = true)]
async fn room_is_made_below_the_limit_when_no_more_files_can_be_opened() {
    let mut port = Port::new(10);
    let (one, two) = (port.idle(A).await, port.idle(B).await);
    port.limiter.make_room().await;
    assert_eq!(displaced(&[&one, &two]).iter().filter(|is_displaced| **is_displaced).count(), 1);
}

#[test]
fn an_ipv6_network_is_one_address() {
    let of = |address: &str| address.parse().map(group_of);
    assert_eq!(of("2001:db8:1:2:3::1"), of("2001:db8:1:2:ffff:1:2:3"));
    assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
    assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
}

#[tokio::test(start_paused = true)]
async fn an_order_reaches_connections_that_wait_and_that_have_not_begun() {
    let mut port = Port::new(2);
    let one = port.idle(A).await;
    let state = one.connection.state.clone();
    let waiting = tokio::spawn(std::future::poll_fn(move |cx| state.poll_order(Order::None, cx)));
    tokio::task::yield_now().await;
    port.limiter.table.order_all(Order::Drain);
    assert!(waiting.await.is_ok_and(|order| order == Order::Drain));
    let cx = &mut Context::from_waker(std::task::Waker::noop());
    assert_eq!(one.connection.state.poll_order(Order::None, cx), Poll::Ready(Order::Drain));
    assert!(one.connection.state.poll_order(Order::Drain, cx).is_pending());
    port.limiter.table.order_all(Order::Abort);
    assert_eq!(one.connection.state.poll_order(Order::Drain, cx), Poll::Ready(Order::Abort));
}
