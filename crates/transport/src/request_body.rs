//! The body of a request. It counts in the [`PendingIo`](crate::pending_io) of its connection while
//! it waits for the peer.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::{connection_share::ConnectionShare, pending_io::PendingIo};

/// Limits on the unread part of a rejected request that is still read.
const MAX_DISCARDED_BYTES: usize = 64 * 1024;
const MAX_DISCARD_TIME: Duration = Duration::from_secs(1);

/// The body of a request. If the request is admitted, it counts as pending from the first time that
/// a read finds no data until its end.
pub struct RequestBody {
    body: Incoming,
    pending: PendingIo,
    is_counted: bool,
    is_ended: bool,
}

impl RequestBody {
    /// The share of the limits of the request's connection, and its peer.
    #[inline]
    pub fn connection(&self) -> &Arc<ConnectionShare> {
        self.pending.share()
    }

    pub(crate) fn new(body: Incoming, pending: PendingIo) -> Self {
        Self { body, pending, is_counted: false, is_ended: false }
    }

    /// Whether the body was read to its end.
    #[inline]
    pub(crate) fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// As [`Body::poll_frame`] for a request that is not admitted yet. It does not count as
    /// pending, and waits for a read as requests do that are not read at all. Most reads end in
    /// the middle of a request, so that backpressure would have no effect otherwise.
    #[inline]
    pub(crate) fn poll_unadmitted(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Pending => {}
            // Once per part, as it takes a lock of the connection.
            Poll::Ready(Some(Ok(_))) => self.is_ended = self.body.is_end_stream(),
            Poll::Ready(_) => {
                self.is_ended = true;
                self.uncount();
            }
        }
        polled
    }

    /// Reads and discards the rest of the body as it arrives.
    ///
    /// Dropping the body instead would reset the stream. Data that the peer sent before it saw the
    /// reset would then be an error, and a connection is closed after a number of such errors.
    /// No caller waits for the rest, so it does not count as pending. A body over the limits is
    /// reset.
    pub(crate) fn discard_rest(mut self) -> impl Future<Output = ()> + Send + 'static {
        self.uncount();
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
        timeout(MAX_DISCARD_TIME, discard).map(drop)
    }

    fn count(&mut self) {
        if !std::mem::replace(&mut self.is_counted, true) {
            self.pending.add_request();
        }
    }

    fn uncount(&mut self) {
        if std::mem::take(&mut self.is_counted) {
            self.pending.remove_request();
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
        let polled = self.poll_unadmitted(cx);
        if polled.is_pending() {
            self.count();
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
