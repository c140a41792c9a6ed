//! Backpressure: while the server has enough work, it reads no more requests.
//!
//! A request that is not read takes the bytes of its frames in the kernel's buffers, about seventy.
//! A queued request takes twenty times as much, and a thousand queued requests evict the requests
//! in flight from the CPU cache. Callers that retry as soon as they are rejected leave no time for
//! the requests that are served.
//!
//! # Algorithm
//!
//! Backpressure is turned on when the first request queues. It is released when the queue is empty
//! and half of the limit is free, so that the next requests can begin at once; or when a thread
//! of the runtime has no task left, so that no permit stays unused. Then paused connections are
//! woken in the order in which they paused, a few at a time, as the first of them may bring enough
//! work to turn it on again.
//!
//! Work that has begun never waits for backpressure: see [`pending_io`](crate::pending_io). No
//! connection is paused for more than 20 ms at a time, so that callers are rejected soon if
//! the overload lasts: see [`read_gate`](crate::read_gate).

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU8, Ordering::SeqCst},
    task::Waker,
};

use parking_lot::Mutex;

/// Connections woken on release, and by each of those that reads again. With one, no two threads
/// would read at a time, and a connection that does not read would leave all others to their
/// timeouts.
const WAKE_COUNT: usize = 2;

/// No request is queued, and connections are read.
const OFF: u8 = 0;
/// No request is queued, but the server still has enough work.
const DRAINED: u8 = 1;
/// Requests are queued.
const ON: u8 = 2;

/// The switch, and the connections that are paused while it is on.
#[derive(Debug, Default)]
pub(crate) struct Backpressure {
    /// [`OFF`], [`DRAINED`] or [`ON`].
    state: AtomicU8,
    paused: Mutex<PausedConnections>,
}

/// Paused connections, in the order in which they paused.
#[derive(Debug, Default)]
struct PausedConnections {
    wakers: BTreeMap<u64, Waker>,
    last_position: u64,
}

impl Backpressure {
    /// The first request is queued.
    pub(crate) fn turn_on(&self) {
        self.state.store(ON, SeqCst);
    }

    /// The last request has left the queue.
    pub(crate) fn queue_drained(&self) {
        self.state.store(DRAINED, SeqCst);
    }

    /// Turns backpressure off unless requests are queued. Returns whether this call turned it off
    /// and woke connections.
    #[inline]
    pub(crate) fn release(&self) -> bool {
        let is_released = self.state.load(SeqCst) == DRAINED
            && self.state.compare_exchange(DRAINED, OFF, SeqCst, SeqCst).is_ok();
        if is_released {
            self.wake_next();
        }
        is_released
    }

    pub(crate) fn is_off(&self) -> bool {
        self.state.load(SeqCst) == OFF
    }

    pub(crate) fn paused_connections(&self) -> usize {
        self.paused.lock().wakers.len()
    }

    /// Reserves the next position in the order of paused connections.
    pub(crate) fn next_position(&self) -> u64 {
        let mut paused = self.paused.lock();
        paused.last_position += 1;
        paused.last_position
    }

    /// Adds the connection at `position`, or replaces its waker. A woken connection that pauses
    /// again keeps its position.
    pub(crate) fn register(&self, position: u64, waker: &Waker) {
        self.paused.lock().wakers.insert(position, waker.clone());
    }

    /// Removes the connection at `position`, which reads again or is closed.
    pub(crate) fn remove(&self, position: u64) {
        self.paused.lock().wakers.remove(&position);
        if self.is_off() {
            self.wake_next();
        }
    }

    fn wake_next(&self) {
        for _ in 0..WAKE_COUNT {
            let Some((_, waker)) = self.paused.lock().wakers.pop_first() else { return };
            waker.wake();
        }
    }
}
