//! The body of a response. Its data counts in the [`PendingIo`](crate::pending_io) of its
//! connection until it is written.

use std::{
    io::IoSlice,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{
            AtomicBool, AtomicU64, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use futures_util::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;

use crate::{Held, pending_io::PendingIo};

/// Unsent bytes from which a response is watched until they are sent, though nothing else is held
/// for it.
const LARGE: usize = 16 * 1024;

/// The body of a response. Its data counts as pending until it is written to the connection.
///
/// hyper passes a part of any size to h2 as soon as the peer's windows have room for one byte, and
/// the trailers at once. So a [large](ResponseProgress::is_watched) response does not end before
/// all of it is written: its stream, which the [`StallGuard`](crate::stall_guard) watches, stays
/// until then.
pub(crate) struct ResponseBody<B> {
    body: B,
    /// Whether the body has ended, and waits for its data to be sent.
    has_ended: bool,
    /// Its trailers, until then.
    end: Option<Frame<TrackedBytes>>,
    progress: Arc<ResponseProgress>,
}

/// A part of a response. Counts as pending until it is dropped.
pub(crate) struct TrackedBytes {
    bytes: Bytes,
    /// Bytes that its connection is charged for the rest of the part.
    counted: u32,
    progress: Arc<ResponseProgress>,
}

/// How far a response has come.
pub(crate) struct ResponseProgress {
    pending: PendingIo,
    /// Parts of the response that were read. Zero until the response begins. Only the stream writes
    /// it, so that no read-modify-write is needed.
    steps: AtomicU64,
    /// Bytes of the response that wait to be sent.
    unsent: AtomicUsize,
    /// Whether the last poll of the stream found that the next part is not there yet.
    awaits_body: AtomicBool,
    /// Whether the bytes of the response are counted already.
    is_counted: AtomicBool,
    /// Unsent bytes that a stall guard counts in place of the connection.
    guarded: AtomicUsize,
    /// Bytes and permit that the response holds until all of it is sent. In a box, as most
    /// responses hold nothing.
    held: OnceLock<Box<Mutex<Held>>>,
    /// Whether the stream waits until all bytes are sent.
    awaits_sent: AtomicBool,
    stream: AtomicWaker,
}

// === impl ResponseBody ===

impl<B> ResponseBody<B> {
    /// The body of a response that begins now. `held` is kept until all of it is sent.
    pub(crate) fn begin(body: B, progress: Arc<ResponseProgress>, held: Option<Held>) -> Self {
        if let Some(held) = held {
            progress.hold(held);
        }
        progress.advance();
        Self { body, has_ended: false, end: None, progress }
    }
}

impl<B: Body<Data = Bytes> + Unpin> ResponseBody<B> {
    /// The end of the response, once all of its data is sent.
    #[cold]
    fn poll_end(
        &mut self,
        end: Option<Result<Frame<TrackedBytes>, B::Error>>,
        cx: &Context<'_>,
    ) -> Poll<Option<Result<Frame<TrackedBytes>, B::Error>>> {
        if self.progress.poll_sent(cx).is_ready() {
            return Poll::Ready(end);
        }
        self.end = end.and_then(Result::ok);
        self.has_ended = true;
        Poll::Pending
    }
}

/// Whether nothing follows.
fn is_end<T, E>(frame: Option<&Result<Frame<T>, E>>) -> bool {
    frame.is_none_or(|frame| frame.as_ref().is_ok_and(Frame::is_trailers))
}

impl<B: Body<Data = Bytes> + Unpin> Body for ResponseBody<B> {
    type Data = TrackedBytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<TrackedBytes>, B::Error>>> {
        let this = &mut *self;
        if this.has_ended {
            ready!(this.progress.poll_sent(cx));
            return Poll::Ready(this.end.take().map(Ok));
        }
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            // The peer has opened its window, and the next part is not there yet.
            this.progress.awaits_body.store(true, Relaxed);
            return Poll::Pending;
        };
        this.progress.advance();
        let track = |bytes| TrackedBytes::new(bytes, this.progress.clone());
        let frame = frame.map(|frame| frame.map(|frame| frame.map_data(track)));
        if this.progress.is_watched() && is_end(frame.as_ref()) {
            return this.poll_end(frame, cx);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream() && !self.progress.is_watched()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

// === impl TrackedBytes ===

impl TrackedBytes {
    #[inline]
    fn new(bytes: Bytes, progress: Arc<ResponseProgress>) -> Self {
        let counted = if progress.is_counted() { 0 } else { bytes.len() };
        let counted = u32::try_from(counted).unwrap_or(u32::MAX);
        progress.pending.add_response(counted);
        progress.unsent.fetch_add(bytes.len(), SeqCst);
        Self { bytes, counted, progress }
    }

    #[inline]
    fn count_sent(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let is_last = self.progress.unsent.fetch_sub(bytes, SeqCst) == bytes;
        if self.progress.guarded.load(Relaxed) > 0 {
            self.progress.guard_less(bytes);
        }
        if is_last && self.progress.awaits_sent.load(SeqCst) {
            self.progress.wake_stream();
        }
    }

    /// Bytes are sent, and others of the part are left: the windows have no room for them.
    #[cold]
    fn uncount(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.counted);
        self.counted -= bytes;
        self.progress.pending.remove_bytes(bytes);
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
        self.count_sent(count);
        self.bytes.advance(count);
        if !self.bytes.is_empty() {
            self.uncount(count);
        }
    }

    #[inline]
    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        self.count_sent(count);
        self.bytes.copy_to_bytes(count)
    }
}

impl Drop for TrackedBytes {
    #[inline]
    fn drop(&mut self) {
        self.count_sent(self.bytes.len());
        self.progress.pending.remove_response(self.counted);
    }
}

// === impl ResponseProgress ===

impl ResponseProgress {
    /// A response that has not begun.
    pub(crate) fn new(pending: PendingIo) -> Arc<Self> {
        Arc::new(Self {
            pending,
            steps: AtomicU64::new(0),
            unsent: AtomicUsize::new(0),
            awaits_body: AtomicBool::new(false),
            is_counted: AtomicBool::new(false),
            guarded: AtomicUsize::new(0),
            held: OnceLock::new(),
            awaits_sent: AtomicBool::new(false),
            stream: AtomicWaker::new(),
        })
    }

    /// The connection of the response.
    pub(crate) fn pending(&self) -> &PendingIo {
        &self.pending
    }

    /// Parts that were read; zero until the response begins.
    pub(crate) fn steps(&self) -> u64 {
        self.steps.load(Relaxed)
    }

    /// Bytes that wait to be sent.
    pub(crate) fn unsent(&self) -> usize {
        self.unsent.load(SeqCst)
    }

    /// Whether the stream stays until the unsent bytes are sent: there are many of them, or the
    /// connection has others that are stuck.
    #[inline]
    pub(crate) fn is_watched(&self) -> bool {
        let unsent = self.unsent.load(Relaxed);
        unsent >= LARGE || (unsent > 0 && (self.is_counted() || self.pending.has_backlog()))
    }

    /// Ready if all bytes are sent. Otherwise the stream is woken when they are.
    #[cold]
    pub(crate) fn poll_sent(&self, cx: &Context<'_>) -> Poll<()> {
        self.stream.register(cx.waker());
        self.awaits_sent.store(true, SeqCst);
        if self.unsent() > 0 {
            return Poll::Pending;
        }
        self.awaits_sent.store(false, SeqCst);
        Poll::Ready(())
    }

    #[cold]
    fn wake_stream(&self) {
        self.awaits_sent.store(false, SeqCst);
        self.pending.resume_stream();
        self.stream.wake();
    }

    #[cold]
    fn hold(&self, held: Held) {
        self.is_counted.store(held.bytes.is_some(), Relaxed);
        let _ = self.held.set(Box::new(Mutex::new(held)));
    }

    /// A stall guard counts `bytes` of the unsent ones.
    pub(crate) fn set_guarded(&self, bytes: usize) {
        let before = self.guarded.swap(bytes, SeqCst);
        self.pending.change_guarded(before, bytes);
    }

    #[cold]
    fn guard_less(&self, bytes: usize) {
        let less = |guarded: usize| Some(guarded.saturating_sub(bytes));
        if let Ok(before) = self.guarded.fetch_update(SeqCst, SeqCst, less) {
            self.pending.change_guarded(before, before.saturating_sub(bytes));
        }
    }

    /// Whether the response has a permit.
    pub(crate) fn has_permit(&self) -> bool {
        self.held.get().is_some_and(|held| held.lock().permit.is_some())
    }

    /// Gives the permit of the response back.
    pub(crate) fn release_permit(&self) {
        let permit = self.held.get().and_then(|held| held.lock().permit.take());
        drop(permit);
    }

    /// Whether the bytes of the response are counted already.
    pub(crate) fn is_counted(&self) -> bool {
        self.is_counted.load(Relaxed)
    }

    /// Whether the last poll found that the next part is not there yet.
    pub(crate) fn awaits_body(&self) -> bool {
        self.awaits_body.load(Relaxed)
    }

    /// The stream is polled again.
    #[inline]
    pub(crate) fn begin_poll(&self) {
        self.awaits_body.store(false, Relaxed);
    }

    #[inline]
    fn advance(&self) {
        self.steps.store(self.steps.load(Relaxed) + 1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::wake_counter::WakeCounter;

    #[test]
    fn the_first_pending_response_wakes_the_connection() {
        let pending = PendingIo::default();
        let wakes = Arc::<WakeCounter>::default();
        let waker = Waker::from(wakes.clone());
        let has_any = || pending.poll_any(&Context::from_waker(&waker)).is_ready();
        let progress = || ResponseProgress::new(pending.clone());
        let part = || TrackedBytes::new(Bytes::from_static(b"part"), progress());
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

    #[test]
    fn bytes_are_unsent_until_they_are_read_or_dropped() {
        let progress = ResponseProgress::new(PendingIo::default());
        let mut part = TrackedBytes::new(Bytes::from_static(b"123456"), progress.clone());
        assert_eq!(progress.unsent(), 6);
        part.advance(1);
        assert_eq!(part.copy_to_bytes(2), "23");
        assert_eq!(progress.unsent(), 3);
        drop(part);
        assert_eq!(progress.unsent(), 0);
    }
}
