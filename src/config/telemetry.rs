use std::time::Duration;

use url::Url;

use super::value::{HOUR, MILLISECOND, boolean, count, duration, ratio, text};
use super::visitor::{ConfigVisitor, Section};

/// `[telemetry]`: traces and metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct TelemetryConfig {
    /// Where OTLP is pushed to over gRPC; empty = nowhere.
    pub otlp_endpoint: String,
    /// The part of traces that is recorded when the caller has not decided.
    pub sample_ratio: f64,
    /// The name of this service in traces and metrics.
    pub service_name: String,
    /// Time between two pushes of metrics.
    pub metric_interval: Duration,
    /// Whether anything is measured, for Prometheus and for the collector.
    pub metrics: bool,
    /// Namespaces with metrics of their own; the rest share one label.
    pub max_namespaces: usize,
}

/// `[stats]`: statistics of the fleet.
#[derive(Clone, Debug, PartialEq)]
pub struct StatsConfig {
    /// Time between two flushes of counters to the store.
    pub flush_interval: Duration,
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

impl Default for StatsConfig {
    fn default() -> Self {
        Self { flush_interval: Duration::from_secs(1) }
    }
}

impl Section for TelemetryConfig {
    fn visit(&mut self, visitor: &mut impl ConfigVisitor) {
        let endpoint = text("\"\" or a URL such as http://collector:4317", is_endpoint);
        let name = text("1 to 255 characters", |name| (1..=255).contains(&name.len()));
        visitor.key("otlp_endpoint", &mut self.otlp_endpoint, endpoint);
        visitor.key("sample_ratio", &mut self.sample_ratio, ratio(true));
        visitor.key("service_name", &mut self.service_name, name);
        visitor.key(
            "metric_interval",
            &mut self.metric_interval,
            duration(100 * MILLISECOND, HOUR),
        );
        visitor.key("metrics", &mut self.metrics, boolean());
        visitor.key("max_namespaces", &mut self.max_namespaces, count(1..=10_000));
    }
}

impl Section for StatsConfig {
    fn visit(&mut self, visitor: &mut impl ConfigVisitor) {
        visitor.key("flush_interval", &mut self.flush_interval, duration(10 * MILLISECOND, HOUR));
    }
}

fn is_endpoint(text: &str) -> bool {
    let with_host = |url: Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    text.is_empty() || Url::parse(text).is_ok_and(with_host)
}
