//! `grpc.health.v1`: whether to send requests here, whether the process lives, and whether the store answers.

use std::sync::Arc;

use tokio::sync::watch;
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

use crate::key::Namespace;

/// Ready to serve, also while the store is down: an outage of Redis must not take every replica out of rotation.
const READY: [&str; 2] = ["", "larder.v1.CacheService"];
const LIVENESS: &str = "liveness";
const STORE: &str = "store";

/// What the probes are told. Clones share it.
#[derive(Clone)]
pub struct Health {
    reporter: HealthReporter,
    ready: Arc<watch::Sender<bool>>,
}

impl Health {
    /// Not ready yet.
    pub async fn new() -> Self {
        let health = Self { reporter: HealthReporter::new(), ready: Arc::new(watch::Sender::new(false)) };
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

    /// Reports whether an origin is asked, until it is no longer configured.
    pub async fn follow_origin(self, namespace: Namespace, mut open: watch::Receiver<bool>) {
        let name = format!("origin/{namespace}");
        loop {
            let well = *open.borrow_and_update();
            self.report(&[&name], well).await;
            if open.changed().await.is_err() {
                return;
            }
        }
    }

    /// Ends all streams of Watch, so that they do not hold their connections open.
    pub async fn end_watches(&mut self) {
        for name in READY.into_iter().chain([LIVENESS, STORE]) {
            self.reporter.clear_service_status(name).await;
        }
    }

    async fn report(&self, names: &[&str], well: bool) {
        let status = if well { ServingStatus::Serving } else { ServingStatus::NotServing };
        for name in names {
            self.reporter.set_service_status(name, status).await;
        }
    }
}
