//! Reading many entries, a part at a time, so that the memory it takes does not grow with the batch.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Cache, Error, Read, Scope};
use crate::key::EntryKey;

/// Keys read at first, when nothing is known of the size of their values.
const FIRST_PART: usize = 16;
/// Most keys read at once, because small values may be followed by large ones.
const LARGEST_PART: usize = 128;
/// Size of values to read at once, in bytes.
const PART_BYTES: usize = 2 * 1024 * 1024;

/// A batch that is being read.
pub struct BatchRead {
    cache: Arc<Cache>,
    keys: Vec<EntryKey>,
    scopes: Vec<Arc<Scope>>,
    max_stale: Option<Duration>,
    done: usize,
    part: usize,
}

impl BatchRead {
    /// Begins to read.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`], before anything is read.
    pub fn new(cache: Arc<Cache>, keys: Vec<EntryKey>, max_stale: Option<Duration>) -> Result<Self, Error> {
        let mut scopes: Vec<Arc<Scope>> = Vec::with_capacity(keys.len());
        for (place, key) in keys.iter().enumerate() {
            let scope = match scopes.last() {
                Some(last) if keys[place - 1].namespace() == key.namespace() => last.clone(),
                _ => Arc::new(cache.scope(key.namespace())?),
            };
            scopes.push(scope);
        }
        Ok(Self { cache, keys, scopes, max_stale, done: 0, part: FIRST_PART })
    }

    /// What was found for the next keys, in order; none when all are read.
    pub async fn next_part(&mut self) -> Option<Vec<Read>> {
        let part = self.done..self.keys.len().min(self.done + self.part);
        if part.is_empty() {
            return None;
        }
        let started = Instant::now();
        let stored = self.cache.store.get_many(&self.keys[part.clone()]).await;
        let (entries, degraded) = match stored {
            Ok(entries) => (entries, false),
            Err(_) => (vec![None; part.len()], true),
        };
        let bytes: usize = entries.iter().flatten().map(|entry| entry.data.len()).sum();
        let reads = entries
            .into_iter()
            .zip(&self.scopes[part.clone()])
            .map(|(entry, scope)| self.cache.read(scope, entry, self.max_stale, degraded, started))
            .collect();
        self.done = part.end;
        self.part = (PART_BYTES / (bytes / part.len()).max(1)).clamp(1, LARGEST_PART.min(self.part * 2));
        Some(reads)
    }
}
