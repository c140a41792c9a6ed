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
    histogram::LATENCY_BOUNDS,
    model::Namespace,
    origin::{
        ErrorKind,
        client::{Observer, OriginClient},
    },
};

/// What is measured of every fetch, and read from every gate.
pub struct OriginMetrics {
    fetches: Histogram<f64>,
    gates: Arc<RwLock<HashMap<Namespace, Weak<OriginClient>>>>,
}

impl OriginMetrics {
    /// Registers the instruments.
    pub fn new(meter: &Meter) -> Arc<Self> {
        let fetches = meter
            .f64_histogram("larder.origin.fetch.duration")
            .with_unit("s")
            .with_description("Time that fetches from origins took, waiting for their turn and repetitions included")
            .with_boundaries(LATENCY_BOUNDS.to_vec())
            .build();
        let gates: Arc<RwLock<HashMap<Namespace, Weak<OriginClient>>>> = Arc::default();
        type Read = fn(&OriginClient) -> u64;
        let gauges: [(&str, &str, Read); 3] = [
            ("larder.origin.in_flight", "Fetches under way", |gate| gate.in_flight() as u64),
            ("larder.origin.queued", "Fetches that wait for their turn", |gate| {
                gate.queued() as u64
            }),
            (
                "larder.origin.breaker.open",
                "1 while the origin is being left alone after repeated failures",
                |gate| u64::from(!*gate.open().borrow()),
            ),
        ];
        for (name, description, read) in gauges {
            let gates = gates.clone();
            meter
                .u64_observable_gauge(name)
                .with_description(description)
                .with_callback(move |observer| {
                    for (namespace, gate) in &*gates.read() {
                        if let Some(gate) = gate.upgrade() {
                            observer.observe(
                                read(&gate),
                                &[KeyValue::new("namespace", namespace.to_string())],
                            );
                        }
                    }
                })
                .build();
        }
        Arc::new(Self { fetches, gates })
    }

    /// Reads from these gates from now on.
    pub fn follow(&self, gates: &HashMap<Namespace, Arc<OriginClient>>) {
        let gates = gates.iter().map(|(namespace, gate)| (namespace.clone(), Arc::downgrade(gate)));
        *self.gates.write() = gates.collect();
    }
}

impl Observer for OriginMetrics {
    fn fetched(&self, namespace: &Namespace, took: Duration, outcome: Result<(), &ErrorKind>) {
        let mut attributes = vec![KeyValue::new("namespace", namespace.to_string())];
        attributes.extend(outcome.err().map(|kind| KeyValue::new("error.type", kind.name())));
        self.fetches.record(took.as_secs_f64(), &attributes);
    }
}
