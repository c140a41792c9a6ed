//! Tracks whether a connection has work that waits for its peer: an admitted request whose body has
//! more bytes to come, or a response for which the peer has not opened its flow-control window.
//!
//! Such a connection is read even under [backpressure](crate::backpressure). The work it has begun
//! holds more memory than the requests it may bring. A stream that stays open, such as one of a
//! bidirectional call, counts for as long as it is open.

use std::{
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU64, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;

use crate::{
    connection_share::ConnectionShare, connection_stats::ConnectionStats, peer::Peer,
    stall_policy::StallPolicy,
};

/// The place of the parts in [`Shared::responses`]: above all bytes of a connection.
const PART: u64 = 1 << 44;

/// Counts the bodies of one connection that wait for its peer. Clones share the counts.
#[derive(Clone)]
pub(crate) struct PendingIo(Arc<Shared>);

struct Shared {
    requests: AtomicUsize,
    /// Parts of responses that are not sent, times [`PART`], plus the bytes of those that are not
    /// counted otherwise. One number, so that a part costs one operation.
    responses: AtomicU64,
    /// Those of these bytes that a stall guard has counted.
    guarded: AtomicUsize,
    /// Whether bytes were left when the connection was last polled.
    has_backlog: AtomicBool,
    /// Whether a stream goes on because its bytes are sent.
    is_resumed: AtomicBool,
    /// Woken when the first body begins to wait: a spawned stream can do so at any time.
    connection: AtomicWaker,
    share: Arc<ConnectionShare>,
    stall_policy: Arc<StallPolicy>,
}

impl PendingIo {
    pub(crate) fn new(
        stats: Arc<ConnectionStats>,
        peer: Peer,
        stall_policy: Arc<StallPolicy>,
    ) -> Self {
        Self(Arc::new(Shared {
            requests: AtomicUsize::new(0),
            responses: AtomicU64::new(0),
            guarded: AtomicUsize::new(0),
            has_backlog: AtomicBool::new(false),
            is_resumed: AtomicBool::new(false),
            connection: AtomicWaker::new(),
            share: Arc::new(ConnectionShare::new(stats, peer)),
            stall_policy,
        }))
    }

    /// The connection's share of the limits.
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

    /// Bytes of responses that are not sent, and that nothing but the connection counts.
    #[inline]
    pub(crate) fn unsent(&self) -> usize {
        let bytes = self.0.responses.load(SeqCst) % PART;
        if bytes == 0 { 0 } else { self.unguarded(bytes) }
    }

    #[cold]
    fn unguarded(&self, bytes: u64) -> usize {
        usize::try_from(bytes).unwrap_or(usize::MAX).saturating_sub(self.0.guarded.load(SeqCst))
    }

    /// The stall guard of a response counts `after` bytes in place of `before`.
    pub(crate) fn change_guarded(&self, before: usize, after: usize) {
        // Wraps for less.
        self.0.guarded.fetch_add(after.wrapping_sub(before), SeqCst);
    }

    #[inline]
    pub(crate) fn has_backlog(&self) -> bool {
        self.0.has_backlog.load(Relaxed)
    }

    pub(crate) fn set_backlog(&self, has_backlog: bool) {
        self.0.has_backlog.store(has_backlog, Relaxed);
    }

    /// A stream can end, as its bytes are sent.
    pub(crate) fn resume_stream(&self) {
        self.0.is_resumed.store(true, Relaxed);
    }

    /// Whether a stream can end since the last call.
    #[inline]
    pub(crate) fn take_resumed(&self) -> bool {
        self.0.is_resumed.load(Relaxed) && self.0.is_resumed.swap(false, Relaxed)
    }

    pub(crate) fn add_request(&self) {
        if self.0.requests.fetch_add(1, SeqCst) == 0 {
            self.0.connection.wake();
        }
    }

    pub(crate) fn remove_request(&self) {
        self.0.requests.fetch_sub(1, SeqCst);
    }

    #[inline]
    pub(crate) fn add_response(&self, bytes: u32) {
        if self.0.responses.fetch_add(PART + u64::from(bytes), SeqCst) == 0 {
            self.0.connection.wake();
        }
    }

    pub(crate) fn remove_bytes(&self, bytes: u32) {
        self.0.responses.fetch_sub(u64::from(bytes), SeqCst);
    }

    #[inline]
    pub(crate) fn remove_response(&self, bytes: u32) {
        self.0.responses.fetch_sub(PART + u64::from(bytes), SeqCst);
    }
}

#[cfg(test)]
impl Default for PendingIo {
    /// Responses may wait for an hour.
    fn default() -> Self {
        use crate::{connection_share::Resource, fair_limit::FairLimit};
        let budget = FairLimit::new(Resource::Bytes, usize::MAX, 0);
        let stats = Arc::new(ConnectionStats::new(1));
        let stall_policy = StallPolicy::new(std::time::Duration::from_secs(3600), budget);
        Self::new(stats, Peer::default(), stall_policy)
    }
}
