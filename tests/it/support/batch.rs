//! BatchGetOrFetch and what it is answered.

use larder::pb::v1::{
    BatchGetOrFetchRequest, BatchGetOrFetchResult, GetOrFetchResponse,
    batch_get_or_fetch_result::Result as Fetched,
};
use tokio::task::JoinHandle;

use super::client::{Cache, key_ref, ms};

/// A batch of keys that waits longer than any test.
pub(crate) fn batch(keys: &[&str]) -> BatchGetOrFetchRequest {
    let keys = keys.iter().map(|key| key_ref(key)).collect();
    BatchGetOrFetchRequest { keys, wait: ms(50_000), ..BatchGetOrFetchRequest::default() }
}

/// The answers to a batch without errors.
pub(crate) async fn answers(
    cache: &Cache,
    request: BatchGetOrFetchRequest,
) -> Vec<GetOrFetchResponse> {
    cache.batch_get_or_fetch(request).await.unwrap().into_iter().map(answered).collect()
}

/// The same, asked for by a task of its own.
pub(crate) fn spawn(
    cache: &Cache,
    request: BatchGetOrFetchRequest,
) -> JoinHandle<Vec<GetOrFetchResponse>> {
    let cache = cache.clone();
    tokio::spawn(async move { answers(&cache, request).await })
}

/// The answer for one key, which is no error.
pub(crate) fn answered(result: BatchGetOrFetchResult) -> GetOrFetchResponse {
    match result.result {
        Some(Fetched::Answer(answer)) => answer,
        other => panic!("no answer, but {other:?}"),
    }
}
