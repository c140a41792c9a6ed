//! Sets up logs, metrics and traces at the start, and flushes them at the end.

mod export_log;

use std::time::Duration;

use opentelemetry::{KeyValue, global, metrics::MeterProvider as _, trace::TracerProvider as _};
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::{
    Resource,
    metrics::{PeriodicReader, SdkMeterProvider},
    propagation::TraceContextPropagator,
    trace::{Sampler, SdkTracerProvider},
};
use prometheus::Registry;
use tracing_subscriber::{
    EnvFilter, Layer, Registry as Subscriber, filter, layer::SubscriberExt as _, reload,
    util::SubscriberInitExt as _,
};

use crate::config::{LogConfig, LogFormat, TelemetryConfig};
use crate::trace_sampler;

use self::export_log::{ExportLog, Logged};

/// Target of spans that are exported and never logged.
const TRACE_TARGET: &str = "larder::trace";

/// Handles of the telemetry, which live as long as the process.
pub struct Telemetry {
    filter: reload::Handle<EnvFilter, Subscriber>,
    traces: Option<SdkTracerProvider>,
    meters: SdkMeterProvider,
    registry: Registry,
}

/// Failure to set up telemetry.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The exporter to the collector cannot be built.
    #[error("telemetry.otlp_endpoint cannot be used")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// The exporter for Prometheus cannot be built.
    #[error("the Prometheus exporter cannot be set up")]
    Prometheus(#[from] opentelemetry_sdk::error::OTelSdkError),
    /// The log filter cannot be parsed.
    #[error("log.level cannot be used")]
    Level(#[from] filter::ParseError),
    /// The log filter cannot be replaced.
    #[error("log.level cannot be replaced")]
    Reload(#[from] reload::Error),
    /// Logging was set up before.
    #[error("logging is already set up")]
    Init(#[from] tracing_subscriber::util::TryInitError),
}

impl Telemetry {
    /// Sets up logging to standard error, metrics and, if an endpoint is configured, the export to
    /// a collector. Must be called in a Tokio runtime.
    ///
    /// # Errors
    /// The endpoint or the log level is invalid.
    pub fn start(log: &LogConfig, config: &TelemetryConfig) -> Result<Self, Error> {
        global::set_text_map_propagator(TraceContextPropagator::new());
        let resource = Resource::builder()
            .with_service_name(config.service_name.clone())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let exports = ExportLog::default();
        let traces = tracer_provider(config, resource.clone(), exports.clone())?;
        let (filter, handle) = reload::Layer::new(log_filter(&log.level)?);
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        let lines = match log.format {
            LogFormat::Text => {
                lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).boxed()
            }
            LogFormat::Json => lines.json().boxed(),
        };
        let spans = traces.as_ref().map(|traces| {
            let exported = filter::Targets::new().with_target(TRACE_TARGET, tracing::Level::INFO);
            // Code locations and threads are expensive to record and of little use in a trace.
            let layer = tracing_opentelemetry::layer()
                .with_location(false)
                .with_threads(false)
                .with_target(false)
                .with_tracked_inactivity(false);
            layer.with_tracer(traces.tracer("larder")).with_filter(exported)
        });
        tracing_subscriber::registry().with(lines.with_filter(filter)).with(spans).try_init()?;
        let registry = Registry::new();
        let meters = meter_provider(config, resource, &registry, exports)?;
        Ok(Self { filter: handle, traces, meters, registry })
    }

    /// Returns the meter for all instruments.
    pub fn meter(&self) -> opentelemetry::metrics::Meter {
        self.meters.meter("larder")
    }

    /// Returns the registry that Prometheus scrapes.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Changes the log level.
    ///
    /// # Errors
    /// The level is invalid.
    pub fn set_log_level(&self, level: &str) -> Result<(), Error> {
        Ok(self.filter.reload(log_filter(level)?)?)
    }

    /// Exports the remaining spans and metrics, for at most `limit`.
    pub async fn shutdown(self, limit: Duration) {
        let flushed = tokio::task::spawn_blocking(move || {
            if let Some(traces) = self.traces
                && let Err(error) = traces.shutdown_with_timeout(limit)
            {
                tracing::warn!(%error, "the last spans were not exported");
            }
            if let Err(error) = self.meters.shutdown_with_timeout(limit) {
                tracing::warn!(%error, "the last metrics were not exported");
            }
        });
        let _ = tokio::time::timeout(limit, flushed).await;
    }
}

/// Builds the filter for log lines. Exported spans are not logged, and neither is their export.
///
/// The libraries below gRPC and HTTP warn of what a peer sends, once per frame or message, so a
/// peer could fill the log. Their warnings are off, unless the level names their targets.
fn log_filter(level: &str) -> Result<EnvFilter, filter::ParseError> {
    let quiet = "h2=error,hyper=error,hyper_util=error,tower=error,tonic=error,axum=error,\
        rustls=error,opentelemetry=warn,opentelemetry_sdk=warn";
    EnvFilter::try_new(format!("{quiet},{level},{TRACE_TARGET}=off"))
}

fn tracer_provider(
    config: &TelemetryConfig,
    resource: Resource,
    log: ExportLog,
) -> Result<Option<SdkTracerProvider>, Error> {
    if config.otlp_endpoint.is_empty() {
        return Ok(None);
    }
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(&config.otlp_endpoint)
        .build()?;
    trace_sampler::start(config.sample_ratio);
    // A span without a parent exists only if `trace_sampler` chose its trace.
    let sampler = Sampler::ParentBased(Box::new(Sampler::AlwaysOn));
    let provider = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_sampler(sampler)
        .with_batch_exporter(Logged { exporter, log });
    Ok(Some(provider.build()))
}

fn meter_provider(
    config: &TelemetryConfig,
    resource: Resource,
    registry: &Registry,
    log: ExportLog,
) -> Result<SdkMeterProvider, Error> {
    if !config.metrics {
        return Ok(SdkMeterProvider::builder().with_resource(resource).build());
    }
    let pulled = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        .scope_info_enabled(false)
        .build()?;
    let provider = SdkMeterProvider::builder().with_resource(resource).with_reader(pulled);
    if config.otlp_endpoint.is_empty() {
        return Ok(provider.build());
    }
    let exporter = opentelemetry_otlp::MetricExporter::builder()
        .with_tonic()
        .with_endpoint(&config.otlp_endpoint)
        .build()?;
    let exporter = Logged { exporter, log };
    let pushed = PeriodicReader::builder(exporter).with_interval(config.metric_interval).build();
    Ok(provider.with_reader(pushed).build())
}
