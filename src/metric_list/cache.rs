//! Outcomes of reads and writes by namespace, leases, and events of the business.

use super::metrics;

metrics! {
    HITS = Counter("larder.hits", ["namespace"], "Reads answered with a fresh value from a cache");
    STALE = Counter("larder.stale", ["namespace"], "Reads answered with a stale value");
    NEGATIVE = Counter("larder.negative", ["namespace"], "Reads answered with a negative entry");
    MISSES = Counter(
        "larder.misses",
        ["namespace"],
        "Reads that no cache answered: without a value, or fetched or waited for"
    );
    SETS = Counter(
        "larder.sets",
        ["namespace"],
        "Values stored by Set, fills, Increment and Patch"
    );
    SETS_REFUSED = Counter(
        "larder.sets.refused",
        ["namespace"],
        "Values of valid calls that were not stored, for any reason"
    );
    DELETES = Counter("larder.deletes", ["namespace"], "Entries deleted");
    INVALIDATIONS = Counter("larder.invalidations", ["namespace"], "Namespaces invalidated");
    BANS = Counter("larder.bans", ["namespace"], "Tags and patterns invalidated");
    INVALIDATIONS_COALESCED = Counter(
        "larder.invalidations.coalesced",
        ["namespace"],
        "Invalidations that were applied together with an earlier one"
    );
    CONTENDED = Counter(
        "larder.contended",
        ["namespace"],
        "GetOrFetch calls that were answered with a time to ask again"
    );
    LEASES_GRANTED = Counter("larder.leases.granted", ["namespace"], "Leases granted");
    LEASES_REFUSED = Counter(
        "larder.leases.refused",
        ["namespace"],
        "GetOrFetch calls that asked for a lease and got none"
    );
    LEASES_ABANDONED = Counter(
        "larder.leases.abandoned",
        ["namespace"],
        "Leases released without a value"
    );
    DEGRADED = Counter(
        "larder.degraded",
        ["namespace"],
        "Answers given while the store was unavailable"
    );
    REFRESHES_EARLY = Counter(
        "larder.refreshes.early",
        ["namespace"],
        "Refreshes that started before the value was stale"
    );
    STALE_WHILE_REVALIDATE = Counter(
        "larder.stale.while_revalidate",
        ["namespace"],
        "Stale values served during a refresh"
    );
    STALE_IF_ERROR = Counter(
        "larder.stale.if_error",
        ["namespace"],
        "Stale values served because the origin failed"
    );
    STALE_SOFT_TIMEOUT = Counter(
        "larder.stale.soft_timeout",
        ["namespace"],
        "Stale values served because the origin took too long"
    );
    FILLS_LOST = Counter(
        "larder.fills.lost",
        ["namespace"],
        "Fills refused because the lease had expired"
    );
    FILLS_INVALIDATED = Counter(
        "larder.fills.invalidated",
        ["namespace"],
        "Fills refused because the entry was invalidated after the lease was granted"
    );
    FILLS_SUPERSEDED = Counter(
        "larder.fills.superseded",
        ["namespace"],
        "Fills refused because the entry was written after the lease was granted"
    );
    FILLS_NOT_STORED = Counter(
        "larder.fills.not_stored",
        ["namespace"],
        "Fetched values that the store did not accept, or that had no lease"
    );
    FILLS_UNCACHEABLE = Counter(
        "larder.fills.uncacheable",
        ["namespace"],
        "Fetched values that the origin forbids to store"
    );
    COMPUTE_DURATION = Histogram(
        "larder.compute.duration",
        ["namespace"],
        "Time in which callers computed values under leases, until the fill"
    ) in "s";
    WAITING = Gauge("larder.waiting", [], "Calls that wait for a value, and background refreshes");
    HOT_KEYS_DROPPED = Counter(
        "larder.hot_keys.dropped",
        [],
        "Sampled reads that the search for hot keys did not take"
    );
    REUSE_DROPPED = Counter(
        "larder.reuse.dropped",
        [],
        "Events of followed keys that the analysis did not take"
    );
}
