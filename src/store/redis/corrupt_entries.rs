//! Entries that are not what was written: counted, logged and removed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;
use repeated_events::LogInterval;
use tokio::sync::Semaphore;

use super::{
    codec::CorruptEntry, key_schema::KeySchema, pool::Retry, router::Router, script::DROP_CORRUPT,
};
use crate::store::Result;

/// Shortest time between two log lines.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Entries that are removed at a time. Further ones are removed by a later read.
const MAX_REMOVALS: usize = 8;

/// Receives the corrupt entries of a store. Clones share the counts.
#[derive(Clone)]
pub(super) struct CorruptEntries {
    router: Router,
    schema: Arc<KeySchema>,
    shared: Arc<Shared>,
}

struct Shared {
    count: AtomicU64,
    removals: Arc<Semaphore>,
    log: Mutex<LogInterval>,
}

// === impl CorruptEntries ===

impl CorruptEntries {
    pub(super) fn new(router: Router, schema: Arc<KeySchema>) -> Self {
        let shared = Shared {
            count: AtomicU64::new(0),
            removals: Arc::new(Semaphore::new(MAX_REMOVALS)),
            log: Mutex::new(LogInterval::new(LOG_INTERVAL)),
        };
        Self { router, schema, shared: Arc::new(shared) }
    }

    /// Corrupt entries so far.
    pub(super) fn count(&self) -> u64 {
        self.shared.count.load(Relaxed)
    }

    /// Records an entry, and removes it in the background.
    #[cold]
    pub(super) fn found(&self, name: &[u8], entry: CorruptEntry) {
        self.record(name);
        if let Ok(permit) = self.shared.removals.clone().try_acquire_owned() {
            let (corrupt, name) = (self.clone(), name.to_vec());
            tokio::spawn(async move {
                let _permit = permit;
                if let Err(error) = corrupt.remove(&name, &entry).await {
                    tracing::debug!(%error, "cannot remove a corrupt entry");
                }
            });
        }
    }

    /// Records an entry, and removes it.
    #[cold]
    pub(super) async fn found_and_remove(&self, name: &[u8], entry: &CorruptEntry) -> Result<()> {
        self.record(name);
        self.remove(name, entry).await
    }

    fn record(&self, name: &[u8]) {
        self.shared.count.fetch_add(1, Relaxed);
        let Some(count) = self.shared.log.lock().occurred() else { return };
        let namespace = self.schema.namespace_of(name).unwrap_or_default();
        tracing::warn!(
            namespace,
            count,
            "an entry in Redis is corrupt: it counts as missing and is removed"
        );
    }

    async fn remove(&self, name: &[u8], entry: &CorruptEntry) -> Result<()> {
        let mut call = DROP_CORRUPT.call(&[name]);
        call.arg(&entry.header[..]);
        self.router.eval(&DROP_CORRUPT, &call, Retry::Idempotent).await.map(|_| ())
    }
}
