//! Requests, and the results of all kinds of responses.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue};
use opentelemetry::{global, trace::TracerProvider as _};
use opentelemetry_sdk::{propagation::TraceContextPropagator, trace::SdkTracerProvider};
use prost_types::Duration as PbDuration;
use tokio::time::Instant;
use tonic::{
    Code, Request, Response, Status,
    body::Body,
    metadata::MetadataMap,
    server::{Grpc, NamedService, UnaryService},
};
use tonic_prost::ProstCodec;
use tonic_types::{ErrorDetails, StatusExt as _};
use tower::Service;
use tracing::Instrument as _;
use tracing_subscriber::layer::SubscriberExt as _;

use super::support::{Script, TestServer, options, origin, origin_with, request, text};
use crate::{
    model::Kind,
    origin::{CacheDirectives, FetchBody, FetchRequest, Origin as _, OriginErrorKind, Validators},
    pb::origin::v1::{
        self as wire, FetchError, NotFound, NotModified, Value, fetch_response::Outcome, value,
    },
};

#[tokio::test]
async fn request_and_response_are_converted() {
    let server =
        TestServer::start(Script::new(|request: Request<wire::FetchRequest>| async move {
            let authorization = request.metadata().get("authorization").cloned();
            let wire::FetchRequest { namespace, key, params, previous_etag } = request.into_inner();
            let received =
                format!("{namespace} {key} {params:?} {previous_etag} {authorization:?}");
            let seconds = |seconds| Some(PbDuration { seconds, nanos: 0 });
            Ok(wire::FetchResponse {
                outcome: Some(Outcome::Value(Value {
                    kind: Some(value::Kind::Data(received.into())),
                })),
                ttl: seconds(1),
                stale_while_revalidate: seconds(2),
                stale_if_error: seconds(3),
                tags: vec!["t".to_owned()],
                etag: "new".to_owned(),
                no_store: true,
            })
        }))
        .await;
    let mut options = options();
    options.metadata.insert("authorization", HeaderValue::from_static("Bearer secret"));
    let (origin, _resolver) = origin_with(options, &[&server]);
    let request = FetchRequest {
        params: Arc::new(BTreeMap::from([("lang".to_owned(), "de".to_owned())])),
        validators: Validators { etag: Some("old".into()), last_modified: None },
        ..request("ada")
    };
    let answer = origin.fetch(&request).await.unwrap();
    let data = Bytes::from_static(br#"user ada {"lang": "de"} old Some("Bearer secret")"#);
    assert_eq!(answer.body, FetchBody::Value { kind: Kind::Bytes, data });
    let directives = CacheDirectives {
        no_store: true,
        ttl: Some(Duration::from_secs(1)),
        stale_while_revalidate: Some(Duration::from_secs(2)),
        stale_if_error: Some(Duration::from_secs(3)),
        tags: Some(["t".to_owned()].into()),
        validators: Validators { etag: Some("new".into()), last_modified: None },
    };
    assert_eq!(answer.directives, directives);
}

#[tokio::test]
async fn not_found_and_not_modified_are_answers() {
    let server =
        TestServer::start(Script::new(|request: Request<wire::FetchRequest>| async move {
            let outcome = match request.get_ref().key.as_str() {
                "absent" => Outcome::NotFound(NotFound {}),
                "unknown" => return Err(Status::not_found("unknown key")),
                _ => Outcome::NotModified(NotModified {}),
            };
            Ok(wire::FetchResponse { outcome: Some(outcome), ..Default::default() })
        }))
        .await;
    let (origin, _resolver) = origin(&[&server]);
    for key in ["absent", "unknown"] {
        assert_eq!(origin.fetch(&request(key)).await.unwrap().body, FetchBody::NotFound);
    }
    let known = FetchRequest {
        validators: Validators { etag: Some("e".into()), last_modified: None },
        ..request("same")
    };
    assert_eq!(origin.fetch(&known).await.unwrap().body, FetchBody::NotModified);
    assert_eq!(origin.fetch(&request("same")).await.unwrap_err().kind, OriginErrorKind::Invalid);
}

#[tokio::test]
async fn every_status_has_a_failure_kind() {
    let server =
        TestServer::start(Script::new(|request: Request<wire::FetchRequest>| async move {
            let code: i32 = request.get_ref().key.parse().unwrap();
            Err(Status::new(Code::from_i32(code), "because\n"))
        }))
        .await;
    let (origin, _resolver) = origin(&[&server]);
    use OriginErrorKind::{Failed, Refused, Timeout};
    let kinds = [
        (Code::Cancelled, Failed),
        (Code::Unknown, Failed),
        (Code::InvalidArgument, Refused),
        (Code::DeadlineExceeded, Timeout),
        (Code::AlreadyExists, Refused),
        (Code::PermissionDenied, Refused),
        (Code::ResourceExhausted, Failed),
        (Code::FailedPrecondition, Refused),
        (Code::Aborted, Failed),
        (Code::OutOfRange, Refused),
        (Code::Unimplemented, Refused),
        (Code::Internal, Failed),
        (Code::Unavailable, Failed),
        (Code::DataLoss, Failed),
        (Code::Unauthenticated, Refused),
    ];
    for (code, kind) in kinds {
        let error = origin.fetch(&request(&(code as i32).to_string())).await.unwrap_err();
        assert_eq!((error.kind, error.cause), (kind, format!("{code:?}: because ")));
    }
}

#[tokio::test]
async fn retry_info_sets_a_bounded_retry_after() {
    for (sent, expected) in [(2, 2), (3600, 300)] {
        let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(sent)));
        let status = Status::with_error_details(Code::Unavailable, "later", details);
        let server = TestServer::start(Script::always(Err(status))).await;
        let (origin, _resolver) = origin(&[&server]);
        let error = origin.fetch(&request("k")).await.unwrap_err();
        assert_eq!(error.retry_after, Some(Duration::from_secs(expected)));
    }
}

#[tokio::test]
async fn status_with_malformed_details_fails_only_its_call() {
    let mut broken = HeaderMap::new();
    broken.insert("grpc-status-details-bin", HeaderValue::from_static("?"));
    let status = Status::with_metadata(Code::Internal, "", MetadataMap::from_headers(broken));
    let server = TestServer::start(Script::new(move |request: Request<wire::FetchRequest>| {
        std::future::ready(if request.get_ref().key == "broken" {
            Err(status.clone())
        } else {
            Ok(text("v"))
        })
    }))
    .await;
    let (origin, _resolver) = origin(&[&server]);
    assert_eq!(origin.fetch(&request("broken")).await.unwrap_err().kind, OriginErrorKind::Invalid);
    assert!(origin.fetch(&request("k")).await.is_ok());
}

#[tokio::test]
async fn deadline_is_sent_and_enforced() {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let server = TestServer::start(Script::new(move |request: Request<wire::FetchRequest>| {
        let timeout =
            request.metadata().get("grpc-timeout").map(|value| value.to_str().unwrap().to_owned());
        sender.send(timeout).unwrap();
        std::future::pending()
    }))
    .await;
    let (origin, _resolver) = origin(&[&server]);
    let request =
        FetchRequest { deadline: Instant::now() + Duration::from_millis(200), ..request("k") };
    let start = Instant::now();
    assert_eq!(origin.fetch(&request).await.unwrap_err().kind, OriginErrorKind::Timeout);
    assert!(start.elapsed() < Duration::from_secs(10));
    let timeout = receiver.recv().await.unwrap().unwrap();
    let micros: u64 = timeout.strip_suffix(['u', 'n']).unwrap().parse().unwrap();
    assert!(micros > 0, "{timeout}");
    // The deadline has passed, so no call is made.
    assert_eq!(origin.fetch(&request).await.unwrap_err().kind, OriginErrorKind::Timeout);
    assert_eq!(server.fetches(), 1);
}

#[tokio::test]
async fn oversized_values_are_too_large() {
    let server =
        TestServer::start(Script::new(|request: Request<wire::FetchRequest>| async move {
            Ok(text(&"x".repeat(request.get_ref().key.parse().unwrap())))
        }))
        .await;
    let (origin, _resolver) = origin(&[&server]);
    let limit = options().max_value_bytes;
    assert!(origin.fetch(&request(&limit.to_string())).await.is_ok());
    for size in [limit + 1, 2 * limit] {
        assert_eq!(
            origin.fetch(&request(&size.to_string())).await.unwrap_err().kind,
            OriginErrorKind::TooLarge
        );
    }
}

/// A gRPC service with another response message.
#[derive(Clone)]
struct OtherService;

impl NamedService for OtherService {
    const NAME: &'static str = "larder.origin.v1.OriginService";
}

impl UnaryService<wire::FetchRequest> for OtherService {
    type Response = FetchError;
    type Future = Ready<Result<Response<FetchError>, Status>>;

    fn call(&mut self, _: Request<wire::FetchRequest>) -> Self::Future {
        ready(Ok(Response::new(FetchError { code: 1, ..Default::default() })))
    }
}

impl Service<http::Request<Body>> for OtherService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(
            async move { Ok(Grpc::new(ProstCodec::default()).unary(OtherService, request).await) },
        )
    }
}

#[tokio::test]
async fn other_message_types_are_invalid() {
    let server = TestServer::start_service(
        "127.0.0.1:0",
        OtherService,
        Script::always(Ok(text("unused"))),
        None,
    )
    .await;
    let (origin, _resolver) = origin(&[&server]);
    let error = origin.fetch(&request("k")).await.unwrap_err();
    assert_eq!(
        (error.kind, error.cause.as_str()),
        (OriginErrorKind::Invalid, "the answer is not of the expected message type")
    );
}

#[tokio::test]
async fn calls_propagate_the_trace_context() {
    let server =
        TestServer::start(Script::new(|request: Request<wire::FetchRequest>| async move {
            let parent = request
                .metadata()
                .get("traceparent")
                .map(|value| value.to_str().unwrap().to_owned());
            Ok(text(&parent.unwrap_or_default()))
        }))
        .await;
    let (origin, _resolver) = origin(&[&server]);
    global::set_text_map_propagator(TraceContextPropagator::new());
    let provider = SdkTracerProvider::builder().build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let answer = origin.fetch(&request("k")).instrument(tracing::info_span!("call")).await.unwrap();
    let FetchBody::Value { data, .. } = answer.body else { panic!("no value") };
    assert!(data.starts_with(b"00-") && data.len() == 55, "{data:?}");
}
