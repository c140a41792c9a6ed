//! The journal of invalidations.

use super::metrics;

metrics! {
    JOURNAL_ENTRIES = Gauge(
        "larder.journal.entries",
        [],
        "Invalidations in the journal that the store has not applied"
    ) in "{entry}";
    JOURNAL_SIZE = Gauge(
        "larder.journal.size",
        [],
        "Bytes of the invalidations in the journal, of journal.max_bytes"
    ) in "By";
    JOURNAL_LIMIT = Gauge(
        "larder.journal.limit",
        [],
        "Most bytes that the journal takes (journal.max_bytes)"
    ) in "By";
    JOURNAL_AGE = Gauge(
        "larder.journal.age",
        [],
        "Age of the eldest invalidation in the journal; 0 if it is empty"
    ) in "s";
    JOURNAL_APPENDS = Counter(
        "larder.journal.appends",
        ["outcome"],
        "Invalidations that the store did not take, by outcome"
    );
    JOURNAL_QUARANTINE_ACTIVE = Gauge(
        "larder.journal.quarantine.active",
        [],
        "1 while reads are degraded, because journals may not be replayed yet"
    );
    JOURNAL_QUARANTINE_EXPIRED = Counter(
        "larder.journal.quarantine.expired",
        [],
        "Quarantines that ended after their time, with journals missing"
    );
}
