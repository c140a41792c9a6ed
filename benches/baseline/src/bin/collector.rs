//! OpenTelemetry collector that decodes and counts spans and metrics, and discards them.
//!
//! Prints its address, and on SIGTERM the number of spans and the number of metric exports.

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use opentelemetry_proto::tonic::collector::{
    metrics::v1::{
        ExportMetricsServiceRequest, ExportMetricsServiceResponse,
        metrics_service_server::{MetricsService, MetricsServiceServer},
    },
    trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tonic::{Request, Response, Status, transport::Server};

#[derive(Clone, Default)]
struct Collector {
    spans: Arc<AtomicUsize>,
    pushes: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans;
        let spans = resources
            .iter()
            .flat_map(|resource| &resource.scope_spans)
            .map(|scope| scope.spans.len());
        self.spans.fetch_add(spans.sum(), Relaxed);
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        _: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.pushes.fetch_add(1, Relaxed);
        Ok(Response::new(Default::default()))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let collector = Collector::default();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let services = Server::builder()
        .add_service(TraceServiceServer::new(collector.clone()))
        .add_service(MetricsServiceServer::new(collector.clone()));
    tokio::spawn(
        services.serve_with_incoming(tonic::transport::server::TcpIncoming::from(listener)),
    );
    signal(SignalKind::terminate())?.recv().await;
    println!("{} {}", collector.spans.load(Relaxed), collector.pushes.load(Relaxed));
    Ok(())
}
