//! Reuse of entries: joins the events of followed keys of all replicas.
//!
//! Each replica leaves its events in the store at intervals. One of them takes those of all, sorts
//! them by their times, and simulates other TTLs for each key. If it stops, another one goes on
//! from what it has stored last.

mod exchange;
mod taken_batches;
mod waiting;

use std::{collections::BTreeMap, future::Future, sync::Arc};

use tokio::task::yield_now;

use crate::{
    stats::{
        registry::StatsRegistry,
        reuse::{REUSE_WINDOW, counts::ReuseFigures},
    },
    store::{self, ErrorKind, StatsBackend},
};
use exchange::Exchange;

/// Joins the events of followed keys.
pub(super) struct Reuse(Arc<Exchange>);

impl Reuse {
    pub(super) fn new(registry: Arc<StatsRegistry>, store: Arc<dyn StatsBackend>) -> Self {
        Self(Arc::new(Exchange::new(registry, store)))
    }

    /// Takes the events of this replica. Sends them if that is due, or if `at_once` is set.
    pub(super) async fn flush(&self, at_once: bool) -> store::Result<()> {
        let (exchange, state) = (self.0.clone(), self.0.lock().await);
        to_its_end(async move { exchange.flush(state, at_once).await }).await
    }

    /// Counts the events so far, and stores the keys that this replica follows, before it stops.
    pub(super) async fn close(&self) -> store::Result<()> {
        let (exchange, state) = (self.0.clone(), self.0.lock().await);
        to_its_end(async move { exchange.close(state).await }).await
    }

    /// The counts of at least the last day, by namespace: of the events of this replica up to now,
    /// of those of others up to some seconds ago.
    pub(super) async fn report(&self) -> store::Result<BTreeMap<String, ReuseFigures>> {
        self.flush(true).await?;
        let (store, mut sums) = (&self.0.store, BTreeMap::<String, ReuseFigures>::new());
        for bucket in REUSE_WINDOW.at(store.now()) {
            for (namespace, figures) in store.reuse_figures(bucket).await? {
                sums.entry(namespace).or_default().add(&figures);
            }
            yield_now().await;
        }
        Ok(sums)
    }
}

/// Runs to its end even if the caller stops waiting: events that are taken must be counted.
async fn to_its_end(
    work: impl Future<Output = store::Result<()>> + Send + 'static,
) -> store::Result<()> {
    match tokio::spawn(work).await {
        Ok(result) => result,
        // The process ends.
        Err(error) => Err(store::Error::new(ErrorKind::Unreachable, error)),
    }
}

#[cfg(test)]
mod tests;
