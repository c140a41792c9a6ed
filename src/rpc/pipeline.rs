//! What every request goes through, from the outside in:
//!
//! 1. it is observed: measured, traced and logged, also when the caller leaves before the answer;
//! 2. it is admitted, maybe after a moment in line, or turned away if the server has enough to do; health checks always are;
//! 3. its deadline is kept: when it passes, the work stops;
//! 4. a panic becomes an answer, and costs nobody else anything;
//! 5. it goes to its service; the cache's own is found without a router.

use std::{convert::Infallible, future::Future, panic::AssertUnwindSafe, sync::Arc};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Either},
};
use http::{HeaderMap, HeaderName, Request, Response};
use opentelemetry::{
    Context, context::FutureExt as _, global, propagation::Extractor, trace::TraceContextExt as _,
};
use tokio::time::Instant;
use tonic::{Code, Status, body::Body, service::Routes};
use tower::{Service, ServiceExt as _};
use tracing::{Instrument as _, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use transport::{Admission, Dispatched, Permit, Rejected, Reply, RequestBody};

use super::{
    access_log::{AccessLogFields, TARGET},
    admin_service::AdminRpc,
    cache_service::CacheRpc,
    call::ObservedBody,
    deadline,
    method::Method,
    metrics::{RpcMetrics, code_name},
    reflection, status,
};
use crate::{
    health::Health,
    model::SaturatingFrom as _,
    pb::v1::{admin_service_server::AdminServiceServer, cache_service_server::CacheServiceServer},
    trace_sampler,
};

// Looked up by text they would be parsed for every request.
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
/// W3C Trace Context.
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");

/// See the module. Clones share everything.
#[derive(Clone)]
pub struct Pipeline(Arc<Parts>);

struct Parts {
    cache: CacheServiceServer<CacheRpc>,
    others: Routes,
    admission: Arc<Admission>,
    metrics: Arc<RpcMetrics>,
    max_message_bytes: usize,
}

/// A call under observation. Dropped before it ended, it counts as cancelled by the caller.
pub(super) struct Call {
    method: Method,
    started: Instant,
    metrics: Arc<RpcMetrics>,
    trace: Trace,
    ended: bool,
}

/// The work of a service.
type Routed = BoxFuture<'static, Result<Response<Body>, Infallible>>;

/// What there is of the trace to which a call belongs. In boxes, as most calls have none and should be small.
enum Trace {
    /// Nothing: nobody knows it, and it is not recorded.
    None,
    /// The call's span.
    Recorded(Box<Span>),
    /// What the caller says, who does not have it recorded: origins are told so, too.
    Unrecorded(Box<Context>),
}

impl Pipeline {
    /// Serves the cache, the operators, health and, if `reflect`, reflection. Messages to the server may have `max_message_bytes`.
    ///
    /// # Errors
    /// The protos' descriptors are broken.
    pub fn new(
        cache: CacheRpc,
        admin: AdminRpc,
        health: &Health,
        reflect: bool,
        max_message_bytes: usize,
        admission: Arc<Admission>,
        metrics: RpcMetrics,
    ) -> Result<Self, tonic_reflection::server::Error> {
        let admin = AdminServiceServer::new(admin).max_decoding_message_size(max_message_bytes);
        let others = Routes::new(health.service()).add_service(admin);
        let others = if reflect { reflection::add_to(others)? } else { others };
        let cache = CacheServiceServer::new(cache).max_decoding_message_size(max_message_bytes);
        let others = others.prepare();
        Ok(Self(Arc::new(Parts {
            cache,
            others,
            admission,
            metrics: Arc::new(metrics),
            max_message_bytes,
        })))
    }

    /// Answers one request.
    pub fn answer(
        self,
        mut request: Request<RequestBody>,
    ) -> Dispatched<impl Future<Output = Reply<Body>> + Send + 'static> {
        let method = Method::of(request.uri().path());
        let call = Call::begin(method, request.headers(), self.0.metrics.clone());
        let deadline = deadline::of(request.headers());
        let mut is_queued = false;
        let reply = if !Method::is_cache(request.uri().path()) {
            let work: Routed = Box::pin(self.0.others.clone().oneshot(request));
            Either::Left(self.serve(call, deadline, Ok((work, None))))
        } else {
            forget_headers(request.headers_mut());
            match self.0.admission.try_acquire() {
                Some(permit) => {
                    let work = self.0.cache.clone().call(request);
                    Either::Left(self.serve(call, deadline, Ok((work, Some(permit)))))
                }
                None => {
                    is_queued = true;
                    Either::Right(self.serve_later(call, request, deadline))
                }
            }
        };
        Dispatched { may_spawn: method.may_spawn(), is_queued, reply }
    }

    /// Two futures, of which the second takes the place of the first: in an overload many stand in line, and what they hold should be
    /// small.
    fn serve_later(
        self,
        call: Call,
        request: Request<RequestBody>,
        deadline: Option<Instant>,
    ) -> impl Future<Output = Reply<Body>> + Send + 'static {
        let in_line = async move {
            let permit = self.0.admission.acquire_queued(call.started, deadline).await;
            (self, call, request, permit)
        };
        in_line.then(move |(this, call, request, permit)| {
            let work = match permit {
                Ok(permit) => Ok((this.0.cache.clone().call(request), Some(permit))),
                Err(Rejected) => {
                    Err((status::overloaded(this.0.admission.limit()), request.into_body()))
                }
            };
            this.serve(call, deadline, work)
        })
    }

    /// Answers a call with what the service makes of it, or with why it was not asked.
    fn serve(
        self,
        call: Call,
        deadline: Option<Instant>,
        work: Result<(Routed, Option<Permit>), (Status, RequestBody)>,
    ) -> impl Future<Output = Reply<Body>> + Send + 'static {
        let max_message_bytes = self.0.max_message_bytes;
        async move {
            let (mut response, permit, unread) = match work {
                Ok((work, permit)) => (call.outcome(work, deadline).await, permit, None),
                Err((refused, unread)) => (refused.into_http(), None, Some(unread)),
            };
            let code = explain(&mut response, max_message_bytes);
            Reply { response: call.respond(response, code, permit), unread }
        }
    }
}

/// Keeps of the headers of a call to the cache those that are asked for later. A call in line would hold all the rest until it is admitted;
/// in an overload that is a twentieth of the CPU per request.
fn forget_headers(headers: &mut HeaderMap) {
    let all = std::mem::take(headers);
    for name in [&GRPC_ENCODING, &deadline::HEADER] {
        if let Some(value) = all.get(name) {
            headers.insert(name, value.clone());
        }
    }
}

/// The outcome of `work`, or none if the deadline passes first.
async fn within<T>(deadline: Option<Instant>, work: impl Future<Output = T>) -> Option<T> {
    match deadline {
        None => Some(work.await),
        Some(deadline) => tokio::time::timeout_at(deadline, work).await.ok(),
    }
}

/// How a call ended that has no messages, and none otherwise. Gives details to an error that was not made here, such as an unknown
/// method or a message over the limit.
fn explain(response: &mut Response<Body>, max_message_bytes: usize) -> Option<Code> {
    let headers = response.headers();
    if !headers.contains_key(Status::GRPC_STATUS) {
        return None;
    }
    let status = Status::from_header_map(headers)?;
    if status.code() == Code::Ok || headers.contains_key(GRPC_STATUS_DETAILS) {
        return Some(status.code());
    }
    let status = status::with_error_info(&status, max_message_bytes);
    let code = status.code();
    let mut explained = status.into_http::<Body>();
    // A client whose compression is not known here learns from it which it may use.
    if let Some(accepted) = response.headers().get(ACCEPT_ENCODING) {
        explained.headers_mut().insert(ACCEPT_ENCODING, accepted.clone());
    }
    *response = explained;
    Some(code)
}

// === impl Call ===

impl Call {
    fn begin(method: Method, headers: &HeaderMap, metrics: Arc<RpcMetrics>) -> Self {
        Self {
            method,
            started: Instant::now(),
            metrics,
            trace: Trace::of(method, headers),
            ended: false,
        }
    }

    /// What the service answers, or why it does not.
    async fn outcome(&self, work: Routed, deadline: Option<Instant>) -> Response<Body> {
        let work = within(deadline, AssertUnwindSafe(work).catch_unwind());
        let outcome = match &self.trace {
            Trace::None => work.await,
            Trace::Recorded(span) => work.instrument(Span::clone(span)).await,
            Trace::Unrecorded(caller) => work.with_context(Context::clone(caller)).await,
        };
        match outcome {
            Some(Ok(Ok(response))) => response,
            Some(Ok(Err(never))) => match never {},
            // The panic hook has logged it.
            Some(Err(_)) => status::internal().into_http(),
            None => status::deadline_exceeded().into_http(),
        }
    }

    /// Ends the call, or lets the body end it if the answer has only begun.
    fn respond(
        mut self,
        mut response: Response<Body>,
        code: Option<Code>,
        permit: Option<Permit>,
    ) -> Response<Body> {
        if code.is_none() && self.method.is_streaming() {
            return response.map(|body| Body::new(ObservedBody::new(body, self, permit)));
        }
        let facts = response.extensions_mut().remove();
        self.ended_with(code.unwrap_or(Code::Ok), facts.as_ref());
        response
    }

    /// Takes note of how the call ended; only the first word counts.
    pub(super) fn ended(&mut self, code: Code) {
        self.ended_with(code, None);
    }

    fn ended_with(&mut self, code: Code, facts: Option<&AccessLogFields>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let took = self.started.elapsed();
        self.metrics.record(self.method, code, took);
        if let Trace::Recorded(span) = &self.trace {
            span.record("rpc.response.status_code", code_name(code));
            if is_server_error(code) {
                span.record("otel.status_code", "ERROR").record("error.type", code_name(code));
            }
        }
        match facts {
            Some(facts) => tracing::debug!(
                target: TARGET,
                method = self.method.name(),
                status = code_name(code),
                namespace = %facts.namespace,
                key = facts.key,
                outcome = facts.outcome,
                took_us = u64::saturating_from(took.as_micros()),
            ),
            None => tracing::debug!(
                target: TARGET,
                method = self.method.name(),
                status = code_name(code),
                took_us = u64::saturating_from(took.as_micros()),
            ),
        }
    }
}

impl Trace {
    fn of(method: Method, headers: &HeaderMap) -> Self {
        if !trace_sampler::is_on() {
            return Self::None;
        }
        let caller = headers
            .contains_key(TRACE_PARENT)
            .then(|| {
                global::get_text_map_propagator(|propagator| propagator.extract(&Headers(headers)))
            })
            .filter(|caller| caller.span().span_context().is_valid());
        let is_recorded = caller.as_ref().map_or_else(trace_sampler::is_chosen, |caller| {
            caller.span().span_context().is_sampled()
        });
        if !is_recorded {
            return caller.map_or(Self::None, |caller| Self::Unrecorded(Box::new(caller)));
        }
        let span = tracing::info_span!(
            target: "larder::trace",
            "rpc",
            otel.name = method.name(),
            otel.kind = "server",
            otel.status_code = tracing::field::Empty,
            rpc.system.name = "grpc",
            rpc.method = method.name(),
            rpc.response.status_code = tracing::field::Empty,
            error.type = tracing::field::Empty,
        );
        if let Some(caller) = caller {
            // It fails only where spans are not exported.
            let _ = span.set_parent(caller);
        }
        Self::Recorded(Box::new(span))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.ended(Code::Cancelled);
    }
}

/// Codes that are the server's fault, by the semantic conventions.
fn is_server_error(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

/// Where the trace context of the caller is found.
struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}
