//! The store: Redis, the journal and the embedded store.

use larder::metric_list::*;

use super::super::{
    dashboard::{Dashboard, Row},
    panel::{Panel, Unit},
};

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "larder-store",
        title: "Larder / Store",
        description: "Redis as the replicas see it, the journal, and the embedded store.",
        has_namespaces: false,
        rows: vec![
            health(),
            operations(),
            connections(),
            failover(),
            bans(),
            journal(),
            embedded(),
        ],
    }
}

fn health() -> Row {
    Row {
        title: "Health",
        panels: vec![
            Panel::of("Redis answers", &[STORE_HEALTHY]).runbooks(&["LarderStoreUnreachable"]),
            Panel::of("Open breakers", &[STORE_BREAKER_OPEN])
                .runbooks(&["LarderStoreUnreachable", "LarderStoreAwayForLong"]),
            Panel::of("Lasting faults", &[STORE_FAULT_LASTING])
                .runbooks(&["LarderStoreFault", "LarderStoreFaultLasts"]),
            Panel::of("Faults", &[STORE_FAULTS]).runbooks(&["LarderStoreFault"]),
            Panel::of("Corrupt entries", &[STORE_CORRUPT_ENTRIES])
                .runbooks(&["LarderStoreCorrupt"]),
            Panel::of("Evictions of Redis", &[STORE_EVICTIONS]).runbooks(&["LarderEvicts"]),
            Panel::table("Eviction policy", "The eviction policy of Redis.")
                .query("max by (instance, policy) (larder_store_eviction_policy{@})", "")
                .runbooks(&["LarderEvictionPolicy"]),
        ],
    }
}

fn operations() -> Row {
    let count = "db_client_operation_duration_seconds_count{@}[$__rate_interval]";
    let bucket = "db_client_operation_duration_seconds_bucket{@}[$__rate_interval]";
    let quantile = |value: &str| {
        format!("histogram_quantile({value}, sum by (db_operation_name, le) (rate({bucket})))")
    };
    Row {
        title: "Operations on Redis",
        panels: vec![
            Panel::graph("Operations", Unit::PerSecond, "Operations on Redis, by kind.").query(
                &format!("sum by (db_operation_name) (rate({count}))"),
                "{{db_operation_name}}",
            ),
            Panel::graph(
                "Duration of operations",
                Unit::Seconds,
                "Duration of operations on Redis. Exemplars lead to traces.",
            )
            .query(&quantile("0.5"), "p50 {{db_operation_name}}")
            .query(&quantile("0.99"), "p99 {{db_operation_name}}")
            .with_exemplars()
            .runbooks(&["LarderStoreSlow"]),
            Panel::of("Failed operations", &[STORE_ERRORS])
                .runbooks(&["LarderStoreFails", "LarderNotReplicated"]),
        ],
    }
}

fn connections() -> Row {
    Row {
        title: "Connections to Redis",
        panels: vec![
            Panel::of("Connections", &[DB_CLIENT_CONNECTION_COUNT]),
            Panel::of("New connections", &[STORE_CONNECTIONS_CREATED, STORE_CONNECTIONS_FAILED]),
            Panel::of("Operations without a connection", &[DB_CLIENT_CONNECTION_TIMEOUTS])
                .runbooks(&["LarderStoreConnectionsLacking"]),
            Panel::of("Commands that were sent again", &[STORE_RESENT]),
        ],
    }
}

fn failover() -> Row {
    Row {
        title: "Failovers, sentinels, clusters and clocks",
        panels: vec![
            Panel::of("Changes of the server", &[STORE_SERVER_CHANGES])
                .runbooks(&["LarderStoreChangesOften"]),
            Panel::of("Sentinels", &[STORE_SENTINELS]).runbooks(&["LarderSentinelsSilent"]),
            Panel::of("Waits for replicas of Redis", &[STORE_REPLICA_WAITS])
                .runbooks(&["LarderNotReplicated"]),
            Panel::of("Remembered invalidations", &[STORE_FAILOVER_REMEMBERED]),
            Panel::of("Invalidations applied again", &[STORE_FAILOVER_REAPPLIED]),
            Panel::of("Entries wait after a failover", &[STORE_FAILOVER_REAPPLYING]),
            Panel::of("Primaries of the cluster", &[STORE_CLUSTER_PRIMARY_AVAILABLE])
                .runbooks(&["LarderPrimaryAway"]),
            Panel::of("Slots without a primary", &[STORE_CLUSTER_UNSERVED_SLOTS])
                .runbooks(&["LarderSlotsUnserved"]),
            Panel::of("Redirected commands", &[STORE_CLUSTER_REDIRECTS]),
            Panel::of("Reads of the map of slots", &[STORE_CLUSTER_REFRESHES]),
            Panel::of("Steps of the clock of Redis", &[STORE_CLOCK_STEPS])
                .runbooks(&["LarderClockOfRedisSet"]),
            Panel::of("Lead over the clock of Redis", &[STORE_CLOCK_AHEAD])
                .runbooks(&["LarderClockOfRedisSet"]),
        ],
    }
}

fn bans() -> Row {
    Row {
        title: "Bans and sweeps",
        panels: vec![
            Panel::of("Comparisons with bans", &[STORE_BAN_CHECKS, STORE_BANNED]),
            Panel::of("Memory of bans", &[STORE_BANS_USED, STORE_BANS_LIMIT])
                .runbooks(&["LarderBansForgotten"]),
            Panel::of("Forgotten and lost bans", &[STORE_BANS_FORGOTTEN, STORE_LOST_BANS])
                .runbooks(&["LarderBansForgotten", "LarderBansLost"]),
            Panel::of("Sweeps that run", &[STORE_SWEEP_RUNNING]),
            Panel::of("Sweeps", &[STORE_SWEEP_PASSES, STORE_SWEEP_INTERRUPTED]),
            Panel::of("Time of sweeps", &[STORE_SWEEP_DURATION]),
            Panel::of(
                "Entries that sweeps visited",
                &[STORE_SWEEP_EXAMINED, STORE_SWEEP_REMOVED, STORE_SWEEP_RENEWED],
            ),
            Panel::of("Bans that sweeps dropped", &[STORE_SWEEP_DROPPED_BANS]),
        ],
    }
}

fn journal() -> Row {
    Row {
        title: "Journal",
        panels: vec![
            Panel::of("Invalidations in the journal", &[JOURNAL_ENTRIES])
                .runbooks(&["LarderJournalNotReplayed"]),
            Panel::of("Age of the eldest", &[JOURNAL_AGE])
                .thresholds(10.0, 60.0)
                .runbooks(&["LarderJournalNotReplayed"]),
            Panel::of("Size and its limit", &[JOURNAL_SIZE, JOURNAL_LIMIT])
                .runbooks(&["LarderJournalFull"]),
            Panel::of("Queued and refused", &[JOURNAL_APPENDS]).runbooks(&["LarderJournalRefuses"]),
            Panel::of("Quarantine", &[JOURNAL_QUARANTINE_ACTIVE])
                .runbooks(&["LarderJournalMissing"]),
            Panel::of("Quarantines that ended by time", &[JOURNAL_QUARANTINE_EXPIRED])
                .runbooks(&["LarderJournalMissing"]),
        ],
    }
}

fn embedded() -> Row {
    Row {
        title: "Embedded store",
        panels: vec![
            Panel::of("Memory", &[MEMORY_USED, MEMORY_LIMIT]).runbooks(&["LarderEvicts"]),
            Panel::of("Evictions", &[MEMORY_EVICTIONS]).runbooks(&["LarderEvicts"]),
            Panel::of("Memory of leases", &[MEMORY_LEASES_USED, MEMORY_LEASES_LIMIT])
                .runbooks(&["LarderLeasesRefused"]),
            Panel::of(
                "Leases and hold-offs without room",
                &[MEMORY_LEASES_REFUSED, MEMORY_HOLD_OFFS_WIDENED],
            )
            .runbooks(&["LarderLeasesRefused"]),
            Panel::of("Banned tags and patterns", &[MEMORY_BANS]),
        ],
    }
}
