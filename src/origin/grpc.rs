//! Origins that speak gRPC: implementations of `larder.origin.v1.OriginService`.
//!
//! Calls are balanced over all addresses of the origin's host name, so no load balancer is needed.
//! A call fails over to another address if its connection fails.

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

pub use self::options::{GrpcBuildError, GrpcOptions};
use self::{
    balancer::{Balancer, BalancerOptions},
    convert::MessageKind,
    endpoint::EndpointCall,
    error::CallOutcome,
    resolver::{DnsResolver, Resolve},
};
use super::{FetchRequest, FetchResponse, Origin, OriginErrorKind, Result};
use crate::pb::origin::v1::{
    BatchFetchRequest, BatchFetchResponse, BatchFetchResult, batch_fetch_result,
    origin_service_client::OriginServiceClient,
};

/// Bytes of a message besides the value.
const MESSAGE_OVERHEAD: usize = 64 * 1024;
/// Largest response to a batch. If it is exceeded, the keys are fetched one by one.
const MAX_BATCH_BYTES: usize = 64 * 1024 * 1024;
/// Attempts of one call, over all endpoints.
const MAX_ATTEMPTS: usize = 5;
/// Concurrent calls in place of one batch.
const UNBATCHED_CONCURRENCY: usize = 1;
/// Time after which BatchFetch is tried again. A new release of the origin may have it.
const BATCH_RETRY_INTERVAL: Duration = Duration::from_secs(300);
/// Time by which the origin's own timer may fire before the deadline.
const DEADLINE_MARGIN: Duration = Duration::from_millis(10);

/// An origin that speaks gRPC.
pub struct GrpcOrigin {
    balancer: Balancer,
    metadata: HeaderMap,
    max_value_bytes: usize,
    max_batch: usize,
    /// Set after the origin has answered UNIMPLEMENTED to BatchFetch.
    unbatched_until: Mutex<Option<Instant>>,
}

/// A method of the generated client.
type Method<Q, A> =
    fn(OriginServiceClient<Channel>, Request<Q>) -> BoxFuture<'static, CallResult<Response<A>>>;
type CallResult<A> = std::result::Result<A, Status>;

/// A call that can be made to any endpoint.
struct Call<Q, A> {
    method: Method<Q, A>,
    message: Q,
    max_response_bytes: usize,
    deadline: Instant,
}

// === impl GrpcOrigin ===

impl GrpcOrigin {
    /// An origin that connects at the first fetch. Its host name is resolved periodically until it
    /// is dropped. Must be called in a Tokio runtime.
    ///
    /// # Errors
    /// The options are invalid.
    pub fn new(options: GrpcOptions) -> std::result::Result<Self, GrpcBuildError> {
        let host = options.url.host().ok_or(GrpcBuildError::Url("must have a host"))?.to_owned();
        let port =
            options.url.port_or_known_default().ok_or(GrpcBuildError::Url("must have a port"))?;
        Self::with_resolver(options, Box::new(DnsResolver { host, port }))
    }

    fn with_resolver(
        options: GrpcOptions,
        resolver: Box<dyn Resolve>,
    ) -> std::result::Result<Self, GrpcBuildError> {
        let endpoint = options::endpoint(&options)?;
        let mut metadata = options.metadata;
        if let Some(name) = metadata.keys().find(|name| options::is_reserved(name)) {
            return Err(GrpcBuildError::Metadata(name.clone()));
        }
        // Keeps the values out of logs and out of the header compression of the connection.
        metadata.values_mut().for_each(|value| value.set_sensitive(true));
        let balancer = Balancer::new(BalancerOptions {
            resolver,
            endpoint,
            connect_timeout: options.connect_timeout,
            resolve_interval: options.resolve_interval,
        });
        Ok(Self {
            balancer,
            metadata,
            max_value_bytes: options.max_value_bytes,
            max_batch: options.max_batch.max(1),
            unbatched_until: Mutex::new(None),
        })
    }

    /// Makes a call until its deadline.
    ///
    /// # Errors
    /// No status was received: no address, no gRPC, or no time left.
    async fn call<Q: Clone, A>(&self, call: Call<Q, A>) -> Result<CallResult<A>> {
        let result = timeout_at(call.deadline, self.call_with_failover(&call)).await;
        result.unwrap_or_else(|_| Err(error::timeout()))
    }

    /// Makes a call, and repeats it at another endpoint if the connection fails. A fetch is
    /// idempotent.
    async fn call_with_failover<Q: Clone, A>(&self, call: &Call<Q, A>) -> Result<CallResult<A>> {
        let mut tried = Vec::new();
        let mut last = Status::unavailable("the origin has no address");
        let mut attempts = MAX_ATTEMPTS;
        while attempts > 0
            && let Some(endpoint) = self.balancer.choose(&tried, call.deadline).await?
        {
            attempts -= 1;
            let socket = endpoint.socket();
            let (result, outcome) = self.call_endpoint(endpoint, call).await?;
            last = match result {
                Ok(response) => return Ok(Ok(response)),
                // The timer of the origin may fire before the one here.
                Err(status)
                    if status.code() == Code::Cancelled
                        && Instant::now() + DEADLINE_MARGIN >= call.deadline =>
                {
                    return Err(error::timeout());
                }
                Err(status) if !outcome.is_connection_failure() => return Ok(Err(status)),
                Err(status) => status,
            };
            self.balancer.re_resolve();
            // The call may have been processed, and may be what broke the connection: one more try.
            if outcome == CallOutcome::Broken {
                attempts = attempts.min(1);
            }
            // An unprocessed call may succeed on the next connection to the same endpoint.
            if outcome != CallOutcome::Unprocessed {
                tried.push(socket);
            }
        }
        Ok(Err(last))
    }

    async fn call_endpoint<Q: Clone, A>(
        &self,
        endpoint: EndpointCall,
        call: &Call<Q, A>,
    ) -> Result<(CallResult<A>, CallOutcome)> {
        let client = OriginServiceClient::new(endpoint.channel())
            .max_decoding_message_size(call.max_response_bytes);
        let response = (call.method)(client, self.request(call.message.clone(), call.deadline));
        // The library panics at a status with malformed details.
        let Ok(result) = AssertUnwindSafe(response).catch_unwind().await else {
            return Err(convert::invalid("the answer is not gRPC"));
        };
        let result = result.map(Response::into_inner);
        let outcome =
            result.as_ref().map_or_else(CallOutcome::from_status, |_| CallOutcome::Answered);
        endpoint.end(outcome);
        Ok((result, outcome))
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

    /// Fetches with BatchFetch. None: the keys must be fetched one by one.
    async fn fetch_in_one_call(
        &self,
        requests: &[FetchRequest],
    ) -> Option<Vec<Result<FetchResponse>>> {
        let max_value_message = self.max_message_bytes();
        let max_batch = max_value_message.saturating_mul(requests.len()).min(MAX_BATCH_BYTES);
        let call = Call {
            method: |mut client, request| async move { client.batch_fetch(request).await }.boxed(),
            message: BatchFetchRequest {
                requests: requests.iter().map(convert::request_to_wire).collect(),
            },
            max_response_bytes: max_batch.max(max_value_message),
            // Requests with an earlier deadline are dropped by their callers.
            deadline: requests.iter().map(|request| request.deadline).max()?,
        };
        let failure = match self.call(call).await {
            Ok(Ok(response)) => return Some(self.batch_results(requests, response)),
            Ok(Err(status))
                if CallOutcome::from_status(&status) == CallOutcome::Answered
                    && status.code() == Code::Unimplemented =>
            {
                tracing::info!("an origin has no BatchFetch: it is asked for one key at a time");
                *self.unbatched_until.lock() = Some(Instant::now() + BATCH_RETRY_INTERVAL);
                return None;
            }
            Ok(Err(status)) => match error::from_status(&status) {
                Ok(_) => convert::invalid("BatchFetch is answered NOT_FOUND, which names no key"),
                // Each value may still be within the limit.
                Err(error) if error.kind == OriginErrorKind::TooLarge => return None,
                Err(error) => error,
            },
            Err(error) => error,
        };
        Some(vec![Err(failure); requests.len()])
    }

    fn batch_results(
        &self,
        requests: &[FetchRequest],
        response: BatchFetchResponse,
    ) -> Vec<Result<FetchResponse>> {
        let (expected, received) = (requests.len(), response.results.len());
        if expected != received {
            let cause = format!("the batch has {received} results for {expected} requests");
            return vec![Err(convert::invalid(&cause)); expected];
        }
        let convert = |(request, BatchFetchResult { result }): (&FetchRequest, _)| match result {
            Some(batch_fetch_result::Result::Response(response)) => convert::response_from_wire(
                request,
                response,
                self.max_value_bytes,
                MessageKind::Batch,
            ),
            Some(batch_fetch_result::Result::Error(error)) => error::from_fetch_error(error),
            None => Err(convert::invalid("a result of the batch is empty")),
        };
        requests.iter().zip(response.results).map(convert).collect()
    }

    async fn fetch_one_by_one(&self, requests: &[FetchRequest]) -> Vec<Result<FetchResponse>> {
        let mut results = Vec::with_capacity(requests.len());
        for chunk in requests.chunks(UNBATCHED_CONCURRENCY) {
            results.extend(join_all(chunk.iter().map(|request| self.fetch(request))).await);
        }
        results
    }

    fn max_message_bytes(&self) -> usize {
        self.max_value_bytes.saturating_add(MESSAGE_OVERHEAD)
    }
}

#[async_trait]
impl Origin for GrpcOrigin {
    async fn fetch(&self, request: &FetchRequest) -> Result<FetchResponse> {
        let call = Call {
            method: |mut client, request| async move { client.fetch(request).await }.boxed(),
            message: convert::request_to_wire(request),
            max_response_bytes: self.max_message_bytes(),
            deadline: request.deadline,
        };
        match self.call(call).await? {
            Ok(response) => convert::response_from_wire(
                request,
                response,
                self.max_value_bytes,
                MessageKind::Single,
            ),
            Err(status) => error::from_status(&status),
        }
    }

    fn batch_limit(&self) -> usize {
        let until = *self.unbatched_until.lock();
        if until.is_some_and(|until| Instant::now() < until) { 1 } else { self.max_batch }
    }

    async fn fetch_batch(&self, requests: &[FetchRequest]) -> Vec<Result<FetchResponse>> {
        let results = if requests.len() > 1 && self.batch_limit() > 1 {
            self.fetch_in_one_call(requests).await
        } else {
            None
        };
        match results {
            Some(results) => results,
            None => self.fetch_one_by_one(requests).await,
        }
    }
}
