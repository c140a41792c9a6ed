//! Shuts a server down. The order matters:
//!
//! 1. Readiness ends, so that load balancers send no new requests.
//! 2. Event sources are no longer read. What was read is applied and acknowledged.
//! 3. The cache closes: calls that wait for another caller's value are answered at once. Warming
//!    ends. Fetches from origins continue.
//! 4. Health watches and tails of the audit log end, because the streams would hold their
//!    connections open.
//! 5. The connections drain: requests in flight finish, within `shutdown_timeout`.
//! 6. The cache gives up: it aborts fetches and releases leases, so that other replicas fetch at
//!    once instead of after the expiry of the leases.
//! 7. If requests are left, their callers learn of it, and then the connections are aborted.
//! 8. The background tasks and the admin port stop. They come this late so that probes and metrics
//!    work during the drain. An empty journal is withdrawn.
//!    Actions of the dashboard end, and are recorded. The statistics are flushed once more.
//! 9. The cache gives up again, for leases whose requests were aborted in step 7.
//! 10. The audit log is written to its end, with the stop of the server as its last record.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use transport::Shutdown;

use crate::{
    audit::{AuditLog, Record},
    cache::Cache,
    event_streams::EventStreams,
    health::Health,
    model::{AuditEvent, SaturatingFrom as _},
};

/// Maximum time of one step after the drain: to release leases, to abort connections or to flush
/// the statistics.
const STEP_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for callers to receive the end of their leases and fetches before connections are aborted.
const LEASE_RELEASE_TIMEOUT: Duration = Duration::from_millis(200);

/// The tasks of a running server, and the handles that end them.
pub(super) struct RunningTasks {
    /// Serves gRPC connections.
    pub(super) connections: JoinHandle<()>,
    /// Serves the admin port.
    pub(super) admin: JoinHandle<()>,
    /// Flushes statistics.
    pub(super) stats_flush: JoinHandle<()>,
    pub(super) cache: Arc<Cache>,
    pub(super) audit: AuditLog,
    pub(super) health: Health,
    /// Drains and aborts connections.
    pub(super) shutdown: Shutdown,
    /// Stops the background tasks and the admin port.
    pub(super) background: CancellationToken,
    /// Background tasks with something left to do then: a journal is withdrawn, and actions of the
    /// dashboard are recorded.
    pub(super) ending: TaskTracker,
}

impl RunningTasks {
    /// Finishes the requests in flight within `shutdown_timeout`, aborts the rest, and ends all
    /// tasks.
    pub(super) async fn shut_down(
        mut self,
        shutdown_timeout: Duration,
        event_streams: EventStreams,
    ) {
        let started = Instant::now();
        tracing::info!("shutting down");
        self.health.set_ready(false).await;
        event_streams.stop();
        self.cache.close();
        self.health.end_watches();
        self.audit.end_tails();
        self.shutdown.drain.cancel();
        let events_ended = tokio::spawn(event_streams.ended(STEP_TIMEOUT));
        let drained = timeout(shutdown_timeout, &mut self.connections).await.is_ok();
        let _ = timeout(STEP_TIMEOUT, self.cache.give_up()).await;
        if !drained {
            tracing::warn!(
                remedy = "lengthen shutdown_timeout, or let callers set deadlines",
                "not all requests were finished in time (shutdown_timeout)"
            );
            self.abort_connections().await;
        }
        let _ = events_ended.await;
        self.background.cancel();
        // No action of the dashboard begins after this.
        let _ = self.admin.await;
        self.ending.close();
        let _ = timeout(STEP_TIMEOUT, self.ending.wait()).await;
        let _ = timeout(STEP_TIMEOUT, self.stats_flush).await;
        // Aborted requests may have held leases.
        let _ = timeout(STEP_TIMEOUT, self.cache.give_up()).await;
        let mut record = Record::new(AuditEvent::Server, "stop");
        record.flag("drained", drained).took(started.elapsed());
        self.audit.record(record);
        self.audit.close(STEP_TIMEOUT).await;
        let took_ms = u64::saturating_from(started.elapsed().as_millis());
        tracing::info!(took_ms, "shut down");
    }

    /// Aborts the connections after callers had time to read why their calls end.
    async fn abort_connections(&mut self) {
        let ended = timeout(LEASE_RELEASE_TIMEOUT, &mut self.connections).await.is_ok();
        self.shutdown.abort.cancel();
        if !ended {
            let _ = timeout(STEP_TIMEOUT, &mut self.connections).await;
        }
    }
}
