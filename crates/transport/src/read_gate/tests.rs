use std::{future::poll_fn, task::Waker};

use super::*;
use crate::wake_counter::WakeCounter;

/// A connection that counts its wake-ups.
struct Connection {
    gate: ReadGate,
    wakes: Arc<WakeCounter>,
}

impl Connection {
    fn new(backpressure: &Arc<Backpressure>) -> Self {
        let pending = PendingIo::default();
        Self { gate: ReadGate::new(backpressure.clone(), pending), wakes: Arc::default() }
    }

    /// Polls the connection once, with data to read and no pending body. Returns whether it reads.
    fn reads(&self) -> bool {
        let waker = Waker::from(self.wakes.clone());
        let mut cx = Context::from_waker(&waker);
        self.gate.begin_poll();
        let reads = self.gate.0.lock().poll_read(&mut cx).is_ready();
        assert!(!self.gate.end_poll(&cx));
        reads
    }

    fn wakes(&self) -> usize {
        self.wakes.count()
    }
}

/// Connections that have brought queued requests.
fn overload_sources<const COUNT: usize>(backpressure: &Arc<Backpressure>) -> [Connection; COUNT] {
    std::array::from_fn(|_| {
        let connection = Connection::new(backpressure);
        connection.gate.request_queued();
        connection
    })
}

#[tokio::test]
async fn a_connection_that_brought_no_queued_request_is_never_paused() {
    let backpressure = Arc::default();
    let probe = Connection::new(&backpressure);
    backpressure.turn_on();
    assert!(probe.reads());
    probe.gate.request_queued();
    assert!(!probe.reads());
}

#[tokio::test(start_paused = true)]
async fn a_pause_ends_when_backpressure_is_released() {
    let backpressure = Arc::default();
    let [one] = overload_sources(&backpressure);
    assert!(one.reads());
    backpressure.turn_on();
    assert!(!one.reads());
    backpressure.release();
    assert!(!one.reads(), "a request is queued");
    backpressure.queue_drained();
    assert!(!one.reads(), "the server still has enough work");
    assert_eq!((one.wakes(), backpressure.paused_connections()), (0, 1));
    backpressure.release();
    assert_eq!(one.wakes(), 1);
    assert!(one.reads() && one.reads());
    assert_eq!(backpressure.paused_connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn paused_connections_are_woken_in_order_and_a_few_at_a_time() {
    let backpressure = Arc::default();
    let [a, b, c, d, e] = overload_sources(&backpressure);
    backpressure.turn_on();
    assert!([&a, &b, &c, &d].iter().all(|one| !one.reads()));
    backpressure.queue_drained();
    backpressure.release();
    let wakes = || [&a, &b, &c, &d, &e].map(Connection::wakes);
    assert_eq!(wakes(), [1, 1, 0, 0, 0]);
    assert!(a.reads());
    assert_eq!(wakes(), [1, 1, 1, 1, 0]);
    // A request of `a` is queued before the others have read.
    backpressure.turn_on();
    assert!([&e, &d, &a, &c, &b].iter().all(|one| !one.reads()));
    backpressure.queue_drained();
    backpressure.release();
    assert_eq!(wakes(), [1, 2, 2, 1, 0], "b and c have kept their positions");
    assert!(b.reads());
    assert_eq!(wakes(), [1, 2, 2, 2, 1], "a comes last");
    // Now all may read, woken or not.
    assert!([&a, &c, &d, &e].iter().all(|one| one.reads()));
    assert_eq!(backpressure.paused_connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_closed_connection_wakes_the_next() {
    let backpressure = Arc::default();
    let [silent, closed, c, d, e] = overload_sources(&backpressure);
    backpressure.turn_on();
    assert!([&silent, &closed, &c, &d, &e].iter().all(|one| !one.reads()));
    backpressure.queue_drained();
    backpressure.release();
    drop(closed);
    assert_eq!([silent.wakes(), c.wakes(), d.wakes(), e.wakes()], [1, 1, 1, 0]);
    drop(c);
    assert_eq!(e.wakes(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_bounded() {
    let backpressure = Arc::<Backpressure>::default();
    let [one] = overload_sources(&backpressure);
    let read = async || {
        let began = Instant::now();
        poll_fn(|cx| {
            one.gate.end_poll(cx);
            one.gate.0.lock().poll_read(cx)
        })
        .await;
        one.gate.end_poll(&Context::from_waker(Waker::noop()));
        began.elapsed()
    };
    backpressure.turn_on();
    for _ in 0..3 {
        let paused = read().await;
        let bounds = MAX_PAUSE..MAX_PAUSE + Duration::from_millis(2);
        assert!(bounds.contains(&paused), "{paused:?}");
        assert!(!backpressure.is_off(), "a request is queued");
    }
    // The requests in flight are slow, and half of the limit does not become free.
    backpressure.queue_drained();
    read().await;
    assert!(backpressure.is_off());
    assert_eq!(read().await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_grant_ends_with_the_next_queued_request() {
    let backpressure = Arc::default();
    let [one] = overload_sources(&backpressure);
    let mut cx = Context::from_waker(Waker::noop());
    let mut may_read = || one.gate.0.lock().poll_read(&mut cx).is_ready();
    let passes = || one.gate.end_poll(&Context::from_waker(Waker::noop()));
    backpressure.turn_on();
    assert!(!may_read() && !passes());
    backpressure.queue_drained();
    backpressure.release();
    assert!(may_read());
    backpressure.turn_on();
    for _ in 0..3 {
        assert!(!may_read(), "the streams are polled after each read");
        assert!(passes() && may_read());
    }
    one.gate.request_queued();
    assert!(!may_read() && !passes() && !may_read());
    assert_eq!(backpressure.paused_connections(), 1);
}
