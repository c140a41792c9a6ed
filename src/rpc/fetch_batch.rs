//! The BatchGetOrFetch of one call, which is rejected if it must not wait and would have to.

use std::{sync::Arc, time::Duration};

use super::{
    access::Access, lease_quota::count_lease, load_limits::LoadLimits, overload::Overload,
};
use crate::cache::{BatchGetOrFetch, Error, GetOrFetchResult};

/// Reads a batch, and records the rejection of its call.
pub(super) struct FetchBatch {
    batch: BatchGetOrFetch,
    /// Set until the rejection is recorded, if the call must not wait.
    must_not_wait: Option<Arc<LoadLimits>>,
    access: Access,
}

impl FetchBatch {
    pub(super) fn new(
        batch: BatchGetOrFetch,
        must_not_wait: Option<Arc<LoadLimits>>,
        access: Access,
    ) -> Self {
        Self { batch, must_not_wait, access }
    }

    /// The answers for the next keys; `None` when all keys are answered.
    pub(super) async fn next_results(&mut self) -> Option<Vec<Result<GetOrFetchResult, Error>>> {
        let mut results = self.batch.next_chunk().await?;
        if self.access.quota().is_some() {
            let namespaces = self.batch.namespaces_of_last(results.len());
            let counted = results
                .into_iter()
                .zip(namespaces)
                .map(|(result, namespace)| Ok(count_lease(&self.access, namespace, result?)?));
            results = counted.collect();
        }
        let is_contended = |result: &Result<GetOrFetchResult, _>| {
            result.as_ref().is_ok_and(GetOrFetchResult::is_contended)
        };
        if self.must_not_wait.is_some()
            && results.iter().any(is_contended)
            && let Some(limits) = self.must_not_wait.take()
        {
            limits.record_rejection(Overload::Waiting);
        }
        Some(results)
    }

    /// As [`BatchGetOrFetch::slide`].
    pub(super) async fn slide(
        &self,
        results: &mut [Result<GetOrFetchResult, Error>],
        touch: Duration,
    ) {
        self.batch.slide(results, touch).await;
    }
}
