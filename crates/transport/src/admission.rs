//! Limits concurrent requests. Requests over the limit queue for up to 20 ms and are then rejected.
//!
//! A longer queue would only make all requests late. Without a queue, callers that retry at once
//! would cost more than the requests that are served.
//!
//! # Algorithm
//!
//! 1. [`Admission::try_acquire`] takes a permit if fewer requests than the limit are in flight and
//!    none is queued, so that queued requests are admitted first. No connection gets more permits
//!    than its [share](crate::fair_limit).
//! 2. Otherwise [`Admission::acquire_queued`] adds the request to the queue of its connection. All
//!    queues have [`QUEUE_FACTOR`] times the limit together, and no connection gets more than its
//!    share of that. A permit that is dropped goes to the oldest request of the next connection
//!    (round robin, as in Nagle, "On packet switches with infinite storage", 1985), so that a
//!    connection with few requests waits for one request of each other connection at most.
//! 3. All requests queue for the same time, so those of a connection expire in the order in which
//!    they came, and one timer for the oldest request serves all queues. With a timer and a
//!    wait-list node for each request, an overload would mostly move memory in and out of the CPU
//!    cache.
//! 4. The first queued request turns [`Backpressure`] on. It is released when the queues are empty
//!    and half of the limit is free.

mod turn_queue;

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::{
    backpressure::Backpressure,
    connection_share::{ConnectionShare, Resource},
    fair_limit::share,
    wait_queue::QueueSlot,
};
use turn_queue::TurnQueue;

/// How long a request is queued before it is rejected.
const MAX_QUEUE_WAIT: Duration = Duration::from_millis(20);
/// Queued requests per request in flight; more are rejected at once.
const QUEUE_FACTOR: usize = 4;
/// Requests that a connection may have, in flight and queued, per free place. One connection can
/// take 8 of 9 places, because a connection that is read in its turn brings many requests at once.
const QUEUE_SHARE: usize = 8;
/// Requests that a connection may have in flight while the reserve is free.
const CONNECTION_FLOOR: usize = 64;

/// Counts requests in flight against a limit, and queues the requests over the limit.
#[derive(Debug)]
pub struct Admission {
    limit: usize,
    in_flight: AtomicUsize,
    /// Queued requests that wait. Read without the lock.
    waiting: AtomicUsize,
    turns: Mutex<TurnQueue>,
    backpressure: Arc<Backpressure>,
}

/// Counts a request as in flight until it is dropped.
#[derive(Debug)]
pub struct Permit {
    admission: Arc<Admission>,
    _share: RequestShare,
}

/// Counts a request of a connection.
#[derive(Debug)]
struct RequestShare(Arc<ConnectionShare>);

/// The request was queued for too long, or its deadline passed, or the queue was full, or its
/// connection has too many requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many requests")]
pub struct Rejected;

/// Resolves when a queued request is admitted or rejected. Leaves the queue when dropped.
struct QueuedAcquire {
    admission: Arc<Admission>,
    /// None once resolved.
    position: Option<usize>,
    share: Option<RequestShare>,
}

impl Admission {
    /// Admits `limit` requests at a time.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            in_flight: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            turns: Mutex::default(),
            backpressure: Arc::default(),
        })
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(SeqCst)
    }

    /// Requests admitted at a time.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Connections that are not read because the server has enough work.
    pub fn paused_connections(&self) -> usize {
        self.backpressure.paused_connections()
    }

    pub(crate) fn backpressure(&self) -> &Arc<Backpressure> {
        &self.backpressure
    }

    /// Admits a request without queueing; none if it has to queue.
    #[inline]
    pub fn try_acquire(self: &Arc<Self>, connection: &Arc<ConnectionShare>) -> Option<Permit> {
        let is_admitted = self.waiting.load(SeqCst) == 0
            && self.may_have_more(connection, connection.of(Resource::Requests))
            && self.try_increment();
        is_admitted.then(|| Permit {
            admission: self.clone(),
            _share: RequestShare::new(connection.clone()),
        })
    }

    /// Queues a request that arrived at `arrival` until it is admitted, at most until `deadline`.
    ///
    /// # Errors
    /// The queue is full, or the request was not admitted in time, or its connection has more than
    /// its share of requests.
    pub async fn acquire_queued(
        self: &Arc<Self>,
        connection: Arc<ConnectionShare>,
        arrival: Instant,
        deadline: Option<Instant>,
    ) -> Result<Permit, Rejected> {
        let expires = arrival + MAX_QUEUE_WAIT;
        let queued = self.enqueue(connection, expires).ok_or(Rejected)?;
        match deadline.filter(|deadline| *deadline < expires) {
            None => queued.await,
            // Boxed, as most requests need no timer of their own.
            Some(deadline) => Box::pin(timeout_at(deadline, queued)).await.unwrap_or(Err(Rejected)),
        }
    }

    /// Whether a connection may have more requests in flight.
    fn may_have_more(&self, connection: &ConnectionShare, in_flight: usize) -> bool {
        in_flight < share(self.limit, self.in_flight(), CONNECTION_FLOOR, connection)
    }

    /// Whether a connection may queue a request.
    fn may_queue(&self, connection: &ConnectionShare) -> bool {
        let queued = self.waiting.load(SeqCst);
        let max_queued = self.limit.saturating_mul(QUEUE_FACTOR);
        let capacity = self.limit.saturating_add(max_queued);
        let free = capacity.saturating_sub(self.in_flight() + queued);
        let share = free.saturating_mul(QUEUE_SHARE);
        queued < max_queued && connection.of(Resource::Requests) < share
    }

    #[inline]
    fn try_increment(&self) -> bool {
        self.in_flight
            .fetch_update(SeqCst, SeqCst, |taken| (taken < self.limit).then_some(taken + 1))
            .is_ok()
    }

    fn release(&self) {
        self.in_flight.fetch_sub(1, SeqCst);
        self.admit_queued();
        self.release_backpressure_at_half();
    }

    fn release_backpressure_at_half(&self) {
        if self.in_flight() <= self.limit / 2 {
            self.backpressure.release();
        }
    }

    /// Adds a request to the queue of its connection; none if it may not queue.
    fn enqueue(
        self: &Arc<Self>,
        connection: Arc<ConnectionShare>,
        expires: Instant,
    ) -> Option<QueuedAcquire> {
        let position = {
            let mut turns = self.turns.lock();
            if !self.may_queue(&connection) {
                return None;
            }
            if self.waiting.fetch_add(1, SeqCst) == 0 {
                self.backpressure.turn_on();
            }
            if !std::mem::replace(&mut turns.has_timer, true) {
                tokio::spawn(self.clone().reject_expired(expires));
            }
            turns.push(&connection, expires)
        };
        let share = RequestShare::new(connection);
        let queued =
            QueuedAcquire { admission: self.clone(), position: Some(position), share: Some(share) };
        // A permit dropped before `waiting` was raised was not passed on.
        self.admit_queued();
        Some(queued)
    }

    /// Admits queued requests while there are free permits.
    fn admit_queued(&self) {
        while self.waiting.load(SeqCst) > 0 {
            let Some(waker) = self.admit_next() else { return };
            waker.wake();
        }
    }

    /// Admits the oldest request of the next connection that may have more in flight, and returns
    /// its waker. None if there is none, or no free permit.
    fn admit_next(&self) -> Option<Waker> {
        let mut turns = self.turns.lock();
        if !self.try_increment() {
            return None;
        }
        let admitted = turns.admit_next(|connection, waiting| {
            let held = connection.of(Resource::Requests);
            self.may_have_more(connection, held.saturating_sub(waiting))
        });
        match admitted {
            Some(_) => self.decrement_waiting(),
            None => {
                self.in_flight.fetch_sub(1, SeqCst);
            }
        }
        admitted
    }

    /// Must hold the lock of the queues, so that backpressure sees transitions in order.
    fn decrement_waiting(&self) {
        if self.waiting.fetch_sub(1, SeqCst) == 1 {
            self.backpressure.queue_drained();
            self.release_backpressure_at_half();
        }
    }

    /// The timer of the queues: rejects requests as they expire, and ends when none waits.
    async fn reject_expired(self: Arc<Self>, mut next_expiry: Instant) {
        let mut rejected = Vec::new();
        loop {
            sleep_until(next_expiry).await;
            let is_over = {
                let mut turns = self.turns.lock();
                let next = turns.reject_until(Instant::now(), &mut rejected);
                rejected.iter().for_each(|_| self.decrement_waiting());
                turns.has_timer = next.is_some();
                next.map(|next| next_expiry = next).is_none()
            };
            rejected.drain(..).for_each(Waker::wake);
            if is_over {
                return;
            }
        }
    }
}

// === impl QueuedAcquire ===

impl Future for QueuedAcquire {
    type Output = Result<Permit, Rejected>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { admission, position, share } = self.get_mut();
        let (Some(queued_at), Some(queued)) = (*position, &share) else {
            return Poll::Ready(Err(Rejected));
        };
        let mut queue = queued.0.queue.lock();
        if let Some(QueueSlot::Waiting { waker, .. }) = queue.get_mut(queued_at) {
            waker.clone_from(cx.waker());
            return Poll::Pending;
        }
        *position = None;
        let slot = queue.remove(queued_at);
        drop(queue);
        match (slot, share.take()) {
            (Some(QueueSlot::Admitted), Some(share)) => {
                Poll::Ready(Ok(Permit { admission: admission.clone(), _share: share }))
            }
            _ => Poll::Ready(Err(Rejected)),
        }
    }
}

impl Drop for QueuedAcquire {
    fn drop(&mut self) {
        let (Some(position), Some(queued)) = (self.position, &self.share) else { return };
        let removed = {
            let _turns = self.admission.turns.lock();
            let removed = queued.0.queue.lock().remove(position);
            if let Some(QueueSlot::Waiting { .. }) = removed {
                self.admission.decrement_waiting();
            }
            removed
        };
        self.share = None;
        if let Some(QueueSlot::Admitted) = removed {
            self.admission.release();
        }
    }
}

// === impl Permit ===

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.release();
    }
}

// === impl RequestShare ===

impl RequestShare {
    #[inline]
    fn new(connection: Arc<ConnectionShare>) -> Self {
        connection.counter(Resource::Requests).fetch_add(1, SeqCst);
        Self(connection)
    }
}

impl Drop for RequestShare {
    fn drop(&mut self) {
        self.0.counter(Resource::Requests).fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
