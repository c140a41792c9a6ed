//! Batches, and the fallback to single fetches.

use prost_types::Duration as PbDuration;
use tonic::{Code, Request, Status};

use super::support::{Script, TestServer, origin, request, text};
use crate::{
    origin::{FetchBody, FetchRequest, FetchResponse, Origin as _, OriginErrorKind, Result},
    pb::origin::v1::{
        self as wire, BatchFetchRequest, BatchFetchResponse, BatchFetchResult, FetchError,
        batch_fetch_result::Result as PbResult,
    },
};

fn requests(keys: &[&str]) -> Vec<FetchRequest> {
    keys.iter().map(|key| request(key)).collect()
}

fn data(result: &Result<FetchResponse>) -> &str {
    let Ok(FetchResponse { body: FetchBody::Value { data, .. }, .. }) = result else {
        panic!("{result:?}")
    };
    std::str::from_utf8(data).unwrap()
}

fn echo() -> Script {
    Script::new(|request: Request<wire::FetchRequest>| async move {
        Ok(text(&request.into_inner().key))
    })
}

fn response(response: wire::FetchResponse) -> BatchFetchResult {
    BatchFetchResult { result: Some(PbResult::Response(response)) }
}

fn error(code: Code, retry_after: Option<PbDuration>) -> BatchFetchResult {
    let error = FetchError { code: code as i32, message: "because".to_owned(), retry_after };
    BatchFetchResult { result: Some(PbResult::Error(error)) }
}

#[tokio::test]
async fn results_are_in_order_and_independent() {
    let script = echo().with_batch(|request: BatchFetchRequest| {
        let result = |request: wire::FetchRequest| match request.key.as_str() {
            "busy" => error(Code::ResourceExhausted, Some(PbDuration { seconds: 7, nanos: 0 })),
            "absent" => error(Code::NotFound, None),
            "forbidden" => error(Code::PermissionDenied, None),
            "odd" => error(Code::Ok, None),
            "empty" => BatchFetchResult { result: None },
            key => response(text(key)),
        };
        Ok(BatchFetchResponse { results: request.requests.into_iter().map(result).collect() })
    });
    let server = TestServer::start(script).await;
    let (origin, _places) = origin(&[&server]);
    assert_eq!(origin.batch_limit(), 10);
    let keys = ["a", "busy", "absent", "b", "forbidden", "odd", "empty"];
    let results = origin.fetch_batch(&requests(&keys)).await;
    assert_eq!((data(&results[0]), data(&results[3])), ("a", "b"));
    let busy = results[1].as_ref().unwrap_err();
    assert_eq!(
        (&busy.kind, busy.retry_after.map(|delay| delay.as_secs())),
        (&OriginErrorKind::Failed, Some(7))
    );
    assert_eq!(results[2].as_ref().unwrap().body, FetchBody::NotFound);
    for (index, kind) in
        [(4, OriginErrorKind::Refused), (5, OriginErrorKind::Failed), (6, OriginErrorKind::Invalid)]
    {
        assert_eq!(results[index].as_ref().unwrap_err().kind, kind, "{}", keys[index]);
    }
    assert_eq!((server.batches(), server.fetches()), (1, 0));
}

#[tokio::test]
async fn unimplemented_batches_fall_back_to_single_fetches() {
    let server = TestServer::start(echo()).await;
    let (origin, _places) = origin(&[&server]);
    for _ in 0..2 {
        let results = origin.fetch_batch(&requests(&["a", "b"])).await;
        assert_eq!((data(&results[0]), data(&results[1])), ("a", "b"));
        assert_eq!(origin.batch_limit(), 1);
    }
    assert_eq!((server.batches(), server.fetches()), (1, 4));
}

#[tokio::test]
async fn batch_of_one_is_a_single_fetch() {
    let server = TestServer::start(echo()).await;
    let (origin, _places) = origin(&[&server]);
    assert_eq!(data(&origin.fetch_batch(&requests(&["a"])).await[0]), "a");
    assert!(origin.fetch_batch(&[]).await.is_empty());
    assert_eq!((server.batches(), server.fetches()), (0, 1));
}

#[tokio::test]
async fn failure_of_the_whole_batch_fails_every_key() {
    let failures = [
        (Status::unavailable("down"), OriginErrorKind::Failed),
        (Status::not_found("one of them"), OriginErrorKind::Invalid),
        (Status::permission_denied("no"), OriginErrorKind::Refused),
    ];
    for (status, kind) in failures {
        let server = TestServer::start(echo().with_batch(move |_| Err(status.clone()))).await;
        let (origin, _places) = origin(&[&server]);
        for result in origin.fetch_batch(&requests(&["a", "b"])).await {
            assert_eq!(result.unwrap_err().kind, kind);
        }
    }
    let short = |_| Ok(BatchFetchResponse { results: vec![response(text("a"))] });
    let server = TestServer::start(echo().with_batch(short)).await;
    let (origin, _places) = origin(&[&server]);
    let results = origin.fetch_batch(&requests(&["a", "b"])).await;
    assert!(
        results.iter().all(|result| result.as_ref().unwrap_err().kind == OriginErrorKind::Invalid)
    );
}

#[tokio::test]
async fn oversized_batch_falls_back_to_single_fetches() {
    let huge = |request: BatchFetchRequest| {
        let results =
            request.requests.iter().map(|_| response(text(&"x".repeat(3 * 1024 * 1024)))).collect();
        Ok(BatchFetchResponse { results })
    };
    let server = TestServer::start(echo().with_batch(huge)).await;
    let (origin, _places) = origin(&[&server]);
    let results = origin.fetch_batch(&requests(&["a", "b"])).await;
    assert_eq!((data(&results[0]), data(&results[1])), ("a", "b"));
    assert_eq!(origin.batch_limit(), 10, "other batches may fit");
}
