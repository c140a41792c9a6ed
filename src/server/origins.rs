//! The origins as they are configured now.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    cache::{Cache, Gates},
    config::NamespaceConfig,
    origin::{
        gate::Gate,
        open::{Error, Origins},
    },
    rpc::Health,
    telemetry::origin_metrics::OriginMetrics,
};

/// The origins, with their metrics and their health.
pub(super) struct OpenOrigins {
    origins: Mutex<Origins>,
    metrics: Arc<OriginMetrics>,
    health: Health,
}

/// Gates before origins.
pub(super) struct Opened {
    pub(super) all: Gates,
    /// Those that were not there before.
    pub(super) new: Vec<Arc<Gate>>,
}

impl OpenOrigins {
    pub(super) fn new(metrics: Arc<OriginMetrics>, health: Health) -> Self {
        Self { origins: Mutex::new(Origins::new(metrics.clone())), metrics, health }
    }

    /// Opens the origins of a configuration in place of those before.
    pub(super) fn replace(&self, namespaces: &BTreeMap<String, NamespaceConfig>) -> Result<Opened, Error> {
        let mut origins = self.origins.lock();
        let before = origins.gates();
        let new = origins.replace(namespaces)?;
        let all = origins.gates();
        self.metrics.follow(&all);
        for gate in &new {
            self.health.follow_origin(gate.namespace().clone(), Some(gate.open()));
        }
        for gone in before.into_keys().filter(|namespace| !all.contains_key(namespace)) {
            self.health.follow_origin(gone, None);
        }
        Ok(Opened { all, new })
    }
}

/// Warms the namespaces of these gates by their lists, again and again if they say so, as long as the gates are in use.
pub(super) fn warm(
    cache: &Arc<Cache>,
    gates: &[Arc<Gate>],
    store_answers: &watch::Receiver<bool>,
    stop: &CancellationToken,
) {
    for gate in gates {
        let (cache, gate, mut store_answers) = (cache.clone(), Arc::downgrade(gate), store_answers.clone());
        let warming = async move {
            // Without the store everything would be fetched in vain.
            while store_answers.wait_for(|well| *well).await.is_ok()
                && let Some(namespace) = gate.upgrade().map(|gate| gate.namespace().clone())
            {
                cache.warm_by_list(&namespace).await;
                let interval = cache.warm_config(&namespace).ok().and_then(|config| config.interval);
                let Some(interval) = interval else { return };
                // So that the replicas do not all begin at the same moment.
                tokio::time::sleep(interval.mul_f64(rand::random_range(0.9..1.1))).await;
            }
        };
        tokio::spawn(stop.clone().run_until_cancelled_owned(warming));
    }
}
