//! Tracks whether a connection has work that waits for its peer: an admitted request whose body has
//! more bytes to come, or a response for which the peer has not opened its flow-control window.
//!
//! Such a connection is read even under [backpressure](crate::backpressure). The work it has begun
//! holds more memory than the requests it may bring. A stream that stays open, such as one of a
//! bidirectional call, counts for as long as it is open.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;

use crate::{connection_share::ConnectionShare, stall_policy::StallPolicy};

/// Counts the bodies of one connection that wait for its peer. Clones share the counts.
#[derive(Clone)]
pub(crate) struct PendingIo(Arc<Shared>);

struct Shared {
    requests: AtomicUsize,
    responses: AtomicUsize,
    /// Woken when the first body begins to wait: a spawned stream can do so at any time.
    connection: AtomicWaker,
    share: Arc<ConnectionShare>,
    stall_policy: Arc<StallPolicy>,
}

impl PendingIo {
    pub(crate) fn new(stall_policy: Arc<StallPolicy>) -> Self {
        let (requests, responses) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (connection, share) = (AtomicWaker::new(), Arc::default());
        Self(Arc::new(Shared { requests, responses, connection, share, stall_policy }))
    }

    /// What the connection holds.
    pub(crate) fn share(&self) -> &Arc<ConnectionShare> {
        &self.0.share
    }

    /// When responses that wait are reset.
    pub(crate) fn stall_policy(&self) -> &StallPolicy {
        &self.0.stall_policy
    }

    /// Whether a request waits for more of its body.
    pub(crate) fn has_request(&self) -> bool {
        self.0.requests.load(SeqCst) > 0
    }

    /// Whether any body waits.
    pub(crate) fn has_any(&self) -> bool {
        self.has_request() || self.0.responses.load(SeqCst) > 0
    }

    /// Ready if any body is pending. Otherwise the connection's task is woken when one is.
    pub(crate) fn poll_any(&self, cx: &Context<'_>) -> Poll<()> {
        self.0.connection.register(cx.waker());
        if self.has_any() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Cancels the wake-up that [`poll_any`](Self::poll_any) asked for: the connection is being
    /// polled, and asks again before it sleeps.
    pub(crate) fn cancel_wake(&self) {
        self.0.connection.take();
    }

    pub(crate) fn add_request(&self) {
        self.add(&self.0.requests);
    }

    pub(crate) fn remove_request(&self) {
        self.0.requests.fetch_sub(1, SeqCst);
    }

    #[inline]
    pub(crate) fn add_response(&self) {
        self.add(&self.0.responses);
    }

    #[inline]
    pub(crate) fn remove_response(&self) {
        self.0.responses.fetch_sub(1, SeqCst);
    }

    #[inline]
    fn add(&self, count: &AtomicUsize) {
        if count.fetch_add(1, SeqCst) == 0 {
            self.0.connection.wake();
        }
    }
}

#[cfg(test)]
impl Default for PendingIo {
    /// Responses may wait for an hour.
    fn default() -> Self {
        use crate::{connection_share::Resource, fair_limit::FairLimit};
        let budget = FairLimit::new(Resource::Bytes, usize::MAX, 0);
        Self::new(StallPolicy::new(std::time::Duration::from_secs(3600), budget))
    }
}
