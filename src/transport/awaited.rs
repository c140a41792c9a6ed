//! Whether something on a connection waits for its peer: a request of which more is to come, or an answer for which the peer has made no
//! room yet. Such a connection is read whatever else there is to do, as what was begun holds more than what is to come.

use std::{
    io::IoSlice,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// Counts what waits for the peer of a connection. Clones share the count.
#[derive(Debug, Clone, Default)]
pub(super) struct Awaited(Arc<AtomicUsize>);

/// The body of a request. Counted while somebody waits for more of it.
#[derive(Debug)]
pub struct RequestBody {
    body: Incoming,
    awaited: Awaited,
    is_waiting: bool,
}

/// The body of an answer.
pub(super) struct AnswerBody<B> {
    body: B,
    awaited: Awaited,
}

/// A part of an answer. Counted until it is written to the connection.
pub(super) struct Unsent {
    bytes: Bytes,
    awaited: Awaited,
}

impl Awaited {
    pub(super) fn is_any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    pub(super) fn request(&self, body: Incoming) -> RequestBody {
        RequestBody { body, awaited: self.clone(), is_waiting: false }
    }

    pub(super) fn answer<B>(self, body: B) -> AnswerBody<B> {
        AnswerBody { body, awaited: self }
    }

    fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn remove(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl RequestBody ===

impl RequestBody {
    fn set_waiting(&mut self, is_waiting: bool) {
        if std::mem::replace(&mut self.is_waiting, is_waiting) != is_waiting {
            if is_waiting { self.awaited.add() } else { self.awaited.remove() }
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.set_waiting(polled.is_pending());
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
        self.set_waiting(false);
    }
}

// === impl AnswerBody ===

impl<B: Body<Data = Bytes> + Unpin> Body for AnswerBody<B> {
    type Data = Unsent;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Unsent>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let awaited = &self.awaited;
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(|bytes| Unsent::new(bytes, awaited.clone())))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

// === impl Unsent ===

impl Unsent {
    fn new(bytes: Bytes, awaited: Awaited) -> Self {
        awaited.add();
        Self { bytes, awaited }
    }
}

impl Buf for Unsent {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.bytes.chunks_vectored(slices)
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }

    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        self.bytes.copy_to_bytes(count)
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        self.awaited.remove();
    }
}
