//! Operations on Redis, its health, and its connections.

use super::metrics;

metrics! {
    DB_CLIENT_OPERATION_DURATION = Histogram(
        "db.client.operation.duration",
        ["db.system.name", "db.operation.name", "error.type"],
        "Duration of operations on the store"
    ) in "s";
    STORE_ERRORS = Counter(
        "larder.store.errors",
        ["db.operation.name", "error.type", "db.system.name"],
        "Operations on the store that failed or that the breaker rejected"
    );
    STORE_BREAKER_OPEN = Gauge(
        "larder.store.breaker.open",
        [],
        "1 while the circuit breaker of the store is open"
    );
    STORE_HEALTHY = Gauge(
        "larder.store.healthy",
        [],
        "1 while Redis answers and no fault of it lasts"
    );
    STORE_FAULT_LASTING = Gauge(
        "larder.store.fault.lasting",
        ["fault"],
        "1 while a fault of Redis lasts, by fault"
    );
    STORE_FAULTS = Counter(
        "larder.store.faults",
        ["fault"],
        "Error answers of Redis and failures of its connections, by fault"
    );
    STORE_CORRUPT_ENTRIES = Counter(
        "larder.store.corrupt_entries",
        [],
        "Entries in Redis that were not what was written"
    );
    STORE_RESENT = Counter("larder.store.resent", [], "Commands sent again on another connection");
    STORE_EVICTION_POLICY = Gauge(
        "larder.store.eviction_policy",
        ["policy"],
        "1 for the eviction policy of Redis"
    );
    STORE_EVICTIONS = Counter(
        "larder.store.evictions",
        [],
        "Keys that Redis has evicted since its start, of all applications"
    );
    DB_CLIENT_CONNECTION_COUNT = Gauge(
        "db.client.connection.count",
        ["db.client.connection.state", "db.client.connection.pool.name"],
        "Connections to Redis that requests share"
    );
    DB_CLIENT_CONNECTION_TIMEOUTS = Counter(
        "db.client.connection.timeouts",
        ["db.client.connection.pool.name"],
        "Operations that got no connection in time"
    );
    STORE_CONNECTIONS_CREATED = Counter(
        "larder.store.connections.created",
        [],
        "Connections to Redis made"
    );
    STORE_CONNECTIONS_FAILED = Counter(
        "larder.store.connections.failed",
        [],
        "Attempts to connect to Redis that failed"
    );
}
