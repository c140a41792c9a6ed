//! The path of every request, from the outside in:
//!
//! 1. Observation: each call is measured, traced and logged, even if the client disconnects.
//! 2. Admission: calls to the cache over the limit are queued for a moment, then rejected. Health
//!    checks, reflection and operator calls are always admitted.
//! 3. Deadline: the work stops when the deadline of the call passes.
//! 4. Panics: a panic becomes an error of its own call, and affects no other call.
//! 5. Service: calls to the cache bypass the router.

use std::{future::Future, sync::Arc};

use futures_util::{FutureExt as _, future::Either};
use http::{HeaderMap, HeaderName, Request, Response};
use tokio::time::Instant;
use tonic::{Code, Status, body::Body, service::Routes};
use tower::{Service, ServiceExt as _};
use transport::{Admission, Dispatched, Permit, Rejected, Reply, RequestBody};

use super::{
    admin_service::AdminRpc,
    cache_service::CacheRpc,
    call::{Call, ServiceFuture},
    deadline,
    method::Method,
    metrics::RpcMetrics,
    reflection, status,
};
use crate::{
    health::Health,
    pb::v1::{admin_service_server::AdminServiceServer, cache_service_server::CacheServiceServer},
};

// Constants, because a name given as text is parsed for every request.
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// Answers requests for all gRPC services. Clones share the services.
#[derive(Clone)]
pub struct Pipeline(Arc<Services>);

struct Services {
    cache: CacheServiceServer<CacheRpc>,
    others: Routes,
    admission: Arc<Admission>,
    metrics: Arc<RpcMetrics>,
    max_message_bytes: usize,
}

/// A call that runs.
struct Admitted {
    service: ServiceFuture,
    /// `None` for services without admission.
    permit: Option<Permit>,
}

/// A call that was rejected before its body was read.
struct Refused {
    status: Status,
    unread: RequestBody,
}

impl Pipeline {
    /// Serves the cache, the operator calls, health and, if `reflect` is set, reflection. Request
    /// messages may have up to `max_message_bytes`.
    ///
    /// # Errors
    /// The descriptors of the protos are invalid.
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
        let metrics = Arc::new(metrics);
        Ok(Self(Arc::new(Services { cache, others, admission, metrics, max_message_bytes })))
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
            let service: ServiceFuture = Box::pin(self.0.others.clone().oneshot(request));
            Either::Left(self.serve(call, deadline, Ok(Admitted { service, permit: None })))
        } else {
            retain_headers(request.headers_mut());
            match self.0.admission.try_acquire() {
                Some(permit) => {
                    let admitted = self.admit(request, permit);
                    Either::Left(self.serve(call, deadline, Ok(admitted)))
                }
                None => {
                    is_queued = true;
                    Either::Right(self.serve_queued(call, request, deadline))
                }
            }
        };
        Dispatched { may_spawn: method.may_spawn(), is_queued, reply }
    }

    fn admit(&self, request: Request<RequestBody>, permit: Permit) -> Admitted {
        Admitted { service: self.0.cache.clone().call(request), permit: Some(permit) }
    }

    /// Queues a call. The future of the queue is replaced by the future of the service: under
    /// overload many calls are queued, and each should hold little memory.
    fn serve_queued(
        self,
        call: Call,
        request: Request<RequestBody>,
        deadline: Option<Instant>,
    ) -> impl Future<Output = Reply<Body>> + Send + 'static {
        let queued = async move {
            let permit = self.0.admission.acquire_queued(call.started(), deadline).await;
            (self, call, request, permit)
        };
        queued.then(move |(this, call, request, permit)| {
            let admission = match permit {
                Ok(permit) => Ok(this.admit(request, permit)),
                Err(Rejected) => {
                    let status = status::overloaded(this.0.admission.limit());
                    Err(Refused { status, unread: request.into_body() })
                }
            };
            this.serve(call, deadline, admission)
        })
    }

    /// Replies with the response of the service, or with the reason of the rejection.
    fn serve(
        self,
        call: Call,
        deadline: Option<Instant>,
        admission: Result<Admitted, Refused>,
    ) -> impl Future<Output = Reply<Body>> + Send + 'static {
        let max_message_bytes = self.0.max_message_bytes;
        async move {
            let (mut response, permit, unread) = match admission {
                Ok(Admitted { service, permit }) => {
                    (call.run(service, deadline).await, permit, None)
                }
                Err(Refused { status, unread }) => (status.into_http(), None, Some(unread)),
            };
            let code = explain(&mut response, max_message_bytes);
            Reply { response: call.respond(response, code, permit), unread }
        }
    }
}

/// Drops all headers of a call to the cache but those that are read later. A queued call would hold
/// the others until it is admitted, which costs 5 % of the CPU time per request under overload.
fn retain_headers(headers: &mut HeaderMap) {
    let all = std::mem::take(headers);
    for name in [&GRPC_ENCODING, &deadline::HEADER] {
        if let Some(value) = all.get(name) {
            headers.insert(name, value.clone());
        }
    }
}

/// The status code of a response without messages; `None` for other responses.
///
/// Adds details to the errors of tonic, such as an unknown method or a message over the limit.
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
    // Tells a client with an unsupported compression which ones are supported.
    if let Some(accepted) = response.headers().get(ACCEPT_ENCODING) {
        explained.headers_mut().insert(ACCEPT_ENCODING, accepted.clone());
    }
    *response = explained;
    Some(code)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_headers_that_are_read_later_are_kept() {
        let names = ["grpc-encoding", "grpc-timeout", "user-agent", "content-type"];
        let headers =
            names.map(|name| (HeaderName::from_static(name), HeaderValue::from_static("x")));
        let mut headers = HeaderMap::from_iter(headers);
        retain_headers(&mut headers);
        let mut kept: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        kept.sort_unstable();
        assert_eq!(kept, ["grpc-encoding", "grpc-timeout"]);
    }

    #[test]
    fn errors_of_tonic_are_explained() {
        let mut response = Status::new(Code::Unimplemented, "").into_http::<Body>();
        let accepted = HeaderValue::from_static("identity");
        response.headers_mut().insert(ACCEPT_ENCODING, accepted.clone());
        assert_eq!(explain(&mut response, 1024), Some(Code::Unimplemented));
        assert!(response.headers().contains_key(GRPC_STATUS_DETAILS));
        assert_eq!(response.headers().get(ACCEPT_ENCODING), Some(&accepted));
    }

    #[test]
    fn errors_of_handlers_and_responses_with_messages_are_unchanged() {
        let mut response = status::overloaded(1).into_http::<Body>();
        let before = response.headers().clone();
        assert_eq!(explain(&mut response, 1024), Some(Code::ResourceExhausted));
        assert_eq!(*response.headers(), before);
        assert_eq!(explain(&mut Response::new(Body::empty()), 1024), None);
    }
}
