//! Fetches from origins.

use super::metrics;

metrics! {
    FETCHES = Counter("larder.fetches", ["namespace"], "Fetches that an origin answered");
    FETCHES_FAILED = Counter(
        "larder.fetches.failed",
        ["namespace"],
        "Fetches that failed, including those rejected without a call to the origin"
    );
    FETCHES_COALESCED = Counter(
        "larder.fetches.coalesced",
        ["namespace"],
        "GetOrFetch calls answered with the value that another call computed or fetched"
    );
    ORIGIN_FETCH_DURATION = Histogram(
        "larder.origin.fetch.duration",
        ["namespace", "error.type"],
        "Time that fetches from origins took, including the wait in the queue and retries"
    ) in "s";
    ORIGIN_IN_FLIGHT = Gauge("larder.origin.in_flight", ["namespace"], "Fetches in flight");
    ORIGIN_QUEUED = Gauge("larder.origin.queued", ["namespace"], "Fetches that wait for a slot");
    ORIGIN_BREAKER_OPEN = Gauge(
        "larder.origin.breaker.open",
        ["namespace"],
        "1 while the circuit breaker of the origin is open after repeated failures"
    );
}
