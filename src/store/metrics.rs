//! Metrics of the store, by the semantic conventions for databases where there are any.

use std::{sync::Arc, time::Duration};

use opentelemetry::{
    KeyValue,
    metrics::{BoundHistogram, Counter, Histogram, Meter},
};
use tokio::sync::watch;

use crate::{
    histogram::LATENCY_BOUNDS,
    store::{
        ErrorKind,
        circuit_breaker_store::{Observer, Operation},
        memory::MemoryStore,
        redis::RedisStore,
    },
};

/// Measures every operation on Redis.
pub struct StoreMetrics {
    duration: Histogram<f64>,
    /// The histogram for each operation's successes, which need not look for their attributes.
    succeeded: Vec<BoundHistogram<f64>>,
    errors: Counter<u64>,
}

impl StoreMetrics {
    /// Instruments of `meter`.
    pub fn new(meter: &Meter) -> Arc<Self> {
        let duration = meter
            .f64_histogram("db.client.operation.duration")
            .with_unit("s")
            .with_description("Duration of operations on the store")
            .with_boundaries(LATENCY_BOUNDS.to_vec())
            .build();
        let errors = meter
            .u64_counter("larder.store.errors")
            .with_description(
                "Operations on the store that failed, those that the breaker refused included",
            )
            .build();
        let succeeded =
            Operation::ALL.map(|operation| duration.bind(&attributes(operation, None))).into();
        Arc::new(Self { duration, succeeded, errors })
    }
}

impl Observer for StoreMetrics {
    fn observed(&self, operation: Operation, took: Duration, failure: Option<ErrorKind>) {
        let seconds = took.as_secs_f64();
        let Some(kind) = failure else { return self.succeeded[operation as usize].record(seconds) };
        let attributes = attributes(operation, Some(kind));
        self.errors.add(1, &attributes);
        // What the breaker refuses takes no time, and would make an outage look fast.
        if kind != ErrorKind::BreakerOpen {
            self.duration.record(seconds, &attributes);
        }
    }
}

fn attributes(operation: Operation, failure: Option<ErrorKind>) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("db.system.name", "redis"),
        KeyValue::new("db.operation.name", operation.name()),
    ];
    attributes.extend(failure.map(|kind| KeyValue::new("error.type", kind.name())));
    attributes
}

/// Registers what is known of the connections to Redis and of the breaker before it.
pub fn register_redis(meter: &Meter, store: &RedisStore, closed: watch::Receiver<bool>) {
    meter
        .u64_observable_gauge("larder.store.breaker.open")
        .with_description("1 while the store is being left alone after repeated failures")
        .with_callback(move |observer| observer.observe(u64::from(!*closed.borrow()), &[]))
        .build();
    let pool = store.clone();
    meter
        .u64_observable_gauge("db.client.connection.count")
        .with_description("Connections to Redis that requests share")
        .with_callback(move |observer| observer.observe(pool.pool_state().connections, &[]))
        .build();
    type Count = fn(&RedisStore) -> u64;
    let counters: [(&str, &str, Count); 3] = [
        ("larder.store.connections.created", "Connections to Redis made", |store| {
            store.pool_state().created
        }),
        ("larder.store.connections.failed", "Attempts to connect to Redis that failed", |store| {
            store.pool_state().failed
        }),
        ("db.client.connection.timeouts", "Operations that got no connection in time", |store| {
            store.pool_state().starved
        }),
    ];
    for (name, description, count) in counters {
        let store = store.clone();
        meter
            .u64_observable_counter(name)
            .with_description(description)
            .with_callback(move |observer| observer.observe(count(&store), &[]))
            .build();
    }
}

/// Registers what the embedded store holds.
pub fn register_memory(meter: &Meter, store: &MemoryStore) {
    let (used, max, evicted) = (store.clone(), store.clone(), store.clone());
    meter
        .u64_observable_gauge("larder.memory.used")
        .with_unit("By")
        .with_description("Memory in use by the embedded store")
        .with_callback(move |observer| observer.observe(used.snapshot().used_bytes, &[]))
        .build();
    meter
        .u64_observable_gauge("larder.memory.limit")
        .with_unit("By")
        .with_description("Memory that the embedded store may use")
        .with_callback(move |observer| observer.observe(max.snapshot().max_bytes, &[]))
        .build();
    meter
        .u64_observable_counter("larder.memory.evictions")
        .with_description("Entries that the embedded store evicted to make room")
        .with_callback(move |observer| observer.observe(evicted.snapshot().evicted_keys, &[]))
        .build();
}
