//! Settings of traces and metrics: `[telemetry]`.

use std::time::Duration;

use url::Url;

use super::value::{HOUR, MILLISECOND, boolean, count, duration, number, text, url_text};
use super::visitor::{ConfigVisitor, Section};

/// `[telemetry]`: traces and metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct TelemetryConfig {
    /// The OTLP collector to which traces and metrics are pushed over gRPC. Empty: none. Unset:
    /// that of `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub otlp_endpoint: String,
    /// The fraction of traces that is recorded if the caller has made no sampling decision.
    pub sample_ratio: f64,
    /// The name of this service in traces and metrics. Unset: that of `OTEL_SERVICE_NAME`.
    pub service_name: String,
    /// Time between two pushes of metrics.
    pub metric_interval: Duration,
    /// Whether metrics are recorded, for Prometheus and for the collector. Statistics of the fleet
    /// are counted in any case.
    pub metrics: bool,
    /// Number of namespaces with their own metrics; the others share one label.
    pub max_namespaces: usize,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            otlp_endpoint: String::new(),
            sample_ratio: 0.01,
            service_name: "larder".to_owned(),
            metric_interval: Duration::from_secs(60),
            metrics: true,
            max_namespaces: 200,
        }
    }
}

impl Section for TelemetryConfig {
    fn visit(&mut self, visitor: &mut impl ConfigVisitor) {
        let endpoint = url_text("\"\" or a URL such as http://collector:4317", is_endpoint);
        let name = text("1 to 255 characters", |name| (1..=255).contains(&name.len()));
        let interval = duration(100 * MILLISECOND, HOUR);
        visitor.key("otlp_endpoint", &mut self.otlp_endpoint, endpoint);
        visitor.key("sample_ratio", &mut self.sample_ratio, number(0.0..=1.0));
        visitor.key("service_name", &mut self.service_name, name);
        visitor.key("metric_interval", &mut self.metric_interval, interval);
        visitor.key("metrics", &mut self.metrics, boolean());
        visitor.key("max_namespaces", &mut self.max_namespaces, count(1..=10_000));
    }
}

fn is_endpoint(text: &str) -> bool {
    let with_host = |url: Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    text.is_empty() || Url::parse(text).is_ok_and(with_host)
}
