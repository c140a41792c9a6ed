//! Reading many entries, a part at a time, so that the memory it takes does not grow with the batch.

use std::{borrow::Cow, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Cache, Consistency, Error, GetResult, NamespaceContext};
use crate::model::{EntryKey, Timestamp};

/// Keys read at first, when nothing is known of the size of their values.
const FIRST_PART: usize = 32;
/// Most keys read at once, because small values may be followed by large ones.
const LARGEST_PART: usize = 128;
/// How much more is read at once than before, at most.
const GROWTH: usize = 4;
/// Size of values to read at once, in bytes.
const PART_BYTES: usize = 2 * 1024 * 1024;

/// A batch that is being read.
pub struct BatchGet {
    cache: Arc<Cache>,
    keys: Vec<EntryKey>,
    scopes: Vec<Arc<NamespaceContext>>,
    max_stale: Option<Duration>,
    consistency: Consistency,
    done: usize,
    part: usize,
}

impl BatchGet {
    /// Begins to read.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`], before anything is read.
    pub fn new(
        cache: Arc<Cache>,
        keys: Vec<EntryKey>,
        max_stale: Option<Duration>,
        consistency: Consistency,
    ) -> Result<Self, Error> {
        let mut scopes: Vec<Arc<NamespaceContext>> = Vec::with_capacity(keys.len());
        for (place, key) in keys.iter().enumerate() {
            let scope = match scopes.last() {
                Some(last) if keys[place - 1].namespace() == key.namespace() => last.clone(),
                _ => Arc::new(cache.scope(key.namespace())?),
            };
            scopes.push(scope);
        }
        Ok(Self { cache, keys, scopes, max_stale, consistency, done: 0, part: FIRST_PART })
    }

    /// What was found for the next keys, in order; none when all are read.
    pub async fn next_part(&mut self) -> Option<Vec<GetResult>> {
        let part = self.done..self.keys.len().min(self.done + self.part);
        if part.is_empty() {
            return None;
        }
        let started = Instant::now();
        let now = self.cache.store.now();
        let mut reads: Vec<Option<GetResult>> =
            part.clone().map(|place| self.read_nearby(place, now, started)).collect();
        let far: Vec<usize> =
            part.clone().filter(|place| reads[place - part.start].is_none()).collect();
        if !far.is_empty() {
            let keys = match far.len() == reads.len() {
                true => Cow::Borrowed(&self.keys[part.clone()]),
                false => far.iter().map(|place| self.keys[*place].clone()).collect(),
            };
            let (entries, degraded) = match self.cache.store.get_many(&keys).await {
                Ok(entries) => (entries, false),
                Err(_) => (vec![None; keys.len()], true),
            };
            let now = self.cache.store.now();
            for (place, entry) in far.into_iter().zip(entries) {
                let read =
                    self.cache.read(&self.scopes[place], entry, self.max_stale, degraded, now);
                reads[place - part.start] = Some(read);
            }
        }
        let reads: Vec<GetResult> = reads.into_iter().map(Option::unwrap_or_default).collect();
        // Each of them took as long as all.
        let took = started.elapsed();
        for (read, scope) in reads.iter().zip(&self.scopes[part.clone()]) {
            scope.counts.time(read.timed(), took);
        }
        let bytes: usize = reads
            .iter()
            .filter_map(|read| read.found.as_ref())
            .map(|found| found.entry.data.len())
            .sum();
        self.done = part.end;
        self.part = (PART_BYTES / (bytes / part.len()).max(1))
            .clamp(1, LARGEST_PART.min(self.part * GROWTH));
        Some(reads)
    }

    fn read_nearby(&self, place: usize, now: Timestamp, started: Instant) -> Option<GetResult> {
        let scope = &self.scopes[place];
        let found = self.cache.nearby(scope, &self.keys[place], self.consistency, now, started)?;
        scope.count_outcome(Some(found.outcome));
        Some(GetResult { found: Some(found), degraded: false })
    }
}
