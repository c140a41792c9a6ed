//! One observed call: metrics, trace and access log, until the end of the response.

use std::{
    convert::Infallible,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use super::{
    access_log::{self, AccessLogFields},
    audit_trail::AuditTrail,
    call_trace::CallTrace,
    load_limits::Holds,
    method::Method,
    metrics::{self, RpcMetrics},
    status,
};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::{Code, Status, body::Body};

/// A call under observation. A call that is dropped before it has ended counts as cancelled by the
/// client.
pub(super) struct Call {
    method: Method,
    started: Instant,
    metrics: Arc<RpcMetrics>,
    trace: CallTrace,
    audit: AuditTrail,
    is_ended: bool,
    /// The deadline of a stream whose service has none of its own.
    stream_deadline: Option<Instant>,
}

/// The future of a service that handles a call.
pub(super) type ServiceFuture = BoxFuture<'static, Result<Response<Body>, Infallible>>;

/// A call whose service runs. Most services are ready at once: the timer is only made for others.
pub(super) struct RunningCall {
    /// None once it has ended.
    call: Option<Call>,
    service: ServiceFuture,
    deadline: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    holds: Holds,
}

/// A call whose service has ended.
pub(super) struct EndedCall {
    pub(super) call: Call,
    pub(super) response: Response<Body>,
    pub(super) holds: Holds,
}

impl Call {
    pub(super) fn begin(method: Method, headers: &HeaderMap, metrics: Arc<RpcMetrics>) -> Self {
        Self {
            method,
            started: Instant::now(),
            metrics,
            trace: CallTrace::of(method, headers),
            audit: AuditTrail::default(),
            is_ended: false,
            stream_deadline: None,
        }
    }

    pub(super) fn method(&self) -> Method {
        self.method
    }

    /// When the request arrived.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// Queues this record when the call ends.
    pub(super) fn audit(&mut self, trail: AuditTrail) {
        self.audit = trail;
    }

    /// Runs the service until the deadline. A panic becomes an INTERNAL error of this call.
    pub(super) fn run(
        mut self,
        service: ServiceFuture,
        deadline: Option<Instant>,
        holds: Holds,
    ) -> RunningCall {
        if self.method.is_endless() {
            self.stream_deadline = deadline;
        }
        RunningCall { call: Some(self), service, deadline, timer: None, holds }
    }

    /// Ends the call, or lets the body end it if the response is a stream. `code` is the code of a
    /// response without messages.
    pub(super) fn respond(
        mut self,
        mut response: Response<Body>,
        code: Option<Code>,
        holds: Holds,
    ) -> Response<Body> {
        if code.is_none() && self.method.is_streaming() {
            if self.method.is_endless() {
                self.audit.end(Code::Ok, self.started.elapsed());
            }
            let until = self.stream_deadline.map(|deadline| Box::pin(sleep_until(deadline)));
            let observe = |inner| ObservedBody { inner, call: self, _holds: holds, until };
            return response.map(|inner| Body::new(observe(inner)));
        }
        let fields = response.extensions_mut().remove();
        self.end(code.unwrap_or(Code::Ok), fields.as_ref());
        response
    }

    /// Records the end of the call. Only the first end counts.
    fn end(&mut self, code: Code, fields: Option<&AccessLogFields>) {
        if std::mem::replace(&mut self.is_ended, true) {
            return;
        }
        let duration = self.started.elapsed();
        self.metrics.record(self.method, code, duration);
        if let CallTrace::Recorded(span) = &self.trace {
            metrics::record_exemplar(span, self.method, code, duration);
        }
        self.trace.end(code);
        self.audit.end(code, duration);
        access_log::write(self.method, code, duration, fields);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(Code::Cancelled, None);
    }
}

// === impl RunningCall ===

impl RunningCall {
    /// Polls the service in the trace of the call.
    fn poll_service(&mut self, cx: &mut Context<'_>) -> Poll<Response<Body>> {
        let service = &mut self.service;
        let mut poll = || {
            let polled = catch_unwind(AssertUnwindSafe(|| service.as_mut().poll(cx)));
            // The panic hook has logged the panic.
            polled.unwrap_or_else(|_panic| Poll::Ready(Ok(status::internal().into_http())))
        };
        let polled = match self.call.as_ref().map(|call| &call.trace) {
            None | Some(CallTrace::None) => poll(),
            Some(CallTrace::Recorded(span)) => span.in_scope(poll),
            Some(CallTrace::Unrecorded(parent)) => {
                let _attached = parent.as_ref().clone().attach();
                poll()
            }
        };
        polled.map(|Ok(response)| response)
    }

    /// Resolves to an error when the deadline has passed.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Response<Body>> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        timer.as_mut().poll(cx).map(|()| status::deadline_exceeded().into_http())
    }
}

impl Future for RunningCall {
    type Output = EndedCall;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<EndedCall> {
        let mut polled = self.poll_service(cx);
        if polled.is_pending() {
            polled = self.poll_deadline(cx);
        }
        let response = std::task::ready!(polled);
        // Not polled again once it has ended.
        let Some(call) = self.call.take() else { return Poll::Pending };
        Poll::Ready(EndedCall { call, response, holds: std::mem::take(&mut self.holds) })
    }
}

/// The body of a streamed response, which ends the call. It also has what the call holds.
struct ObservedBody {
    inner: Body,
    call: Call,
    _holds: Holds,
    /// Then the stream ends with an error.
    until: Option<Pin<Box<Sleep>>>,
}

impl ObservedBody {
    /// Ends a stream whose deadline has passed.
    #[cold]
    fn end_late(&mut self) -> Option<Result<Frame<Bytes>, Status>> {
        self.until = None;
        self.inner = Body::empty();
        let (status, mut trailers) = (status::deadline_exceeded(), HeaderMap::new());
        self.call.end(status.code(), None);
        Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers)))
    }
}

impl HttpBody for ObservedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if let Some(until) = &mut this.until
            && until.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(this.end_late());
        }
        let frame = std::task::ready!(Pin::new(&mut this.inner).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(status) = frame.trailers_ref().and_then(Status::from_header_map) {
                    this.call.end(status.code(), None);
                }
            }
            Some(Err(status)) => this.call.end(status.code(), None),
            None => this.call.end(Code::Ok, None),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use http_body_util::{BodyExt as _, StreamBody};
    use opentelemetry::metrics::MeterProvider as _;
    use opentelemetry_sdk::metrics::SdkMeterProvider;
    use prometheus::{Encoder as _, Registry, TextEncoder};

    use super::*;

    /// Counts calls by status code.
    struct Recorder {
        registry: Registry,
        metrics: Arc<RpcMetrics>,
        _provider: SdkMeterProvider,
    }

    impl Recorder {
        fn new() -> Self {
            let registry = Registry::new();
            let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone());
            let provider =
                SdkMeterProvider::builder().with_reader(exporter.build().unwrap()).build();
            let metrics = Arc::new(RpcMetrics::new(&provider.meter("test")));
            Self { registry, metrics, _provider: provider }
        }

        fn call(&self, path: &str) -> Call {
            Call::begin(Method::of(path), &HeaderMap::new(), self.metrics.clone())
        }

        fn count(&self, code: &str) -> u64 {
            let mut text = Vec::new();
            TextEncoder::new().encode(&self.registry.gather(), &mut text).unwrap();
            let text = String::from_utf8(text).unwrap();
            let label = format!("rpc_response_status_code=\"{code}\"");
            let lines = text.lines().filter(|line| {
                line.starts_with("rpc_server_call_duration_seconds_count") && line.contains(&label)
            });
            lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
        }
    }

    const GET: &str = "/larder.v1.CacheService/Get";
    const BATCH_GET: &str = "/larder.v1.CacheService/BatchGet";

    #[tokio::test]
    async fn call_that_is_dropped_counts_as_cancelled() {
        let recorder = Recorder::new();
        drop(recorder.call(GET));
        assert_eq!((recorder.count("CANCELLED"), recorder.count("OK")), (1, 0));
    }

    #[tokio::test]
    async fn unary_call_ends_with_its_response() {
        let recorder = Recorder::new();
        drop(recorder.call(GET).respond(Response::new(Body::empty()), None, Holds::default()));
        assert_eq!((recorder.count("OK"), recorder.count("CANCELLED")), (1, 0));
    }

    #[tokio::test]
    async fn stream_ends_with_its_trailers() {
        let recorder = Recorder::new();
        let mut trailers = HeaderMap::new();
        Status::new(Code::Unavailable, "gone").add_header(&mut trailers).unwrap();
        let frames =
            [Ok::<_, Status>(Frame::data(Bytes::from_static(b"x"))), Ok(Frame::trailers(trailers))];
        let body = Body::new(StreamBody::new(futures_util::stream::iter(frames)));
        let response =
            recorder.call(BATCH_GET).respond(Response::new(body), None, Holds::default());
        assert_eq!(recorder.count("UNAVAILABLE"), 0);
        response.into_body().collect().await.unwrap();
        assert_eq!((recorder.count("UNAVAILABLE"), recorder.count("CANCELLED")), (1, 0));
    }

    #[tokio::test]
    async fn stream_that_is_not_read_to_its_end_counts_as_cancelled() {
        let recorder = Recorder::new();
        drop(recorder.call(BATCH_GET).respond(
            Response::new(Body::empty()),
            None,
            Holds::default(),
        ));
        assert_eq!((recorder.count("CANCELLED"), recorder.count("OK")), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn stream_without_a_deadline_of_its_own_ends_at_that_of_its_call() {
        let recorder = Recorder::new();
        let call = recorder.call("/grpc.health.v1.Health/Watch");
        let service = async {
            let endless = futures_util::stream::pending::<Result<Frame<Bytes>, Status>>();
            Ok(Response::new(Body::new(StreamBody::new(endless))))
        };
        let begun = Instant::now();
        let deadline = begun + Duration::from_secs(3);
        let EndedCall { call, response, holds } =
            call.run(Box::pin(service), Some(deadline), Holds::default()).await;
        let body = call.respond(response, None, holds).into_body();
        let trailers = body.collect().await.unwrap().trailers().cloned().unwrap();
        let status = Status::from_header_map(&trailers).unwrap();
        assert_eq!((status.code(), begun.elapsed().as_secs()), (Code::DeadlineExceeded, 3));
        assert_eq!(recorder.count("DEADLINE_EXCEEDED"), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn panic_and_deadline_become_errors_of_the_call() {
        let recorder = Recorder::new();
        let code =
            |response: &Response<Body>| Status::from_header_map(response.headers()).unwrap().code();
        let run = |service, deadline| recorder.call(GET).run(service, deadline, Holds::default());
        let panics = run(Box::pin(async { panic!("a bug") }), None).await;
        assert_eq!(code(&panics.response), Code::Internal);
        let soon = Some(Instant::now() + Duration::from_millis(1));
        let late = run(Box::pin(std::future::pending()), soon).await;
        assert_eq!(code(&late.response), Code::DeadlineExceeded);
    }
}
