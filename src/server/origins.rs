//! The origins of the current configuration.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;

use crate::{
    cache::OriginClients,
    circuit_breaker::BreakerState,
    config::NamespaceConfig,
    health::Health,
    model::{SaturatingFrom as _, Timestamp},
    origin::{
        client::{OriginClient, OriginStatus},
        metrics::OriginMetrics,
        registry::{Error, OriginRegistry},
    },
    stats::replica_report::{OriginReport, ReportedBreaker},
};

/// Opens and replaces origins, and connects them to their metrics and health.
pub(super) struct OriginManager {
    registry: Mutex<OriginRegistry>,
    metrics: Arc<OriginMetrics>,
    health: Health,
}

/// The clients of all configured origins.
pub(super) struct OriginSet {
    /// All clients, by namespace.
    pub(super) all: OriginClients,
    /// Clients that the last replacement added.
    pub(super) new: Vec<Arc<OriginClient>>,
}

impl OriginManager {
    /// Creates a manager without origins.
    pub(super) fn new(metrics: Arc<OriginMetrics>, health: Health) -> Self {
        Self { registry: Mutex::new(OriginRegistry::new(metrics.clone())), metrics, health }
    }

    /// Replaces the origins by those of a configuration.
    pub(super) fn replace(
        &self,
        namespaces: &BTreeMap<String, NamespaceConfig>,
    ) -> Result<OriginSet, Error> {
        let mut registry = self.registry.lock();
        let before = registry.clients();
        let new = registry.replace(namespaces)?;
        let all = registry.clients();
        self.metrics.set_clients(&all);
        for client in &new {
            self.health.follow_origin(client.namespace().clone(), Some(client.availability()));
        }
        for removed in before.into_keys().filter(|namespace| !all.contains_key(namespace)) {
            self.health.follow_origin(removed, None);
        }
        Ok(OriginSet { all, new })
    }

    /// The state of each origin, by namespace, at the time `now` of the store's clock.
    pub(super) fn reports(&self, now: Timestamp) -> Vec<OriginReport> {
        let registry = self.registry.lock();
        let reports = registry
            .statuses()
            .map(|(namespace, url, status)| report(namespace.to_string(), url, status, now));
        let mut reports: Vec<_> = reports.collect();
        reports.sort_unstable_by(|one, two| one.namespace.cmp(&two.namespace));
        reports
    }
}

fn report(namespace: String, url: String, status: OriginStatus, now: Timestamp) -> OriginReport {
    let OriginStatus { breaker, changed_at, in_flight, failures, last_error } = status;
    let breaker = match breaker {
        BreakerState::Closed => ReportedBreaker::Closed,
        BreakerState::Open { .. } => ReportedBreaker::Open,
        BreakerState::HalfOpen { .. } => ReportedBreaker::HalfOpen,
    };
    let elapsed = u64::saturating_from(changed_at.elapsed().as_millis());
    let failures = failures.into_iter().map(|(kind, count)| (kind.to_owned(), count));
    OriginReport {
        namespace,
        url,
        breaker,
        since_ms: now.0.saturating_sub(elapsed),
        in_flight: in_flight as u64,
        failures: failures.collect(),
        last_error,
    }
}
