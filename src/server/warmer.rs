//! Warms namespaces by their warm lists, at the start and at the configured interval.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::{sync::watch, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use super::origins::OriginSet;
use crate::{
    cache::{self, Cache, WarmProgress},
    model::{Namespace, SaturatingFrom as _},
    warm_list,
};

/// Runs one warm task per namespace with an origin.
pub(super) struct Warmer {
    cache: Arc<Cache>,
    store_answers: watch::Receiver<bool>,
    stop: CancellationToken,
    tasks: Mutex<HashMap<Namespace, WarmTask>>,
}

/// The task that warms one namespace.
struct WarmTask {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Warmer {
    /// Creates a warmer without tasks. Its tasks end when `stop` is cancelled.
    pub(super) fn new(
        cache: Arc<Cache>,
        store_answers: watch::Receiver<bool>,
        stop: CancellationToken,
    ) -> Self {
        Self { cache, store_answers, stop, tasks: Mutex::default() }
    }

    /// Starts a task for each new origin, and stops the tasks of replaced and removed origins. The
    /// tasks of one namespace never overlap.
    pub(super) fn follow(&self, origins: &OriginSet) {
        let mut tasks = self.tasks.lock();
        tasks.retain(|namespace, task| {
            let has_origin = origins.all.contains_key(namespace);
            if !has_origin {
                task.stop.cancel();
            }
            has_origin || !task.task.is_finished()
        });
        for client in &origins.new {
            let namespace = client.namespace();
            let before = tasks.remove(namespace).inspect(|before| before.stop.cancel());
            let stop = self.stop.child_token();
            let rounds =
                warm_rounds(self.cache.clone(), namespace.clone(), self.store_answers.clone());
            let rounds = stop.clone().run_until_cancelled_owned(rounds);
            let task = tokio::spawn(async move {
                if let Some(before) = before {
                    // A panic of the earlier task does not concern this one.
                    let _ = before.task.await;
                }
                rounds.await;
            });
            tasks.insert(namespace.clone(), WarmTask { stop, task });
        }
    }
}

/// Warms a namespace by its list: once, or repeatedly if an interval is configured.
async fn warm_rounds(
    cache: Arc<Cache>,
    namespace: Namespace,
    mut store_answers: watch::Receiver<bool>,
) {
    // Without the store, fetched values could not be kept.
    while store_answers.wait_for(|answers| *answers).await.is_ok() {
        warm_by_list(&cache, &namespace).await;
        let interval = cache.warm_config(&namespace).ok().and_then(|config| config.interval);
        let Some(interval) = interval else { return };
        // The jitter keeps replicas from warming in step.
        tokio::time::sleep(interval.mul_f64(rand::random_range(0.9..1.1))).await;
    }
}

/// Warms a namespace by its list once, and logs the outcome.
async fn warm_by_list(cache: &Cache, namespace: &Namespace) {
    let Ok(config) = cache.warm_config(namespace) else { return };
    let started = Instant::now();
    let plan = match warm_list::read(namespace.clone(), config).await {
        Ok(plan) => plan,
        Err(error) => {
            tracing::warn!(%namespace, %error, "the warm list cannot be read");
            return;
        }
    };
    if plan.keys.is_empty() {
        return;
    }
    let mut progress = WarmProgress::default();
    let result = cache.warm(plan, |now| progress.clone_from(now)).await;
    let took_ms = u64::saturating_from(started.elapsed().as_millis());
    let WarmProgress { done, stored, fresh, not_stored, failed, last_error } = progress;
    match result {
        Ok(()) => tracing::info!(
            %namespace, done, stored, fresh, not_stored, failed, last_error, took_ms,
            "warmed by the warm list"
        ),
        Err(cache::Error::ShuttingDown) => {
            tracing::info!(%namespace, done, "warming ends, as the server is shutting down")
        }
        Err(error) => tracing::warn!(%namespace, %error, "not warmed"),
    }
}
