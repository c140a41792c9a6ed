//! The pages for people on the admin port.

use super::metrics;

metrics! {
    DASHBOARD_STREAMS = Gauge(
        "larder.dashboard.streams",
        [],
        "Pages of the dashboard that receive live figures"
    );
    DASHBOARD_STREAMS_REFUSED = Counter(
        "larder.dashboard.streams_refused",
        [],
        "Streams of live figures that were refused, because there are too many"
    );
    DASHBOARD_UPDATES = Counter("larder.dashboard.updates", [], "Live pages that were made");
}
