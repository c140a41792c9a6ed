//! The near cache.

use super::metrics;

metrics! {
    NEAR_HITS = Counter(
        "larder.near.hits",
        ["namespace"],
        "Reads answered from the near cache, which also count as hits or negative"
    );
    NEAR_COHERENT = Gauge(
        "larder.near.coherent",
        [],
        "1 while the near cache follows the store, 0 while it is not used"
    );
    NEAR_ENTRIES = Gauge(
        "larder.near.entries",
        ["namespace"],
        "Entries in the near cache"
    ) in "{entry}";
    NEAR_SIZE = Gauge("larder.near.size", ["namespace"], "Memory in use by the near cache") in "By";
    NEAR_EVICTIONS = Counter(
        "larder.near.evictions",
        ["namespace"],
        "Entries that the near cache evicted to make room"
    );
    NEAR_ANNOUNCED = Counter(
        "larder.near.announced",
        [],
        "Keys that the store announced as changed"
    );
    NEAR_FLUSHES = Counter(
        "larder.near.flushes",
        [],
        "Times that the near cache was emptied because it could not follow the store"
    );
}
