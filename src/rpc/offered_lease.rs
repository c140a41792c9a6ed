//! A lease in a response that may not reach its caller.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use tonic::{Status, body::Body};

use crate::cache::LeaseGuard;

/// A lease that goes back if the response is dropped before it is sent: its caller has cancelled
/// the call, or has disconnected.
#[derive(Clone)]
pub(super) struct OfferedLease(Arc<Mutex<Option<LeaseGuard>>>);

/// The body of a response with a lease.
struct LeaseBody {
    inner: Body,
    lease: Option<OfferedLease>,
}

// === impl OfferedLease ===

impl OfferedLease {
    /// Attaches a lease to the response that names it.
    pub(super) fn attach<T>(response: &mut tonic::Response<T>, guard: LeaseGuard) {
        response.extensions_mut().insert(Self(Arc::new(Mutex::new(Some(guard)))));
    }

    /// Hands a lease over when the first part of the response is sent.
    pub(super) fn hand_over_when_sent(mut response: Response<Body>) -> Response<Body> {
        match response.extensions_mut().remove() {
            None => response,
            lease => response.map(|inner| Body::new(LeaseBody { inner, lease })),
        }
    }

    fn hand_over(&self) {
        if let Some(guard) = self.0.lock().take() {
            guard.into_token();
        }
    }
}

// === impl LeaseBody ===

impl HttpBody for LeaseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx));
        if let Some(lease) = this.lease.take() {
            lease.hand_over();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
