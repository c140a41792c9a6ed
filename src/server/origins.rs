//! The origins as they are configured now.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    cache::{Cache, OriginClients},
    config::NamespaceConfig,
    health::Health,
    model::Namespace,
    origin::{
        client::OriginClient,
        metrics::OriginMetrics,
        registry::{Error, OriginRegistry},
    },
};

/// The origins, with their metrics and their health.
pub(super) struct OriginManager {
    origins: Mutex<OriginRegistry>,
    metrics: Arc<OriginMetrics>,
    health: Health,
}

/// Gates before origins.
pub(super) struct OriginSet {
    pub(super) all: OriginClients,
    /// Those that were not there before.
    pub(super) new: Vec<Arc<OriginClient>>,
}

impl OriginManager {
    pub(super) fn new(metrics: Arc<OriginMetrics>, health: Health) -> Self {
        Self { origins: Mutex::new(OriginRegistry::new(metrics.clone())), metrics, health }
    }

    /// Opens the origins of a configuration in place of those before.
    pub(super) fn replace(
        &self,
        namespaces: &BTreeMap<String, NamespaceConfig>,
    ) -> Result<OriginSet, Error> {
        let mut origins = self.origins.lock();
        let before = origins.clients();
        let new = origins.replace(namespaces)?;
        let all = origins.clients();
        self.metrics.set_clients(&all);
        for gate in &new {
            self.health.follow_origin(gate.namespace().clone(), Some(gate.availability()));
        }
        for gone in before.into_keys().filter(|namespace| !all.contains_key(namespace)) {
            self.health.follow_origin(gone, None);
        }
        Ok(OriginSet { all, new })
    }
}

/// Warms namespaces by their lists, one round of one namespace at a time.
pub(super) struct Warmer {
    cache: Arc<Cache>,
    store_answers: watch::Receiver<bool>,
    stop: CancellationToken,
    rounds: Mutex<HashMap<Namespace, WarmTask>>,
}

/// The rounds of one namespace.
struct WarmTask {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Warmer {
    pub(super) fn new(
        cache: Arc<Cache>,
        store_answers: watch::Receiver<bool>,
        stop: CancellationToken,
    ) -> Self {
        Self { cache, store_answers, stop, rounds: Mutex::default() }
    }

    /// Begins with the namespaces of the new gates. What was going on there ends first, and so does that of namespaces without
    /// a gate.
    pub(super) fn follow(&self, gates: &OriginSet) {
        let mut rounds = self.rounds.lock();
        rounds.retain(|namespace, rounds| {
            let has_origin = gates.all.contains_key(namespace);
            if !has_origin {
                rounds.stop.cancel();
            }
            has_origin || !rounds.task.is_finished()
        });
        for gate in &gates.new {
            let namespace = gate.namespace();
            let before = rounds.remove(namespace).inspect(|before| before.stop.cancel());
            let stop = self.stop.child_token();
            let warming = warm(self.cache.clone(), namespace.clone(), self.store_answers.clone());
            let warming = stop.clone().run_until_cancelled_owned(warming);
            let task = tokio::spawn(async move {
                if let Some(before) = before {
                    // It does not matter how it ended.
                    let _ = before.task.await;
                }
                warming.await;
            });
            rounds.insert(namespace.clone(), WarmTask { stop, task });
        }
    }
}

/// Warms a namespace by its list, again and again if its configuration says so.
async fn warm(cache: Arc<Cache>, namespace: Namespace, mut store_answers: watch::Receiver<bool>) {
    // Without the store everything would be fetched in vain.
    while store_answers.wait_for(|well| *well).await.is_ok() {
        cache.warm_by_list(&namespace).await;
        let interval = cache.warm_config(&namespace).ok().and_then(|config| config.interval);
        let Some(interval) = interval else { return };
        // So that the replicas do not all begin at the same moment.
        tokio::time::sleep(interval.mul_f64(rand::random_range(0.9..1.1))).await;
    }
}
