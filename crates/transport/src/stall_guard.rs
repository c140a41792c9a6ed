//! Ends streams whose response makes no progress, because the peer does not open their window.
//!
//! The peer pays nothing for such a stream, and the server keeps its response. HTTP/2 has no limit
//! of its own: the peer answers PINGs, so that the connection is not idle. A stream that is ended
//! is reset, and the connection goes on.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Sleep, sleep};

use crate::fair_limit::{ConnectionShare, FairLimit, Taken};

/// What a small response counts for while it waits, in bytes: the state of its stream.
const STREAM_BYTES: usize = 2 * 1024;

/// The future of a stream.
pub(crate) type BoxedStream = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How far a response has come.
#[derive(Debug, Default)]
pub(crate) struct StreamProgress {
    /// Zero until the response begins.
    steps: AtomicU64,
    /// Bytes of the response that wait to be sent.
    unsent: AtomicUsize,
    /// Whether the last poll of the stream found that the next part is not there yet.
    awaits_body: AtomicBool,
    /// Whether the bytes of the response are counted already.
    is_counted: AtomicBool,
}

/// When the stream of a response is reset that its peer does not read.
#[derive(Debug)]
pub struct StallPolicy {
    timeout: Duration,
    budget: Arc<FairLimit>,
    reset: AtomicU64,
}

/// Ends a stream when its response stalls.
pub(crate) struct StallGuard {
    pub(crate) progress: Arc<StreamProgress>,
    policy: Arc<StallPolicy>,
    connection: Arc<ConnectionShare>,
    /// None while the response does not wait for the peer.
    waiting: Option<Waiting>,
}

/// A stream with its guard. Other work of a connection has none.
pub(crate) struct GuardedStream {
    stream: BoxedStream,
    guard: Option<StallGuard>,
}

struct Waiting {
    timer: Pin<Box<Sleep>>,
    /// Steps of the response when the timer was set.
    seen: u64,
    /// What the stream is counted for.
    held: Option<Taken>,
}

// === impl StreamProgress ===

impl StreamProgress {
    #[inline]
    pub(crate) fn add_unsent(&self, bytes: usize) {
        self.unsent.fetch_add(bytes, Relaxed);
    }

    #[inline]
    pub(crate) fn subtract_unsent(&self, bytes: usize) {
        self.unsent.fetch_sub(bytes, Relaxed);
    }

    fn unsent(&self) -> usize {
        self.unsent.load(Relaxed)
    }

    /// A step of the response: its next part is read, or bytes of a part are sent.
    #[inline]
    pub(crate) fn advance(&self) {
        self.steps.fetch_add(1, Relaxed);
    }

    /// The response begins.
    #[inline]
    pub(crate) fn begin(&self, is_counted: bool) {
        self.is_counted.store(is_counted, Relaxed);
        self.advance();
    }

    /// The peer has opened its window, and the next part of the response is not there yet.
    #[inline]
    pub(crate) fn await_body(&self) {
        self.awaits_body.store(true, Relaxed);
    }
}

// === impl StallPolicy ===

impl StallPolicy {
    /// Streams are reset after `timeout` without progress, or when their connection exceeds its
    /// share of `budget`, in bytes.
    #[must_use]
    pub fn new(timeout: Duration, budget: Arc<FairLimit>) -> Arc<Self> {
        Arc::new(Self { timeout, budget, reset: AtomicU64::new(0) })
    }

    /// Streams reset so far.
    pub fn reset(&self) -> u64 {
        self.reset.load(Relaxed)
    }
}

// === impl StallGuard ===

impl StallGuard {
    pub(crate) fn new(
        progress: Arc<StreamProgress>,
        policy: Arc<StallPolicy>,
        connection: Arc<ConnectionShare>,
    ) -> Self {
        Self { progress, policy, connection, waiting: None }
    }

    /// Ready if the stream, which is pending, must end.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let steps = self.progress.steps.load(Relaxed);
        if steps == 0 || self.progress.awaits_body.load(Relaxed) {
            self.waiting = None;
            return Poll::Pending;
        }
        let Self { policy, waiting, .. } = self;
        let waiting = waiting.get_or_insert_with(|| Waiting {
            timer: Box::pin(sleep(policy.timeout)),
            seen: steps,
            held: None,
        });
        if !self.progress.is_counted.load(Relaxed)
            && !waiting.hold(STREAM_BYTES + self.progress.unsent(), policy, &self.connection)
        {
            return self.end("too many bytes of responses are not read");
        }
        loop {
            ready!(waiting.timer.as_mut().poll(cx));
            if waiting.seen == steps {
                return self.end("a response was not read in time");
            }
            waiting.seen = steps;
            waiting.timer.set(sleep(policy.timeout));
        }
    }

    #[cold]
    fn end(&self, reason: &'static str) -> Poll<()> {
        self.policy.reset.fetch_add(1, Relaxed);
        tracing::debug!(reason, "a stream is reset");
        Poll::Ready(())
    }
}

// === impl Waiting ===

impl Waiting {
    /// Counts what the stream holds. Returns false if that is too much.
    fn hold(
        &mut self,
        bytes: usize,
        policy: &StallPolicy,
        connection: &Arc<ConnectionShare>,
    ) -> bool {
        let Some(held) = &mut self.held else {
            self.held = policy.budget.try_take(connection, bytes);
            return self.held.is_some();
        };
        let more = bytes.saturating_sub(held.amount());
        more == 0 || held.try_grow(more)
    }
}

// === impl GuardedStream ===

impl GuardedStream {
    pub(crate) fn new(stream: BoxedStream, guard: Option<StallGuard>) -> Self {
        Self { stream, guard }
    }
}

impl Future for GuardedStream {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { stream, guard } = &mut *self;
        let Some(guard) = guard else { return stream.as_mut().poll(cx) };
        guard.progress.awaits_body.store(false, Relaxed);
        if stream.as_mut().poll(cx).is_ready() { Poll::Ready(()) } else { guard.poll_stalled(cx) }
    }
}
