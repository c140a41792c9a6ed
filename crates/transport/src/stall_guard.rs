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
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::{fair_limit::Taken, response_body::ResponseProgress};

/// Bytes charged for a small response while it waits: the state of its stream.
const STREAM_BYTES: usize = 2 * 1024;

/// How long a response that waits for its peer keeps the permit of its request.
const PERMIT_TIME: Duration = Duration::from_secs(1);
/// Bytes of a response that must be sent within the timeout, or else the rest of it. A peer that
/// takes one byte at a time would keep the response for hours.
pub(crate) const MIN_PROGRESS: usize = 16 * 1024;

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
    /// Until when the request keeps its permit, if it has one.
    permit_until: Option<Instant>,
    stalled_at: Instant,
    /// Steps and unsent bytes of the response when `stalled_at` was set.
    seen: (u64, usize),
    /// Bytes charged for the stream.
    held: Option<Taken>,
    progress: Arc<ResponseProgress>,
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
        if steps == 0 || (progress.awaits_body() && !progress.is_watched()) {
            *waiting = None;
            return Poll::Pending;
        }
        if progress.awaits_body() && progress.poll_sent(cx).is_ready() {
            *waiting = None;
            return Poll::Pending;
        }
        let timeout = progress.pending().stall_policy().timeout();
        let waiting = waiting.get_or_insert_with(|| Waiting::begin(progress, timeout));
        if !progress.is_counted() && !waiting.hold(unsent) {
            return end(progress, "too many bytes of responses are not read");
        }
        loop {
            ready!(waiting.timer.as_mut().poll(cx));
            let now = Instant::now();
            if waiting.permit_until.take_if(|until| *until <= now).is_some() {
                progress.release_permit();
            }
            if waiting.stalled_at <= now {
                let (seen_steps, seen_unsent) = waiting.seen;
                let is_moving = seen_steps != steps || unsent + MIN_PROGRESS <= seen_unsent;
                if !is_moving {
                    return end(progress, "a response was not read in time");
                }
                waiting.seen = (steps, unsent);
                waiting.stalled_at = now + timeout;
            }
            let at = waiting.next_at();
            waiting.timer.as_mut().reset(at);
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
    fn begin(progress: &Arc<ResponseProgress>, timeout: Duration) -> Box<Self> {
        let now = Instant::now();
        let mut waiting = Self {
            timer: Box::pin(sleep_until(now)),
            permit_until: progress.has_permit().then_some(now + PERMIT_TIME),
            stalled_at: now + timeout,
            seen: (progress.steps(), progress.unsent()),
            held: None,
            progress: progress.clone(),
        };
        let at = waiting.next_at();
        waiting.timer.as_mut().reset(at);
        Box::new(waiting)
    }

    /// When something may be due.
    fn next_at(&self) -> Instant {
        self.permit_until.map_or(self.stalled_at, |until| until.min(self.stalled_at))
    }

    /// Counts what the stream holds. Returns false if that is too much.
    fn hold(&mut self, unsent: usize) -> bool {
        let bytes = STREAM_BYTES + unsent;
        let Some(held) = &mut self.held else {
            let pending = self.progress.pending();
            self.held = pending.stall_policy().try_take(pending.share(), bytes);
            if self.held.is_some() {
                self.progress.set_guarded(unsent);
            }
            return self.held.is_some();
        };
        self.progress.set_guarded(unsent);
        let more = bytes.saturating_sub(held.amount());
        more == 0 || held.try_grow(more)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.held.is_some() {
            self.progress.set_guarded(0);
        }
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
