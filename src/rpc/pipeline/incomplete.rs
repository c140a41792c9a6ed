//! Calls that wait for the rest of their request message before they are admitted.

use http::{HeaderValue, Request, request::Parts};
use tokio::time::{Instant, timeout_at};
use tonic::body::Body;
use transport::{Exhausted, MessageReader, Reply, RequestBody};

use super::{Admitted, MESSAGE_PREFIX, Pipeline, Received, Refused};
use crate::rpc::{load_limits::Holds, overload::Overload, status};

impl Pipeline {
    /// Waits for the rest of a request message, and then as for a complete one.
    pub(super) async fn serve_incomplete(
        self,
        received: Received,
        head: Parts,
        reader: MessageReader,
    ) -> Reply<Body> {
        match self.admit_incomplete(&received, head, reader).await {
            Ok(admitted) => self.serve(received, admitted).await,
            Err(refused) => refused.reply(received.call),
        }
    }

    async fn admit_incomplete(
        &self,
        received: &Received,
        head: Parts,
        reader: MessageReader,
    ) -> Result<Admitted, Refused> {
        let head = detached(head);
        let reader = self.read_rest(received, reader).await?;
        let admission = &self.0.admission;
        let request = Request::from_parts(head, reader.into_body());
        if let Some(permit) = self.try_admit(received) {
            return Ok(self.admit(received, request, permit));
        }
        let (connection, arrival) = (received.connection.clone(), Instant::now());
        let permit = admission.acquire_queued(connection, arrival, received.deadline).await;
        self.admit_queued(received, request, permit)
    }

    /// Waits for the rest of a request message.
    async fn read_rest(
        &self,
        received: &Received,
        mut reader: MessageReader,
    ) -> Result<MessageReader, Refused> {
        let limits = &self.0.limits;
        let latest = received.call.started() + limits.body_timeout;
        let until = received.deadline.map_or(latest, |deadline| deadline.min(latest));
        match timeout_at(until, reader.read_all(&limits.buffered)).await {
            Ok(Ok(())) => Ok(reader),
            Ok(Err(Exhausted)) => {
                Err(self.refuse(Overload::IncompleteRequests, Some(reader.into_unread())))
            }
            Err(_elapsed) => {
                let status = if until == latest {
                    limits.record_rejection(Overload::RequestTimeout);
                    status::late_body(limits.body_timeout)
                } else {
                    status::deadline_exceeded()
                };
                Err(Refused { status, unread: Some(reader.into_unread()) })
            }
        }
    }

    /// Serves a stream of changes, which holds a part of the limit on them in place of a permit.
    pub(super) async fn serve_watch(
        self,
        received: Received,
        head: Parts,
        body: RequestBody,
    ) -> Reply<Body> {
        match self.admit_watch(&received, head, body).await {
            Ok(admitted) => self.serve(received, admitted).await,
            Err(refused) => refused.reply(received.call),
        }
    }

    async fn admit_watch(
        &self,
        received: &Received,
        head: Parts,
        body: RequestBody,
    ) -> Result<Admitted, Refused> {
        let limits = &self.0.limits;
        let mut reader = MessageReader::new(body, limits.max_message_bytes + MESSAGE_PREFIX);
        let mut head = head;
        if !reader.read_arrived() {
            head = detached(head);
            reader = self.read_rest(received, reader).await?;
        }
        let request = Request::from_parts(head, reader.into_body());
        let Some(taken) = limits.watch_streams.try_take(&received.connection, 1) else {
            return Err(self.refuse(Overload::WatchStreams, request.into_body().into_unread()));
        };
        let service = self.0.routes.call(request, received.call.method());
        let holds = Holds { permit: None, quota: received.quota.clone(), _taken: Some(taken) };
        Ok(Admitted { service, holds })
    }
}

/// The head of a request that is kept while its message is incomplete: without what is not used,
/// and without references to the buffer of its header block. Less than is counted for the request.
#[cold]
fn detached(mut head: Parts) -> Parts {
    let path = head.uri.path();
    if let Ok(path) = path.parse() {
        head.uri = path;
    }
    let copy = |value: &HeaderValue| HeaderValue::from_bytes(value.as_bytes());
    for value in head.headers.values_mut() {
        if let Ok(copied) = copy(value) {
            *value = copied;
        }
    }
    head
}
