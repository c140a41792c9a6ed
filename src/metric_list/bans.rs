//! Bans in Redis, and the sweeps that remove what they concern.

use super::metrics;

metrics! {
    STORE_BAN_CHECKS = Counter(
        "larder.store.ban_checks",
        [],
        "Entries and fills that were compared with bans"
    );
    STORE_BANNED = Counter("larder.store.banned", [], "Entries and fills that a ban concerned");
    STORE_LOST_BANS = Counter(
        "larder.store.lost_bans",
        [],
        "Shards that were invalidated because they knew bans that a failover has lost"
    );
    STORE_BANS_USED = Gauge(
        "larder.store.bans.used",
        [],
        "Memory of the bans in Redis that this replica has read"
    ) in "By";
    STORE_BANS_LIMIT = Gauge(
        "larder.store.bans.limit",
        [],
        "Memory that the known bans in Redis may use"
    ) in "By";
    STORE_BANS_FORGOTTEN = Counter(
        "larder.store.bans.forgotten",
        [],
        "Namespaces whose bans were forgotten for lack of memory, to be read again"
    );
    STORE_SWEEP_RUNNING = Gauge(
        "larder.store.sweep.running",
        [],
        "1 while this replica sweeps Redis for banned entries"
    );
    STORE_SWEEP_DURATION = Counter("larder.store.sweep.duration", [], "Time of all sweeps") in "s";
    STORE_SWEEP_PASSES = Counter(
        "larder.store.sweep.passes",
        [],
        "Sweeps that visited all entries"
    );
    STORE_SWEEP_INTERRUPTED = Counter(
        "larder.store.sweep.interrupted",
        [],
        "Sweeps that were given up"
    );
    STORE_SWEEP_EXAMINED = Counter(
        "larder.store.sweep.examined",
        [],
        "Entries that sweeps visited"
    );
    STORE_SWEEP_REMOVED = Counter(
        "larder.store.sweep.removed",
        [],
        "Banned entries that sweeps removed"
    );
    STORE_SWEEP_RENEWED = Counter(
        "larder.store.sweep.renewed",
        [],
        "Valid entries that sweeps moved to the newest ban"
    );
    STORE_SWEEP_DROPPED_BANS = Counter(
        "larder.store.sweep.dropped_bans",
        [],
        "Banned tags and patterns that sweeps dropped"
    );
}
