//! Counts small responses that are stuck at their connection, and ends the connection if they stay,
//! or if its peer does not read the socket.
//!
//! The stream of a small response ends when hyper has passed the response to h2, which is before
//! it is written. Nearly always it is written in the same poll. The bytes that are left after a
//! poll, because a window or the socket takes no more, are counted here. From then on the
//! connection has a backlog: the streams of further responses
//! [stay](crate::response_body::ResponseProgress::is_watched) until they are sent, and have a
//! [guard](crate::stall_guard) of their own. So what is counted here only shrinks.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep};

use crate::{fair_limit::Taken, pending_io::PendingIo, stall_guard::MIN_PROGRESS};

/// Time until bytes that are stuck are counted. A stream with a task of its own has passed them on
/// a moment before its guard counts them.
const SETTLE_TIME: Duration = Duration::from_millis(20);

/// The responses of a connection that are stuck.
pub(crate) struct Backlog {
    pending: PendingIo,
    stuck: Option<Box<Stuck>>,
    blocked: Option<Box<Blocked>>,
}

/// The bytes of the responses do not shrink in time, or are too many. The connection must end, as
/// their streams cannot be reset.
#[derive(Debug)]
pub(crate) struct Stalled;

struct Stuck {
    held: Option<Taken>,
    settled: Pin<Box<Sleep>>,
    /// Fewest bytes so far, and before the timer was set.
    least: usize,
    before: usize,
    timer: Pin<Box<Sleep>>,
}

/// A socket that takes no more.
struct Blocked {
    /// Bytes that it had taken when the timer was set.
    before: u64,
    timer: Pin<Box<Sleep>>,
}

impl Backlog {
    pub(crate) fn new(pending: PendingIo) -> Self {
        Self { pending, stuck: None, blocked: None }
    }

    /// Ready if the connection, which has been polled, must end. `blocked_at` is what its socket
    /// has taken so far, if it takes no more.
    #[inline]
    pub(crate) fn poll_stalled(
        &mut self,
        blocked_at: Option<u64>,
        cx: &mut Context<'_>,
    ) -> Poll<Stalled> {
        if let Some(taken) = blocked_at {
            if self.poll_blocked(taken, cx).is_ready() {
                return Poll::Ready(Stalled);
            }
        } else {
            self.blocked = None;
        }
        let unsent = self.pending.unsent();
        if unsent > 0 {
            return self.poll_stuck(unsent, cx);
        }
        if self.stuck.take().is_some() {
            self.pending.set_backlog(false);
        }
        Poll::Pending
    }

    /// The streams of a blocked socket can be reset, but h2 drops their responses only when it can
    /// write again.
    #[cold]
    fn poll_blocked(&mut self, taken: u64, cx: &mut Context<'_>) -> Poll<()> {
        let timeout = self.pending.stall_policy().timeout();
        let blocked = self.blocked.get_or_insert_with(|| {
            Box::new(Blocked { before: taken, timer: Box::pin(sleep(timeout)) })
        });
        while blocked.timer.as_mut().poll(cx).is_ready() {
            if taken < blocked.before + MIN_PROGRESS as u64 {
                return end(&self.pending, "the peer does not read").map(drop);
            }
            blocked.before = taken;
            blocked.timer.as_mut().reset(Instant::now() + timeout);
        }
        Poll::Pending
    }

    #[cold]
    fn poll_stuck(&mut self, unsent: usize, cx: &mut Context<'_>) -> Poll<Stalled> {
        self.pending.set_backlog(true);
        let policy = self.pending.stall_policy();
        let timeout = policy.timeout();
        let stuck = self.stuck.get_or_insert_with(|| {
            let (timer, settled) = (Box::pin(sleep(timeout)), Box::pin(sleep(SETTLE_TIME)));
            Box::new(Stuck { held: None, settled, least: unsent, before: unsent, timer })
        });
        if stuck.settled.is_elapsed() || stuck.settled.as_mut().poll(cx).is_ready() {
            let fits = if let Some(held) = &mut stuck.held {
                held.try_resize(unsent)
            } else {
                stuck.held = policy.try_take(self.pending.share(), unsent);
                stuck.held.is_some()
            };
            if !fits {
                return end(&self.pending, "too many bytes of small responses are not read");
            }
        }
        stuck.least = stuck.least.min(unsent);
        while stuck.timer.as_mut().poll(cx).is_ready() {
            if stuck.least == stuck.before {
                return end(&self.pending, "small responses were not read in time");
            }
            stuck.before = stuck.least;
            stuck.timer.as_mut().reset(Instant::now() + timeout);
        }
        Poll::Pending
    }
}

#[cold]
fn end(pending: &PendingIo, reason: &'static str) -> Poll<Stalled> {
    pending.stall_policy().count_reset();
    tracing::debug!(reason, "a connection is closed");
    Poll::Ready(Stalled)
}
