//! The embedded store.

use super::metrics;

metrics! {
    MEMORY_USED = Gauge("larder.memory.used", [], "Memory in use by the embedded store") in "By";
    MEMORY_LIMIT = Gauge(
        "larder.memory.limit",
        [],
        "Memory that the embedded store may use"
    ) in "By";
    MEMORY_EVICTIONS = Counter(
        "larder.memory.evictions",
        [],
        "Entries that the embedded store evicted to make room"
    );
    MEMORY_LEASES_USED = Gauge(
        "larder.memory.leases.used",
        [],
        "Memory of leases, hold-offs and bans in the embedded store"
    ) in "By";
    MEMORY_LEASES_LIMIT = Gauge(
        "larder.memory.leases.limit",
        [],
        "Memory that leases, hold-offs and bans of the embedded store may use"
    ) in "By";
    MEMORY_BANS = Gauge(
        "larder.memory.bans",
        [],
        "Banned tags and patterns that the embedded store keeps"
    );
    MEMORY_LEASES_REFUSED = Counter(
        "larder.memory.leases.refused",
        [],
        "Leases that the embedded store could not record and did not grant"
    );
    MEMORY_HOLD_OFFS_WIDENED = Counter(
        "larder.memory.hold_offs.widened",
        [],
        "Hold-offs that were not recorded and hold off their whole namespace"
    );
}
