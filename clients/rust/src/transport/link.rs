//! One connection.

use std::{
    pin::Pin,
    sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
};

use http::{
    Request, Response, Uri,
    uri::{Authority, Scheme},
};
use http_body_util::BodyExt as _;
use hyper::client::conn::http2::SendRequest;
use tokio::task::AbortHandle;
use tonic::{Status, body::Body};

pub(crate) type Sender = SendRequest<Body>;
pub(crate) type Sent = Pin<Box<dyn Future<Output = Result<Response<Body>, Status>> + Send>>;

/// A connection. Its task is aborted by `close`; otherwise it ends by itself after its last call
/// once nothing can send on it any more.
pub(crate) struct Link {
    sender: Sender,
    scheme: Scheme,
    authority: Authority,
    task: AbortHandle,
    has_answered: AtomicBool,
    /// Calls in a row that had no answer in time.
    unanswered: AtomicU32,
}

impl Link {
    pub(crate) const fn new(
        sender: Sender,
        scheme: Scheme,
        authority: Authority,
        task: AbortHandle,
    ) -> Self {
        Self {
            sender,
            scheme,
            authority,
            task,
            has_answered: AtomicBool::new(false),
            unanswered: AtomicU32::new(0),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Whether it has ever had an answer.
    pub(crate) fn has_answered(&self) -> bool {
        self.has_answered.load(Relaxed)
    }

    /// Notes an answer.
    pub(crate) fn answered(&self) {
        self.has_answered.store(true, Relaxed);
        self.unanswered.store(0, Relaxed);
    }

    /// Notes a call without an answer in time. The number of them in a row.
    pub(crate) fn silent(&self) -> u32 {
        self.unanswered.fetch_add(1, Relaxed) + 1
    }

    /// Notes a call that ended otherwise.
    pub(crate) fn ended(&self) {
        self.unanswered.store(0, Relaxed);
    }

    /// Ends the connection and what runs on it.
    pub(crate) fn close(&self) {
        self.task.abort();
    }

    pub(crate) fn task(&self) -> AbortHandle {
        self.task.clone()
    }

    /// Sends a request. All errors of the connection are `UNAVAILABLE`.
    pub(crate) async fn send(&self, mut request: Request<Body>) -> Result<Response<Body>, Status> {
        let mut uri = std::mem::take(request.uri_mut()).into_parts();
        uri.scheme = Some(self.scheme.clone());
        uri.authority = Some(self.authority.clone());
        *request.uri_mut() =
            Uri::from_parts(uri).map_err(|error| Status::internal(error.to_string()))?;
        let response = self.sender.clone().send_request(request).await.map_err(lost)?;
        Ok(response.map(|body| Body::new(body.map_err(lost))))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn lost(error: hyper::Error) -> Status {
    let mut message = format!("the connection ended: {error}");
    if let Some(cause) = std::error::Error::source(&error) {
        message.push_str(&format!(": {cause}"));
    }
    Status::unavailable(message)
}
