//! `grpc.health.v1`: readiness, liveness, and the health of the store and of each origin.

mod service;

use std::{collections::HashMap, sync::Arc};

use crate::{model::Namespace, pb::health::v1::health_server::HealthServer};
use parking_lot::Mutex;
use tokio::{sync::watch, task::JoinHandle};
use tonic::codec::CompressionEncoding;

pub use service::ServiceStatuses;

/// Services for readiness. They stay SERVING while the store is down, because an outage of Redis
/// must not take all replicas out of rotation.
const READINESS: [&str; 2] = ["", "larder.v1.CacheService"];
/// Longest request, in bytes: the name of a service.
const MAX_REQUEST_BYTES: usize = 4 * 1024;
const LIVENESS: &str = "liveness";
const STORE: &str = "store";

/// Reports health to probes. Clones share the state.
#[derive(Clone)]
pub struct Health {
    statuses: ServiceStatuses,
    ready: Arc<watch::Sender<bool>>,
    /// The task that reports the health of each origin.
    origins: Arc<Mutex<HashMap<Namespace, JoinHandle<()>>>>,
}

impl Health {
    /// A replica that is alive, but not ready.
    pub async fn new() -> Self {
        let health = Self {
            statuses: ServiceStatuses::new(),
            ready: Arc::new(watch::Sender::new(false)),
            origins: Arc::default(),
        };
        health.report(&READINESS, false);
        health.report(&[LIVENESS], true);
        health.report(&[STORE], false);
        health
    }

    /// The gRPC health service.
    pub fn service(&self) -> HealthServer<ServiceStatuses> {
        HealthServer::new(self.statuses.clone())
            .max_decoding_message_size(MAX_REQUEST_BYTES)
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd)
            .send_compressed(CompressionEncoding::Gzip)
            .send_compressed(CompressionEncoding::Zstd)
    }

    /// Whether the replica is ready for requests.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Sets whether the replica is ready for requests.
    pub async fn set_ready(&self, ready: bool) {
        self.ready.send_replace(ready);
        self.report(&READINESS, ready);
    }

    /// Reports whether the store answers, until the sender of `healthy` is dropped.
    pub async fn follow_store(self, healthy: watch::Receiver<bool>) {
        self.follow(STORE, healthy).await;
    }

    /// Reports from now on whether the circuit breaker of a namespace's origin is closed. `None`
    /// ends the reports, for a namespace without an origin. Must be called in a Tokio runtime.
    pub fn follow_origin(&self, namespace: Namespace, closed: Option<watch::Receiver<bool>>) {
        let mut origins = self.origins.lock();
        let previous = origins.remove(&namespace).inspect(JoinHandle::abort);
        let (health, name) = (self.clone(), origin_service(&namespace));
        let task = async move {
            if let Some(previous) = previous {
                // Its last report must not overwrite the reports of this task.
                let _ = previous.await;
            }
            match closed {
                Some(closed) => health.follow(&name, closed).await,
                None => health.statuses.remove(&name),
            }
        };
        origins.insert(namespace, tokio::spawn(task));
    }

    /// Ends all Watch streams, so that they do not keep their connections open during shutdown.
    pub fn end_watches(&self) {
        self.statuses.end_watches();
    }

    async fn follow(&self, name: &str, mut healthy: watch::Receiver<bool>) {
        loop {
            let is_healthy = *healthy.borrow_and_update();
            self.report(&[name], is_healthy);
            if healthy.changed().await.is_err() {
                return;
            }
        }
    }

    fn report(&self, names: &[&str], is_healthy: bool) {
        for name in names {
            self.statuses.set(name, is_healthy);
        }
    }
}

/// Name under which the health of a namespace's origin is reported.
fn origin_service(namespace: &Namespace) -> String {
    format!("origin/{namespace}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tonic::{Code, Request};

    use super::*;
    use crate::pb::health::v1::{
        HealthCheckRequest, health_check_response::ServingStatus as Reported,
        health_server::Health as _,
    };

    async fn status(health: &Health, name: &str) -> Result<Reported, Code> {
        let service = &health.statuses;
        let request = Request::new(HealthCheckRequest { service: name.to_owned() });
        let response = service.check(request).await;
        response.map(|response| response.get_ref().status()).map_err(|status| status.code())
    }

    /// Lets the tasks that report origins run.
    async fn settle() {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn replica_is_alive_before_it_is_ready() {
        let health = Health::new().await;
        assert_eq!(status(&health, LIVENESS).await, Ok(Reported::Serving));
        assert_eq!(status(&health, "").await, Ok(Reported::NotServing));
        health.set_ready(true).await;
        assert!(health.is_ready());
        for name in READINESS {
            assert_eq!(status(&health, name).await, Ok(Reported::Serving));
        }
        assert_eq!(status(&health, STORE).await, Ok(Reported::NotServing));
    }

    #[tokio::test]
    async fn origin_is_reported_until_it_is_removed() {
        let health = Health::new().await;
        let namespace = Namespace::new("ns").unwrap();
        let closed = watch::Sender::new(true);
        health.follow_origin(namespace.clone(), Some(closed.subscribe()));
        settle().await;
        assert_eq!(status(&health, "origin/ns").await, Ok(Reported::Serving));
        closed.send_replace(false);
        settle().await;
        assert_eq!(status(&health, "origin/ns").await, Ok(Reported::NotServing));
        health.follow_origin(namespace, None);
        settle().await;
        assert_eq!(status(&health, "origin/ns").await, Err(Code::NotFound));
    }
}
