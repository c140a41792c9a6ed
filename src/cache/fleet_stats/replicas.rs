//! The reports of the replicas of the fleet.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::FleetStats;
use crate::{
    error_chain::ErrorChain,
    model::Timestamp,
    stats::{
        counters::Counter,
        replica_report::{FleetReport, ReplicaReport, ReplicaState, newest},
    },
};

/// Flushes from one report of a replica to the next.
const FLUSHES_PER_REPORT: u32 = 5;
/// Longest time between two reports.
const MAX_INTERVAL: Duration = Duration::from_secs(5);

/// Reads the state of this process at a time of the store's clock. Does not block.
pub type ReplicaProbe = Arc<dyn Fn(Timestamp) -> ReplicaState + Send + Sync>;

/// The reports of this replica.
#[derive(Default)]
pub(super) struct OwnReports {
    /// The last one, which the store need not have.
    last: Option<ReplicaReport>,
    /// The sums at that time, from which the rates of the next one are computed.
    before: Option<Sums>,
}

/// Sums since the start of the replica.
#[derive(Clone, Copy)]
struct Sums {
    at: Instant,
    requests: u64,
    cpu_time: Duration,
}

impl FleetStats {
    /// Reports what the replicas have reported of themselves within the last two minutes. The
    /// report of this replica is no older than its own interval. If the store is unavailable, it is
    /// the only one.
    pub async fn replicas(&self) -> FleetReport {
        let _one_at_a_time = self.overviews.lock().await;
        let own = self.last_report().await;
        let (mut reports, degraded) = match self.store.replicas().await {
            Ok(reports) => (reports, false),
            Err(_) => (Vec::new(), true),
        };
        reports.retain(|report| report.replica.id != own.replica.id);
        reports.push(own);
        FleetReport { replicas: newest(reports, self.store.now()), degraded }
    }

    /// Reports the state of this replica until `stop` is cancelled, and then removes its report.
    pub(super) async fn report_until(&self, flush_interval: Duration, stop: &CancellationToken) {
        let interval = flush_interval.saturating_mul(FLUSHES_PER_REPORT).min(MAX_INTERVAL);
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let report = self.next_report().await;
            if let Err(error) = self.store.put_replica(&report).await {
                tracing::debug!(
                    error = %ErrorChain(&error),
                    "the state of this replica could not be reported"
                );
            }
        }
        if let Err(error) = self.store.remove_replica(self.replica.id).await {
            tracing::debug!(
                error = %ErrorChain(&error),
                "the report of this replica could not be removed, and expires"
            );
        }
    }

    async fn last_report(&self) -> ReplicaReport {
        let last = self.reports.lock().await.last.clone();
        match last {
            Some(report) => report,
            None => self.next_report().await,
        }
    }

    /// Makes the next report, with the rates since the one before.
    async fn next_report(&self) -> ReplicaReport {
        let replica = self.replica.clone();
        let now = self.store.now();
        let mut own = self.reports.lock().await;
        let state = self.probe.as_ref().map(|probe| probe(now)).unwrap_or_default();
        let sums = Sums { at: Instant::now(), requests: self.requests(), cpu_time: state.cpu_time };
        let (requests_per_second, cpus) = sums.rates_since(own.before);
        let report =
            ReplicaReport { replica, reported_at_ms: now.0, requests_per_second, cpus, state };
        *own = OwnReports { last: Some(report.clone()), before: Some(sums) };
        report
    }

    /// Requests since the start.
    fn requests(&self) -> u64 {
        let mut sum = 0_u64;
        for counter in Counter::REQUESTS {
            self.registry.visit(counter, |_, count| sum = sum.saturating_add(count));
        }
        sum
    }
}

impl Sums {
    /// Requests per second, and processors in use; zero without an earlier time.
    fn rates_since(self, before: Option<Self>) -> (f64, f64) {
        let Some(before) = before else { return (0.0, 0.0) };
        let seconds = self.at.saturating_duration_since(before.at).as_secs_f64();
        if seconds <= 0.0 {
            return (0.0, 0.0);
        }
        #[allow(clippy::cast_precision_loss)]
        let requests = self.requests.saturating_sub(before.requests) as f64;
        let cpu = self.cpu_time.saturating_sub(before.cpu_time).as_secs_f64();
        (requests / seconds, cpu / seconds)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::time::sleep;

    use super::*;
    use crate::{
        cache::testing::{FailingStore, namespace},
        stats::{registry::StatsRegistry, replica_report::MAX_AGE},
        store::{ErrorKind, StatsStore as _, Store as _, memory::MemoryStore},
    };

    const SECOND: Duration = Duration::from_secs(1);

    fn store() -> Arc<FailingStore> {
        Arc::new(FailingStore::new(Arc::new(MemoryStore::new(1 << 20))))
    }

    /// A replica on a host, whose process has used `cpu_ms` so far.
    fn replica(
        store: &Arc<FailingStore>,
        host: &'static str,
        cpu_ms: Arc<AtomicU64>,
    ) -> FleetStats {
        let probe = move |_| ReplicaState {
            host: host.to_owned(),
            cpu_time: Duration::from_millis(cpu_ms.load(Ordering::Relaxed)),
            ..ReplicaState::default()
        };
        FleetStats::new(Arc::new(StatsRegistry::new(8)), store.clone()).observing(Arc::new(probe))
    }

    fn hosts(fleet: &FleetReport) -> Vec<&str> {
        fleet.replicas.iter().map(|replica| replica.state.host.as_str()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn replicas_are_listed_while_they_report() {
        let store = store();
        let [one, two] = ["one", "two"].map(|host| replica(&store, host, Arc::default()));
        let stop = CancellationToken::new();
        let observing = async {
            sleep(SECOND).await;
            let mut all = hosts(&one.replicas().await).join(" ");
            assert!(all == "one two" || all == "two one", "{all}");
            sleep(10 * MAX_AGE).await;
            all = hosts(&one.replicas().await).join(" ");
            assert_eq!(all.len(), 7, "{all}");
            stop.cancel();
            sleep(SECOND).await;
            assert_eq!(hosts(&one.replicas().await), ["one"]);
        };
        let forever = CancellationToken::new();
        tokio::select! {
            ((), ()) = async { tokio::join!(two.report_until(SECOND, &stop), observing) } => (),
            () = one.report_until(SECOND, &forever) => unreachable!("it is not stopped"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_that_is_gone_leaves_the_list_after_two_minutes() {
        let store = store();
        let [one, two] = ["one", "two"].map(|host| replica(&store, host, Arc::default()));
        let report = two.next_report().await;
        two.store.put_replica(&report).await.unwrap();
        sleep(MAX_AGE).await;
        assert_eq!(one.replicas().await.replicas.len(), 2);
        sleep(SECOND).await;
        let report = one.next_report().await;
        one.store.put_replica(&report).await.unwrap();
        assert_eq!(hosts(&one.replicas().await), ["one"]);
        assert_eq!(store.replicas().await.unwrap().len(), 1, "the store has removed it");
    }

    #[tokio::test(start_paused = true)]
    async fn rates_are_those_since_the_report_before() {
        let (store, cpu) = (store(), Arc::<AtomicU64>::default());
        let replica = replica(&store, "one", cpu.clone());
        let counters = replica.registry.of(&namespace());
        counters.count_many(Counter::Hits, 1000);
        let first = replica.next_report().await;
        assert_eq!((first.requests_per_second, first.cpus), (0.0, 0.0));
        sleep(4 * SECOND).await;
        counters.count_many(Counter::Misses, 10);
        counters.count_many(Counter::Sets, 30);
        counters.count_many(Counter::LeasesGranted, 10);
        cpu.store(2000, Ordering::Relaxed);
        let second = replica.next_report().await;
        assert_eq!((second.requests_per_second, second.cpus), (10.0, 0.5));
        sleep(SECOND).await;
        let third = replica.next_report().await;
        assert_eq!((third.requests_per_second, third.cpus), (0.0, 0.0));
        let again = replica.next_report().await;
        assert!(again.requests_per_second == 0.0 && again.cpus == 0.0, "no time has passed");
    }

    #[tokio::test(start_paused = true)]
    async fn degraded_list_has_this_replica_with_its_last_report() {
        let store = store();
        let [one, two] = ["one", "two"].map(|host| replica(&store, host, Arc::default()));
        let report = two.next_report().await;
        two.store.put_replica(&report).await.unwrap();
        store.fail(ErrorKind::Timeout);
        let (stop, started) = (CancellationToken::new(), store.now());
        let observing = async {
            sleep(20 * SECOND).await;
            let fleet = one.replicas().await;
            assert_eq!((hosts(&fleet), fleet.degraded), (vec!["one"], true));
            let age = store.now().since(Timestamp(fleet.replicas[0].reported_at_ms));
            assert!(age <= MAX_INTERVAL && store.now().since(started) > age, "{age:?}");
            store.recover();
            let fleet = one.replicas().await;
            assert_eq!((fleet.replicas.len(), fleet.degraded), (2, false));
            stop.cancel();
        };
        tokio::join!(one.report_until(60 * SECOND, &stop), observing);
    }
}
