//! What is said, and what it is taken for.

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

use super::support::{Script, TestServer, options, order, origin, origin_with, text};
use crate::{
    model::Kind,
    origin::{CacheDirectives, ErrorKind, FetchBody, FetchRequest, Origin as _, Validators},
    pb::origin::v1::{
        self as wire, FetchError, NotFound, NotModified, Value, fetch_response::Outcome, value,
    },
};

#[tokio::test]
async fn an_order_arrives_and_an_answer_comes_back() {
    let server =
        TestServer::start(Script::new(|request: Request<wire::FetchRequest>| async move {
            let authorization = request.metadata().get("authorization").cloned();
            let wire::FetchRequest { namespace, key, params, previous_etag } = request.into_inner();
            let said = format!("{namespace} {key} {params:?} {previous_etag} {authorization:?}");
            let seconds = |seconds| Some(PbDuration { seconds, nanos: 0 });
            Ok(wire::FetchResponse {
                outcome: Some(Outcome::Value(Value { kind: Some(value::Kind::Data(said.into())) })),
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
    let (origin, _places) = origin_with(options, &[&server]);
    let order = FetchRequest {
        params: Arc::new(BTreeMap::from([("lang".to_owned(), "de".to_owned())])),
        validators: Validators { etag: Some("old".into()), last_modified: None },
        ..order("ada")
    };
    let answer = origin.fetch(&order).await.unwrap();
    let data = Bytes::from_static(br#"user ada {"lang": "de"} old Some("Bearer secret")"#);
    assert_eq!(answer.content, FetchBody::Value { kind: Kind::Bytes, data });
    let terms = CacheDirectives {
        no_store: true,
        ttl: Some(Duration::from_secs(1)),
        stale_while_revalidate: Some(Duration::from_secs(2)),
        stale_if_error: Some(Duration::from_secs(3)),
        tags: Some(["t".to_owned()].into()),
        validators: Validators { etag: Some("new".into()), last_modified: None },
    };
    assert_eq!(answer.terms, terms);
}

#[tokio::test]
async fn there_may_be_no_value_or_an_old_one() {
    let server =
        TestServer::start(Script::new(|request: Request<wire::FetchRequest>| async move {
            let outcome = match request.get_ref().key.as_str() {
                "absent" => Outcome::NotFound(NotFound {}),
                "unknown" => return Err(Status::not_found("nobody")),
                _ => Outcome::NotModified(NotModified {}),
            };
            Ok(wire::FetchResponse { outcome: Some(outcome), ..Default::default() })
        }))
        .await;
    let (origin, _places) = origin(&[&server]);
    for key in ["absent", "unknown"] {
        assert_eq!(origin.fetch(&order(key)).await.unwrap().content, FetchBody::NotFound);
    }
    let known = FetchRequest {
        validators: Validators { etag: Some("e".into()), last_modified: None },
        ..order("same")
    };
    assert_eq!(origin.fetch(&known).await.unwrap().content, FetchBody::NotModified);
    assert_eq!(origin.fetch(&order("same")).await.unwrap_err().kind, ErrorKind::Invalid);
}

#[tokio::test]
async fn every_status_has_a_meaning() {
    let server =
        TestServer::start(Script::new(|request: Request<wire::FetchRequest>| async move {
            let code: i32 = request.get_ref().key.parse().unwrap();
            Err(Status::new(Code::from_i32(code), "because\n"))
        }))
        .await;
    let (origin, _places) = origin(&[&server]);
    use ErrorKind::{Failed, Refused, Timeout};
    let meanings = [
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
    for (code, kind) in meanings {
        let error = origin.fetch(&order(&(code as i32).to_string())).await.unwrap_err();
        assert_eq!((error.kind, error.cause), (kind, format!("{code:?}: because ")));
    }
}

#[tokio::test]
async fn an_origin_says_when_to_come_back_within_reason() {
    for (asked, heeded) in [(2, 2), (3600, 300)] {
        let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(asked)));
        let status = Status::with_error_details(Code::Unavailable, "later", details);
        let server = TestServer::start(Script::always(Err(status))).await;
        let (origin, _places) = origin(&[&server]);
        let error = origin.fetch(&order("k")).await.unwrap_err();
        assert_eq!(error.retry_after, Some(Duration::from_secs(heeded)));
    }
}

#[tokio::test]
async fn a_status_with_broken_details_harms_nobody_else() {
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
    let (origin, _places) = origin(&[&server]);
    assert_eq!(origin.fetch(&order("broken")).await.unwrap_err().kind, ErrorKind::Invalid);
    assert!(origin.fetch(&order("k")).await.is_ok());
}

#[tokio::test]
async fn a_deadline_is_sent_and_kept() {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let server = TestServer::start(Script::new(move |request: Request<wire::FetchRequest>| {
        let timeout =
            request.metadata().get("grpc-timeout").map(|value| value.to_str().unwrap().to_owned());
        sender.send(timeout).unwrap();
        std::future::pending()
    }))
    .await;
    let (origin, _places) = origin(&[&server]);
    let order =
        FetchRequest { deadline: Instant::now() + Duration::from_millis(200), ..order("k") };
    let start = Instant::now();
    assert_eq!(origin.fetch(&order).await.unwrap_err().kind, ErrorKind::Timeout);
    assert!(start.elapsed() < Duration::from_secs(10));
    let timeout = receiver.recv().await.unwrap().unwrap();
    let micros: u64 = timeout.strip_suffix(['u', 'n']).unwrap().parse().unwrap();
    assert!(micros > 0, "{timeout}");
    // Over before it began: nobody is asked.
    assert_eq!(origin.fetch(&order).await.unwrap_err().kind, ErrorKind::Timeout);
    assert_eq!(server.fetches(), 1);
}

#[tokio::test]
async fn what_is_too_large_is_told_from_what_is_broken() {
    let server =
        TestServer::start(Script::new(|request: Request<wire::FetchRequest>| async move {
            Ok(text(&"x".repeat(request.get_ref().key.parse().unwrap())))
        }))
        .await;
    let (origin, _places) = origin(&[&server]);
    let limit = options().max_value_bytes;
    assert!(origin.fetch(&order(&limit.to_string())).await.is_ok());
    for size in [limit + 1, 2 * limit] {
        assert_eq!(
            origin.fetch(&order(&size.to_string())).await.unwrap_err().kind,
            ErrorKind::TooLarge
        );
    }
}

/// Speaks gRPC, but of something else.
#[derive(Clone)]
struct Stranger;

impl NamedService for Stranger {
    const NAME: &'static str = "larder.origin.v1.OriginService";
}

impl UnaryService<wire::FetchRequest> for Stranger {
    type Response = FetchError;
    type Future = Ready<Result<Response<FetchError>, Status>>;

    fn call(&mut self, _: Request<wire::FetchRequest>) -> Self::Future {
        ready(Ok(Response::new(FetchError { code: 1, ..Default::default() })))
    }
}

impl Service<http::Request<Body>> for Stranger {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move { Ok(Grpc::new(ProstCodec::default()).unary(Stranger, request).await) })
    }
}

#[tokio::test]
async fn another_message_is_invalid() {
    let server = TestServer::start_service(
        "127.0.0.1:0",
        Stranger,
        Script::always(Ok(text("unused"))),
        None,
    )
    .await;
    let (origin, _places) = origin(&[&server]);
    let error = origin.fetch(&order("k")).await.unwrap_err();
    assert_eq!(
        (error.kind, error.cause.as_str()),
        (ErrorKind::Invalid, "the answer is not of the expected message type")
    );
}

#[tokio::test]
async fn calls_are_part_of_the_trace() {
    let server =
        TestServer::start(Script::new(|request: Request<wire::FetchRequest>| async move {
            let parent = request
                .metadata()
                .get("traceparent")
                .map(|value| value.to_str().unwrap().to_owned());
            Ok(text(&parent.unwrap_or_default()))
        }))
        .await;
    let (origin, _places) = origin(&[&server]);
    global::set_text_map_propagator(TraceContextPropagator::new());
    let provider = SdkTracerProvider::builder().build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let answer = origin.fetch(&order("k")).instrument(tracing::info_span!("call")).await.unwrap();
    let FetchBody::Value { data, .. } = answer.content else { panic!("no value") };
    assert!(data.starts_with(b"00-") && data.len() == 55, "{data:?}");
}
