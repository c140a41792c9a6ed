//! BatchGetOrFetch requests and answers.

use larder::pb::v1::{
    BatchGetOrFetchRequest, BatchGetOrFetchResult, GetOrFetchResponse,
    batch_get_or_fetch_result::Result as KeyResult,
};
use tokio::task::JoinHandle;

use super::client::{Cache, key_ref, ms};

/// A batch of keys with a wait longer than any test.
pub(crate) fn batch(keys: &[&str]) -> BatchGetOrFetchRequest {
    let keys = keys.iter().map(|key| key_ref(key)).collect();
    BatchGetOrFetchRequest { keys, wait: ms(50_000), ..BatchGetOrFetchRequest::default() }
}

/// The answers of a batch that must not contain errors.
pub(crate) async fn answers(
    cache: &Cache,
    request: BatchGetOrFetchRequest,
) -> Vec<GetOrFetchResponse> {
    cache.batch_get_or_fetch(request).await.unwrap().into_iter().map(answered).collect()
}

/// Like [`answers`], in a separate task.
pub(crate) fn spawn(
    cache: &Cache,
    request: BatchGetOrFetchRequest,
) -> JoinHandle<Vec<GetOrFetchResponse>> {
    let cache = cache.clone();
    tokio::spawn(async move { answers(&cache, request).await })
}

/// The answer for one key. Panics on an error.
pub(crate) fn answered(result: BatchGetOrFetchResult) -> GetOrFetchResponse {
    match result.result {
        Some(KeyResult::Answer(answer)) => answer,
        other => panic!("expected an answer, got {other:?}"),
    }
}
