//! Failovers of Redis: sentinels, replicas, clusters and clocks.

use super::metrics;

metrics! {
    STORE_SERVER_CHANGES = Counter(
        "larder.store.server_changes",
        [],
        "Times that another Redis server answered"
    );
    STORE_CLOCK_STEPS = Counter(
        "larder.store.clock_steps",
        [],
        "Times that the clock of Redis was set"
    );
    STORE_CLOCK_AHEAD = Gauge(
        "larder.store.clock_ahead",
        [],
        "What the store's clock is ahead of that of Redis, which was set back"
    ) in "s";
    STORE_SENTINELS = Gauge(
        "larder.store.sentinels",
        ["state"],
        "Sentinels of store.url, by whether they answer"
    );
    STORE_REPLICA_WAITS = Counter(
        "larder.store.replica_waits",
        ["outcome"],
        "Waits until replicas of Redis have a change, by outcome"
    );
    STORE_FAILOVER_REMEMBERED = Gauge(
        "larder.store.failover.remembered",
        [],
        "Invalidations that would be applied again after a failover of Redis"
    );
    STORE_FAILOVER_REAPPLIED = Counter(
        "larder.store.failover.reapplied",
        [],
        "Invalidations that were applied again after a failover of Redis"
    );
    STORE_FAILOVER_REAPPLYING = Gauge(
        "larder.store.failover.reapplying",
        [],
        "1 while entries wait until invalidations are applied again"
    );
    STORE_CLUSTER_PRIMARY_AVAILABLE = Gauge(
        "larder.store.cluster.primary.available",
        ["node"],
        "1 while a primary of the Redis Cluster answers, by its address"
    );
    STORE_CLUSTER_UNSERVED_SLOTS = Gauge(
        "larder.store.cluster.unserved_slots",
        [],
        "Slots of the Redis Cluster without a primary"
    );
    STORE_CLUSTER_REFRESHES = Counter(
        "larder.store.cluster.refreshes",
        [],
        "Reads of the map of slots"
    );
    STORE_CLUSTER_REDIRECTS = Counter(
        "larder.store.cluster.redirects",
        ["answer"],
        "Commands that were sent again because a slot was moved, by answer"
    );
}
