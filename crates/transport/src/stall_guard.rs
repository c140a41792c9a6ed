//! Ends streams whose response makes no progress, because the peer does not open their window.
//!
//! The peer pays nothing for such a stream, and the server keeps its response. HTTP/2 has no limit
//! of its own: the peer answers PINGs, so that the connection is not idle. A stream that is ended
//! is reset, and the connection goes on.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::time::{Sleep, sleep};

use crate::{bodies::ResponseProgress, fair_limit::Taken};

/// What a small response counts for while it waits, in bytes: the state of its stream.
const STREAM_BYTES: usize = 2 * 1024;

/// The future of a stream.
pub(crate) type BoxedStream = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Ends a stream when its response stalls.
pub(crate) struct StallGuard {
    progress: Arc<ResponseProgress>,
    /// None while the response does not wait for the peer.
    waiting: Option<Box<Waiting>>,
}

/// A stream with its guard. Other work of a connection has none.
pub(crate) struct GuardedStream {
    stream: BoxedStream,
    guard: Option<StallGuard>,
}

struct Waiting {
    timer: Pin<Box<Sleep>>,
    /// Steps and unsent bytes of the response when the timer was set.
    seen: (u64, usize),
    /// What the stream is counted for.
    held: Option<Taken>,
}

// === impl StallGuard ===

impl StallGuard {
    #[inline]
    pub(crate) fn new(progress: Arc<ResponseProgress>) -> Self {
        Self { progress, waiting: None }
    }

    /// Ready if the stream, which is pending, must end.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self { progress, waiting } = self;
        let (steps, unsent) = (progress.steps(), progress.unsent());
        if steps == 0 || progress.awaits_body() {
            *waiting = None;
            return Poll::Pending;
        }
        let timeout = progress.pending().stall_policy().timeout();
        let waiting = waiting.get_or_insert_with(|| {
            let timer = Box::pin(sleep(timeout));
            Box::new(Waiting { timer, seen: (steps, unsent), held: None })
        });
        if !progress.is_counted() && !waiting.hold(STREAM_BYTES + unsent, progress) {
            return end(progress, "too many bytes of responses are not read");
        }
        loop {
            ready!(waiting.timer.as_mut().poll(cx));
            if waiting.seen == (steps, unsent) {
                return end(progress, "a response was not read in time");
            }
            waiting.seen = (steps, unsent);
            waiting.timer.set(sleep(timeout));
        }
    }
}

#[cold]
fn end(progress: &ResponseProgress, reason: &'static str) -> Poll<()> {
    progress.pending().stall_policy().count_reset();
    tracing::debug!(reason, "a stream is reset");
    Poll::Ready(())
}

// === impl Waiting ===

impl Waiting {
    /// Counts what the stream holds. Returns false if that is too much.
    fn hold(&mut self, bytes: usize, progress: &ResponseProgress) -> bool {
        let Some(held) = &mut self.held else {
            let pending = progress.pending();
            self.held = pending.stall_policy().try_take(pending.share(), bytes);
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
        guard.progress.begin_poll();
        if stream.as_mut().poll(cx).is_ready() { Poll::Ready(()) } else { guard.poll_stalled(cx) }
    }
}
