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
    DASHBOARD_LISTINGS = Gauge(
        "larder.dashboard.listings",
        [],
        "Pages of the dashboard for which keys are listed or examined now"
    );
    DASHBOARD_LISTINGS_REFUSED = Counter(
        "larder.dashboard.listings_refused",
        [],
        "Pages with keys that were refused, because too many were asked for"
    );
    DASHBOARD_JOBS = Gauge(
        "larder.dashboard.jobs",
        [],
        "Actions of the dashboard that run now"
    );
    DASHBOARD_JOBS_REFUSED = Counter(
        "larder.dashboard.jobs_refused",
        [],
        "Actions of the dashboard that were refused, because too many run"
    );
    DASHBOARD_UPDATES = Counter("larder.dashboard.updates", [], "Live pages that were made");
}
