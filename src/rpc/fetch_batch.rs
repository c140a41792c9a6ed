//! The BatchGetOrFetch of one call, which is rejected if it must not wait and would have to.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::{
    access::Access, lease_quota::count_lease, load_limits::LoadLimits, overload::Overload,
};
use crate::{
    cache::{BatchGetOrFetch, Error, GetOrFetchResult},
    model::EntryKey,
};

/// Reads a batch, and records the rejection of its call.
pub(super) struct FetchBatch {
    batch: BatchGetOrFetch,
    /// Set until the rejection is recorded, if the call must not wait.
    must_not_wait: Option<Arc<LoadLimits>>,
    access: Access,
    /// The keys whose leases are to be counted; empty if no quota applies to the call.
    keys: VecDeque<EntryKey>,
}

impl FetchBatch {
    pub(super) fn new(
        batch: BatchGetOrFetch,
        must_not_wait: Option<Arc<LoadLimits>>,
        access: Access,
        keys: Vec<EntryKey>,
    ) -> Self {
        Self { batch, must_not_wait, access, keys: keys.into() }
    }

    /// The answers for the next keys; `None` when all keys are answered.
    pub(super) async fn next_results(&mut self) -> Option<Vec<Result<GetOrFetchResult, Error>>> {
        let mut results = self.batch.next_chunk().await?;
        if !self.keys.is_empty() {
            let keys = self.keys.drain(..results.len().min(self.keys.len()));
            let counted = results.into_iter().zip(keys);
            let counted =
                counted.map(|(result, key)| Ok(count_lease(&self.access, &key, result?)?));
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
