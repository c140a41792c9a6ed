//! Parts of the origin that need no server.

use prost_types::Duration as PbDuration;
use tokio::time::{Instant, advance};
use tonic::Code;

use super::support::{ScriptedResolver, options, request, text};
use crate::{
    origin::{
        FetchBody, Origin as _, OriginErrorKind,
        grpc::{BATCH_RETRY_INTERVAL, GrpcOptions, GrpcOrigin, MESSAGE_OVERHEAD},
    },
    pb::origin::v1::{
        BatchFetchResponse, BatchFetchResult, FetchError, batch_fetch_result::Result as WireResult,
    },
};

fn origin(max_batch: usize) -> GrpcOrigin {
    let options = GrpcOptions { max_batch, max_value_bytes: 4, ..options() };
    GrpcOrigin::with_resolver(options, Box::new(ScriptedResolver::default())).unwrap()
}

fn error(code: Code) -> Option<WireResult> {
    let retry_after = Some(PbDuration { seconds: 7, nanos: 0 });
    Some(WireResult::Error(FetchError { code: code as i32, message: String::new(), retry_after }))
}

#[tokio::test]
async fn results_of_a_batch_are_converted_one_by_one() {
    let results = [
        Some(WireResult::Response(text("v"))),
        Some(WireResult::Response(text("12345"))),
        error(Code::Unavailable),
        error(Code::NotFound),
        None,
    ];
    let response = BatchFetchResponse {
        results: results.into_iter().map(|result| BatchFetchResult { result }).collect(),
    };
    let requests: Vec<_> = (0..5).map(|_| request("k")).collect();
    let results = origin(10).batch_results(&requests, response);
    assert!(matches!(results[0].as_ref().unwrap().body, FetchBody::Value { .. }));
    assert_eq!(results[1].as_ref().unwrap_err().kind, OriginErrorKind::TooLarge);
    let unavailable = results[2].as_ref().unwrap_err();
    assert_eq!(unavailable.kind, OriginErrorKind::Failed);
    assert_eq!(unavailable.retry_after.unwrap().as_secs(), 7);
    assert_eq!(results[3].as_ref().unwrap().body, FetchBody::NotFound);
    assert_eq!(results[4].as_ref().unwrap_err().kind, OriginErrorKind::Invalid);
}

#[tokio::test]
async fn batch_needs_one_result_per_request() {
    for received in [0, 1, 3] {
        let result = BatchFetchResult { result: Some(WireResult::Response(text("v"))) };
        let response = BatchFetchResponse { results: vec![result; received] };
        let results = origin(10).batch_results(&[request("a"), request("b")], response);
        let cause = format!("the batch has {received} results for 2 requests");
        assert!(results.iter().all(|result| result.as_ref().unwrap_err().cause == cause));
        assert_eq!(results.len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn batches_are_tried_again_after_an_interval() {
    let origin = origin(10);
    assert_eq!(origin.batch_limit(), 10);
    *origin.unbatched_until.lock() = Some(Instant::now() + BATCH_RETRY_INTERVAL);
    assert_eq!(origin.batch_limit(), 1);
    advance(BATCH_RETRY_INTERVAL).await;
    assert_eq!(origin.batch_limit(), 10);
}

#[tokio::test]
async fn batch_limit_is_at_least_one() {
    assert_eq!(origin(0).batch_limit(), 1);
}

#[tokio::test]
async fn message_limit_leaves_room_for_the_other_fields() {
    assert_eq!(origin(1).max_message_bytes(), 4 + MESSAGE_OVERHEAD);
}

#[tokio::test]
async fn metadata_is_sensitive() {
    let mut options = options();
    options.metadata.insert("authorization", "Bearer secret".parse().unwrap());
    let origin = GrpcOrigin::with_resolver(options, Box::new(ScriptedResolver::default())).unwrap();
    assert!(origin.metadata["authorization"].is_sensitive());
}

#[tokio::test(start_paused = true)]
async fn calls_have_the_remaining_time_as_timeout() {
    let call = origin(1).request((), Instant::now() + std::time::Duration::from_millis(7));
    assert_eq!(call.metadata().get("grpc-timeout").unwrap(), "7000000n");
}
