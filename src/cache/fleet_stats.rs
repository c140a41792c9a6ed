//! Hands this replica's counters to the store, and reads the fleet's.

use std::{sync::Arc, time::Duration};

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{
    error_chain::ErrorChain,
    model::{Namespace, Timestamp},
    stats::{
        counters::Counters,
        delta::{ByNamespace, StatsDelta, StatsReport},
        registry::StatsRegistry,
        windows::{Windows, merge},
    },
    store::{self, Backend, NamespaceUsage, StoreInfo},
};

/// See the module.
pub struct FleetStats {
    live: Arc<StatsRegistry>,
    store: Arc<dyn Backend>,
    progress: Mutex<FlushState>,
}

struct FlushState {
    replica: u64,
    sequence: u64,
    /// What was taken from the live counters so far.
    taken: ByNamespace,
    /// What of it is in no delta yet.
    unsent: ByNamespace,
    /// What the store has not acknowledged yet. It is sent again as it is, because it may have been applied.
    pending: Option<StatsDelta>,
    /// What this replica alone counted, for when the store cannot be asked.
    own: Windows,
}

/// What is known of the fleet.
#[derive(Debug)]
pub struct Overview {
    /// What was counted.
    pub report: StatsReport,
    /// `memory` or `redis`.
    pub store_kind: &'static str,
    /// What the store says of itself, if it says anything.
    pub facts: Option<StoreInfo>,
    /// What the store holds.
    pub sizes: Vec<(Namespace, NamespaceUsage)>,
    /// Whether the store could not be asked, so that the report is of this replica alone.
    pub degraded: bool,
}

impl FleetStats {
    /// Nothing is handed in until [`FleetStats::flush`] is called.
    pub fn new(live: Arc<StatsRegistry>, store: Arc<dyn Backend>) -> Self {
        let progress = FlushState {
            replica: rand::random(),
            sequence: 0,
            taken: ByNamespace::new(),
            unsent: ByNamespace::new(),
            pending: None,
            own: Windows::default(),
        };
        Self { live, store, progress: Mutex::new(progress) }
    }

    /// Hands in what was counted since the last time.
    ///
    /// # Errors
    /// The store did not acknowledge it. Nothing is lost: it is handed in again with the next call.
    pub async fn flush(&self) -> store::Result<()> {
        let mut progress = self.progress.lock().await;
        progress.take(&self.live, self.store.now());
        while let Some(delta) = progress.next_delta() {
            self.store.add(delta).await?;
            progress.pending = None;
        }
        Ok(())
    }

    /// Flushes every `interval` until `stop` is cancelled, and once more then.
    pub async fn flush_every(&self, interval: Duration, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.flush_or_log().await;
        }
        self.flush_or_log().await;
    }

    async fn flush_or_log(&self) {
        if let Err(error) = self.flush().await {
            tracing::debug!(error = %ErrorChain(&error), "the counters stay here for now");
        }
    }

    /// What the fleet counted, this replica up to now and the others up to their last flush.
    pub async fn overview(&self) -> Overview {
        let counted = match self.flush().await {
            Ok(()) => self.store.report().await,
            Err(error) => Err(error),
        };
        let (report, degraded) = match counted {
            Ok(report) => (report, false),
            Err(_) => (self.progress.lock().await.own.report(self.store.now()), true),
        };
        let facts = self.store.facts().await.ok();
        let sizes = self.store.sizes().await.unwrap_or_default();
        Overview { report, store_kind: self.store.kind(), facts, sizes, degraded }
    }
}

impl FlushState {
    /// Takes what was counted since the last time.
    fn take(&mut self, live: &StatsRegistry, now: Timestamp) {
        let counted = live.snapshot();
        let none = Counters::default();
        let counts: ByNamespace = counted
            .iter()
            .map(|(namespace, counts)| {
                (namespace.clone(), counts.since(self.taken.get(namespace).unwrap_or(&none)))
            })
            .filter(|(_, counts)| !counts.is_zero())
            .collect();
        self.taken = counted;
        self.own.add(&counts, now);
        merge(&mut self.unsent, &counts);
    }

    /// What is to be sent next, if anything.
    fn next_delta(&mut self) -> Option<&StatsDelta> {
        if self.pending.is_none() && !self.unsent.is_empty() {
            self.sequence += 1;
            let counts = std::mem::take(&mut self.unsent);
            self.pending =
                Some(StatsDelta { replica: self.replica, sequence: self.sequence, counts });
        }
        self.pending.as_ref()
    }
}

/// The sum over the namespaces that `chosen` names; over all if it is empty.
pub fn sum(counts: &ByNamespace, chosen: &[String]) -> Counters {
    let mut sum = Counters::default();
    let wanted =
        counts.iter().filter(|(namespace, _)| chosen.is_empty() || chosen.contains(namespace));
    wanted.for_each(|(_, counts)| sum.add(counts));
    sum
}

/// Names that occur in any part of a report.
pub fn names(report: &StatsReport) -> Vec<String> {
    let mut all = ByNamespace::new();
    [&report.total, &report.last_hour, &report.last_day]
        .into_iter()
        .for_each(|part| merge(&mut all, part));
    all.into_keys().collect()
}
