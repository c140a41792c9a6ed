//! Trace context propagation and the spans of calls, fetches and refreshes.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use http::{Request, Response};
use larder::pb::v1::FetchStatus;
use tokio::net::TcpListener;
use tonic::{
    body::Body,
    server::{Grpc, NamedService, UnaryService},
};
use tonic_prost::ProstCodec;

use crate::support::{
    client::{fetch, get},
    env::read_through,
    origin::{Origin, ok},
    redis::RedisServer,
    server::{Builder, Larder},
    wait::{SOON, eventually, throughout},
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
/// `SPAN_KIND_SERVER`.
const SERVER: i32 = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn call_is_a_span_of_the_callers_trace() {
    let collector = Collector::start().await;
    let redis = RedisServer::start().await;
    let larder = Larder::redis(&redis.url())
        .env("LARDER_TELEMETRY__OTLP_ENDPOINT", &collector.endpoint)
        .env("LARDER_TELEMETRY__SERVICE_NAME", "larder-under-test")
        // The caller's sampling decision takes precedence.
        .env("LARDER_TELEMETRY__SAMPLE_RATIO", "0")
        .env("OTEL_BSP_SCHEDULE_DELAY", "100")
        .start()
        .await;
    let cache = larder.client().await;
    cache.get(traced(get("k"), "01")).await.unwrap();

    let span = collector.server_span("larder.v1.CacheService/Get").await;
    assert_eq!(hex(&span.trace_id), TRACE);
    assert_eq!(hex(&span.parent_span_id), PARENT);
    assert!(span.span_id.len() == 8 && hex(&span.span_id) != PARENT);
    let attribute =
        |name: &str| span.attributes.iter().find(|pair| pair.key == name).map(|pair| pair.text());
    assert_eq!(attribute("rpc.system.name").as_deref(), Some("grpc"), "{span:?}");
    assert_eq!(attribute("rpc.method").as_deref(), Some("larder.v1.CacheService/Get"), "{span:?}");
    assert!(span.end_time_unix_nano > span.start_time_unix_nano);
    assert!(
        collector.resources().contains(&"larder-under-test".to_owned()),
        "{:?}",
        collector.resources()
    );
    // Spans contain no keys.
    assert!(!span.attributes.iter().any(|pair| pair.text() == "k"), "{span:?}");
    // Nor code locations or threads.
    let mut names: Vec<_> = span.attributes.iter().map(|pair| pair.key.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["rpc.method", "rpc.response.status_code", "rpc.system.name"], "{span:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unsampled_trace_is_not_recorded() {
    let collector = Collector::start().await;
    let larder = Larder::memory()
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint)
        .env("LARDER_TELEMETRY__SAMPLE_RATIO", "1")
        .env("OTEL_BSP_SCHEDULE_DELAY", "100")
        .start()
        .await;
    let cache = larder.client().await;
    cache.get(traced(get("k"), "00")).await.unwrap();
    // The next call carries no sampling decision and is recorded.
    cache.get_or_fetch(fetch("k", 0)).await.unwrap();
    let span = collector.server_span("larder.v1.CacheService/GetOrFetch").await;
    assert_ne!(hex(&span.trace_id), TRACE);
    throughout(Duration::from_millis(500), async || {
        assert!(collector.spans().iter().all(|span| hex(&span.trace_id) != TRACE));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fetch_joins_the_waiting_callers_trace_and_outlives_its_span() {
    let (collector, origin) = (Collector::start().await, Origin::start().await);
    let larder = reading_through(Larder::memory(), &collector, &origin).start().await;
    let cache = larder.client().await;
    origin.hold();
    // The caller's wait is shorter than the fetch.
    cache.get_or_fetch(traced(fetch("k", 100), "01")).await.unwrap();
    let call = collector.server_span("larder.v1.CacheService/GetOrFetch").await;
    assert_eq!(origin.in_flight(), 1, "the fetch continues after the span of the call has ended");
    origin.release();
    let computed = collector.span("compute").await;
    assert_eq!(
        (hex(&computed.trace_id).as_str(), &computed.parent_span_id),
        (TRACE, &call.span_id)
    );
    let fetched = collector.span("fetch").await;
    assert_eq!(
        (&fetched.trace_id, &fetched.parent_span_id),
        (&computed.trace_id, &computed.span_id)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn background_refresh_is_a_separate_trace_linked_to_the_call() {
    let (collector, origin, redis) =
        (Collector::start().await, Origin::start().await, RedisServer::start().await);
    origin.always(ok("v", &[("cache-control", "max-age=0, stale-while-revalidate=3600")]));
    let larder = reading_through(Larder::redis(&redis.url()), &collector, &origin).start().await;
    let cache = larder.client().await;
    cache.get_or_fetch(fetch("k", 20_000)).await.unwrap();
    let mut links = Vec::new();
    for refreshes in 1..=2 {
        let refreshed = cache.get_or_fetch(traced(fetch("k", 20_000), "01")).await.unwrap();
        assert_eq!(refreshed.fetch_status(), FetchStatus::Refreshing);
        let spans = eventually("the spans of the refresh are exported", SOON * 2, async || {
            let spans = collector.spans();
            let refreshes = spans.iter().filter(|span| span.name == "refresh").count() == refreshes;
            let stored = spans.iter().filter(|span| span.name == "fill").count() == origin.calls();
            (refreshes && stored).then_some(spans)
        })
        .await;
        let refresh = spans.iter().rfind(|span| span.name == "refresh").unwrap();
        assert!(
            refresh.parent_span_id.is_empty() && hex(&refresh.trace_id) != TRACE,
            "{refresh:?}"
        );
        let [link] = &refresh.links[..] else { panic!("{refresh:?}") };
        assert_eq!(hex(&link.trace_id), TRACE);
        for name in ["acquire", "fetch", "fill"] {
            assert!(
                spans
                    .iter()
                    .any(|span| span.name == name && span.parent_span_id == refresh.span_id),
                "{name}"
            );
            assert!(
                spans.iter().all(|span| span.name != name || hex(&span.trace_id) != TRACE),
                "{name}"
            );
        }
        links.push(link.span_id.clone());
    }
    assert_ne!(links[0], links[1], "each refresh is linked to the call that triggered it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sampling_decision_is_propagated_to_the_origin() {
    let (collector, origin) = (Collector::start().await, Origin::start().await);
    let larder = reading_through(Larder::memory(), &collector, &origin)
        .env("LARDER_TELEMETRY__SAMPLE_RATIO", "0");
    let larder = larder.start().await;
    let cache = larder.client().await;
    cache.get_or_fetch(traced(fetch("callers", 20_000), "00")).await.unwrap();
    cache.get_or_fetch(fetch("own", 20_000)).await.unwrap();
    cache.get_or_fetch(traced(fetch("recorded", 20_000), "01")).await.unwrap();
    let contexts: Vec<String> = origin
        .requests()
        .iter()
        .map(|request| request.header("traceparent").unwrap().to_owned())
        .collect();
    let [callers, own, recorded] = &contexts[..] else { panic!("{contexts:?}") };
    assert!(callers.starts_with(&format!("00-{TRACE}-")) && callers.ends_with("-00"), "{callers}");
    assert!(!own.contains(TRACE) && own.ends_with("-00"), "{own}");
    assert!(
        recorded.starts_with(&format!("00-{TRACE}-")) && recorded.ends_with("-01"),
        "{recorded}"
    );
    let call = collector.server_span("larder.v1.CacheService/GetOrFetch").await;
    assert_eq!(hex(&call.trace_id), TRACE);
    // The recorded fetch is the last one.
    collector.span("fetch").await;
    assert!(
        collector.spans().iter().all(|span| hex(&span.trace_id) == TRACE),
        "{:?}",
        collector.spans()
    );
}

/// A server that records every trace and reads through an HTTP origin.
fn reading_through(larder: Builder, collector: &Collector, origin: &Origin) -> Builder {
    larder
        .env("LARDER_TELEMETRY__OTLP_ENDPOINT", &collector.endpoint)
        .env("LARDER_TELEMETRY__SAMPLE_RATIO", "1")
        .env("OTEL_BSP_SCHEDULE_DELAY", "100")
        .config(&read_through(&origin.url("/v/{key}"), "", "timeout = '20s'"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreachable_collector_does_not_affect_calls() {
    let larder = Larder::memory()
        .env("LARDER_TELEMETRY__OTLP_ENDPOINT", "http://127.0.0.1:1")
        .env("LARDER_TELEMETRY__SAMPLE_RATIO", "1")
        .start()
        .await;
    let mut larder = larder;
    let cache = larder.client().await;
    for _ in 0..100 {
        cache.put("k", "v").await;
    }
    larder.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(larder.wait_exit(SOON * 3).await.code(), Some(0));
}

/// Adds a W3C trace context with `flags`.
fn traced<T>(message: T, flags: &str) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    let context = format!("00-{TRACE}-{PARENT}-{flags}");
    request.metadata_mut().insert("traceparent", context.parse().unwrap());
    request
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An OTLP trace service that stores the spans it receives.
#[derive(Clone)]
struct Collector {
    endpoint: String,
    received: Arc<Mutex<Vec<ResourceSpans>>>,
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let collector = Self { endpoint, received: Arc::default() };
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(collector.clone())
                .serve_with_incoming(incoming),
        );
        collector
    }

    fn spans(&self) -> Vec<Span> {
        let received = self.received.lock().unwrap();
        received
            .iter()
            .flat_map(|resource| &resource.scope_spans)
            .flat_map(|scope| scope.spans.clone())
            .collect()
    }

    /// `service.name` of each resource received so far.
    fn resources(&self) -> Vec<String> {
        let received = self.received.lock().unwrap();
        let attributes =
            received.iter().filter_map(|spans| spans.resource.as_ref()).flat_map(|r| &r.attributes);
        attributes.filter(|pair| pair.key == "service.name").map(KeyValue::text).collect()
    }

    /// Waits for the first server span with this name.
    async fn server_span(&self, name: &str) -> Span {
        self.first(|span| span.name == name && span.kind == SERVER).await
    }

    /// Waits for the first span with this name that is not a server span.
    async fn span(&self, name: &str) -> Span {
        self.first(|span| span.name == name && span.kind != SERVER).await
    }

    async fn first(&self, matches: impl Fn(&Span) -> bool) -> Span {
        let found = async || self.spans().into_iter().find(&matches);
        eventually("the span is exported", SOON * 2, found).await
    }
}

impl NamedService for Collector {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
}

impl tower::Service<Request<Body>> for Collector {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let export = Export(self.clone());
        async move { Ok(Grpc::new(ProstCodec::default()).unary(export, request).await) }.boxed()
    }
}

/// `TraceService.Export`.
struct Export(Collector);

impl UnaryService<ExportTraceServiceRequest> for Export {
    type Response = ExportTraceServiceResponse;
    type Future =
        BoxFuture<'static, Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status>>;

    fn call(&mut self, request: tonic::Request<ExportTraceServiceRequest>) -> Self::Future {
        self.0.received.lock().unwrap().extend(request.into_inner().resource_spans);
        async { Ok(tonic::Response::new(ExportTraceServiceResponse {})) }.boxed()
    }
}

// The OTLP fields that the tests read, with the field numbers of
// opentelemetry/proto/trace/v1/trace.proto.

#[derive(Clone, PartialEq, prost::Message)]
struct ExportTraceServiceRequest {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ExportTraceServiceResponse {}

#[derive(Clone, PartialEq, prost::Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ScopeSpans {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, repeated, tag = "13")]
    links: Vec<Link>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Link {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AnyValue {
    #[prost(string, tag = "1")]
    string_value: String,
}

impl KeyValue {
    fn text(&self) -> String {
        self.value.as_ref().map(|value| value.string_value.clone()).unwrap_or_default()
    }
}
