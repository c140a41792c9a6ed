//! A lease that lives as long as the caller's stream.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt as _};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{convert, convert::get_or_fetch, status};
use crate::{
    cache::{self, Cache, GetOrFetchOutcome, GetOrFetchResult, LeaseGuard, SetMode, SetOutcome},
    model::{EntryKey, Violation},
    pb::v1::{
        self as pb, fetch_stream_request::Message as Said, fetch_stream_response::Message as Told,
    },
    store::LeaseLoss,
};

/// Time that a caller has to say what the stream is about.
const OPEN_LIMIT: Duration = Duration::from_secs(10);

pub(super) type FetchStream =
    Pin<Box<dyn Stream<Item = Result<pb::FetchStreamResponse, Status>> + Send>>;

/// One stream. Dropped at any point, it gives the lease back.
struct Session {
    cache: Arc<Cache>,
    said: Streaming<pb::FetchStreamRequest>,
    tell: mpsc::Sender<Result<pb::FetchStreamResponse, Status>>,
    /// The limit that the codec keeps.
    max_message_bytes: usize,
}

/// Answers one stream, until `deadline` at the latest.
pub(super) fn answer(
    cache: Arc<Cache>,
    said: Streaming<pb::FetchStreamRequest>,
    deadline: Option<Instant>,
    max_message_bytes: usize,
) -> FetchStream {
    let (tell, told) = mpsc::channel(1);
    let session = Session { cache: cache.clone(), said, tell: tell.clone(), max_message_bytes };
    // In a task of its own, because the lease must be kept alive also while nobody polls for an answer. It ends with the
    // stream: when the caller breaks off, there is nobody to tell.
    cache.clone().spawn(async move {
        let work = async {
            tokio::select! {
                outcome = session.run(deadline) => outcome,
                () = tell.closed() => Ok(()),
                () = cache.giving_up() => Err(cache::Error::ShuttingDown.into()),
            }
        };
        let outcome = match deadline {
            None => work.await,
            Some(deadline) => tokio::time::timeout_at(deadline, work)
                .await
                .unwrap_or_else(|_| Err(status::deadline_exceeded())),
        };
        if let Err(status) = outcome {
            tokio::select! {
                biased;
                // Nobody to tell is nothing to do.
                _ = tell.send(Err(status)) => {}
                // A caller who does not read must not hold up the end.
                () = cache.giving_up() => {}
            }
        }
    });
    ReceiverStream::new(told).boxed()
}

impl Session {
    async fn run(mut self, deadline: Option<Instant>) -> Result<(), Status> {
        let cache = self.cache.clone();
        let opened = tokio::select! {
            biased;
            opened = tokio::time::timeout(OPEN_LIMIT, self.next()) => opened,
            () = cache.closing() => return Err(cache::Error::ShuttingDown.into()),
        };
        let opened = opened.map_err(|_| Violation::new("open", "must be sent within 10 s"))??;
        let request = match opened.and_then(|said| said.message) {
            Some(Said::Open(open)) => get_or_fetch::request(open, deadline)
                .map_err(|violation| violation.within("open."))?,
            Some(Said::Fill(_) | Said::Abandon(_)) | None => {
                return Err(Violation::new("open", "must be the first message").into());
            }
        };
        let fetched = self.cache.get_or_fetch(&request).await?;
        let GetOrFetchResult { outcome, status, fill, degraded } = fetched;
        let GetOrFetchOutcome::Lease(offer) = outcome else {
            let answer =
                get_or_fetch::response(GetOrFetchResult { outcome, status, fill, degraded })
                    .response;
            return self.tell(Told::Answer(answer)).await;
        };
        let grant = offer.guard;
        let lease = get_or_fetch::lease(grant.token().0, offer.expires_in, offer.stale);
        let outcome = Some(pb::get_or_fetch_response::Outcome::Lease(lease));
        let answer =
            pb::GetOrFetchResponse { outcome, degraded, ..pb::GetOrFetchResponse::default() };
        self.tell(Told::Answer(answer)).await?;
        self.hold(request.key, grant, offer.expires_in).await
    }

    /// Keeps the lease alive until the caller has a value or gives up.
    async fn hold(mut self, key: EntryKey, grant: LeaseGuard, ttl: Duration) -> Result<(), Status> {
        let longest = self.cache.lease_max(&key)?;
        let said = tokio::select! {
            said = self.next() => said?,
            lost = grant.keep_alive(ttl, ttl) => {
                let why = match lost {
                    LeaseLoss::Expired => pb::SetResult::LeaseLost,
                    LeaseLoss::Invalidated => pb::SetResult::Invalidated,
                    LeaseLoss::Superseded => pb::SetResult::Superseded,
                };
                return self.tell(Told::Lost(why.into())).await;
            }
            () = tokio::time::sleep(longest) => return self.tell(Told::Lost(pb::SetResult::LeaseLost.into())).await,
        };
        // The caller closed its side without a word: the next one is given the lease.
        let Some(said) = said else { return Ok(()) };
        match said.message {
            Some(Said::Fill(fill)) => {
                let command = convert::fill(key, fill, SetMode::Under(grant.token()))
                    .map_err(|violation| violation.within("fill."))?;
                let outcome =
                    self.cache.set(&command).await.map_err(|error| error.within("fill."))?;
                match outcome.outcome {
                    // The lease may still hold: it goes back when the grant is dropped.
                    SetOutcome::NotStored | SetOutcome::ConditionNotMet => {}
                    SetOutcome::Stored { .. } | SetOutcome::LeaseLost(_) => grant.disarm(),
                }
                self.tell(Told::Filled(convert::set_response(outcome))).await
            }
            Some(Said::Abandon(abandon)) => {
                let reason = convert::reason(&abandon.reason)
                    .map_err(|violation| violation.within("abandon."))?;
                let token = grant.into_token();
                tracing::debug!(namespace = %key.namespace(), reason, "a lease was abandoned");
                Ok(self.cache.abandon(&key, token, reason).await?)
            }
            Some(Said::Open(_)) => Err(Violation::new("open", "must not be sent twice").into()),
            // Also what a newer client says that is not known here.
            None => Err(Violation::new("message", "must be fill or abandon").into()),
        }
    }

    async fn next(&mut self) -> Result<Option<pb::FetchStreamRequest>, Status> {
        self.said
            .message()
            .await
            .map_err(|status| status::with_error_info(&status, self.max_message_bytes))
    }

    async fn tell(&self, message: Told) -> Result<(), Status> {
        // Nobody to tell is nothing to do.
        let _ = self.tell.send(Ok(pb::FetchStreamResponse { message: Some(message) })).await;
        Ok(())
    }
}
