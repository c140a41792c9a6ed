//! Makes calls: retries, breaker, counters, telemetry and the log of outages.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use http::uri::PathAndQuery;
use tokio::time::Instant;
use tonic::{Code, Request, Status, client::Grpc};

use crate::{
    Error,
    breaker::Permit,
    core::{Core, Scope, Spec},
    error::Pushback,
    messages::Messages,
    rpc::Rpc,
    telemetry::Span,
    transport::wire::{Attempt, Route},
};

const ATTEMPTS: u32 = 3;
const FIRST_BACKOFF: Duration = Duration::from_millis(20);
const LONGEST_BACKOFF: Duration = Duration::from_millis(200);
const MAX_RECEIVED_BYTES: usize = 16 * 1024 * 1024;

impl Scope {
    /// Makes a call of a handle.
    pub(crate) async fn call<Q: Rpc>(&self, request: Q, spec: Spec) -> Result<Q::Response, Error> {
        self.run::<Q, _, _, _>(request, spec, unary).await
    }

    /// Makes a call, and reads all messages of its stream.
    pub(crate) async fn collect<Q: Rpc>(
        &self,
        request: Q,
        spec: Spec,
    ) -> Result<Vec<Q::Response>, Error> {
        self.run::<Q, _, _, _>(request, spec, collected).await
    }

    pub(crate) async fn run<Q, R, F, Fut>(
        &self,
        request: Q,
        spec: Spec,
        send: F,
    ) -> Result<R, Error>
    where
        Q: Rpc,
        F: Fn(Attempt, Request<Arc<Q>>) -> Fut,
        Fut: Future<Output = Result<R, Status>>,
    {
        let core = &*self.core;
        if spec.parting {
            core.check_parting()?
        } else {
            core.check_open()?
        }
        if let Some(error) = &self.wrong {
            return Err(error.clone());
        }
        let Some(permit) =
            (if spec.open { core.breaker.allow() } else { Some(core.breaker.always()) })
        else {
            self.count.errors.add();
            let error = Error::new(Code::Unavailable, "not sent: the calls before have failed");
            return Err(error.with_reason("BREAKER_OPEN"));
        };
        let span = core.telemetry.start(Q::NAME, &self.namespace);
        let ended = self.attempts(request, spec, &span, send).await;
        match &ended {
            Ok(_) => core.succeeded(permit),
            Err(error) => self.failed(error, permit),
        }
        span.end(ended.as_ref().err());
        ended
    }

    async fn attempts<Q, R, F, Fut>(
        &self,
        request: Q,
        spec: Spec,
        span: &Span,
        send: F,
    ) -> Result<R, Error>
    where
        Q: Rpc,
        F: Fn(Attempt, Request<Arc<Q>>) -> Fut,
        Fut: Future<Output = Result<R, Status>>,
    {
        let request = Arc::new(request);
        let started = Instant::now();
        let mut begun = started;
        let mut renewed = false;
        let mut attempts = 1;
        loop {
            let left = spec.timeout.saturating_sub(begun - started);
            let attempt = Attempt::new(Arc::clone(&self.core.shared));
            let limit = self.limit(left);
            let mut sent = Request::new(Arc::clone(&request));
            sent.set_timeout(limit);
            span.inject(sent.metadata_mut());
            let ended = {
                // It is large, and stays in its place.
                let sending = pin!(send(attempt.clone(), sent));
                self.unless_closed(spec, within(limit, begun, &attempt, sending)).await
            };
            let error = match ended {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if error.code() == Code::Unauthenticated && !renewed && attempt.refused() {
                renewed = true;
                begun = Instant::now();
                continue;
            }
            let Some(delay) = self.retry_delay(&error, attempts, spec.idempotent) else {
                return Err(error);
            };
            if started.elapsed() + delay >= spec.timeout {
                return Err(error);
            }
            self.count.retries.add();
            attempts += 1;
            tokio::time::sleep(delay).await;
            begun = Instant::now();
        }
    }

    /// Time for an attempt. The first call also has the time to connect.
    fn limit(&self, left: Duration) -> Duration {
        match &self.core.shared.route {
            Route::Pool(pool) if !pool.has_answered() => left + pool.connect_timeout(),
            Route::Pool(_) | Route::Local(_) => left,
        }
    }

    /// Ends a call when the client closes, unless it is one that gives a lease up.
    async fn unless_closed<R>(
        &self,
        spec: Spec,
        call: impl Future<Output = Result<R, Error>>,
    ) -> Result<R, Error> {
        if spec.parting {
            return call.await;
        }
        tokio::select! {
            biased;
            // Connections end with the client, which is the cause to name then.
            ended = call => ended.map_err(|error| self.core.check_open().err().unwrap_or(error)),
            () = self.core.ended() => Err(Error::closed()),
        }
    }

    fn retry_delay(&self, error: &Error, attempts: u32, idempotent: bool) -> Option<Duration> {
        if error.code() != Code::Unavailable {
            return None;
        }
        let is_budgeted = self.core.budget.failure();
        if !idempotent || attempts >= ATTEMPTS || !is_budgeted {
            return None;
        }
        match error.pushback() {
            Some(Pushback::Never) => None,
            Some(Pushback::After(delay)) => Some(delay),
            None => Some(error.retry_after().unwrap_or_else(|| {
                let backoff = (FIRST_BACKOFF * 2_u32.pow(attempts - 1)).min(LONGEST_BACKOFF);
                backoff.mul_f64(0.8 + 0.4 * rand::random::<f64>())
            })),
        }
    }

    fn failed(&self, error: &Error, permit: Permit) {
        self.count.errors.add();
        if !error.is_outage() {
            // The server is there, and it is the call that is wrong.
            permit.success();
            return;
        }
        permit.failure();
        let mut outage = self.core.outage.lock();
        if outage.is_none() {
            *outage = Some(Instant::now());
            tracing::warn!(
                namespace = &*self.namespace,
                code = ?error.code(),
                reason = error.reason(),
                "the cache is away: {error}"
            );
        }
    }
}

impl Core {
    fn succeeded(&self, permit: Permit) {
        permit.success();
        self.budget.success();
        if let Some(since) = self.outage.lock().take() {
            tracing::info!(seconds = since.elapsed().as_secs_f64(), "the cache answers again");
        }
    }
}

/// The answer of an attempt, if it comes in time.
async fn within<R>(
    limit: Duration,
    begun: Instant,
    attempt: &Attempt,
    sent: impl Future<Output = Result<R, Status>>,
) -> Result<R, Error> {
    let ended = tokio::time::timeout_at(begun + limit, sent).await.unwrap_or_else(|_| {
        attempt.silent();
        Err(Status::deadline_exceeded(format!("no answer within {limit:?}")))
    });
    ended.map_err(Error::from)
}

fn client(attempt: Attempt) -> Grpc<Attempt> {
    Grpc::new(attempt).max_decoding_message_size(MAX_RECEIVED_BYTES)
}

async fn unary<Q: Rpc>(attempt: Attempt, request: Request<Arc<Q>>) -> Result<Q::Response, Status> {
    let path = PathAndQuery::from_static(Q::PATH);
    let codec = Messages::<Q>::of(request.get_ref());
    Ok(client(attempt).unary(request, path, codec).await?.into_inner())
}

async fn collected<Q: Rpc>(
    attempt: Attempt,
    request: Request<Arc<Q>>,
) -> Result<Vec<Q::Response>, Status> {
    let mut stream = stream(attempt, request).await?;
    let mut messages = Vec::new();
    while let Some(message) = stream.message().await? {
        messages.push(message);
    }
    Ok(messages)
}

/// Opens a stream of messages of the server.
pub(crate) async fn stream<Q: Rpc>(
    attempt: Attempt,
    request: Request<Arc<Q>>,
) -> Result<tonic::Streaming<Q::Response>, Status> {
    let path = PathAndQuery::from_static(Q::PATH);
    let codec = Messages::<Q>::of(request.get_ref());
    Ok(client(attempt).server_streaming(request, path, codec).await?.into_inner())
}
