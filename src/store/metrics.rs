//! Metrics of the stores, named by OpenTelemetry's semantic conventions for databases where they
//! have a name.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use opentelemetry::{
    KeyValue,
    metrics::{BoundHistogram, Counter, Histogram, Meter},
};
use tokio::sync::watch;

use crate::{
    histogram::LATENCY_BOUNDS,
    store::{
        ErrorKind, Inspect as _, Operation, Topology,
        circuit_breaker_store::OperationObserver,
        memory::MemoryStore,
        redis::{RedisStore, ReplicationOptions},
    },
};

/// Duration and errors of the operations on Redis.
pub struct StoreMetrics {
    duration: Histogram<f64>,
    /// The histogram of each operation's successes, bound to its attributes at the first one.
    succeeded: Vec<OnceLock<BoundHistogram<f64>>>,
    errors: Counter<u64>,
}

impl StoreMetrics {
    /// Creates the instruments.
    pub fn new(meter: &Meter) -> Arc<Self> {
        let duration = meter
            .f64_histogram("db.client.operation.duration")
            .with_unit("s")
            .with_description("Duration of operations on the store")
            .with_boundaries(LATENCY_BOUNDS.to_vec())
            .build();
        let errors = meter
            .u64_counter("larder.store.errors")
            .with_description("Operations on the store that failed or that the breaker rejected")
            .build();
        let succeeded = Operation::ALL.map(|_| OnceLock::new()).into();
        Arc::new(Self { duration, succeeded, errors })
    }
}

impl OperationObserver for StoreMetrics {
    fn on_operation_end(
        &self,
        operation: Operation,
        duration: Duration,
        failure: Option<ErrorKind>,
    ) {
        let seconds = duration.as_secs_f64();
        let Some(kind) = failure else {
            let bind = || self.duration.bind(&attributes(operation, None));
            return self.succeeded[operation as usize].get_or_init(bind).record(seconds);
        };
        let attributes = attributes(operation, Some(kind));
        self.errors.add(1, &attributes);
        // Rejections by the breaker take no time, and would make an outage look fast.
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

/// Registers the metrics of the waits for replicas of Redis.
pub fn register_replication(meter: &Meter, options: &ReplicationOptions) {
    let options = options.clone();
    meter
        .u64_observable_counter("larder.store.replica_waits")
        .with_description("Waits until replicas of Redis have a change, by outcome")
        .with_callback(move |counter| {
            let outcomes = ["replicated", "failed"].into_iter().zip(options.counts());
            for (outcome, count) in outcomes {
                counter.observe(count, &[KeyValue::new("outcome", outcome)]);
            }
        })
        .build();
}

/// Registers the metrics of the connections to Redis and of its circuit breaker.
pub fn register_redis(
    meter: &Meter,
    store: &RedisStore,
    closed: watch::Receiver<bool>,
    healthy: watch::Receiver<bool>,
) {
    meter
        .u64_observable_gauge("larder.store.breaker.open")
        .with_description("1 while the circuit breaker of the store is open")
        .with_callback(move |observer| observer.observe(u64::from(!*closed.borrow()), &[]))
        .build();
    meter
        .u64_observable_gauge("larder.store.healthy")
        .with_description("1 while Redis answers and no fault of it lasts")
        .with_callback(move |observer| observer.observe(u64::from(*healthy.borrow()), &[]))
        .build();
    let (lasting, met) = (store.clone(), store.clone());
    meter
        .u64_observable_gauge("larder.store.fault.lasting")
        .with_description("1 while a fault of Redis lasts, by fault")
        .with_callback(move |observer| {
            for (name, count, lasts) in lasting.faults() {
                if count > 0 {
                    observer.observe(u64::from(lasts), &[KeyValue::new("fault", name)]);
                }
            }
        })
        .build();
    meter
        .u64_observable_counter("larder.store.faults")
        .with_description("Error answers of Redis and failures of its connections, by fault")
        .with_callback(move |observer| {
            for (name, count, _) in met.faults() {
                if count > 0 {
                    observer.observe(count, &[KeyValue::new("fault", name)]);
                }
            }
        })
        .build();
    let pool = store.clone();
    meter
        .u64_observable_gauge("db.client.connection.count")
        .with_description("Connections to Redis that requests share")
        .with_callback(move |observer| {
            // Connections are shared, so that each of them is in use.
            let labels = [("state", "used"), ("pool.name", "shared")]
                .map(|(name, value)| KeyValue::new(format!("db.client.connection.{name}"), value));
            observer.observe(pool.pool_state().connections, &labels);
        })
        .build();
    if store.topology().sentinels > 0 {
        let sentinels = store.clone();
        meter
            .u64_observable_gauge("larder.store.sentinels")
            .with_description("Sentinels of store.url, by whether they answer")
            .with_callback(move |observer| {
                let Topology { sentinels, reachable_sentinels, .. } = sentinels.topology();
                let silent = sentinels - reachable_sentinels;
                for (state, count) in [("answering", reachable_sentinels), ("silent", silent)] {
                    observer.observe(count as u64, &[KeyValue::new("state", state)]);
                }
            })
            .build();
    }
    let clock = store.clone();
    meter
        .f64_observable_gauge("larder.store.clock_ahead")
        .with_unit("s")
        .with_description("What the store's clock is ahead of that of Redis, which was set back")
        .with_callback(move |observer| {
            let ahead = Duration::from_millis(clock.pool_state().clock_ahead_ms);
            observer.observe(ahead.as_secs_f64(), &[]);
        })
        .build();
    if store.cluster_stats().is_some() {
        register_cluster(meter, store);
    }
    type Count = fn(&RedisStore) -> u64;
    let sweep = store.clone();
    meter
        .u64_observable_gauge("larder.store.sweep.running")
        .with_description("1 while this replica sweeps Redis for banned entries")
        .with_callback(move |gauge| gauge.observe(sweep.sweep_stats().is_running.into(), &[]))
        .build();
    let sweep = store.clone();
    meter
        .f64_observable_counter("larder.store.sweep.duration")
        .with_unit("s")
        .with_description("Time of all sweeps")
        .with_callback(move |counter| {
            counter.observe(sweep.sweep_stats().duration.as_secs_f64(), &[]);
        })
        .build();
    let (used, limit) = (store.clone(), store.clone());
    meter
        .u64_observable_gauge("larder.store.bans.used")
        .with_unit("By")
        .with_description("Memory of the bans in Redis that this replica has read")
        .with_callback(move |gauge| gauge.observe(used.ban_stats().bytes, &[]))
        .build();
    meter
        .u64_observable_gauge("larder.store.bans.limit")
        .with_unit("By")
        .with_description("Memory that the known bans in Redis may use")
        .with_callback(move |gauge| gauge.observe(limit.ban_stats().max_bytes, &[]))
        .build();
    let counters: [(&str, &str, Count); 17] = [
        ("larder.store.connections.created", "Connections to Redis made", |store| {
            store.pool_state().created
        }),
        ("larder.store.connections.failed", "Attempts to connect to Redis that failed", |store| {
            store.pool_state().failed
        }),
        ("db.client.connection.timeouts", "Operations that got no connection in time", |store| {
            store.pool_state().checkout_timeouts
        }),
        (
            "larder.store.corrupt_entries",
            "Entries in Redis that were not what was written",
            RedisStore::corrupt_entries,
        ),
        ("larder.store.ban_checks", "Entries and fills that were compared with bans", |store| {
            store.ban_stats().checks
        }),
        ("larder.store.banned", "Entries and fills that a ban concerned", |store| {
            store.ban_stats().banned
        }),
        (
            "larder.store.lost_bans",
            "Shards that were invalidated because they knew bans that a failover has lost",
            |store| store.ban_stats().lost_positions,
        ),
        (
            "larder.store.bans.forgotten",
            "Namespaces whose bans were forgotten for lack of memory, to be read again",
            |store| store.ban_stats().forgotten,
        ),
        ("larder.store.sweep.passes", "Sweeps that visited all entries", |store| {
            store.sweep_stats().passes
        }),
        ("larder.store.sweep.interrupted", "Sweeps that were given up", |store| {
            store.sweep_stats().interrupted
        }),
        ("larder.store.sweep.examined", "Entries that sweeps visited", |store| {
            store.sweep_stats().examined
        }),
        ("larder.store.sweep.removed", "Banned entries that sweeps removed", |store| {
            store.sweep_stats().removed
        }),
        (
            "larder.store.sweep.renewed",
            "Valid entries that sweeps moved to the newest ban",
            |store| store.sweep_stats().renewed,
        ),
        (
            "larder.store.sweep.dropped_bans",
            "Banned tags and patterns that sweeps dropped",
            |store| store.sweep_stats().dropped_bans,
        ),
        ("larder.store.resent", "Commands sent again on another connection", |store| {
            store.pool_state().resent
        }),
        ("larder.store.server_changes", "Times that another Redis server answered", |store| {
            store.pool_state().server_changes
        }),
        ("larder.store.clock_steps", "Times that the clock of Redis was set", |store| {
            store.pool_state().clock_steps
        }),
    ];
    for (name, description, count) in counters {
        let store = store.clone();
        // OpenTelemetry requires the name of the pool.
        let pool = KeyValue::new("db.client.connection.pool.name", "shared");
        let labels = if name.starts_with("db.client.connection.") { vec![pool] } else { vec![] };
        meter
            .u64_observable_counter(name)
            .with_description(description)
            .with_callback(move |observer| observer.observe(count(&store), &labels))
            .build();
    }
}

/// Primaries of a cluster with a series of their own.
const MAX_NODE_SERIES: usize = 100;

/// Registers the metrics of a Redis Cluster.
fn register_cluster(meter: &Meter, store: &RedisStore) {
    let stats = {
        let store = store.clone();
        move || store.cluster_stats().unwrap_or_default()
    };
    let primaries = stats.clone();
    meter
        .u64_observable_gauge("larder.store.cluster.primary.available")
        .with_description("1 while a primary of the Redis Cluster answers, by its address")
        .with_callback(move |gauge| {
            for (node, is_available) in primaries().primaries.into_iter().take(MAX_NODE_SERIES) {
                gauge.observe(u64::from(is_available), &[KeyValue::new("node", node)]);
            }
        })
        .build();
    let unserved = stats.clone();
    meter
        .u64_observable_gauge("larder.store.cluster.unserved_slots")
        .with_description("Slots of the Redis Cluster without a primary")
        .with_callback(move |gauge| gauge.observe(unserved().unserved_slots, &[]))
        .build();
    let refreshes = stats.clone();
    meter
        .u64_observable_counter("larder.store.cluster.refreshes")
        .with_description("Reads of the map of slots")
        .with_callback(move |counter| counter.observe(refreshes().refreshes, &[]))
        .build();
    meter
        .u64_observable_counter("larder.store.cluster.redirects")
        .with_description("Commands that were sent again because a slot was moved, by answer")
        .with_callback(move |counter| {
            for (answer, count) in stats().redirects {
                counter.observe(count, &[KeyValue::new("answer", answer)]);
            }
        })
        .build();
}

/// Registers the metrics of the embedded store.
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
    register_lease_records(meter, store);
}

fn register_lease_records(meter: &Meter, store: &MemoryStore) {
    let (used, max) = (store.clone(), store.clone());
    meter
        .u64_observable_gauge("larder.memory.leases.used")
        .with_unit("By")
        .with_description("Memory of leases, hold-offs and bans in the embedded store")
        .with_callback(move |observer| observer.observe(used.lease_records().used_bytes, &[]))
        .build();
    meter
        .u64_observable_gauge("larder.memory.leases.limit")
        .with_unit("By")
        .with_description("Memory that leases, hold-offs and bans of the embedded store may use")
        .with_callback(move |observer| observer.observe(max.lease_records().max_bytes, &[]))
        .build();
    let bans = store.clone();
    meter
        .u64_observable_gauge("larder.memory.bans")
        .with_description("Banned tags and patterns that the embedded store keeps")
        .with_callback(move |observer| observer.observe(bans.lease_records().bans, &[]))
        .build();
    let (refused, widened) = (store.clone(), store.clone());
    meter
        .u64_observable_counter("larder.memory.leases.refused")
        .with_description("Leases that the embedded store could not record and did not grant")
        .with_callback(move |observer| {
            observer.observe(refused.lease_records().refused_leases, &[]);
        })
        .build();
    meter
        .u64_observable_counter("larder.memory.hold_offs.widened")
        .with_description("Hold-offs that were not recorded and hold off their whole namespace")
        .with_callback(move |observer| {
            observer.observe(widened.lease_records().widened_hold_offs, &[]);
        })
        .build();
}
