//! Origins: fetches, their time and their failures.

use larder::metric_list::*;

use super::super::{
    dashboard::{Dashboard, Row},
    panel::{Panel, Unit},
};

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "larder-origins",
        title: "Larder / Origins",
        description: "Fetches from the origins of namespaces.",
        has_namespaces: true,
        rows: vec![fetches(), protection()],
    }
}

fn rate(name: &str) -> String {
    format!("sum by (namespace) (rate({name}{{@ns}}[$__rate_interval]))")
}

fn fetches() -> Row {
    let failed = rate("larder_fetches_failed_total");
    let answered = rate("larder_fetches_total");
    Row {
        title: "Fetches",
        panels: vec![
            Panel::of("Fetches", &[FETCHES, FETCHES_FAILED]).runbooks(&["LarderOriginFails"]),
            Panel::graph("Failed fetches", Unit::Share, "Share of the fetches that failed.")
                .query(
                    &format!("{failed} / ({failed} + ({answered} or 0 * {failed}))"),
                    "{{namespace}}",
                )
                .thresholds(0.02, 0.1)
                .runbooks(&["LarderOriginFails"]),
            Panel::graph(
                "Duration of fetches",
                Unit::Seconds,
                "Time that fetches took, including the wait in the queue and retries.",
            )
            .query(
                "histogram_quantile(0.5, sum by (namespace, le) (rate(\
                 larder_origin_fetch_duration_seconds_bucket{@ns}[$__rate_interval])))",
                "p50 {{namespace}}",
            )
            .query(
                "histogram_quantile(0.99, sum by (namespace, le) (rate(\
                 larder_origin_fetch_duration_seconds_bucket{@ns}[$__rate_interval])))",
                "p99 {{namespace}}",
            )
            .with_exemplars()
            .runbooks(&["LarderOriginQueues"]),
            Panel::graph("Failures by kind", Unit::PerSecond, "Fetches that failed, by kind.")
                .query(
                    "sum by (namespace, error_type) (rate(\
                     larder_origin_fetch_duration_seconds_count{@ns,error_type!=\"\"}\
                     [$__rate_interval]))",
                    "{{namespace}} {{error_type}}",
                )
                .runbooks(&["LarderOriginFails"]),
            Panel::of("Calls that shared a value", &[FETCHES_COALESCED]),
            Panel::of("Early refreshes", &[REFRESHES_EARLY]),
        ],
    }
}

fn protection() -> Row {
    Row {
        title: "Limits and staleness",
        panels: vec![
            Panel::of("Open breakers", &[ORIGIN_BREAKER_OPEN]).runbooks(&["LarderOriginLeftAlone"]),
            Panel::of("Fetches in flight and queued", &[ORIGIN_IN_FLIGHT, ORIGIN_QUEUED])
                .runbooks(&["LarderOriginQueues"]),
            Panel::of("Stale values in place of errors", &[STALE_IF_ERROR])
                .runbooks(&["LarderServesStale"]),
        ],
    }
}
