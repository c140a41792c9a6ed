//! FetchStream: a lease that is held for as long as the client's stream.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt as _};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{
    access::Access,
    convert::{self, BatchReadOptions, GrantedLease},
    deadline,
    lease_quota::{CountedLease, count_lease},
    schema::Schema,
    status,
};
use crate::{
    cache::{self, Cache, GetOrFetchRequest, SetMode, SetOutcome},
    model::{EntryKey, Violation},
    pb::v1::{
        self as pb, fetch_stream_request::Message as ClientMessage,
        fetch_stream_response::Message as ServerMessage,
    },
};

/// Time for the client to send `open`.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) type FetchStream =
    Pin<Box<dyn Stream<Item = Result<pb::FetchStreamResponse, Status>> + Send>>;

/// One stream. Its lease is released if it is dropped at any point.
struct Session {
    cache: Arc<Cache>,
    requests: Streaming<pb::FetchStreamRequest>,
    caller: StreamCaller,
    responses: mpsc::Sender<Result<pb::FetchStreamResponse, Status>>,
    /// The codec's limit of a request message.
    max_message_bytes: usize,
}

/// The caller of a stream.
pub(super) struct StreamCaller {
    pub(super) access: Access,
    pub(super) schema: Schema,
    /// Whether the call is answered without waiting.
    pub(super) must_not_wait: bool,
}

/// Serves one stream until `deadline` at the latest.
pub(super) fn serve(
    cache: Arc<Cache>,
    requests: Streaming<pb::FetchStreamRequest>,
    caller: StreamCaller,
    deadline: Option<Instant>,
    max_message_bytes: usize,
) -> FetchStream {
    let (sender, responses) = mpsc::channel(1);
    let (shared, responder) = (cache.clone(), sender.clone());
    let session =
        Session { cache: shared, requests, caller, responses: responder, max_message_bytes };
    // The session has a task of its own, because it must renew the lease even while the response
    // stream is not polled. The task ends when the client disconnects.
    cache.clone().spawn(async move {
        let work = async {
            tokio::select! {
                outcome = session.run(deadline) => outcome,
                () = sender.closed() => Ok(()),
                () = cache.giving_up() => Err(cache::Error::ShuttingDown.into()),
            }
        };
        if let Err(status) = deadline::within(deadline, work).await.unwrap_or_else(Err) {
            tokio::select! {
                biased;
                // Sending fails only if the client has disconnected.
                _ = sender.send(Err(status)) => {}
                // A client that does not read must not delay the shutdown.
                () = cache.giving_up() => {}
            }
        }
    });
    ReceiverStream::new(responses).boxed()
}

impl Session {
    async fn run(mut self, deadline: Option<Instant>) -> Result<(), Status> {
        let (request, options) = self.open(deadline).await?;
        let result = self.cache.get_or_fetch(&request).await?;
        let result = count_lease(&self.caller.access, &request.key, result);
        let mut result = result.map_err(cache::Error::from)?;
        if let Some(touch) = options.as_ref().and_then(|options| options.touch) {
            self.cache.slide_fetched(&request.key, &mut result, touch).await;
        }
        let reply = match options {
            None => convert::get_or_fetch_reply(result),
            Some(mut options) => convert::projected_reply(result, |entry| options.found(0, entry)),
        };
        self.send(ServerMessage::Answer(reply.response)).await;
        match reply.lease {
            Some(lease) => {
                let (access, token) = (&self.caller.access, lease.guard.token());
                let max_hold = self.cache.lease_max(&request.key)?;
                let _counted = CountedLease::new(access, &request.key, token, max_hold);
                self.hold(request.key, lease).await
            }
            None => Ok(()),
        }
    }

    /// Receives the first message.
    async fn open(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<(GetOrFetchRequest, Option<BatchReadOptions>), Status> {
        let cache = self.cache.clone();
        let first = tokio::select! {
            biased;
            first = tokio::time::timeout(OPEN_TIMEOUT, self.receive()) => first,
            () = cache.closing() => return Err(cache::Error::ShuttingDown.into()),
        };
        let first =
            first.map_err(|_elapsed| Violation::new("open", "must be sent within 10 s"))??;
        match first.and_then(|request| request.message) {
            Some(ClientMessage::Open(mut open)) => {
                let options = convert::fetch_options(&mut open);
                let options = options.map_err(|violation| violation.within("open."))?;
                let request = convert::get_or_fetch_request(open, deadline);
                let mut request = request.map_err(|violation| violation.within("open."))?;
                self.caller.access.check_fetch(&request)?;
                if options.as_ref().is_some_and(|options| options.touch.is_some()) {
                    self.caller.access.check_slides(std::slice::from_ref(&request.key))?;
                }
                self.caller.schema.apply(&mut request.key);
                if self.caller.must_not_wait {
                    request.wait = Some(Duration::ZERO);
                }
                Ok((request, options))
            }
            Some(ClientMessage::Fill(_) | ClientMessage::Abandon(_)) | None => {
                Err(Violation::new("open", "must be the first message").into())
            }
        }
    }

    /// Renews the lease until the client fills or abandons it, or it is lost.
    async fn hold(mut self, key: EntryKey, lease: GrantedLease) -> Result<(), Status> {
        let (ttl, max_hold) = (lease.expires_in, self.cache.lease_max(&key)?);
        let request = tokio::select! {
            request = self.receive() => request?,
            loss = lease.guard.keep_alive(ttl, ttl) => {
                return self.lose(convert::lease_loss(loss)).await;
            }
            () = tokio::time::sleep(max_hold) => {
                return self.lose(pb::SetResult::LeaseLost).await;
            }
        };
        // The client closed its side: dropping the guard releases the lease.
        let Some(request) = request else { return Ok(()) };
        match request.message {
            Some(ClientMessage::Fill(fill)) => self.fill(key, lease, fill).await,
            Some(ClientMessage::Abandon(abandon)) => self.abandon(&key, lease, &abandon).await,
            Some(ClientMessage::Open(_)) => {
                Err(Violation::new("open", "must not be sent twice").into())
            }
            // Also a message of a later release, which is unknown here.
            None => Err(Violation::new("message", "must be fill or abandon").into()),
        }
    }

    async fn fill(
        self,
        key: EntryKey,
        lease: GrantedLease,
        fill: pb::FetchStreamFill,
    ) -> Result<(), Status> {
        let mode = SetMode::Under(lease.guard.token());
        let command = convert::fill_command(key, fill, mode)
            .map_err(|violation| violation.within("fill."))?;
        self.caller.access.check_value(command.data.len())?;
        let result = self.cache.set(&command).await.map_err(|error| error.within("fill."))?;
        match result.outcome {
            // The lease may still be held: dropping the guard releases it.
            SetOutcome::NotStored(_) | SetOutcome::ConditionNotMet => {}
            SetOutcome::Stored { .. } | SetOutcome::LeaseLost(_) => lease.guard.disarm(),
        }
        self.send(ServerMessage::Filled(convert::set_response(result))).await;
        Ok(())
    }

    async fn abandon(
        self,
        key: &EntryKey,
        lease: GrantedLease,
        abandon: &pb::FetchStreamAbandon,
    ) -> Result<(), Status> {
        let reason = convert::abandon_reason(&abandon.reason)
            .map_err(|violation| violation.within("abandon."))?;
        let token = lease.guard.into_token();
        Ok(self.cache.abandon(key, token, reason).await?)
    }

    /// Reports to the client that the lease is lost.
    async fn lose(self, result: pb::SetResult) -> Result<(), Status> {
        self.send(ServerMessage::Lost(result.into())).await;
        Ok(())
    }

    async fn receive(&mut self) -> Result<Option<pb::FetchStreamRequest>, Status> {
        let request = self.requests.message().await;
        request.map_err(|status| {
            // Of the codec, and not of Larder.
            let is_bare = status.details().is_empty();
            if is_bare { status::with_error_info(&status, self.max_message_bytes) } else { status }
        })
    }

    async fn send(&self, message: ServerMessage) {
        // Sending fails only if the client has disconnected, which ends the session elsewhere.
        let _ = self.responses.send(Ok(pb::FetchStreamResponse { message: Some(message) })).await;
    }
}
