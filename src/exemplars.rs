//! Exemplars: for each bucket of a latency histogram, the trace of the last sampled call in it.
//!
//! Neither the SDK of OpenTelemetry nor the encoder of Prometheus has exemplars, so they are kept
//! here, and added to `/metrics` in the format of OpenMetrics (`admin/open_metrics.rs`).

use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::LazyLock,
    time::{SystemTime, UNIX_EPOCH},
};

use opentelemetry::{
    KeyValue,
    trace::{TraceContextExt as _, TraceId},
};
use parking_lot::Mutex;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::{
    metric_list::{LATENCY_BOUNDS, Metric},
    trace_sampler,
};

/// Series with exemplars. Those of further series are not kept.
const MAX_SERIES: usize = 1024;

/// Exemplars of all series of the process, by the text of a bucket's series up to its bound.
static SERIES: LazyLock<Mutex<HashMap<String, Buckets>>> = LazyLock::new(Mutex::default);

/// The exemplar of each bucket.
type Buckets = Box<[Option<Exemplar>; LATENCY_BOUNDS.len() + 1]>;

/// A sampled call.
#[derive(Clone, Copy)]
struct Exemplar {
    trace: TraceId,
    seconds: f64,
    at: SystemTime,
}

/// Keeps the trace of the current span, if it is recorded.
pub fn record_current(metric: &Metric, attributes: &[KeyValue], seconds: f64) {
    if trace_sampler::is_on() {
        record(&Span::current(), metric, attributes, seconds);
    }
}

/// Keeps the trace of a span, if it is recorded.
#[cold]
pub fn record(span: &Span, metric: &Metric, attributes: &[KeyValue], seconds: f64) {
    if span.is_disabled() {
        return;
    }
    let context = span.context();
    let context = context.span().span_context().clone();
    if context.is_sampled() {
        let exemplar = Exemplar { trace: context.trace_id(), seconds, at: SystemTime::now() };
        keep(&mut SERIES.lock(), series(metric, attributes), exemplar);
    }
}

/// Adds the exemplars to lines of buckets in Prometheus' text format. Other lines stay as they are.
pub fn add_to(text: &str) -> String {
    // Calls that end meanwhile do not wait for the text.
    let all = SERIES.lock().clone();
    let mut result = String::with_capacity(text.len() + all.len() * 1024);
    for line in text.lines() {
        result.push_str(line);
        if let Some(exemplar) = of_line(&all, line) {
            let at = exemplar.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
            // Writing to a String does not fail.
            let _ = write!(
                result,
                " # {{trace_id=\"{}\"}} {} {at:.3}",
                exemplar.trace, exemplar.seconds
            );
        }
        result.push('\n');
    }
    result
}

/// The text of a bucket's series up to its bound. Labels are sorted, as in `/metrics`.
fn series(metric: &Metric, attributes: &[KeyValue]) -> String {
    let label = |attribute: &KeyValue| {
        let value = attribute.value.as_str().replace('\\', "\\\\").replace('"', "\\\"");
        format!("{}=\"{value}\",", attribute.key.as_str().replace('.', "_"))
    };
    let mut labels: Vec<String> = attributes.iter().map(label).collect();
    labels.sort_unstable();
    format!("{}_bucket{{{}", metric.prometheus_name(), labels.concat())
}

fn keep(all: &mut HashMap<String, Buckets>, series: String, exemplar: Exemplar) {
    let bucket = LATENCY_BOUNDS.partition_point(|bound| *bound < exemplar.seconds);
    if let Some(buckets) = all.get_mut(&series) {
        buckets[bucket] = Some(exemplar);
    } else if all.len() < MAX_SERIES {
        let mut buckets = Buckets::default();
        buckets[bucket] = Some(exemplar);
        all.insert(series, buckets);
    }
}

/// The exemplar of a bucket's line, such as `name_bucket{a="b",le="0.001"} 5`.
fn of_line(all: &HashMap<String, Buckets>, line: &str) -> Option<Exemplar> {
    let (series, rest) = line.rsplit_once("le=\"")?;
    let buckets = all.get(series)?;
    let bound = rest.split('"').next()?;
    let is_it = |known: &f64| known.to_string() == bound;
    let bucket = LATENCY_BOUNDS.iter().position(is_it).unwrap_or(LATENCY_BOUNDS.len());
    buckets[bucket]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::metric_list::RPC_SERVER_CALL_DURATION;

    fn exemplar(seconds: f64) -> Exemplar {
        Exemplar { trace: TraceId::from(7_u128), seconds, at: UNIX_EPOCH }
    }

    #[test]
    fn the_last_exemplar_of_each_bucket_is_kept() {
        let attributes = [KeyValue::new("rpc.method", "b"), KeyValue::new("error.type", "a\"")];
        let name = series(&RPC_SERVER_CALL_DURATION, &attributes);
        let expected =
            "rpc_server_call_duration_seconds_bucket{error_type=\"a\\\"\",rpc_method=\"b\",";
        assert_eq!(name, expected);
        let mut all = HashMap::new();
        for seconds in [0.000_05, 0.000_04, 0.000_06, 11.0] {
            keep(&mut all, name.clone(), exemplar(seconds));
        }
        let shown = |bound: &str| {
            of_line(&all, &format!("{name}le=\"{bound}\"}} 3")).map(|exemplar| exemplar.seconds)
        };
        let found = ["0.00005", "0.0001", "0.0002", "10", "+Inf"].map(shown);
        assert_eq!(found, [Some(0.000_04), Some(0.000_06), None, None, Some(11.0)]);
        assert!(of_line(&all, "larder_waiting 3").is_none());
    }

    #[test]
    fn the_number_of_series_is_bounded() {
        let mut all = HashMap::new();
        for number in 0..2 * MAX_SERIES {
            keep(&mut all, number.to_string(), exemplar(1.0));
        }
        assert_eq!(all.len(), MAX_SERIES);
        keep(&mut all, "0".to_owned(), exemplar(2.0));
        assert!(all["0"].iter().flatten().any(|exemplar| exemplar.seconds == 2.0));
    }
}
