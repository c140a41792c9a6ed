//! Watches, events of the business and the streams that bring them.

use super::metrics;

metrics! {
    WATCH_STREAMS = Gauge("larder.watch.streams", [], "Open streams of changes");
    WATCH_NAMESPACES = Gauge(
        "larder.watch.namespaces",
        [],
        "Namespaces that are watched"
    ) in "{namespace}";
    WATCH_EVENTS = Counter(
        "larder.watch.events",
        [],
        "Keys, tags, patterns and namespaces sent to watches"
    );
    WATCH_RESETS = Counter("larder.watch.resets", ["reason"], "Resets sent to watches, by reason");
    WATCH_DELAY = Histogram(
        "larder.watch.delay",
        [],
        "Time from the publication of a change to its sending, by watcher"
    ) in "s";
    WATCH_BUFFERED = Gauge(
        "larder.watch.buffered",
        [],
        "Changes that are kept for watches"
    ) in "By";
    WATCH_FOLLOWING = Gauge(
        "larder.watch.following",
        [],
        "1 while all changes of watched namespaces are received, 0 otherwise"
    );
    EVENTS = Counter(
        "larder.events",
        ["event", "route", "outcome"],
        "Events by name, by the way they came and by what became of them"
    );
    EVENT_SOURCE_ENTRIES = Counter(
        "larder.event_source.entries",
        ["source", "stream", "outcome"],
        "Entries of streams, by what became of them"
    );
    EVENT_SOURCE_PENDING = Gauge(
        "larder.event_source.pending",
        ["source", "stream"],
        "Entries that were read and are not acknowledged, by any replica"
    );
    EVENT_SOURCE_LAG = Gauge(
        "larder.event_source.lag",
        ["source", "stream"],
        "Entries that no replica has read yet"
    );
    EVENT_SOURCE_CONNECTED = Gauge(
        "larder.event_source.connected",
        ["source", "stream"],
        "1 while the stream is read"
    );
}
