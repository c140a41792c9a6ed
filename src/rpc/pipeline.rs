//! The path of every request, from the outside in:
//!
//! 1. Observation: each call is measured, traced and logged, even if the client disconnects.
//! 2. Protocol: requests that are not gRPC requests are refused.
//! 3. Caller: the credentials are checked, and a caller without any permission for the method is
//!    refused. Its handler checks the permission for the namespaces and keys of the call.
//! 4. Message: a call begins when its request message is complete. Until then it holds nothing but
//!    the bytes that have arrived.
//! 5. Admission: calls to the cache over the limit are queued for a moment, then rejected. Health
//!    checks, reflection and operator calls are always admitted. FetchStreams have a limit of their
//!    own, as they stay open, and so have Watches. Their incomplete messages count as those of
//!    other calls.
//! 6. Deadline: the work stops when the deadline of the call passes.
//! 7. Panics: a panic becomes an error of its own call, and affects no other call.
//! 8. Service: calls to the cache bypass the router.
//! 9. Response: large responses count against the bytes of their connection until they are sent.

mod explain;
mod incomplete;
mod refused;
mod service_routes;

use std::{future::Future, sync::Arc};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Either, ready},
};
use http::Request;
use http_body_util::BodyExt as _;
use tokio::time::Instant;
use tonic::{Status, body::Body};
use transport::{
    Admission, ConnectionShare, Dispatched, Held, MessageBody, MessageReader, Permit, Rejected,
    Reply, RequestBody,
};

use super::{
    access_control::{AccessControl, Entry},
    audit_trail::AuditedMethods,
    call::{Call, EndedCall, ServiceFuture},
    counted_body::CountedBody,
    large_response::LargeResponse,
    load_limits::{Holds, LoadLimits, MustNotWait},
    method::Method,
    metrics::RpcMetrics,
    offered_lease::OfferedLease,
    overload::Overload,
    protocol::{self, Checked},
    status,
};
use crate::{auth::PendingKeys, quota::CallQuota};
use explain::explain;
use refused::{Refused, refuse_request};
pub use service_routes::RpcServices;
use service_routes::ServiceRoutes;

/// Length of the frame header before a message.
const MESSAGE_PREFIX: usize = 5;

/// Answers requests for all gRPC services. Clones share the services.
#[derive(Clone)]
pub struct Pipeline(Arc<Services>);

struct Services {
    routes: ServiceRoutes,
    admission: Arc<Admission>,
    limits: Arc<LoadLimits>,
    metrics: Arc<RpcMetrics>,
    access: AccessControl,
    audit: AuditedMethods,
}

/// A call whose request message is complete.
struct Received {
    call: Call,
    connection: Arc<ConnectionShare>,
    deadline: Option<Instant>,
    quota: Option<Arc<CallQuota>>,
}

/// A call that is admitted.
struct Admitted {
    service: ServiceFuture,
    holds: Holds,
}

impl Pipeline {
    /// Serves these services.
    ///
    /// # Errors
    /// The descriptors of the protos are invalid.
    pub fn new(
        services: RpcServices<'_>,
        admission: Arc<Admission>,
        limits: Arc<LoadLimits>,
        metrics: RpcMetrics,
    ) -> Result<Self, tonic_reflection::server::Error> {
        let access = services.access.clone();
        let audit = AuditedMethods::new(services.audit.clone());
        let routes = ServiceRoutes::new(services, limits.max_message_bytes)?;
        let metrics = Arc::new(metrics);
        let services = Services { routes, admission, limits, metrics, access, audit };
        Ok(Self(Arc::new(services)))
    }

    /// Answers one request.
    pub fn answer(
        self,
        request: Request<RequestBody>,
    ) -> Dispatched<impl Future<Output = Reply<Body>> + Send + 'static> {
        let method = Method::of(request.uri().path());
        let call = Call::begin(method, request.headers(), self.0.metrics.clone());
        self.dispatch(call, request, true)
    }

    /// Answers a call. `may_wait`: whether it may wait for the keys of the issuer of its token.
    fn dispatch(
        self,
        mut call: Call,
        request: Request<RequestBody>,
        may_wait: bool,
    ) -> Dispatched<impl Future<Output = Reply<Body>> + Send + 'static> {
        let method = call.method();
        let dispatched = |reply| Dispatched { may_spawn: false, is_queued: false, reply };
        let checked = protocol::check(&request, method, self.0.limits.max_header_bytes);
        let Checked { deadline, schema, authorization, headers } = match checked {
            Ok(checked) => checked,
            Err(refusal) => {
                return dispatched(Either::Right(refuse_request(
                    call,
                    refusal,
                    request.into_body(),
                )));
            }
        };
        let connection = request.body().connection().clone();
        let entry = self.0.access.enter(method, authorization.as_ref(), &connection, may_wait);
        let mut access = match entry {
            Entry::Open(access) => access,
            Entry::Pending(keys) => {
                return dispatched(Either::Right(self.dispatch_after(keys, call, request)));
            }
            Entry::Refused(status) => {
                let unread = Some(request.into_body());
                let refused = Refused { status: *status, unread };
                let pause = self.0.limits.refusal_pause(&connection, deadline);
                return dispatched(Either::Right(refused.reply_after(pause, call)));
            }
        };
        let trail = self.0.audit.begin(method, &access, request.headers(), &connection);
        if trail.is_on() {
            call.audit(trail.clone());
        }
        if let Err(status) = self.0.access.begin(method, &mut access) {
            let refused = Refused { status: *status, unread: Some(request.into_body()) };
            let pause = self.0.limits.refusal_pause(&connection, deadline);
            return dispatched(Either::Right(refused.reply_after(pause, call)));
        }
        let (mut head, body) = request.into_parts();
        head.headers = headers;
        let quota = access.quota().cloned();
        if !access.is_unrestricted() {
            head.extensions.insert(access);
        }
        if trail.is_on() {
            head.extensions.insert(trail);
        }
        if !schema.is_none() {
            head.extensions.insert(schema);
        }
        let limits = &self.0.limits;
        let deadline = deadline.or_else(|| limits.default_deadline(method, &head.headers));
        let received = Received { call, connection, deadline, quota };
        let mut is_queued = false;
        // Calls that are admitted at once are not boxed: they are the common case, and their future
        // is small. It is moved several times before it is polled.
        let reply = if method.stays_open() {
            if method.takes_watch_stream() {
                Either::Right(self.serve_watch(received, head, body).boxed())
            } else {
                let request = Request::from_parts(head, MessageBody::from(body));
                match self.open(&received, request) {
                    Ok(admitted) => Either::Left(self.serve(received, admitted)),
                    Err(refused) => Either::Right(ready(refused.reply(received.call)).boxed()),
                }
            }
        } else {
            let mut reader = MessageReader::new(body, limits.max_message_bytes + MESSAGE_PREFIX);
            if !reader.read_arrived() {
                Either::Right(self.serve_incomplete(received, head, reader).boxed())
            } else {
                let request = Request::from_parts(head, reader.into_body());
                match self.try_admit(&received) {
                    Some(permit) => {
                        let admitted = self.admit(&received, request, permit);
                        Either::Left(self.serve(received, admitted))
                    }
                    None => {
                        is_queued = true;
                        Either::Right(self.serve_queued(received, request).boxed())
                    }
                }
            }
        };
        Dispatched { may_spawn: method.may_spawn(), is_queued, reply }
    }

    /// Answers a call when the keys of the issuer of its token are read.
    #[cold]
    fn dispatch_after(
        self,
        keys: PendingKeys,
        call: Call,
        request: Request<RequestBody>,
    ) -> BoxFuture<'static, Reply<Body>> {
        Box::pin(async move {
            keys.wait().await;
            self.dispatch(call, request, false).reply.await
        })
    }

    /// Admits a call without queueing. The inner `None` is for services without admission.
    fn try_admit(&self, received: &Received) -> Option<Option<Permit>> {
        if !received.call.method().is_cache() {
            return Some(None);
        }
        self.0.admission.try_acquire(&received.connection).map(Some)
    }

    #[inline]
    fn admit(
        &self,
        received: &Received,
        mut request: Request<MessageBody>,
        permit: Option<Permit>,
    ) -> Admitted {
        let mut taken = None;
        let quota = received.quota.clone();
        if received.call.method().may_wait() {
            taken = self.0.limits.waiting.try_take(&received.connection, 1);
            if taken.is_none() || quota.as_ref().is_some_and(|quota| quota.wait().is_err()) {
                request.extensions_mut().insert(MustNotWait);
            }
        }
        if let Some(quota) = &quota {
            quota.charge_bytes(request.body().read_bytes());
        }
        let service = self.0.routes.call(request, received.call.method());
        Admitted { service, holds: Holds { permit, quota, _taken: taken } }
    }

    /// Admits a call that stays open.
    fn open(
        &self,
        received: &Received,
        mut request: Request<MessageBody>,
    ) -> Result<Admitted, Refused> {
        let limits = &self.0.limits;
        let limit = if received.call.method().is_cache() {
            Some((&limits.fetch_streams, Overload::FetchStreams))
        } else {
            received.call.method().is_watch().then_some((&limits.watches, Overload::Watches))
        };
        let mut taken = None;
        if let Some((limit, overload)) = limit {
            taken = limit.try_take(&received.connection, 1);
            if taken.is_none() {
                return Err(self.refuse(overload, request.into_body().into_unread()));
            }
        }
        let quota = received.quota.clone();
        let waits = received.call.method().is_cache();
        if waits && quota.as_ref().is_some_and(|quota| quota.wait().is_err()) {
            request.extensions_mut().insert(MustNotWait);
        }
        let holds = Holds { permit: None, quota: quota.clone(), _taken: taken };
        let (connection, pipeline) = (received.connection.clone(), self.clone());
        let refuse = move || pipeline.reject(Overload::IncompleteRequests);
        let request =
            request.map(|body| CountedBody::new(body, limits.buffered.clone(), connection, refuse));
        let request = request.map(|body| body.charged_to(quota));
        Ok(Admitted { service: self.0.routes.call(request, received.call.method()), holds })
    }

    #[cold]
    fn refuse(&self, overload: Overload, unread: Option<RequestBody>) -> Refused {
        Refused { status: self.reject(overload), unread }
    }

    /// The status of a call that is rejected, which is logged.
    #[cold]
    fn reject(&self, overload: Overload) -> Status {
        let limits = &self.0.limits;
        limits.record_rejection(overload);
        status::overloaded_by(overload, limits.limit(overload))
    }

    /// Queues a call. The future of the queue is replaced by the future of the service: under
    /// overload many calls are queued, and each should hold little memory.
    fn serve_queued(
        self,
        received: Received,
        request: Request<MessageBody>,
    ) -> impl Future<Output = Reply<Body>> + Send + 'static {
        let queued = async move {
            let (connection, arrival) = (received.connection.clone(), received.call.started());
            let admission = &self.0.admission;
            let permit = admission.acquire_queued(connection, arrival, received.deadline).await;
            (self, received, request, permit)
        };
        queued.then(move |(this, received, request, permit)| {
            match this.admit_queued(&received, request, permit) {
                Ok(admitted) => Either::Left(this.serve(received, admitted)),
                Err(refused) => Either::Right(ready(refused.reply(received.call))),
            }
        })
    }

    fn admit_queued(
        &self,
        received: &Received,
        request: Request<MessageBody>,
        permit: Result<Permit, Rejected>,
    ) -> Result<Admitted, Refused> {
        match permit {
            Ok(permit) => Ok(self.admit(received, request, Some(permit))),
            Err(Rejected) => {
                Err(self.refuse(Overload::Requests, request.into_body().into_unread()))
            }
        }
    }

    /// Replies with the response of the service.
    fn serve(
        self,
        received: Received,
        admitted: Admitted,
    ) -> impl Future<Output = Reply<Body>> + Send + 'static {
        let Received { call, connection, deadline, .. } = received;
        let Admitted { service, holds } = admitted;
        let running = call.run(service, deadline, holds);
        running.map(move |ended| self.reply(&connection, ended))
    }

    fn reply(self, connection: &Arc<ConnectionShare>, ended: EndedCall) -> Reply<Body> {
        let EndedCall { call, mut response, mut holds } = ended;
        let mut held = None;
        if let Some(large) = response.extensions_mut().remove::<LargeResponse>() {
            let bytes = large.value_bytes();
            match self.0.limits.hold(connection, bytes, &mut holds.permit) {
                Ok(taken) => {
                    held = Some(taken);
                    large.replace_body(&mut response);
                }
                Err(overload) => response = self.reject(overload).into_http(),
            }
        }
        response = OfferedLease::hand_over_when_sent(response);
        let code = explain(&mut response, self.0.limits.max_message_bytes);
        if code.is_none() && call.method().is_streaming() && holds.permit.is_some() {
            held = Some(Held { bytes: None, permit: holds.permit.take() });
        }
        if let Some(quota) = holds.quota.clone() {
            response = response.map(|body| charged_to(quota, body));
        }
        Reply { response: call.respond(response, code, holds), unread: None, held }
    }
}

/// The body of a response whose bytes are charged as they are sent.
fn charged_to(quota: Arc<CallQuota>, body: Body) -> Body {
    Body::new(body.map_frame(move |frame| {
        if let Some(data) = frame.data_ref() {
            quota.charge_bytes(data.len());
        }
        frame
    }))
}
