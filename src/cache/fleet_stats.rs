//! Statistics of the fleet: sends this replica's counts to the store, and reads those of all
//! replicas.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{sync::Mutex, time::Instant};
use tokio_util::sync::CancellationToken;

use super::hot_keys::{HotKeyReport, HotKeys};
use crate::{
    error_chain::ErrorChain,
    model::{Namespace, SaturatingFrom as _, Timestamp},
    stats::{
        counters::Counters,
        delta::{ByNamespace, ReplicaInfo, StatsDelta, StatsReport},
        registry::StatsRegistry,
        windows::{self, Windows, merge},
    },
    store::{self, NamespacePage, NamespaceUsage, StatsBackend, StoreInfo},
};

/// Time between two deltas of a replica that counts nothing. Each minute has at least one.
const PRESENCE_INTERVAL: Duration = Duration::from_secs(30);

/// Flushes the counters of this replica to the store, and reports the statistics of the fleet.
pub struct FleetStats {
    registry: Arc<StatsRegistry>,
    store: Arc<dyn StatsBackend>,
    state: Mutex<FlushState>,
    /// Held while an overview is made: one at a time, so that callers of Stats cannot occupy all
    /// threads.
    overviews: Mutex<()>,
    hot_keys: HotKeys,
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
    /// The store's description of itself; none if it is unavailable.
    pub facts: Option<StoreInfo>,
    /// Usage of the store by namespace, sorted by name.
    pub sizes: Vec<(Namespace, NamespaceUsage)>,
    /// Whether the store was unavailable.
    pub degraded: bool,
    /// Why the store does not work, as far as it is known.
    pub trouble: Option<String>,
}

impl FleetStats {
    /// Creates the statistics. Counts reach the store with [`FleetStats::flush`].
    pub fn new(registry: Arc<StatsRegistry>, store: Arc<dyn StatsBackend>) -> Self {
        let started_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let state = Mutex::new(FlushState::new(ReplicaInfo {
            id: rand::random(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at_ms: u64::saturating_from(started_at.as_millis()),
        }));
        let hot_keys = HotKeys::new(registry.clone(), store.clone());
        Self { registry, store, state, overviews: Mutex::default(), hot_keys }
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
        self.hot_keys.report(namespace, window, limit).await
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

    /// Flushes every `interval` until `stop` is cancelled, and then once more.
    pub async fn flush_every(&self, interval: Duration, stop: CancellationToken) {
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
        if let Err(error) = counted.and(sampled) {
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
        let (mut report, degraded) = match report {
            Ok(report) => (report, false),
            Err(_) => {
                let state = self.state.lock().await;
                let local = windows::report(self.store.now(), |part, report| {
                    state.local.add_part(part, report);
                });
                (local.await, true)
            }
        };
        // The embedded store knows no replicas, and a store that is down cannot be asked.
        let own = self.state.lock().await.replica.clone();
        if report.replicas.iter().all(|replica| replica.id != own.id) {
            report.replicas.push(own);
        }
        report.replicas.sort_by_key(|replica| (replica.started_at_ms, replica.id));
        let facts = self.store.info().await.ok();
        let trouble = self.store.trouble().map(|trouble| trouble.cause);
        let trouble = trouble.or_else(|| facts.as_ref()?.cluster_trouble());
        let sizes = self.store.usage(page).await.unwrap_or_default();
        Overview { report, store_kind: self.store.kind(), facts, sizes, degraded, trouble }
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
mod tests {
    use tokio::time::sleep;

    use super::*;
    use crate::{
        cache::testing::FailingStore,
        stats::counters::Counter,
        store::{ErrorKind, StatsStore as _, memory::MemoryStore},
    };

    const NOW: Timestamp = Timestamp(1_000_000_000_000);

    fn count_hits(registry: &StatsRegistry, namespace: &str, hits: u64) {
        registry.of(&Namespace::new(namespace).unwrap()).count_many(Counter::Hits, hits);
    }

    fn hits(counts: &ByNamespace) -> Vec<(&str, u64)> {
        counts.iter().map(|(name, counters)| (name.as_str(), counters.get(Counter::Hits))).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn no_counts_make_no_delta_but_one_from_time_to_time() {
        let registry = StatsRegistry::new(8);
        let mut state = FlushState::new(ReplicaInfo { id: 7, ..ReplicaInfo::default() });
        state.collect(registry.snapshot().await, NOW);
        assert_eq!(state.next_delta().map(|delta| delta.counts.len()), Some(0), "the first");
        state.pending = None;
        assert!(state.next_delta().is_none());
        count_hits(&registry, "a", 1);
        state.collect(registry.snapshot().await, NOW);
        assert!(state.next_delta().is_some());
        state.pending = None;
        state.collect(registry.snapshot().await, NOW);
        assert!(state.next_delta().is_none());
        tokio::time::advance(PRESENCE_INTERVAL).await;
        assert_eq!(state.next_delta().map(|delta| delta.sender.id), Some(7));
    }

    #[tokio::test]
    async fn unacknowledged_delta_is_repeated_unchanged_before_later_counts() {
        let registry = StatsRegistry::new(8);
        let mut state = FlushState::new(ReplicaInfo { id: 7, ..ReplicaInfo::default() });
        count_hits(&registry, "a", 1);
        state.collect(registry.snapshot().await, NOW);
        let first = state.next_delta().unwrap().clone();
        assert_eq!((first.replica, first.sequence, hits(&first.counts)), (7, 1, vec![("a", 1)]));

        count_hits(&registry, "a", 2);
        count_hits(&registry, "b", 4);
        state.collect(registry.snapshot().await, NOW);
        let repeated = state.next_delta().unwrap();
        assert_eq!((repeated.sequence, &repeated.counts), (1, &first.counts));

        state.pending = None;
        let second = state.next_delta().unwrap();
        assert_eq!((second.sequence, hits(&second.counts)), (2, vec![("a", 2), ("b", 4)]));
    }

    #[tokio::test]
    async fn local_report_has_counts_that_the_store_has_not_acknowledged() {
        let registry = StatsRegistry::new(8);
        let mut state = FlushState::new(ReplicaInfo { id: 7, ..ReplicaInfo::default() });
        count_hits(&registry, "a", 3);
        state.collect(registry.snapshot().await, NOW);
        let report = windows::report(NOW, |part, report| state.local.add_part(part, report)).await;
        assert_eq!(
            (hits(&report.total), hits(&report.last_hour)),
            (vec![("a", 3)], vec![("a", 3)])
        );
    }

    #[tokio::test]
    async fn overview_sums_all_replicas_of_a_store() {
        let store = Arc::new(MemoryStore::new(1 << 20));
        let replicas = [1, 2].map(|hits| {
            let registry = Arc::new(StatsRegistry::new(8));
            count_hits(&registry, "a", hits);
            FleetStats::new(registry, store.clone())
        });
        let [first, second] = replicas;
        second.flush().await.unwrap();
        let overview = first.overview(&NamespacePage::default()).await;
        assert!(!overview.degraded);
        assert_eq!(hits(&overview.report.total), [("a", 3)]);
        assert_eq!(overview.names(&NamespacePage::default()), (vec!["a"], false));
    }

    #[tokio::test]
    async fn sum_is_limited_to_the_chosen_namespaces() {
        let registry = StatsRegistry::new(8);
        for (name, hits) in [("a", 1), ("b", 2), ("c", 4)] {
            count_hits(&registry, name, hits);
        }
        let counts = registry.snapshot().await;
        let sum_of = |chosen: &[&str]| {
            let chosen: Vec<String> = chosen.iter().map(ToString::to_string).collect();
            sum(&counts, &NamespacePage::new(chosen, String::new(), 1)).get(Counter::Hits)
        };
        assert_eq!((sum_of(&[]), sum_of(&["b"]), sum_of(&["a", "c", "d"])), (7, 2, 5));
    }

    // === a store that fails ===

    fn failing() -> (Arc<StatsRegistry>, Arc<FailingStore>, FleetStats) {
        let registry = Arc::new(StatsRegistry::new(8));
        let store = Arc::new(FailingStore::new(Arc::new(MemoryStore::new(1 << 20))));
        let stats = FleetStats::new(registry.clone(), store.clone());
        (registry, store, stats)
    }

    #[tokio::test(start_paused = true)]
    async fn failed_flush_is_repeated_and_loses_no_count() {
        let (registry, store, stats) = failing();
        count_hits(&registry, "a", 1);
        store.fail(ErrorKind::Timeout);
        assert!(stats.flush().await.is_err());
        count_hits(&registry, "a", 2);
        store.recover();
        stats.flush().await.unwrap();
        assert_eq!(hits(&store.report().await.unwrap().total), [("a", 3)]);
        stats.flush().await.unwrap();
        assert_eq!(hits(&store.report().await.unwrap().total), [("a", 3)], "nothing is new");
    }

    #[tokio::test(start_paused = true)]
    async fn degraded_overview_has_the_counts_of_this_replica() {
        let (registry, store, stats) = failing();
        count_hits(&registry, "a", 1);
        let overview = stats.overview(&NamespacePage::default()).await;
        assert_eq!((overview.degraded, overview.store_kind), (false, "failing"));
        assert_eq!((overview.facts.is_some(), overview.sizes.len()), (true, 1));
        store.fail(ErrorKind::Timeout);
        count_hits(&registry, "a", 2);
        let overview = stats.overview(&NamespacePage::default()).await;
        assert_eq!((overview.degraded, overview.store_kind), (true, "failing"));
        assert_eq!((overview.facts.is_none(), overview.sizes.len()), (true, 0));
        assert_eq!(hits(&overview.report.total), [("a", 3)]);
    }

    #[tokio::test(start_paused = true)]
    async fn counts_are_flushed_at_each_interval_and_at_the_end() {
        let (registry, store, stats) = failing();
        let stop = CancellationToken::new();
        let observing = async {
            let total =
                async || hits(&store.report().await.unwrap().total).first().map(|hit| hit.1);
            sleep(Duration::from_secs(1)).await;
            count_hits(&registry, "a", 1);
            sleep(Duration::from_secs(8)).await;
            assert_eq!(total().await, None, "before the interval ends");
            sleep(Duration::from_secs(2)).await;
            assert_eq!(total().await, Some(1));
            store.fail(ErrorKind::Timeout);
            count_hits(&registry, "a", 2);
            sleep(Duration::from_secs(10)).await;
            store.recover();
            assert_eq!(total().await, Some(1), "the failed flush has ended nothing");
            stop.cancel();
            sleep(Duration::from_millis(1)).await;
            assert_eq!(total().await, Some(3), "the last flush");
        };
        let flushing = stats.flush_every(Duration::from_secs(10), stop.clone());
        tokio::join!(flushing, observing);
    }

    /// An overview with namespaces in each window, and with sizes.
    fn overview(windows: [&[&str]; 3], sizes: &[&str]) -> Overview {
        let [total, last_hour, last_day] = windows.map(|names| {
            names.iter().map(|name| ((*name).to_owned(), Counters::default())).collect()
        });
        let report = StatsReport { total, last_hour, last_day, ..StatsReport::default() };
        let sizes = sizes
            .iter()
            .map(|name| (Namespace::new(name).unwrap(), NamespaceUsage::default()))
            .collect();
        Overview {
            report,
            store_kind: "memory",
            facts: None,
            sizes,
            degraded: false,
            trouble: None,
        }
    }

    #[test]
    fn names_are_those_of_all_windows_and_of_the_store() {
        let overview = overview([&["b"], &["a"], &["c", "b"]], &["b", "d"]);
        let names = overview.names(&NamespacePage::default());
        assert_eq!(names, (vec!["a", "b", "c", "d"], false));
        assert!(overview.size("d").is_some() && overview.size("a").is_none());
    }

    #[test]
    fn names_are_paged() {
        let overview = overview([&["b", "e"], &[], &[]], &["a", "c", "d"]);
        let names_after = |after: &str| {
            let page = NamespacePage::new(Vec::new(), after.to_owned(), 2);
            let (names, has_more) = overview.names(&page);
            (names.concat(), has_more)
        };
        assert_eq!(names_after(""), ("ab".to_owned(), true));
        assert_eq!(names_after("b"), ("cd".to_owned(), true));
        assert_eq!(names_after("d"), ("e".to_owned(), false));
    }
}
