//! Statistics of the fleet: sends this replica's counts to the store, and reads those of all
//! replicas.

mod history;
mod replicas;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{sync::Mutex, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    hot_keys::{HotKeyReport, HotKeys},
    reuse::Reuse,
};
use crate::{
    error_chain::ErrorChain,
    model::{Namespace, SaturatingFrom as _, Timestamp},
    stats::{
        counters::Counters,
        delta::{ByNamespace, ReplicaInfo, StatsDelta, StatsReport},
        registry::StatsRegistry,
        reuse::counts::ReuseFigures,
        windows::{self, Windows, merge},
    },
    store::{self, NamespacePage, NamespaceUsage, StatsBackend, StoreInfo, Topology},
};
use replicas::OwnReports;

pub use replicas::ReplicaProbe;

/// Time between two deltas of a replica that counts nothing. Each minute has at least one.
const PRESENCE_INTERVAL: Duration = Duration::from_secs(30);

/// Flushes the counters of this replica to the store, and reports the statistics of the fleet.
pub struct FleetStats {
    replica: ReplicaInfo,
    registry: Arc<StatsRegistry>,
    store: Arc<dyn StatsBackend>,
    state: Mutex<FlushState>,
    /// Held while an overview is made: one at a time, so that callers of Stats cannot occupy all
    /// threads.
    overviews: Mutex<()>,
    hot_keys: HotKeys,
    /// When the fleet began to count, as the store had it last.
    counting_since: Mutex<Option<Timestamp>>,
    /// The state of this process.
    probe: Option<ReplicaProbe>,
    reports: Mutex<OwnReports>,
    reuse: Reuse,
}

/// Progress of the flushes: which counts the store has, and which it may have.
struct FlushState {
    replica: ReplicaInfo,
    sequence: u64,
    /// When the last delta was made.
    sent_at: Option<Instant>,
    /// Snapshot of the registry at the last flush.
    snapshot: ByNamespace,
    /// Counts that are in no delta yet.
    unsent: ByNamespace,
    /// Delta without acknowledgement. It is sent again unchanged, because the store may have
    /// applied it.
    pending: Option<StatsDelta>,
    /// Counts of this replica alone, for the time in which the store is unavailable.
    local: Windows,
}

/// Statistics of the fleet, and the state of the store.
#[derive(Debug)]
pub struct Overview {
    /// Counts of the fleet; of this replica alone if `degraded` is set.
    pub report: StatsReport,
    /// `memory` or `redis`.
    pub store_kind: &'static str,
    /// How the server of the store is found.
    pub topology: Topology,
    /// The store's description of itself; none if it is unavailable.
    pub facts: Option<StoreInfo>,
    /// Usage of the store by namespace, sorted by name.
    pub sizes: Vec<(Namespace, NamespaceUsage)>,
    /// Whether the counts of the fleet could not be read. Then `trouble` has the cause.
    pub degraded: bool,
    /// Why the store does not work, as far as it is known.
    pub trouble: Option<String>,
}

impl FleetStats {
    /// Creates the statistics. Counts reach the store with [`FleetStats::flush`].
    pub fn new(registry: Arc<StatsRegistry>, store: Arc<dyn StatsBackend>) -> Self {
        let started_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let replica = ReplicaInfo {
            id: rand::random(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at_ms: u64::saturating_from(started_at.as_millis()),
        };
        let state = Mutex::new(FlushState::new(replica.clone()));
        let hot_keys = HotKeys::new(registry.clone(), store.clone());
        let reuse = Reuse::new(registry.clone(), store.clone());
        let (overviews, counting_since, reports) = Default::default();
        Self {
            replica,
            registry,
            store,
            state,
            overviews,
            hot_keys,
            counting_since,
            probe: None,
            reports,
            reuse,
        }
    }

    /// Reports the state that `probe` reads of this process to the other replicas.
    #[must_use]
    pub fn observing(self, probe: ReplicaProbe) -> Self {
        Self { probe: Some(probe), ..self }
    }

    /// Reports the `limit` keys of a namespace that were read most in the time `window` before now.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn hot_keys(
        &self,
        namespace: &Namespace,
        window: Duration,
        limit: usize,
    ) -> store::Result<HotKeyReport> {
        let _one_at_a_time = self.overviews.lock().await;
        let report = self.hot_keys.report(namespace, window, limit).await?;
        let covered = report.covered.min(self.counting_time().await?);
        Ok(HotKeyReport { covered, ..report })
    }

    /// The time, by the clock of the store.
    pub fn now(&self) -> Timestamp {
        self.store.now()
    }

    /// How long the fleet has counted; no bound if it has not begun.
    async fn counting_time(&self) -> store::Result<Duration> {
        let mut since = self.counting_since.lock().await;
        if since.is_none() {
            *since = self.store.report().await?.since;
        }
        Ok(since.map_or(Duration::MAX, |since| self.store.now().since(since)))
    }

    /// Counts of followed keys of at least the last day, by namespace.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn reuse(&self) -> store::Result<BTreeMap<String, ReuseFigures>> {
        let _one_at_a_time = self.overviews.lock().await;
        self.reuse.report().await
    }

    /// Sends the counts since the last flush to the store.
    ///
    /// # Errors
    /// The store did not acknowledge them. No count is lost: the next flush sends them again.
    pub async fn flush(&self) -> store::Result<()> {
        let mut state = self.state.lock().await;
        state.collect(self.registry.snapshot().await, self.store.now());
        while let Some(delta) = state.next_delta() {
            self.store.add(delta).await?;
            state.pending = None;
        }
        Ok(())
    }

    /// Flushes every `interval` until `stop` is cancelled, and then once more. Meanwhile, this
    /// replica reports its state.
    pub async fn flush_every(&self, interval: Duration, stop: CancellationToken) {
        tokio::join!(self.flush_until(interval, &stop), self.report_until(interval, &stop));
    }

    async fn flush_until(&self, interval: Duration, stop: &CancellationToken) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.flush_or_log(false).await;
        }
        self.flush_or_log(true).await;
    }

    async fn flush_or_log(&self, is_last: bool) {
        let counted = self.flush().await;
        let sampled = self.hot_keys.flush(is_last).await;
        let followed = match is_last {
            true => self.reuse.close().await,
            false => self.reuse.flush(false).await,
        };
        if let Err(error) = counted.and(sampled).and(followed) {
            tracing::debug!(
                error = %ErrorChain(&error),
                "the counters could not be flushed and are kept for the next flush"
            );
        }
    }

    /// Reports the statistics of the fleet: of this replica up to now, of the others up to their
    /// last flush. The sizes are those of the namespaces on `page`, and perhaps of others. Yields
    /// to other tasks; dropping the future ends the work.
    pub async fn overview(&self, page: &NamespacePage) -> Overview {
        let _one_at_a_time = self.overviews.lock().await;
        let report = match self.flush().await {
            Ok(()) => self.store.report().await,
            Err(error) => Err(error),
        };
        let (mut report, failure) = match report {
            Ok(report) => {
                *self.counting_since.lock().await = report.since;
                (report, None)
            }
            Err(error) => {
                let state = self.state.lock().await;
                let local = windows::report(self.store.now(), |part, report| {
                    state.local.add_part(part, report);
                });
                (local.await, Some(ErrorChain(&error).to_string()))
            }
        };
        // The embedded store has no list of replicas, and a store that is down cannot be read.
        if report.replicas.iter().all(|replica| replica.id != self.replica.id) {
            report.replicas.push(self.replica.clone());
        }
        report.replicas.sort_by_key(|replica| (replica.started_at_ms, replica.id));
        let facts = self.store.info().await.ok();
        let degraded = failure.is_some();
        let trouble = self.store.trouble().map(|trouble| trouble.cause).or(failure);
        let trouble = trouble.or_else(|| facts.as_ref()?.cluster_trouble());
        let sizes = self.store.usage(page).await.unwrap_or_default();
        let (store_kind, topology) = (self.store.kind(), self.store.topology());
        Overview { report, store_kind, topology, facts, sizes, degraded, trouble }
    }
}

impl FlushState {
    fn new(replica: ReplicaInfo) -> Self {
        Self {
            replica,
            sequence: 0,
            sent_at: None,
            snapshot: ByNamespace::new(),
            unsent: ByNamespace::new(),
            pending: None,
            local: Windows::default(),
        }
    }

    /// Collects the counts of `snapshot` since that of the last call.
    fn collect(&mut self, snapshot: ByNamespace, now: Timestamp) {
        let none = Counters::default();
        let counts: ByNamespace = snapshot
            .iter()
            .map(|(namespace, counters)| {
                let earlier = self.snapshot.get(namespace).unwrap_or(&none);
                (namespace.clone(), counters.since(earlier))
            })
            .filter(|(_, counters)| !counters.is_zero())
            .collect();
        self.snapshot = snapshot;
        self.local.add(&counts, now);
        merge(&mut self.unsent, &counts);
    }

    /// Returns the delta to send next, if any: the pending one, or else one of the unsent counts.
    /// Without counts, one that shows that the replica runs is due from time to time.
    fn next_delta(&mut self) -> Option<&StatsDelta> {
        let is_due = !self.unsent.is_empty()
            || self.sent_at.is_none_or(|sent_at| sent_at.elapsed() >= PRESENCE_INTERVAL);
        if self.pending.is_none() && is_due {
            self.sequence += 1;
            self.sent_at = Some(Instant::now());
            let counts = std::mem::take(&mut self.unsent);
            self.pending = Some(StatsDelta {
                replica: self.replica.id,
                sequence: self.sequence,
                counts,
                sender: self.replica.clone(),
            });
        }
        self.pending.as_ref()
    }
}

/// Sums the counters of the namespaces that `page` selects.
pub fn sum(counts: &ByNamespace, page: &NamespacePage) -> Counters {
    let mut sum = Counters::default();
    let selected = counts.iter().filter(|(namespace, _)| page.selects(namespace));
    selected.for_each(|(_, counters)| sum.add(counters));
    sum
}

impl Overview {
    /// Returns the names on `page`, sorted, and whether there are more pages.
    pub fn names(&self, page: &NamespacePage) -> (Vec<&str>, bool) {
        let counted = [&self.report.total, &self.report.last_hour, &self.report.last_day];
        let counted = counted.into_iter().flat_map(|counts| counts.keys().map(String::as_str));
        let stored = self.sizes.iter().map(|(namespace, _)| namespace.as_str());
        let mut names: Vec<&str> =
            counted.chain(stored).filter(|name| page.follows(name)).collect();
        names.sort_unstable();
        names.dedup();
        let has_more = names.len() > page.limit();
        names.truncate(page.limit());
        (names, has_more)
    }

    /// Usage of the store by a namespace.
    pub fn size(&self, namespace: &str) -> Option<&NamespaceUsage> {
        let index = self.sizes.binary_search_by(|(name, _)| name.as_str().cmp(namespace)).ok()?;
        Some(&self.sizes[index].1)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
