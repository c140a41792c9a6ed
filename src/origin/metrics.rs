//! Metrics of the origins.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use opentelemetry::{
    KeyValue,
    metrics::{Histogram, Meter},
};
use parking_lot::RwLock;

use crate::{
    model::Namespace,
    origin::{
        FailureKind,
        client::{FetchObserver, OriginClient},
    },
    rpc::LATENCY_BOUNDS,
};

/// Clients by namespace. Weak: the metrics of a removed origin end with it.
type Clients = Arc<RwLock<HashMap<Namespace, Weak<OriginClient>>>>;

/// A histogram of all fetches, and gauges that read from each client.
pub struct OriginMetrics {
    fetches: Histogram<f64>,
    clients: Clients,
}

impl OriginMetrics {
    /// Registers the instruments.
    pub fn new(meter: &Meter) -> Arc<Self> {
        let fetches = meter
            .f64_histogram("larder.origin.fetch.duration")
            .with_unit("s")
            .with_description(
                "Time that fetches from origins took, including the wait in the queue and retries",
            )
            .with_boundaries(LATENCY_BOUNDS.to_vec())
            .build();
        let clients = Clients::default();
        type Read = fn(&OriginClient) -> u64;
        let gauges: [(&str, &str, Read); 3] = [
            ("larder.origin.in_flight", "Fetches in flight", |client| client.in_flight() as u64),
            ("larder.origin.queued", "Fetches that wait for a slot", |client| {
                client.queued() as u64
            }),
            (
                "larder.origin.breaker.open",
                "1 while the circuit breaker of the origin is open after repeated failures",
                |client| u64::from(!*client.availability().borrow()),
            ),
        ];
        for (name, description, read) in gauges {
            let clients = clients.clone();
            meter
                .u64_observable_gauge(name)
                .with_description(description)
                .with_callback(move |observer| {
                    for (namespace, client) in &*clients.read() {
                        if let Some(client) = client.upgrade() {
                            let attributes = [KeyValue::new("namespace", namespace.to_string())];
                            observer.observe(read(&client), &attributes);
                        }
                    }
                })
                .build();
        }
        Arc::new(Self { fetches, clients })
    }

    /// Replaces the clients that the gauges read from.
    pub fn set_clients(&self, clients: &HashMap<Namespace, Arc<OriginClient>>) {
        let weak =
            |(namespace, client): (&Namespace, &_)| (namespace.clone(), Arc::downgrade(client));
        *self.clients.write() = clients.iter().map(weak).collect();
    }
}

impl FetchObserver for OriginMetrics {
    fn on_fetch(
        &self,
        namespace: &Namespace,
        elapsed: Duration,
        outcome: Result<(), &FailureKind>,
    ) {
        let mut attributes = vec![KeyValue::new("namespace", namespace.to_string())];
        attributes.extend(outcome.err().map(|kind| KeyValue::new("error.type", kind.name())));
        self.fetches.record(elapsed.as_secs_f64(), &attributes);
    }
}
