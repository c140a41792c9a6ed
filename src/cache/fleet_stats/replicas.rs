//! What the replicas of the fleet report of themselves.

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

/// Time between two reports of a replica.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

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
    pub(super) async fn report_until(&self, stop: &CancellationToken) {
        let mut ticks = tokio::time::interval(REPORT_INTERVAL);
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
