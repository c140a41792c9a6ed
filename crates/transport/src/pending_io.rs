//! Tracks whether a connection has work that waits for its peer: a request body with more bytes to
//! come, or a response for which the peer has not opened its flow-control window.
//!
//! Such a connection is read even under [backpressure](crate::backpressure). The work it has begun
//! holds more memory than the requests it may bring. A stream that stays open, such as one of a
//! bidirectional call, counts for as long as it is open.

use std::{
    future::poll_fn,
    io::IoSlice,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes};
use futures_util::{FutureExt as _, task::AtomicWaker};
use http_body::{Body, Frame, SizeHint};
use hyper::{body::Incoming, rt::Executor as _};
use tokio::time::timeout;

use crate::{
    Held, fair_limit::ConnectionShare, inline_executor::InlineExecutor, stall_guard::StreamProgress,
};

/// Limits on the unread part of a rejected request that is still read.
const MAX_DISCARDED_BYTES: usize = 64 * 1024;
const MAX_DISCARD_TIME: Duration = Duration::from_secs(1);

/// Counts the bodies of one connection that wait for its peer. Clones share the counts.
#[derive(Clone)]
pub(crate) struct PendingIo(Arc<Shared>);

struct Shared {
    requests: AtomicUsize,
    responses: AtomicUsize,
    /// Woken when the first body begins to wait: a spawned stream can do so at any time.
    connection: AtomicWaker,
    executor: InlineExecutor,
    share: Arc<ConnectionShare>,
}

/// The body of a request. It counts as pending from the first time a read finds no data until its
/// end.
pub struct RequestBody {
    body: Incoming,
    pending: PendingIo,
    is_counted: bool,
    is_ended: bool,
}

/// The body of a response. Its data counts as pending until it is written to the connection.
pub(crate) struct ResponseBody<B> {
    body: B,
    pending: PendingIo,
    progress: Arc<StreamProgress>,
    _held: Option<Held>,
}

/// A part of a response. Counts as pending until it is dropped.
pub(crate) struct TrackedBytes {
    bytes: Bytes,
    pending: PendingIo,
    progress: Arc<StreamProgress>,
}

impl PendingIo {
    /// `executor` is that of the connection.
    pub(crate) fn new(executor: InlineExecutor) -> Self {
        let (requests, responses) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (connection, share) = (AtomicWaker::new(), Arc::default());
        Self(Arc::new(Shared { requests, responses, connection, executor, share }))
    }

    pub(crate) fn request(&self, body: Incoming) -> RequestBody {
        RequestBody { body, pending: self.clone(), is_counted: false, is_ended: false }
    }

    pub(crate) fn response<B>(
        self,
        body: B,
        progress: Arc<StreamProgress>,
        held: Option<Held>,
    ) -> ResponseBody<B> {
        ResponseBody { body, pending: self, progress, _held: held }
    }

    pub(crate) fn share(&self) -> &Arc<ConnectionShare> {
        &self.0.share
    }

    /// Whether a request waits for more of its body.
    pub(crate) fn has_request(&self) -> bool {
        self.0.requests.load(SeqCst) > 0
    }

    /// Ready if any body is pending. Otherwise the connection's task is woken when one is.
    pub(crate) fn poll_any(&self, cx: &Context<'_>) -> Poll<()> {
        self.0.connection.register(cx.waker());
        let has_any = self.has_request() || self.0.responses.load(SeqCst) > 0;
        if has_any { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Cancels the wake-up that [`poll_any`](Self::poll_any) asked for: the connection is being
    /// polled, and asks again before it sleeps.
    pub(crate) fn cancel_wake(&self) {
        self.0.connection.take();
    }

    fn add(&self, count: &AtomicUsize) {
        if count.fetch_add(1, SeqCst) == 0 {
            self.0.connection.wake();
        }
    }
}

// === impl RequestBody ===

impl RequestBody {
    /// What the connection of the request holds.
    #[inline]
    pub fn connection(&self) -> &Arc<ConnectionShare> {
        self.pending.share()
    }

    /// Whether the body was read to its end.
    #[inline]
    pub(crate) fn is_ended(&self) -> bool {
        self.is_ended || self.body.is_end_stream()
    }

    /// Reads and discards the rest of the body as it arrives.
    ///
    /// Dropping the body instead would reset the stream. Data that the peer sent before it saw the
    /// reset would then be an error, and a connection is closed after a number of such errors.
    /// No caller waits for the rest, so it does not count as pending. A body over the limits is
    /// reset.
    pub(crate) fn discard_rest(mut self) {
        self.uncount();
        let executor = self.pending.0.executor.clone();
        let discard = async move {
            let mut left = MAX_DISCARDED_BYTES;
            while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)).await
            {
                let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else {
                    return;
                };
                left = rest;
            }
        };
        executor.execute(timeout(MAX_DISCARD_TIME, discard).map(drop));
    }

    fn count(&mut self) {
        if !std::mem::replace(&mut self.is_counted, true) {
            self.pending.add(&self.pending.0.requests);
        }
    }

    fn uncount(&mut self) {
        if std::mem::take(&mut self.is_counted) {
            self.pending.0.requests.fetch_sub(1, SeqCst);
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    #[inline]
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Pending => self.count(),
            Poll::Ready(Some(Ok(_))) => {}
            Poll::Ready(_) => {
                self.is_ended = true;
                self.uncount();
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.uncount();
    }
}

// === impl ResponseBody ===

impl<B: Body<Data = Bytes> + Unpin> Body for ResponseBody<B> {
    type Data = TrackedBytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<TrackedBytes>, B::Error>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            self.progress.await_body();
            return Poll::Pending;
        };
        self.progress.advance();
        let (pending, progress) = (&self.pending, &self.progress);
        let track = |bytes| TrackedBytes::new(bytes, pending.clone(), progress.clone());
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(track))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

// === impl TrackedBytes ===

impl TrackedBytes {
    #[inline]
    fn new(bytes: Bytes, pending: PendingIo, progress: Arc<StreamProgress>) -> Self {
        pending.add(&pending.0.responses);
        progress.add_unsent(bytes.len());
        Self { bytes, pending, progress }
    }
}

impl Buf for TrackedBytes {
    #[inline]
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    #[inline]
    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    #[inline]
    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.bytes.chunks_vectored(slices)
    }

    #[inline]
    fn advance(&mut self, count: usize) {
        self.progress.advance();
        self.progress.subtract_unsent(count);
        self.bytes.advance(count);
    }

    #[inline]
    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        self.progress.subtract_unsent(count);
        self.bytes.copy_to_bytes(count)
    }
}

impl Drop for TrackedBytes {
    #[inline]
    fn drop(&mut self) {
        self.progress.subtract_unsent(self.bytes.len());
        self.pending.0.responses.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::{inline_executor::StreamSet, wake_counter::WakeCounter};

    #[test]
    fn the_first_pending_response_wakes_the_connection() {
        let pending = PendingIo::new(StreamSet::new().executor());
        let wakes = Arc::<WakeCounter>::default();
        let waker = Waker::from(wakes.clone());
        let has_any = || pending.poll_any(&Context::from_waker(&waker)).is_ready();
        let part =
            || TrackedBytes::new(Bytes::from_static(b"part"), pending.clone(), Arc::default());
        assert!(!has_any());
        let one = part();
        assert_eq!(wakes.count(), 1);
        assert!(has_any());
        drop(one);
        assert!(!has_any());
        pending.cancel_wake();
        let one = part();
        assert_eq!(wakes.count(), 1);
        assert!(has_any());
        drop(one);
    }
}
