//! The store's report (version, memory, settings): read at the start and once a minute, for the log
//! and for metrics.

use std::{sync::Arc, time::Duration};

use opentelemetry::{KeyValue, metrics::Meter};
use parking_lot::Mutex;
use repeated_events::{RepeatedEvent, Summary};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use crate::{
    metric_list,
    store::{StatsBackend, StoreInfo, Unsuitable},
};

/// Time between two reads.
const INTERVAL: Duration = Duration::from_secs(60);

/// The last report of the store. Clones share it.
#[derive(Clone)]
pub(super) struct StoreReport {
    store: Arc<dyn StatsBackend>,
    last: Arc<Mutex<Option<StoreInfo>>>,
}

impl StoreReport {
    /// A report that is not read yet, and its metrics.
    pub(super) fn new(store: Arc<dyn StatsBackend>, meter: &Meter) -> Self {
        let report = Self { store, last: Arc::default() };
        if report.store.kind() == "redis" {
            report.register(meter);
        }
        report
    }

    fn register(&self, meter: &Meter) {
        let last = self.last.clone();
        metric_list::STORE_EVICTION_POLICY
            .observed_gauge(meter)
            .with_callback(move |observer| {
                if let Some(info) = &*last.lock() {
                    let policy = KeyValue::new("policy", info.eviction_policy.clone());
                    observer.observe(1, &[policy]);
                }
            })
            .build();
        let last = self.last.clone();
        metric_list::STORE_EVICTIONS
            .observed_counter(meter)
            .with_callback(move |observer| {
                if let Some(info) = &*last.lock() {
                    observer.observe(info.evicted_keys, &[]);
                }
            })
            .build();
    }

    /// Version and eviction policy of the store for the log of the start, or what is known instead
    /// after `limit`.
    pub(super) async fn first(&self, limit: Duration) -> String {
        match timeout(limit, self.store.info()).await {
            Ok(Ok(info)) if info.server_version.is_empty() => self.store.kind().to_owned(),
            Ok(Ok(info)) => format!("{}, {}", info.server_version, info.eviction_policy),
            _ => "not reachable yet".to_owned(),
        }
    }

    /// Reads the report as soon as the store answers and then once a minute, and logs unsuitable
    /// settings and evictions while they last.
    pub(super) async fn follow(self, mut answers: watch::Receiver<bool>) {
        let (mut settings, mut evictions) = (Settings::default(), Evictions::default());
        while answers.wait_for(|answers| *answers).await.is_ok() {
            while *answers.borrow() {
                if let Ok(info) = self.store.info().await {
                    settings.observe(&info.eviction_policy, unsuitable(self.store.kind(), &info));
                    evictions.observe(&info);
                    *self.last.lock() = Some(info);
                }
                // An outage ends the wait, so that the settings are checked after it.
                let outage = timeout(INTERVAL, answers.wait_for(|answers| !*answers));
                // The embedded store has none, and its sender is gone.
                let is_closed = matches!(outage.await, Ok(Err(_)));
                if is_closed {
                    sleep(INTERVAL).await;
                }
            }
        }
    }
}

/// Whether and why Redis should be configured in another way.
fn unsuitable(kind: &str, info: &StoreInfo) -> Option<Unsuitable> {
    if kind == "redis" { info.unsuitable() } else { None }
}

/// The settings of Redis, as the last reports have them.
#[derive(Default)]
struct Settings {
    /// The setting that does not suit a cache; none while all of them do.
    unsuitable: Option<Unsuitable>,
    event: RepeatedEvent,
}

impl Settings {
    /// Logs unsuitable settings when they are met, once a minute, and when they have been mended.
    fn observe(&mut self, policy: &str, unsuitable: Option<Unsuitable>) {
        if unsuitable != self.unsuitable {
            let ended = self.event.ended_if(|_| true);
            if let (Some(Summary { seconds, .. }), None) = (ended, unsuitable) {
                tracing::info!(policy, seconds, "Redis suits a cache again");
            }
            self.unsuitable = unsuitable;
        }
        let Some(Unsuitable { problem, remedy }) = unsuitable else { return };
        if let Some(Summary { count, seconds }) = self.event.occurred() {
            tracing::warn!(policy, problem, remedy, count, seconds, "Redis does not suit a cache");
        }
    }
}

/// The evictions between two reports.
#[derive(Default)]
struct Evictions {
    /// Evictions until the last report; none before the first.
    total: Option<u64>,
    /// Evictions since they began; zero while there are none.
    lasting: u64,
}

impl Evictions {
    fn observe(&mut self, info: &StoreInfo) {
        let before = self.total.replace(info.evicted_keys);
        let evicted = info.evicted_keys.saturating_sub(before.unwrap_or(info.evicted_keys));
        if evicted > 0 {
            self.lasting += evicted;
            tracing::warn!(
                evicted,
                count = self.lasting,
                used_bytes = info.used_bytes,
                max_bytes = info.max_bytes,
                remedy = "give the store more memory, or shorten the TTLs",
                "the store is full and evicts entries"
            );
        } else if self.lasting > 0 {
            let count = std::mem::take(&mut self.lasting);
            tracing::info!(count, "the store no longer evicts entries");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::captured_log::CapturedLog;

    fn info(policy: &str, max_bytes: u64) -> StoreInfo {
        StoreInfo { eviction_policy: policy.to_owned(), max_bytes, ..StoreInfo::default() }
    }

    #[test]
    fn settings_that_suit_a_cache_are_not_reported() {
        let problem = |policy, max_bytes| unsuitable("redis", &info(policy, max_bytes)).is_some();
        for (policy, max_bytes, expected) in [
            ("volatile-lru", 1, false),
            ("volatile-lfu", 1, false),
            ("volatile-lru", 0, true),
            ("noeviction", 0, true),
            ("noeviction", 1, true),
            ("allkeys-lru", 1, true),
            ("volatile-ttl", 1, true),
            ("volatile-random", 1, true),
            ("", 1, false),
        ] {
            assert_eq!(problem(policy, max_bytes), expected, "{policy} {max_bytes}");
        }
        assert_eq!(unsuitable("memory", &info("noeviction", 0)), None);
        let cluster = StoreInfo { is_cluster: true, ..info("volatile-lru", 1) };
        assert!(cluster.unsuitable().is_some_and(|it| it.problem.contains("Cluster")));
        assert!(cluster.cluster_trouble().is_some_and(|it| it.contains("Cluster")));
        assert_eq!(info("noeviction", 1).cluster_trouble(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn settings_are_logged_while_they_do_not_suit_and_when_they_are_mended() {
        let log = CapturedLog::start();
        let mut settings = Settings::default();
        let bad = ["noeviction", "noeviction", "allkeys-lru"];
        for policy in ["volatile-lru"].into_iter().chain(bad).chain(["volatile-lru"; 2]) {
            settings.observe(policy, info(policy, 1).unsuitable());
            tokio::time::advance(INTERVAL).await;
        }
        let lines = log.text();
        let lines: Vec<&str> = lines.lines().collect();
        assert_eq!(lines.len(), 4, "{lines:?}");
        for (line, part) in lines.iter().zip(["count=1", "count=2", "allkeys-lru"]) {
            assert!(line.contains("WARN") && line.contains("remedy="), "{line}");
            assert!(line.contains(part), "{line}");
        }
        assert!(lines[3].contains("INFO") && lines[3].contains("suits a cache again"), "{lines:?}");
    }

    #[test]
    fn evictions_are_logged_while_they_last_and_when_they_end() {
        let log = CapturedLog::start();
        let mut evictions = Evictions::default();
        for evicted_keys in [7, 9, 12, 12, 12] {
            evictions.observe(&StoreInfo { evicted_keys, ..StoreInfo::default() });
        }
        let lines = log.text();
        let lines: Vec<&str> = lines.lines().collect();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[0].contains("WARN") && lines[0].contains("evicted=2 count=2"), "{lines:?}");
        assert!(lines[1].contains("WARN") && lines[1].contains("evicted=3 count=5"), "{lines:?}");
        assert!(lines[2].contains("INFO") && lines[2].contains("count=5"), "{lines:?}");
    }

    #[test]
    fn evictions_count_from_the_first_report() {
        let mut evictions = Evictions::default();
        let mut lasting = |evicted_keys| {
            evictions.observe(&StoreInfo { evicted_keys, ..StoreInfo::default() });
            evictions.lasting
        };
        assert_eq!(
            [lasting(7), lasting(9), lasting(12), lasting(12), lasting(13)],
            [0, 2, 5, 0, 1]
        );
        assert_eq!(lasting(0), 0, "the server was restarted");
    }
}
