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
    exemplars,
    metric_list::{self, Metric},
    store::{
        ErrorKind, Inspect as _, Operation, Topology,
        circuit_breaker_store::OperationObserver,
        memory::MemoryStore,
        redis::{RedisStore, ReplicationOptions},
    },
    trace_sampler,
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
        let duration = metric_list::DB_CLIENT_OPERATION_DURATION.histogram(meter);
        let errors = metric_list::STORE_ERRORS.counter(meter);
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
        if trace_sampler::is_on() && failure != Some(ErrorKind::BreakerOpen) {
            let metric = &metric_list::DB_CLIENT_OPERATION_DURATION;
            exemplars::record_current(metric, &attributes(operation, failure), seconds);
        }
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
    metric_list::STORE_REPLICA_WAITS
        .observed_counter(meter)
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
    metric_list::STORE_BREAKER_OPEN
        .observed_gauge(meter)
        .with_callback(move |observer| observer.observe(u64::from(!*closed.borrow()), &[]))
        .build();
    metric_list::STORE_HEALTHY
        .observed_gauge(meter)
        .with_callback(move |observer| observer.observe(u64::from(*healthy.borrow()), &[]))
        .build();
    let (lasting, met) = (store.clone(), store.clone());
    metric_list::STORE_FAULT_LASTING
        .observed_gauge(meter)
        .with_callback(move |observer| {
            for (name, count, lasts) in lasting.faults() {
                if count > 0 {
                    observer.observe(u64::from(lasts), &[KeyValue::new("fault", name)]);
                }
            }
        })
        .build();
    metric_list::STORE_FAULTS
        .observed_counter(meter)
        .with_callback(move |observer| {
            for (name, count, _) in met.faults() {
                if count > 0 {
                    observer.observe(count, &[KeyValue::new("fault", name)]);
                }
            }
        })
        .build();
    let pool = store.clone();
    metric_list::DB_CLIENT_CONNECTION_COUNT
        .observed_gauge(meter)
        .with_callback(move |observer| {
            // Connections are shared, so that each of them is in use.
            let labels = [("state", "used"), ("pool.name", "shared")]
                .map(|(name, value)| KeyValue::new(format!("db.client.connection.{name}"), value));
            observer.observe(pool.pool_state().connections, &labels);
        })
        .build();
    if store.topology().sentinels > 0 {
        let sentinels = store.clone();
        metric_list::STORE_SENTINELS
            .observed_gauge(meter)
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
    metric_list::STORE_CLOCK_AHEAD
        .observed_level(meter)
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
    metric_list::STORE_SWEEP_RUNNING
        .observed_gauge(meter)
        .with_callback(move |gauge| gauge.observe(sweep.sweep_stats().is_running.into(), &[]))
        .build();
    let sweep = store.clone();
    metric_list::STORE_SWEEP_DURATION
        .observed_sum(meter)
        .with_callback(move |counter| {
            counter.observe(sweep.sweep_stats().duration.as_secs_f64(), &[]);
        })
        .build();
    let (used, limit) = (store.clone(), store.clone());
    metric_list::STORE_BANS_USED
        .observed_gauge(meter)
        .with_callback(move |gauge| gauge.observe(used.ban_stats().bytes, &[]))
        .build();
    metric_list::STORE_BANS_LIMIT
        .observed_gauge(meter)
        .with_callback(move |gauge| gauge.observe(limit.ban_stats().max_bytes, &[]))
        .build();
    let counters: [(Metric, Count); 17] = [
        (metric_list::STORE_CONNECTIONS_CREATED, |store| store.pool_state().created),
        (metric_list::STORE_CONNECTIONS_FAILED, |store| store.pool_state().failed),
        (metric_list::DB_CLIENT_CONNECTION_TIMEOUTS, |store| store.pool_state().checkout_timeouts),
        (metric_list::STORE_CORRUPT_ENTRIES, RedisStore::corrupt_entries),
        (metric_list::STORE_BAN_CHECKS, |store| store.ban_stats().checks),
        (metric_list::STORE_BANNED, |store| store.ban_stats().banned),
        (metric_list::STORE_LOST_BANS, |store| store.ban_stats().lost_positions),
        (metric_list::STORE_BANS_FORGOTTEN, |store| store.ban_stats().forgotten),
        (metric_list::STORE_SWEEP_PASSES, |store| store.sweep_stats().passes),
        (metric_list::STORE_SWEEP_INTERRUPTED, |store| store.sweep_stats().interrupted),
        (metric_list::STORE_SWEEP_EXAMINED, |store| store.sweep_stats().examined),
        (metric_list::STORE_SWEEP_REMOVED, |store| store.sweep_stats().removed),
        (metric_list::STORE_SWEEP_RENEWED, |store| store.sweep_stats().renewed),
        (metric_list::STORE_SWEEP_DROPPED_BANS, |store| store.sweep_stats().dropped_bans),
        (metric_list::STORE_RESENT, |store| store.pool_state().resent),
        (metric_list::STORE_SERVER_CHANGES, |store| store.pool_state().server_changes),
        (metric_list::STORE_CLOCK_STEPS, |store| store.pool_state().clock_steps),
    ];
    for (metric, count) in counters {
        let store = store.clone();
        // OpenTelemetry requires the name of the pool.
        let pool = KeyValue::new("db.client.connection.pool.name", "shared");
        let labels = if metric.labels.is_empty() { vec![] } else { vec![pool] };
        metric
            .observed_counter(meter)
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
    metric_list::STORE_CLUSTER_PRIMARY_AVAILABLE
        .observed_gauge(meter)
        .with_callback(move |gauge| {
            for (node, is_available) in primaries().primaries.into_iter().take(MAX_NODE_SERIES) {
                gauge.observe(u64::from(is_available), &[KeyValue::new("node", node)]);
            }
        })
        .build();
    let unserved = stats.clone();
    metric_list::STORE_CLUSTER_UNSERVED_SLOTS
        .observed_gauge(meter)
        .with_callback(move |gauge| gauge.observe(unserved().unserved_slots, &[]))
        .build();
    let refreshes = stats.clone();
    metric_list::STORE_CLUSTER_REFRESHES
        .observed_counter(meter)
        .with_callback(move |counter| counter.observe(refreshes().refreshes, &[]))
        .build();
    metric_list::STORE_CLUSTER_REDIRECTS
        .observed_counter(meter)
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
    metric_list::MEMORY_USED
        .observed_gauge(meter)
        .with_callback(move |observer| observer.observe(used.snapshot().used_bytes, &[]))
        .build();
    metric_list::MEMORY_LIMIT
        .observed_gauge(meter)
        .with_callback(move |observer| observer.observe(max.snapshot().max_bytes, &[]))
        .build();
    metric_list::MEMORY_EVICTIONS
        .observed_counter(meter)
        .with_callback(move |observer| observer.observe(evicted.snapshot().evicted_keys, &[]))
        .build();
    register_lease_records(meter, store);
}

fn register_lease_records(meter: &Meter, store: &MemoryStore) {
    let (used, max) = (store.clone(), store.clone());
    metric_list::MEMORY_LEASES_USED
        .observed_gauge(meter)
        .with_callback(move |observer| observer.observe(used.lease_records().used_bytes, &[]))
        .build();
    metric_list::MEMORY_LEASES_LIMIT
        .observed_gauge(meter)
        .with_callback(move |observer| observer.observe(max.lease_records().max_bytes, &[]))
        .build();
    let bans = store.clone();
    metric_list::MEMORY_BANS
        .observed_gauge(meter)
        .with_callback(move |observer| observer.observe(bans.lease_records().bans, &[]))
        .build();
    let (refused, widened) = (store.clone(), store.clone());
    metric_list::MEMORY_LEASES_REFUSED
        .observed_counter(meter)
        .with_callback(move |observer| {
            observer.observe(refused.lease_records().refused_leases, &[]);
        })
        .build();
    metric_list::MEMORY_HOLD_OFFS_WIDENED
        .observed_counter(meter)
        .with_callback(move |observer| {
            observer.observe(widened.lease_records().widened_hold_offs, &[]);
        })
        .build();
}
