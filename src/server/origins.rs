//! The origins of the current configuration.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;

use crate::{
    cache::OriginClients,
    config::NamespaceConfig,
    health::Health,
    origin::{
        client::OriginClient,
        metrics::OriginMetrics,
        registry::{Error, OriginRegistry},
    },
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
}
