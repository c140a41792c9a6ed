//! `/metrics` in the format of Prometheus, or in that of OpenMetrics, which has exemplars.

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
};
use prometheus::{Encoder as _, TextEncoder};

use super::Admin;
use crate::exemplars;

const OPEN_METRICS: &str = "application/openmetrics-text";

/// Answers a scrape.
pub(super) async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> impl IntoResponse {
    let encoder = TextEncoder::new();
    let mut text = String::new();
    match encoder.encode_utf8(&admin.registry.gather(), &mut text) {
        Ok(()) if accepts_open_metrics(&headers) => {
            let content_type = format!("{OPEN_METRICS}; version=1.0.0; charset=utf-8");
            (StatusCode::OK, [(header::CONTENT_TYPE, content_type)], to_open_metrics(&text))
        }
        Ok(()) => {
            (StatusCode::OK, [(header::CONTENT_TYPE, encoder.format_type().to_owned())], text)
        }
        Err(error) => {
            tracing::error!(%error, "cannot write the metrics");
            let content_type = "text/plain; charset=utf-8".to_owned();
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                [(header::CONTENT_TYPE, content_type)],
                "cannot write the metrics\n".to_owned(),
            )
        }
    }
}

/// Whether the scraper names the format, with a weight that is not zero.
fn accepts_open_metrics(headers: &HeaderMap) -> bool {
    let values =
        headers.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(OPEN_METRICS));
        is_named
            && !parts
                .any(|part| part.strip_prefix("q=").is_some_and(|weight| weight.parse() == Ok(0.0)))
    })
}

/// Turns Prometheus' text format into OpenMetrics: a counter is named without `_total`, and the
/// text has an end. The list of metrics has no help that would need other escapes.
fn to_open_metrics(text: &str) -> String {
    let with_exemplars = exemplars::add_to(text);
    let mut result = String::with_capacity(with_exemplars.len());
    for line in with_exemplars.lines() {
        let described = line.strip_prefix("# HELP ").map(|rest| ("# HELP ", rest));
        let described =
            described.or_else(|| line.strip_prefix("# TYPE ").map(|rest| ("# TYPE ", rest)));
        match described.and_then(|(kind, rest)| Some((kind, rest.split_once(' ')?))) {
            Some((kind, (name, rest))) => {
                let name = name.strip_suffix("_total").unwrap_or(name);
                result.extend([kind, name, " ", rest, "\n"]);
            }
            None => result.extend([line, "\n"]),
        }
    }
    result.push_str("# EOF\n");
    result
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::metric_list;

    #[test]
    fn the_format_follows_the_header_accept() {
        let accepts = |value: &'static str| {
            let headers = [(header::ACCEPT, HeaderValue::from_static(value))];
            accepts_open_metrics(&HeaderMap::from_iter(headers))
        };
        assert!(accepts(
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*"
        ));
        assert!(accepts("text/plain, Application/OpenMetrics-Text"));
        for other in ["*/*", "text/plain;version=0.0.4", "application/openmetrics-text;q=0.0"] {
            assert!(!accepts(other), "{other}");
        }
        assert!(!accepts_open_metrics(&HeaderMap::new()));
    }

    #[test]
    fn counters_lose_their_suffix_in_comments_only() {
        let text = "# HELP a_total b\n# TYPE a_total counter\na_total{x=\"y\"} 1\n";
        let expected = "# HELP a b\n# TYPE a counter\na_total{x=\"y\"} 1\n# EOF\n";
        assert_eq!(to_open_metrics(text), expected);
    }

    #[test]
    fn helps_of_the_list_need_no_escapes() {
        for metric in metric_list::all() {
            assert!(!metric.help.contains(['"', '\\', '\n']), "{}", metric.name);
            let is_counter = metric.kind == metric_list::MetricKind::Counter;
            assert_eq!(is_counter, metric.prometheus_name().ends_with("_total"), "{}", metric.name);
        }
    }
}
