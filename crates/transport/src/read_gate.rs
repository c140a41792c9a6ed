//! Decides for one connection whether it may read under [backpressure](crate::backpressure).
//!
//! # Algorithm
//!
//! Only a connection that has brought a queued request is ever paused; others, such as those of
//! health probes, are always read. When such a connection wants to read and backpressure is on, the
//! read is refused for the rest of the poll. At the end of the poll all requests read before have
//! begun, all woken streams have been polled and all writes have been made. Then one read passes if
//! the connection has [work that waits for its peer](crate::pending_io). Otherwise the connection
//! is paused until backpressure is released or [`MAX_PAUSE`] is over.
//!
//! After a pause the connection has a grant: it reads, once per poll of its streams, until it has
//! nothing to read or brings another queued request.

use std::{
    future::Future,
    io, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use crate::{backpressure::Backpressure, pending_io::PendingIo, socket::SocketReader};

/// Maximum time between two reads of a connection.
const MAX_PAUSE: Duration = Duration::from_millis(20);

/// The gate of one connection. Clones share the state. Only the connection's task uses it, so the
/// lock is never contended.
#[derive(Clone)]
pub(crate) struct ReadGate(Arc<Mutex<Gate>>);

struct Gate {
    state: ReadState,
    /// Whether the connection has ever brought a queued request. Until then the state is
    /// [`ReadState::Open`].
    is_overload_source: bool,
    backpressure: Arc<Backpressure>,
    pending: PendingIo,
}

/// Whether the connection may read.
///
/// ```text
/// Open    => (Granted | Refused)
/// Granted => (Open | Refused)
/// Refused => (Passing | Paused)
/// Passing => (Open | Granted | Paused)
/// Paused  => (Open | Granted | Refused)
/// ```
enum ReadState {
    /// Reads while backpressure is off.
    Open,
    /// Reads until there is nothing to read, or the connection brings a queued request. The unread
    /// rest of a rejected request can be large and is not a queued request.
    Granted,
    /// No more reads in this poll.
    Refused { pause: Pause, granted: bool },
    /// The next read is allowed, whatever the backpressure.
    Passing { pause: Pause, granted: bool },
    /// Waits for the release of backpressure or the end of the pause.
    Paused(Pause),
}

/// A position among the paused connections, from the first refused read to the next read.
struct Pause {
    backpressure: Arc<Backpressure>,
    position: u64,
    ends: Instant,
    /// Made when it is first polled. A connection with a grant does not need it.
    timer: Option<Pin<Box<Sleep>>>,
}

/// The read half of a connection. Reads when the gate allows it.
pub(crate) struct GatedReader {
    reader: SocketReader,
    gate: ReadGate,
}

// === impl ReadGate ===

impl ReadGate {
    pub(crate) fn new(backpressure: Arc<Backpressure>, pending: PendingIo) -> Self {
        let state = ReadState::Open;
        Self(Arc::new(Mutex::new(Gate { state, is_overload_source: false, backpressure, pending })))
    }

    /// The connection has brought a request that is queued.
    pub(crate) fn request_queued(&self) {
        let mut gate = self.0.lock();
        gate.is_overload_source = true;
        match &mut gate.state {
            ReadState::Open | ReadState::Paused(_) => {}
            granted @ ReadState::Granted => *granted = ReadState::Open,
            ReadState::Refused { granted, .. } | ReadState::Passing { granted, .. } => {
                *granted = false;
            }
        }
    }

    /// The connection is about to be polled.
    pub(crate) fn begin_poll(&self) {
        self.0.lock().pending.cancel_wake();
    }

    /// The connection and its streams have been polled. Returns whether to poll again, as a refused
    /// read may now pass.
    pub(crate) fn end_poll(&self, cx: &Context<'_>) -> bool {
        self.0.lock().end_poll(cx)
    }
}

// === impl Gate ===

impl Gate {
    fn end_poll(&mut self, cx: &Context<'_>) -> bool {
        if !self.is_overload_source {
            return false;
        }
        let (state, is_passing) = match mem::replace(&mut self.state, ReadState::Open) {
            // Nothing was left to read, which ends a grant.
            ReadState::Open | ReadState::Granted => (ReadState::Open, false),
            ReadState::Passing { pause, .. } | ReadState::Paused(pause) => {
                (ReadState::Paused(pause), false)
            }
            ReadState::Refused { pause, granted } => {
                if granted || self.pending.poll_any(cx).is_ready() {
                    (ReadState::Passing { pause, granted }, true)
                } else {
                    (ReadState::Paused(pause), false)
                }
            }
        };
        self.state = state;
        is_passing
    }

    fn is_refused(&self) -> bool {
        matches!(self.state, ReadState::Refused { .. })
    }

    /// Ready if the connection may read once.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_overload_source {
            return Poll::Ready(());
        }
        let (pause, granted) = match mem::replace(&mut self.state, ReadState::Open) {
            ReadState::Open => (None, false),
            ReadState::Granted => (None, true),
            ReadState::Paused(pause) => (Some(pause), false),
            ReadState::Passing { granted, .. } => return self.read(granted),
            refused @ ReadState::Refused { .. } => {
                self.state = refused;
                return Poll::Pending;
            }
        };
        if self.pending.has_request() || (pause.is_none() && self.backpressure.is_off()) {
            return self.read(granted);
        }
        let mut pause = pause.unwrap_or_else(|| Pause::new(&self.backpressure));
        self.backpressure.register(pause.position, cx.waker());
        // Checked after that, as a release wakes the connections registered by then.
        if !granted && (self.backpressure.is_off() || pause.poll_timeout(cx)) {
            return self.read(true);
        }
        self.state = ReadState::Refused { pause, granted };
        Poll::Pending
    }

    fn read(&mut self, granted: bool) -> Poll<()> {
        self.state = if granted { ReadState::Granted } else { ReadState::Open };
        Poll::Ready(())
    }
}

// === impl Pause ===

impl Pause {
    fn new(backpressure: &Arc<Backpressure>) -> Self {
        let (backpressure, position) = (backpressure.clone(), backpressure.next_position());
        Self { backpressure, position, ends: Instant::now() + MAX_PAUSE, timer: None }
    }

    fn poll_timeout(&mut self, cx: &mut Context<'_>) -> bool {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(self.ends)));
        let is_over = timer.as_mut().poll(cx).is_ready();
        if is_over {
            // If the queue was empty for so long, the requests in flight are slow, and half of
            // the limit does not become free.
            self.backpressure.release();
        }
        is_over
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        self.backpressure.remove(self.position);
    }
}

// === impl GatedReader ===

impl GatedReader {
    pub(crate) fn new(reader: SocketReader, gate: ReadGate) -> Self {
        Self { reader, gate }
    }
}

impl AsyncRead for GatedReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { reader, gate } = &mut *self;
        let mut gate = gate.0.lock();
        if gate.is_refused() {
            return Poll::Pending;
        }
        // A connection with nothing to read is not paused.
        ready!(reader.poll_read_ready(cx))?;
        ready!(gate.poll_read(cx));
        Pin::new(reader).poll_read(cx, buf)
    }
}

#[cfg(test)]
mod tests;
