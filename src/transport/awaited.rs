//! Whether something on a connection waits for its peer: a request of which more is to come, or an answer for which the peer has made no
//! room yet. Such a connection is read whatever else there is to do, as what was begun holds more than what is to come. A stream that stays
//! open, such as that of FetchStream, counts for as long as it does.

use std::{
    future::poll_fn,
    io::IoSlice,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use futures_util::{FutureExt as _, task::AtomicWaker};
use http_body::{Body, Frame, SizeHint};
use hyper::{body::Incoming, rt::Executor as _};
use tokio::time::timeout;

use super::streams::InlineFirst;

/// What is read of a request that was turned away, and for how long.
const REST_BYTES: usize = 64 * 1024;
const REST_TIME: Duration = Duration::from_secs(1);

/// Counts what waits for the peer of a connection. Clones share the counts.
#[derive(Clone)]
pub(super) struct Awaited(Arc<Counts>);

struct Counts {
    requests: AtomicUsize,
    answers: AtomicUsize,
    /// Woken when something begins to wait, as what has a task of its own does at any time.
    connection: AtomicWaker,
    streams: InlineFirst,
}

/// The body of a request. Counted from when somebody had to wait for more of it until there is no more.
pub struct RequestBody {
    body: Incoming,
    awaited: Awaited,
    is_counted: bool,
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
    /// Of the connection with `streams`.
    pub(super) fn new(streams: InlineFirst) -> Self {
        let (requests, answers) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self(Arc::new(Counts { requests, answers, connection: AtomicWaker::new(), streams }))
    }

    pub(super) fn request(&self, body: Incoming) -> RequestBody {
        RequestBody { body, awaited: self.clone(), is_counted: false }
    }

    pub(super) fn answer<B>(self, body: B) -> AnswerBody<B> {
        AnswerBody { body, awaited: self }
    }

    /// Whether a request waits for more of itself.
    pub(super) fn is_request(&self) -> bool {
        self.0.requests.load(SeqCst) > 0
    }

    /// Whether anything waits; if not, `connection` is woken when something does.
    pub(super) fn is_any_or_wakes(&self, connection: &Waker) -> bool {
        self.0.connection.register(connection);
        self.is_request() || self.0.answers.load(SeqCst) > 0
    }

    /// The connection goes on, and asks again before it waits.
    pub(super) fn wakes_nobody(&self) {
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
    /// Reads the rest, for nobody, as it comes. A stream that is dropped before is reset, and what a peer had sent by then is an error of which
    /// a connection may have so many only before it is closed. Nobody waits for it, so it is not counted. What is too long, or does not end
    /// as the peer streams, is better reset.
    pub(super) fn discard_rest(mut self) {
        self.discount();
        let streams = self.awaited.0.streams.clone();
        let discarding = async move {
            let mut left = REST_BYTES;
            while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)).await
            {
                let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else {
                    return;
                };
                left = rest;
            }
        };
        streams.execute(timeout(REST_TIME, discarding).map(drop));
    }

    fn count(&mut self) {
        if !std::mem::replace(&mut self.is_counted, true) {
            self.awaited.add(&self.awaited.0.requests);
        }
    }

    fn discount(&mut self) {
        if std::mem::take(&mut self.is_counted) {
            self.awaited.0.requests.fetch_sub(1, SeqCst);
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Pending => self.count(),
            Poll::Ready(Some(Ok(_))) => {}
            Poll::Ready(_) => self.discount(),
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
        self.discount();
    }
}

// === impl AnswerBody ===

impl<B: Body<Data = Bytes> + Unpin> Body for AnswerBody<B> {
    type Data = Unsent;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Unsent>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let awaited = &self.awaited;
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| frame.map_data(|bytes| Unsent::new(bytes, awaited.clone())))
        }))
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
        awaited.add(&awaited.0.answers);
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
        self.awaited.0.answers.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{streams::Streams, wakes::Wakes},
        *,
    };

    #[test]
    fn a_connection_is_woken_by_what_begins_to_wait_beside_it() {
        let (awaited, wakes) = (Awaited::new(Streams::new().executor()), Arc::<Wakes>::default());
        let connection = Waker::from(wakes.clone());
        let part = || Unsent::new(Bytes::from_static(b"part"), awaited.clone());
        assert!(!awaited.is_any_or_wakes(&connection));
        let one = part();
        assert_eq!(wakes.count(), 1);
        assert!(awaited.is_any_or_wakes(&connection));
        drop(one);
        assert!(!awaited.is_any_or_wakes(&connection));
        // It goes on by itself.
        awaited.wakes_nobody();
        let one = part();
        assert_eq!(wakes.count(), 1);
        assert!(awaited.is_any_or_wakes(&connection));
        drop(one);
    }
}
