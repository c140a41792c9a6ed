//! The log of exports to the collector: when they begin to fail, once a minute while they fail, and
//! when they succeed again. The library logs each of them.

use std::{sync::Arc, time::Duration};

use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    metrics::{Temporality, data::ResourceMetrics, exporter::PushMetricExporter},
    trace::{SpanData, SpanExporter},
};
use parking_lot::Mutex;
use repeated_events::{RepeatedEvent, Summary};

/// The outcomes of exports. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct ExportLog(Arc<Mutex<RepeatedEvent>>);

/// An exporter whose failures are logged here.
#[derive(Debug)]
pub(super) struct Logged<E> {
    pub(super) exporter: E,
    pub(super) log: ExportLog,
}

impl ExportLog {
    /// Records the outcome of an export. A failure is not passed on to the library, which would log
    /// it and do nothing else.
    fn record(&self, outcome: OTelSdkResult) -> OTelSdkResult {
        match outcome {
            Ok(()) => {
                if let Some(Summary { count, seconds }) = self.0.lock().ended() {
                    tracing::info!(
                        target: "larder::telemetry",
                        count,
                        seconds,
                        "the collector is reached again"
                    );
                }
                Ok(())
            }
            Err(OTelSdkError::AlreadyShutdown) => Err(OTelSdkError::AlreadyShutdown),
            Err(error) => {
                if let Some(Summary { count, seconds }) = self.0.lock().occurred() {
                    tracing::warn!(
                        target: "larder::telemetry",
                        %error,
                        count,
                        seconds,
                        remedy = "check that the collector runs and that telemetry.otlp_endpoint \
                                  leads to it",
                        "spans or metrics are lost: the collector is not reached"
                    );
                }
                Ok(())
            }
        }
    }
}

impl<E: SpanExporter> SpanExporter for Logged<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.log.record(self.exporter.export(batch).await)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E: PushMetricExporter> PushMetricExporter for Logged<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.log.record(self.exporter.export(metrics).await)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::captured_log::CapturedLog;

    #[tokio::test(start_paused = true)]
    async fn a_collector_that_is_away_causes_a_line_a_minute() {
        let captured = CapturedLog::start();
        let log = ExportLog::default();
        for _ in 0..25 {
            log.record(Err(OTelSdkError::InternalFailure("refused".to_owned()))).unwrap();
            tokio::time::advance(Duration::from_secs(5)).await;
        }
        log.record(Ok(())).unwrap();
        let lines = captured.text();
        assert_eq!(lines.lines().count(), 4, "{lines}");
        assert_eq!(lines.matches("telemetry.otlp_endpoint").count(), 3, "{lines}");
        assert!(lines.contains("count=25") && lines.contains("is reached again"), "{lines}");
    }
}
