//! A connection of the client library, with a mark on the errors that are not of the server.

use std::{
    error::Error,
    iter,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use larder_client::Wire;
use tonic::{Status, body::Body, codegen::Service};

/// The service of the generated clients. It sends the token with each call.
#[derive(Clone)]
pub(super) struct Connection(Wire);

/// The end of a connection before an answer.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub(super) struct Lost(String);

impl Connection {
    pub(super) const fn new(wire: Wire) -> Self {
        Self(wire)
    }
}

impl Service<Request<Body>> for Connection {
    type Response = Response<Body>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response<Body>, Status>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The status of the server is in the headers and trailers, and no error of the service.
        let sent = self.0.call(request);
        Box::pin(async move {
            let response = sent.await.map_err(Lost::mark)?;
            Ok(response.map(|body| Body::new(body.map_err(Lost::mark))))
        })
    }
}

impl Lost {
    fn mark(mut status: Status) -> Status {
        let lost = Self(status.message().to_owned());
        status.set_source(Arc::new(lost));
        status
    }

    /// The error of the connection that caused a status; `None` if it is of the server.
    pub(super) fn of(status: &Status) -> Option<Self> {
        let mut causes = iter::successors(status.source(), |error| (**error).source());
        causes.find_map(|error| error.downcast_ref::<Self>()).cloned()
    }
}
