//! Reads the body of a request before the request is processed.
//!
//! A request whose body is incomplete takes nothing but the bytes that have arrived: no permit of
//! the [`Admission`](crate::Admission), and no task. The bytes are bounded by a
//! [`FairLimit`], so that many slow bodies do not fill the memory. Most bodies have arrived with
//! their headers, and are not counted.

use std::{
    collections::VecDeque,
    future::poll_fn,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};

use crate::{
    RequestBody,
    fair_limit::{FairLimit, Taken},
};

/// Parts below this size are copied together, as each part keeps the buffer in memory into which
/// the connection has read it, at up to 16 KiB.
const SMALL_PART: usize = 4 * 1024;
/// Memory of an incomplete request besides its body, in bytes.
const OVERHEAD: usize = 2 * 1024;

/// A request body that is being read.
pub struct MessageReader {
    body: RequestBody,
    parts: Parts,
    /// Bytes after which reading stops: the message is too long, and is refused later.
    limit: usize,
}

/// The parts of a body that have been read.
#[derive(Default)]
struct Parts {
    /// The only part of most messages.
    first: Option<Bytes>,
    /// In a box, so that most requests are small and cheap to move.
    more: Option<Box<MoreParts>>,
    bytes: usize,
}

/// The parts after the first.
#[derive(Default)]
struct MoreParts {
    queue: VecDeque<Bytes>,
    /// Small parts, which follow those in the queue.
    small: BytesMut,
    held: Option<Taken>,
}

/// A request body of which a part has been read.
pub struct MessageBody {
    parts: Parts,
    /// None if the body was read to its end.
    rest: Option<RequestBody>,
}

/// The limit on the bytes of incomplete bodies is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many bytes of incomplete requests")]
pub struct Exhausted;

// === impl MessageReader ===

impl MessageReader {
    /// Reads up to `limit` bytes of a body; a longer body is not read further.
    pub fn new(body: RequestBody, limit: usize) -> Self {
        Self { body, parts: Parts::default(), limit }
    }

    /// Reads what has arrived. Returns whether the message can be processed.
    #[inline]
    pub fn read_arrived(&mut self) -> bool {
        // The task that polls the body later registers its own waker.
        self.poll_parts(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// Reads until the message can be processed, and counts its bytes against `budget`.
    ///
    /// # Errors
    /// The budget is exhausted.
    pub async fn read_all(&mut self, budget: &Arc<FairLimit>) -> Result<(), Exhausted> {
        let bytes = self.parts.bytes + OVERHEAD;
        self.parts.hold(budget.try_take(self.body.connection(), bytes).ok_or(Exhausted)?);
        poll_fn(|cx| {
            let before = self.parts.bytes;
            let polled = self.poll_parts(cx);
            let more = self.parts.bytes - before;
            let is_allowed = more == 0 || self.parts.try_grow(more);
            if is_allowed { polled.map(Ok) } else { Poll::Ready(Err(Exhausted)) }
        })
        .await
    }

    /// The body, from its beginning.
    pub fn into_body(self) -> MessageBody {
        let is_ended = self.body.is_ended();
        MessageBody { parts: self.parts, rest: (!is_ended).then_some(self.body) }
    }

    /// The part of the body that was not read.
    pub fn into_unread(self) -> RequestBody {
        self.body
    }

    fn poll_parts(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.parts.bytes <= self.limit && !self.body.is_ended() {
            // The service that reads the body meets the error again, as an early end.
            if let Some(Ok(frame)) = ready!(self.body.poll_unadmitted(cx))
                && let Ok(part) = frame.into_data()
            {
                self.parts.push(part);
            }
        }
        Poll::Ready(())
    }
}

// === impl Parts ===

impl Parts {
    #[inline]
    fn push(&mut self, part: Bytes) {
        self.bytes += part.len();
        if self.is_empty() {
            self.first = Some(part);
        } else {
            self.more.get_or_insert_default().push(part);
        }
    }

    /// Counts the bytes against a budget. Copies the first part if it is small, as it is about to
    /// be kept.
    fn hold(&mut self, taken: Taken) {
        let more = self.more.get_or_insert_default();
        more.held = Some(taken);
        if let Some(part) = self.first.take_if(|part| part.len() < SMALL_PART) {
            more.queue.push_front(Bytes::copy_from_slice(&part));
        }
    }

    fn try_grow(&mut self, bytes: usize) -> bool {
        let held = self.more.as_mut().and_then(|more| more.held.as_mut());
        held.is_some_and(|held| held.try_grow(bytes))
    }

    #[inline]
    fn pop(&mut self) -> Option<Bytes> {
        self.first.take().or_else(|| self.more.as_mut()?.pop())
    }

    fn is_empty(&self) -> bool {
        self.first.is_none() && self.more.as_ref().is_none_or(|more| more.is_empty())
    }
}

// === impl MoreParts ===

impl MoreParts {
    fn push(&mut self, part: Bytes) {
        if part.len() < SMALL_PART {
            self.small.extend_from_slice(&part);
        } else {
            self.flush_small();
            self.queue.push_back(part);
        }
    }

    fn flush_small(&mut self) {
        if !self.small.is_empty() {
            self.queue.push_back(mem::take(&mut self.small).freeze());
        }
    }

    fn pop(&mut self) -> Option<Bytes> {
        if self.queue.is_empty() {
            self.flush_small();
        }
        self.queue.pop_front()
    }

    fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.small.is_empty()
    }
}

// === impl MessageBody ===

impl From<RequestBody> for MessageBody {
    /// A body of which nothing has been read.
    fn from(body: RequestBody) -> Self {
        Self { parts: Parts::default(), rest: Some(body) }
    }
}

impl MessageBody {
    /// Bytes that have been read.
    pub fn read_bytes(&self) -> usize {
        self.parts.bytes
    }

    /// The part of the body that was not read; `None` if it was read to its end.
    pub fn into_unread(self) -> Option<RequestBody> {
        self.rest
    }
}

impl Body for MessageBody {
    type Data = Bytes;
    type Error = hyper::Error;

    #[inline]
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(part) = self.parts.pop() {
            return Poll::Ready(Some(Ok(Frame::data(part))));
        }
        match &mut self.rest {
            Some(rest) => Pin::new(rest).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.parts.is_empty() && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
