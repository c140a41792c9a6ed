//! BatchGet: reads many entries, chunk by chunk.

use std::{borrow::Cow, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Cache, Consistency, Error, GetResult, NamespaceContext,
    chunk_sizer::{ChunkLimits, ChunkSizer},
    near_read::NearRead,
};
use crate::model::EntryKey;

const CHUNKS: ChunkLimits =
    ChunkLimits { first_keys: 32, max_keys: 128, growth: 4, target_bytes: 2 * 1024 * 1024 };

/// A batch of reads in progress.
pub struct BatchGet {
    cache: Arc<Cache>,
    keys: Vec<EntryKey>,
    contexts: Vec<Arc<NamespaceContext>>,
    max_stale: Option<Duration>,
    consistency: Consistency,
    next: usize,
    sizer: ChunkSizer,
}

impl BatchGet {
    /// Prepares the batch; reads nothing yet.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`].
    pub fn new(
        cache: Arc<Cache>,
        keys: Vec<EntryKey>,
        max_stale: Option<Duration>,
        consistency: Consistency,
    ) -> Result<Self, Error> {
        let mut contexts: Vec<Arc<NamespaceContext>> = Vec::with_capacity(keys.len());
        for (index, key) in keys.iter().enumerate() {
            let context = match contexts.last() {
                Some(last) if keys[index - 1].namespace() == key.namespace() => last.clone(),
                _ => Arc::new(cache.context(key.namespace())?),
            };
            contexts.push(context);
        }
        let sizer = ChunkSizer::new(CHUNKS);
        Ok(Self { cache, keys, contexts, max_stale, consistency, next: 0, sizer })
    }

    /// The answers for the next keys, in order; `None` when all keys are read.
    pub async fn next_chunk(&mut self) -> Option<Vec<GetResult>> {
        let chunk = self.next..self.keys.len().min(self.next + self.sizer.keys());
        if chunk.is_empty() {
            return None;
        }
        let started = Instant::now();
        let near_read =
            NearRead { consistency: self.consistency, now: self.cache.store.now(), started };
        let mut reads: Vec<Option<GetResult>> =
            chunk.clone().map(|index| self.read_near(index, near_read)).collect();
        let rest: Vec<usize> =
            chunk.clone().filter(|index| reads[index - chunk.start].is_none()).collect();
        if !rest.is_empty() {
            let keys = match rest.len() == reads.len() {
                true => Cow::Borrowed(&self.keys[chunk.clone()]),
                false => rest.iter().map(|index| self.keys[*index].clone()).collect(),
            };
            let (entries, degraded) = match self.cache.store.get_many(&keys).await {
                Ok(entries) => (entries, false),
                Err(_) => (vec![None; keys.len()], true),
            };
            let now = self.cache.store.now();
            for (index, entry) in rest.into_iter().zip(entries) {
                let read = GetResult::of(entry, self.max_stale, degraded, now);
                read.count(&self.contexts[index]);
                reads[index - chunk.start] = Some(read);
            }
        }
        let reads: Vec<GetResult> = reads.into_iter().map(Option::unwrap_or_default).collect();
        // Each key took as long as its chunk.
        let elapsed = started.elapsed();
        for (read, context) in reads.iter().zip(&self.contexts[chunk.clone()]) {
            context.counters.time(read.latency_kind(), elapsed);
        }
        let found = reads.iter().filter_map(|read| read.found.as_ref());
        self.sizer.observe(chunk.len(), found.map(|found| found.entry.data.len()).sum());
        self.next = chunk.end;
        Some(reads)
    }

    fn read_near(&self, index: usize, read: NearRead) -> Option<GetResult> {
        let context = &self.contexts[index];
        let found = self.cache.read_near(context, &self.keys[index], read)?;
        context.count_outcome(Some(found.outcome));
        Some(GetResult { found: Some(found), degraded: false })
    }
}
