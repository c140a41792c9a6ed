//! `grpc.health.v1`: whether to send requests here, whether the process lives, and whether the store answers.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::{sync::watch, task::JoinHandle};
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

use crate::model::Namespace;

/// Ready to serve, also while the store is down: an outage of Redis must not take every replica out of rotation.
const READY: [&str; 2] = ["", "larder.v1.CacheService"];
const LIVENESS: &str = "liveness";
const STORE: &str = "store";

/// What the probes are told. Clones share it.
#[derive(Clone)]
pub struct Health {
    reporter: HealthReporter,
    ready: Arc<watch::Sender<bool>>,
    /// What reports of each origin.
    origins: Arc<Mutex<HashMap<Namespace, JoinHandle<()>>>>,
}

impl Health {
    /// Not ready yet.
    pub async fn new() -> Self {
        let health = Self {
            reporter: HealthReporter::new(),
            ready: Arc::new(watch::Sender::new(false)),
            origins: Arc::default(),
        };
        health.report(&READY, false).await;
        health.report(&[LIVENESS], true).await;
        health.report(&[STORE], false).await;
        health
    }

    /// The service to be served.
    pub fn service(&self) -> HealthServer<HealthService> {
        HealthServer::new(HealthService::from_health_reporter(self.reporter.clone()))
    }

    /// Whether requests should be sent here.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// From now on, or no longer, requests should be sent here.
    pub async fn set_ready(&self, ready: bool) {
        self.ready.send_replace(ready);
        self.report(&READY, ready).await;
    }

    /// Reports whether the store answers, for ever.
    pub async fn follow_store(self, mut answers: watch::Receiver<bool>) {
        loop {
            let well = *answers.borrow_and_update();
            self.report(&[STORE], well).await;
            if answers.changed().await.is_err() {
                return;
            }
        }
    }

    /// Reports from now on whether the origin of a namespace is asked, and forgets it if there is none any more. Must be called
    /// in a Tokio runtime.
    pub fn follow_origin(&self, namespace: Namespace, open: Option<watch::Receiver<bool>>) {
        let mut origins = self.origins.lock();
        let before = origins.remove(&namespace).inspect(JoinHandle::abort);
        let (mut health, name) = (self.clone(), origin_name(&namespace));
        let following = async move {
            if let Some(before) = before {
                // So that it does not have the last word.
                let _ = before.await;
            }
            let Some(mut open) = open else {
                return health.reporter.clear_service_status(&name).await;
            };
            loop {
                let well = *open.borrow_and_update();
                health.report(&[&name], well).await;
                if open.changed().await.is_err() {
                    return;
                }
            }
        };
        origins.insert(namespace, tokio::spawn(following));
    }

    /// Ends all streams of Watch, so that they do not hold their connections open.
    pub async fn end_watches(&mut self) {
        for name in READY.into_iter().chain([LIVENESS, STORE]) {
            self.reporter.clear_service_status(name).await;
        }
        let origins: Vec<_> = self.origins.lock().drain().collect();
        for (namespace, following) in origins {
            following.abort();
            let _ = following.await;
            self.reporter.clear_service_status(&origin_name(&namespace)).await;
        }
    }

    async fn report(&self, names: &[&str], well: bool) {
        let status = if well { ServingStatus::Serving } else { ServingStatus::NotServing };
        for name in names {
            self.reporter.set_service_status(name, status).await;
        }
    }
}

fn origin_name(namespace: &Namespace) -> String {
    format!("origin/{namespace}")
}
