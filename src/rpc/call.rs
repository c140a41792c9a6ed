//! The body of a streaming answer, which knows how the call ends.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::{Code, Status, body::Body};

use transport::Permit;

use super::pipeline::Call;

/// Keeps the call open until its last frame.
pub(super) struct ObservedBody {
    inner: Body,
    call: Call,
    _permit: Option<Permit>,
}

impl ObservedBody {
    pub(super) fn new(inner: Body, call: Call, permit: Option<Permit>) -> Self {
        Self { inner, call, _permit: permit }
    }
}

impl HttpBody for ObservedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let frame = std::task::ready!(Pin::new(&mut this.inner).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(status) = frame.trailers_ref().and_then(Status::from_header_map) {
                    this.call.ended(status.code());
                }
            }
            Some(Err(status)) => this.call.ended(status.code()),
            None => this.call.ended(Code::Ok),
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
