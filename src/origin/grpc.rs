//! Origins that speak gRPC: implementations of `larder.origin.v1.OriginService`.
//!
//! The calls are spread over all addresses that the origin's name resolves to, so that it needs no load balancer, and an
//! address that fails costs a call nothing as long as there is another one.

mod balancer;
mod connector;
mod convert;
mod endpoint;
mod error;
mod options;
mod resolver;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::{panic::AssertUnwindSafe, time::Duration};

use async_trait::async_trait;
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, join_all},
};
use http::{Extensions, HeaderMap};
use opentelemetry::global;
use opentelemetry_http::HeaderInjector;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Request, Response, Status, metadata::MetadataMap, transport::Channel};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

pub use self::options::{BuildError, GrpcOptions};
use self::{
    balancer::{Balancer, Route},
    convert::Packing,
    error::CallOutcome,
    resolver::{DnsResolver, Resolve},
};
use super::{ErrorKind, FetchRequest, FetchResponse, Origin, Result};
use crate::pb::origin::v1::{
    BatchFetchRequest, BatchFetchResponse, BatchFetchResult, batch_fetch_result,
    origin_service_client::OriginServiceClient,
};

/// What may be in a message beside a value.
const BESIDE_VALUE: usize = 64 * 1024;
/// Longest answer to a batch. What does not fit is fetched one by one.
const MAX_BATCH_BYTES: usize = 64 * 1024 * 1024;
/// Most times that one call is made.
const MAX_ATTEMPTS: usize = 5;
/// Calls at a time in place of one batch.
const IN_PLACE_OF_BATCH: usize = 1;
/// How long an origin that has no batches is not asked for one: its next release may.
const WITHOUT_BATCHES: Duration = Duration::from_secs(300);
/// How much earlier than here the deadline of a call may pass at the origin, whose timer is another.
const DEADLINE_MARGIN: Duration = Duration::from_millis(10);

/// An origin that speaks gRPC.
pub struct GrpcOrigin {
    addresses: Balancer,
    metadata: HeaderMap,
    max_value_bytes: usize,
    max_batch: usize,
    /// Until when the origin is taken to have no BatchFetch.
    no_batches_until: Mutex<Option<Instant>>,
}

/// One method of the generated client.
type Method<Q, A> = fn(OriginServiceClient<Channel>, Request<Q>) -> BoxFuture<'static, Answered<A>>;
type Answered<A> = std::result::Result<Response<A>, Status>;

// === impl GrpcOrigin ===

impl GrpcOrigin {
    /// An origin that connects when it is first asked. Its host is resolved from now on, until it is dropped. Must be
    /// called on a runtime.
    ///
    /// # Errors
    /// The options make no sense.
    pub fn new(options: GrpcOptions) -> std::result::Result<Self, BuildError> {
        let host = options.url.host().ok_or(BuildError::Url("must have a host"))?.to_owned();
        let port =
            options.url.port_or_known_default().ok_or(BuildError::Url("must have a port"))?;
        Self::with_resolver(options, Box::new(DnsResolver { host, port }))
    }

    fn with_resolver(
        options: GrpcOptions,
        resolver: Box<dyn Resolve>,
    ) -> std::result::Result<Self, BuildError> {
        let endpoint = options::endpoint(&options)?;
        let mut metadata = options.metadata;
        if let Some(name) = metadata.keys().find(|name| options::is_of_protocol(name)) {
            return Err(BuildError::Metadata(name.clone()));
        }
        // Out of logs, and out of the compression state of the connection.
        metadata.values_mut().for_each(|value| value.set_sensitive(true));
        let connect_timeout = options.connect_timeout;
        let route =
            Route { resolver, endpoint, connect_timeout, interval: options.resolve_interval };
        Ok(Self {
            addresses: Balancer::new(route),
            metadata,
            max_value_bytes: options.max_value_bytes,
            max_batch: options.max_batch.max(1),
            no_batches_until: Mutex::new(None),
        })
    }

    /// Calls the origin, and again at another address when a connection fails: fetching changes nothing.
    ///
    /// # Errors
    /// There is no outcome of a call to speak of.
    async fn ask<Q: Clone, A>(
        &self,
        method: Method<Q, A>,
        message: Q,
        max_bytes: usize,
        deadline: Instant,
    ) -> Result<std::result::Result<A, Status>> {
        let asking = async {
            let mut tried = Vec::new();
            let mut last = Status::unavailable("the origin has no address");
            let mut attempts = MAX_ATTEMPTS;
            while attempts > 0
                && let Some(turn) = self.addresses.choose(&tried, deadline).await?
            {
                attempts -= 1;
                let client =
                    OriginServiceClient::new(turn.channel()).max_decoding_message_size(max_bytes);
                let calling = method(client, self.request(message.clone(), deadline));
                // The library panics at a status with broken details.
                let Ok(answered) = AssertUnwindSafe(calling).catch_unwind().await else {
                    return Err(convert::invalid("the answer is not gRPC"));
                };
                let reach =
                    answered.as_ref().map_or_else(CallOutcome::of, |_| CallOutcome::Answered);
                let socket = turn.socket();
                turn.end(reach);
                last = match answered {
                    Ok(response) => return Ok(Ok(response.into_inner())),
                    // An origin that stops at the deadline it was told may be quicker than the timer here.
                    Err(status)
                        if status.code() == Code::Cancelled
                            && Instant::now() + DEADLINE_MARGIN >= deadline =>
                    {
                        return Err(error::timeout());
                    }
                    Err(status) if !reach.is_of_connection() => return Ok(Err(status)),
                    Err(status) => status,
                };
                self.addresses.doubt();
                // A call that may have been carried out is made only once more: it may be what breaks the connection.
                if reach == CallOutcome::Broken {
                    attempts = attempts.min(1);
                }
                // Where a call was not taken, the next connection may take it.
                if reach != CallOutcome::NotTaken {
                    tried.push(socket);
                }
            }
            Ok(Err(last))
        };
        timeout_at(deadline, asking).await.unwrap_or_else(|_| Err(error::timeout()))
    }

    fn request<Q>(&self, message: Q, deadline: Instant) -> Request<Q> {
        let mut headers = self.metadata.clone();
        let context = Span::current().context();
        global::get_text_map_propagator(|propagator| {
            propagator.inject_context(&context, &mut HeaderInjector(&mut headers));
        });
        let mut request =
            Request::from_parts(MetadataMap::from_headers(headers), Extensions::default(), message);
        request.set_timeout(deadline.saturating_duration_since(Instant::now()));
        request
    }

    /// Fetches in one call; none if that cannot be done for these orders.
    async fn in_one(&self, orders: &[FetchRequest]) -> Option<Vec<Result<FetchResponse>>> {
        // Whoever waits for less long stops waiting; the others still want their answers.
        let deadline = orders.iter().map(|order| order.deadline).max()?;
        let message = BatchFetchRequest { requests: orders.iter().map(convert::request).collect() };
        let method = |mut client: OriginServiceClient<_>, request| {
            async move { client.batch_fetch(request).await }.boxed()
        };
        let max_bytes = self.max_message_bytes().saturating_mul(orders.len()).min(MAX_BATCH_BYTES);
        let failure = match self
            .ask(method, message, max_bytes.max(self.max_message_bytes()), deadline)
            .await
        {
            Ok(Ok(response)) => return Some(self.results(orders, response)),
            Ok(Err(status))
                if CallOutcome::of(&status) == CallOutcome::Answered
                    && status.code() == Code::Unimplemented =>
            {
                tracing::info!("an origin has no BatchFetch: it is asked for one key at a time");
                *self.no_batches_until.lock() = Some(Instant::now() + WITHOUT_BATCHES);
                return None;
            }
            Ok(Err(status)) => match error::judge(&status) {
                Ok(_) => convert::invalid(
                    "BatchFetch is answered NOT_FOUND, which does not say for which key",
                ),
                // Each of the values may still be small enough.
                Err(error) if error.kind == ErrorKind::TooLarge => return None,
                Err(error) => error,
            },
            Err(error) => error,
        };
        Some(vec![Err(failure); orders.len()])
    }

    fn results(
        &self,
        orders: &[FetchRequest],
        response: BatchFetchResponse,
    ) -> Vec<Result<FetchResponse>> {
        let (asked, answered) = (orders.len(), response.results.len());
        if asked != answered {
            let error =
                convert::invalid(&format!("the batch has {answered} results for {asked} requests"));
            return vec![Err(error); asked];
        }
        let result = |(order, BatchFetchResult { result }): (&FetchRequest, _)| match result {
            Some(batch_fetch_result::Result::Response(response)) => {
                convert::answer(order, response, self.max_value_bytes, Packing::Together)
            }
            Some(batch_fetch_result::Result::Error(error)) => error::of_one(error),
            None => Err(convert::invalid("a result of the batch is empty")),
        };
        orders.iter().zip(response.results).map(result).collect()
    }

    async fn one_by_one(&self, orders: &[FetchRequest]) -> Vec<Result<FetchResponse>> {
        let mut results = Vec::with_capacity(orders.len());
        for some in orders.chunks(IN_PLACE_OF_BATCH) {
            results.extend(join_all(some.iter().map(|order| self.fetch(order))).await);
        }
        results
    }

    fn max_message_bytes(&self) -> usize {
        self.max_value_bytes.saturating_add(BESIDE_VALUE)
    }
}

#[async_trait]
impl Origin for GrpcOrigin {
    async fn fetch(&self, order: &FetchRequest) -> Result<FetchResponse> {
        let method = |mut client: OriginServiceClient<_>, request| {
            async move { client.fetch(request).await }.boxed()
        };
        match self
            .ask(method, convert::request(order), self.max_message_bytes(), order.deadline)
            .await?
        {
            Ok(response) => convert::answer(order, response, self.max_value_bytes, Packing::Alone),
            Err(status) => error::judge(&status),
        }
    }

    fn batch_limit(&self) -> usize {
        let has_none = self.no_batches_until.lock().is_some_and(|until| Instant::now() < until);
        if has_none { 1 } else { self.max_batch }
    }

    async fn fetch_batch(&self, orders: &[FetchRequest]) -> Vec<Result<FetchResponse>> {
        let together = if orders.len() > 1 && self.batch_limit() > 1 {
            self.in_one(orders).await
        } else {
            None
        };
        match together {
            Some(results) => results,
            None => self.one_by_one(orders).await,
        }
    }
}
