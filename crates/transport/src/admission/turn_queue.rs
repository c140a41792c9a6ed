//! The queues of the connections, in turns.

use std::{collections::VecDeque, mem, sync::Arc, task::Waker};

use tokio::time::Instant;

use crate::{connection_share::ConnectionShare, wait_queue::QueueSlot};

/// The connections with queued requests, in turns.
#[derive(Debug, Default)]
pub(super) struct TurnQueue {
    turns: VecDeque<Arc<ConnectionShare>>,
    /// Whether a task rejects expired requests.
    pub(super) has_timer: bool,
}

impl TurnQueue {
    /// Adds a request of a connection, and returns its position.
    pub(super) fn push(&mut self, connection: &Arc<ConnectionShare>, expires: Instant) -> usize {
        let mut queue = connection.queue.lock();
        if !mem::replace(&mut queue.has_turn, true) {
            self.turns.push_back(connection.clone());
        }
        queue.push(expires)
    }

    /// Admits the oldest request of the next connection in turn for which
    /// `may_have_more(connection, waiting)` holds, with the number of its requests that wait.
    /// Returns the waker of the request.
    pub(super) fn admit_next(
        &mut self,
        may_have_more: impl Fn(&ConnectionShare, usize) -> bool,
    ) -> Option<Waker> {
        for _ in 0..self.turns.len() {
            let connection = self.turns.pop_front()?;
            let mut queue = connection.queue.lock();
            if queue.waiting == 0 {
                queue.has_turn = false;
                continue;
            }
            let waker = may_have_more(&connection, queue.waiting)
                .then(|| queue.resolve_next(QueueSlot::Admitted))
                .flatten();
            drop(queue);
            self.turns.push_back(connection);
            if waker.is_some() {
                return waker;
            }
        }
        None
    }

    /// Rejects the requests that have expired at `now`, and adds their wakers to `rejected`.
    /// Returns the next time at which a request expires; none if no request waits.
    pub(super) fn reject_until(
        &mut self,
        now: Instant,
        rejected: &mut Vec<Waker>,
    ) -> Option<Instant> {
        let mut next_expiry: Option<Instant> = None;
        self.turns.retain(|connection| {
            let mut queue = connection.queue.lock();
            while let Some(expires) = queue.next_expiry() {
                if expires > now {
                    next_expiry = Some(next_expiry.map_or(expires, |next| next.min(expires)));
                    break;
                }
                rejected.extend(queue.resolve_next(QueueSlot::Rejected));
            }
            queue.has_turn = queue.waiting > 0;
            queue.has_turn
        });
        next_expiry
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.turns.iter().all(|connection| connection.queue.lock().is_empty())
    }
}
