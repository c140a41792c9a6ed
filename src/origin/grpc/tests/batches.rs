//! Several orders in one call, and what happens where that is not to be had.

use prost_types::Duration as PbDuration;
use tonic::{Code, Request, Status};

use super::support::{Script, TestServer, order, origin, text};
use crate::{
    origin::{ErrorKind, FetchBody, FetchRequest, FetchResponse, Origin as _, Result},
    pb::origin::v1::{
        self as wire, BatchFetchRequest, BatchFetchResponse, BatchFetchResult, FetchError,
        batch_fetch_result::Result as PbResult,
    },
};

fn orders(keys: &[&str]) -> Vec<FetchRequest> {
    keys.iter().map(|key| order(key)).collect()
}

fn said(result: &Result<FetchResponse>) -> &str {
    let Ok(FetchResponse { content: FetchBody::Value { data, .. }, .. }) = result else {
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
async fn results_come_in_order_and_each_stands_alone() {
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
    let results = origin.fetch_batch(&orders(&keys)).await;
    assert_eq!((said(&results[0]), said(&results[3])), ("a", "b"));
    let busy = results[1].as_ref().unwrap_err();
    assert_eq!(
        (&busy.kind, busy.retry_after.map(|wait| wait.as_secs())),
        (&ErrorKind::Failed, Some(7))
    );
    assert_eq!(results[2].as_ref().unwrap().content, FetchBody::NotFound);
    for (place, kind) in [(4, ErrorKind::Refused), (5, ErrorKind::Failed), (6, ErrorKind::Invalid)]
    {
        assert_eq!(results[place].as_ref().unwrap_err().kind, kind, "{}", keys[place]);
    }
    assert_eq!((server.batches(), server.fetches()), (1, 0));
}

#[tokio::test]
async fn an_origin_without_batches_is_asked_for_one_at_a_time_and_that_is_remembered() {
    let server = TestServer::start(echo()).await;
    let (origin, _places) = origin(&[&server]);
    for _ in 0..2 {
        let results = origin.fetch_batch(&orders(&["a", "b"])).await;
        assert_eq!((said(&results[0]), said(&results[1])), ("a", "b"));
        assert_eq!(origin.batch_limit(), 1);
    }
    assert_eq!((server.batches(), server.fetches()), (1, 4));
}

#[tokio::test]
async fn a_batch_of_one_is_a_fetch() {
    let server = TestServer::start(echo()).await;
    let (origin, _places) = origin(&[&server]);
    assert_eq!(said(&origin.fetch_batch(&orders(&["a"])).await[0]), "a");
    assert!(origin.fetch_batch(&[]).await.is_empty());
    assert_eq!((server.batches(), server.fetches()), (0, 1));
}

#[tokio::test]
async fn what_cannot_be_told_apart_is_nobodys() {
    let failures = [
        (Status::unavailable("down"), ErrorKind::Failed),
        (Status::not_found("one of them"), ErrorKind::Invalid),
        (Status::permission_denied("no"), ErrorKind::Refused),
    ];
    for (status, kind) in failures {
        let server = TestServer::start(echo().with_batch(move |_| Err(status.clone()))).await;
        let (origin, _places) = origin(&[&server]);
        for result in origin.fetch_batch(&orders(&["a", "b"])).await {
            assert_eq!(result.unwrap_err().kind, kind);
        }
    }
    let short = |_| Ok(BatchFetchResponse { results: vec![response(text("a"))] });
    let server = TestServer::start(echo().with_batch(short)).await;
    let (origin, _places) = origin(&[&server]);
    let results = origin.fetch_batch(&orders(&["a", "b"])).await;
    assert!(results.iter().all(|result| result.as_ref().unwrap_err().kind == ErrorKind::Invalid));
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_fetched_in_parts() {
    let huge = |request: BatchFetchRequest| {
        let results =
            request.requests.iter().map(|_| response(text(&"x".repeat(3 * 1024 * 1024)))).collect();
        Ok(BatchFetchResponse { results })
    };
    let server = TestServer::start(echo().with_batch(huge)).await;
    let (origin, _places) = origin(&[&server]);
    let results = origin.fetch_batch(&orders(&["a", "b"])).await;
    assert_eq!((said(&results[0]), said(&results[1])), ("a", "b"));
    assert_eq!(origin.batch_limit(), 10, "others may fit");
}
