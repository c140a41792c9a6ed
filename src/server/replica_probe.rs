//! Reads the state of this process for its reports to the other replicas.

use std::sync::Arc;

use tokio::sync::watch;
use transport::{Admission, ConnectionStats};

use super::{
    origins::OriginManager,
    process_metrics::{ProcessUsage, host_name, usage},
};
use crate::{
    cache::fleet_stats::ReplicaProbe,
    stats::replica_report::ReplicaState,
    store::{StatsBackend, near_cache::NearCache},
};

/// The parts of a server whose state is reported.
pub(super) struct ProbedParts {
    pub(super) admission: Arc<Admission>,
    pub(super) connections: Arc<ConnectionStats>,
    pub(super) near_cache: Arc<NearCache>,
    pub(super) origins: Arc<OriginManager>,
    pub(super) store: Arc<dyn StatsBackend>,
    /// Whether the store answers, and no fault of it lasts.
    pub(super) store_healthy: watch::Receiver<bool>,
}

/// Reads the state of the process with these parts.
pub(super) fn replica_probe(parts: ProbedParts) -> ReplicaProbe {
    let host = host_name();
    Arc::new(move |now| {
        let ProcessUsage { resident_bytes, cpu_time } = usage();
        let tables = parts.near_cache.usage();
        let store_available = *parts.store_healthy.borrow();
        let trouble = parts.store.trouble().filter(|_| !store_available);
        ReplicaState {
            host: host.clone(),
            cpu_time,
            resident_bytes,
            in_flight: parts.admission.in_flight() as u64,
            connections: parts.connections.open() as u64,
            near_cache_bytes: tables.iter().map(|(_, usage)| usage.bytes).sum(),
            store_available,
            store_trouble: trouble.map(|trouble| trouble.cause).unwrap_or_default(),
            origins: parts.origins.reports(now),
        }
    })
}
