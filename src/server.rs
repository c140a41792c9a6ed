//! Builds the parts of all layers and connects them. No other module names the concrete types of
//! every layer.

mod origins;
mod process_metrics;
mod reload;
mod replica_probe;
pub mod runtime_metrics;
mod services;
mod shutdown;
mod store_report;
mod stores;
mod tls;
mod warmer;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpSocket},
    sync::watch,
};
use tokio_util::sync::CancellationToken;
use transport::{Admission, Shutdown};

use self::{origins::OriginSet, services::Services, shutdown::RunningTasks};
use crate::{
    admin,
    audit::Record,
    cloud_events,
    config::{Config, Exposure, LimitsConfig},
    dashboard,
    event_streams::{self, EventStreams, SourceParts},
    model::AuditEvent,
    origin, store,
    telemetry::Telemetry,
};

pub use reload::Reload;
pub use tls::CertificateError;

/// Length of the queue of connections that are not accepted yet, if the system allows it. After the
/// restart of a replica all clients reconnect at once, and a client that the queue rejects waits a
/// second or longer before it retries.
const BACKLOG: u32 = 4096;

/// How many times larger than the limit headers may be to be refused with a gRPC status.
const HEADER_SLACK: u32 = 4;

/// Maximum time for which the first probe of the store delays readiness.
const FIRST_PROBE_TIMEOUT: Duration = Duration::from_millis(100);

/// Maximum time that the log of the start waits for the store's report.
const STORE_REPORT_TIMEOUT: Duration = Duration::from_millis(500);

/// Failure to start the server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A listener could not be opened.
    #[error("cannot listen on {address} ({key})")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The configuration key of the address.
        key: &'static str,
        /// Error of the system.
        source: io::Error,
    },
    /// A certificate or its key cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The store's URL is invalid.
    #[error("store.url cannot be used")]
    Store(#[from] store::Error),
    /// The journal cannot be opened.
    #[error("journal.path cannot be used")]
    Journal(#[source] store::journal::JournalError),
    /// The thread of the audit log cannot be started.
    #[error("the audit log cannot be started")]
    Audit(#[source] io::Error),
    /// The URL of an event source is invalid.
    #[error(transparent)]
    EventSource(#[from] event_streams::Error),
    /// The store belongs to a fleet with another number of shards.
    #[error(
        "store.shards is {own}, and the other replicas on this Redis and store.prefix use {other}: \
         use {other}, or change store.prefix too (see docs/operations.md)"
    )]
    Shards {
        /// The configured number.
        own: u32,
        /// That of the fleet.
        other: u16,
    },
    /// The addresses of the listeners cannot be read.
    #[error("cannot read the address of a listener")]
    Address(#[source] io::Error),
    /// The configuration of an origin is invalid.
    #[error(transparent)]
    Origin(#[from] origin::registry::Error),
    /// The descriptors of the protos are invalid.
    #[error("reflection cannot be set up")]
    Reflection(#[from] tonic_reflection::server::Error),
}

impl From<stores::OpenError> for Error {
    fn from(error: stores::OpenError) -> Self {
        match error {
            stores::OpenError::Store(error) => Self::Store(error),
            stores::OpenError::Journal(error) => Self::Journal(error),
        }
    }
}

/// A server that is ready to run.
pub struct Server {
    config: Config,
    listeners: Listeners,
    services: Services,
    origins: OriginSet,
    event_streams: EventStreams,
}

/// The addresses of a server.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// That of gRPC.
    pub grpc: SocketAddr,
    /// That of metrics and HTTP probes.
    pub admin: SocketAddr,
}

/// The two listeners of a server.
struct Listeners {
    grpc: TcpListener,
    admin: TcpListener,
}

impl Server {
    /// Opens the listeners and builds the services, but serves nothing yet. The runtime releases
    /// the backpressure of `admission` whenever it has nothing to do.
    ///
    /// # Errors
    /// An address, the store's URL or an origin is invalid. A store that does not answer is not an
    /// error.
    pub async fn bind(
        config: Config,
        telemetry: &Telemetry,
        admission: Arc<Admission>,
    ) -> Result<Self, Error> {
        let listeners = Listeners {
            grpc: listen(config.listen, "listen")?,
            admin: listen(config.admin_listen, "admin_listen")?,
        };
        let (services, origins) = Services::open(&config, telemetry, admission).await?;
        let cache = &services.reload.cache;
        let store_tls = services.reload.certificates.store();
        let parts = SourceParts {
            cache: cache.clone(),
            audit: services.reload.audit.clone(),
            tls: store_tls,
        };
        let event_streams = EventStreams::open(&config, &parts, &telemetry.meter())?;
        Ok(Self { config, listeners, services, origins, event_streams })
    }

    /// The addresses that the listeners have.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn addresses(&self) -> Result<Addresses, Error> {
        Ok(Addresses {
            grpc: self.listeners.grpc.local_addr().map_err(Error::Address)?,
            admin: self.listeners.admin.local_addr().map_err(Error::Address)?,
        })
    }

    /// Returns the handle that applies a new configuration to the running server.
    pub fn reload(&self) -> Reload {
        self.services.reload.clone()
    }

    /// Serves until `stop` is cancelled, and then shuts down within the configured limit.
    ///
    /// # Errors
    /// The addresses of the listeners cannot be read; [`Error::Shards`].
    pub async fn run(
        self,
        registry: prometheus::Registry,
        config_file: String,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        let Addresses { grpc: listen, admin: admin_listen } = self.addresses()?;
        let Self { config, listeners, services, origins, mut event_streams } = self;
        let tasks = spawn(&config, listeners, &services, registry);
        // Without this, the first requests could be degraded only because they came before the
        // first probe.
        let mut store_answers = services.store_answers.clone();
        let mut other_shards = services.other_shards.clone();
        let probed = first_probe(&mut store_answers, &mut other_shards);
        if let Ok(Some(other)) = tokio::time::timeout(FIRST_PROBE_TIMEOUT, probed).await {
            tasks.shut_down(config.shutdown_timeout, event_streams).await;
            return Err(Error::Shards { own: config.store.shards, other });
        }
        services.health.set_ready(true).await;
        services.reload.warmer.follow(&origins);
        drop(origins);
        event_streams.start();
        let store_report = services.store_report.clone();
        let server = store_report.first(STORE_REPORT_TIMEOUT).await;
        let namespaces = config.namespaces.values();
        let audit = &services.reload.audit;
        let mut record = Record::new(AuditEvent::Server, "start");
        record.text("version", env!("CARGO_PKG_VERSION")).text("listen", &listen.to_string());
        audit.record(record);
        tracing::info!(
            %listen,
            %admin_listen,
            tls = config.tls.cert.is_some(),
            store = %config.store.url,
            server,
            config = config_file,
            namespaces = config.namespaces.len(),
            origins = namespaces.clone().filter(|namespace| namespace.origin.is_some()).count(),
            near_caches = namespaces.filter(|namespace| namespace.near_cache.is_some()).count(),
            strict_namespaces = config.strict_namespaces,
            version = env!("CARGO_PKG_VERSION"),
            "serving"
        );
        for Exposure { port, address, missing, risk } in config.exposures() {
            tracing::warn!(
                port,
                %address,
                missing,
                risk,
                remedy = "add what is missing, or listen on a loopback address (docs/security.md)",
                "other machines can reach a port that lacks a protection"
            );
        }
        let report = store_report.follow(services.store_answers.clone());
        tokio::spawn(services.background.clone().run_until_cancelled_owned(report));
        let refused = async {
            match first_probe(&mut store_answers, &mut other_shards).await {
                Some(other) => other,
                None => std::future::pending().await,
            }
        };
        let outcome = tokio::select! {
            () = stop.cancelled() => Ok(()),
            other = refused => Err(Error::Shards { own: config.store.shards, other }),
        };
        tasks.shut_down(config.shutdown_timeout, event_streams).await;
        outcome
    }
}

/// Waits until the store answers, or turns out to belong to a fleet with another number of shards,
/// which is returned.
async fn first_probe(
    answers: &mut watch::Receiver<bool>,
    other_shards: &mut watch::Receiver<Option<u16>>,
) -> Option<u16> {
    tokio::select! {
        biased;
        Ok(other) = other_shards.wait_for(Option::is_some) => *other,
        _ = answers.wait_for(|answers| *answers) => None,
    }
}

/// Starts the tasks of a server.
fn spawn(
    config: &Config,
    listeners: Listeners,
    services: &Services,
    registry: prometheus::Registry,
) -> RunningTasks {
    let Services {
        pipeline,
        admission,
        limits,
        ports,
        fleet,
        health,
        store_healthy,
        reload,
        background,
        ending,
        ..
    } = services;
    let (shutdown, pipeline) = (Shutdown::default(), pipeline.clone());
    let server = transport::ServerParts {
        options: transport_options(&config.limits),
        admission: admission.clone(),
        stall_policy: limits.stall_policy.clone(),
        stats: ports.grpc.clone(),
        tls: reload.certificates.grpc(),
        shutdown: shutdown.clone(),
    };
    let answer = move |request| pipeline.clone().answer(request);
    let connections = tokio::spawn(transport::serve(listeners.grpc, server, answer));
    let port = admin::AdminPort {
        registry,
        health: health.clone(),
        access: reload.admin_access.clone(),
        routes: cloud_events::router(reload.cache.clone(), reload.audit.clone()),
        pages: dashboard::router(reload.dashboard.clone()),
        stats: ports.admin.clone(),
        tls: reload.certificates.admin(),
    };
    let admin = tokio::spawn(admin::serve(listeners.admin, port, background.clone()));
    let follow_store = health.clone().follow_store(store_healthy.clone());
    tokio::spawn(background.clone().run_until_cancelled_owned(follow_store));
    let certificates = reload.certificates.clone();
    tokio::spawn(background.clone().run_until_cancelled_owned(certificates.follow()));
    let rejections = limits.clone();
    let log_ends = async move { rejections.log_ends().await };
    tokio::spawn(background.clone().run_until_cancelled_owned(log_ends));
    let (fleet, stop, interval) = (fleet.clone(), background.clone(), config.stats.flush_interval);
    let stats_flush = tokio::spawn(async move { fleet.flush_every(interval, stop).await });
    RunningTasks {
        connections,
        admin,
        stats_flush,
        cache: reload.cache.clone(),
        audit: reload.audit.clone(),
        health: health.clone(),
        shutdown,
        background: background.clone(),
        ending: ending.clone(),
    }
}

fn listen(address: SocketAddr, key: &'static str) -> Result<TcpListener, Error> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|source| Error::Bind { address, key, source })
}

fn transport_options(limits: &LimitsConfig) -> transport::Options {
    transport::Options {
        max_streams: limits.max_streams_per_connection,
        // HTTP/2 refuses larger ones without a gRPC status.
        max_header_bytes: limits.max_header_bytes.saturating_mul(HEADER_SLACK),
        max_idle: limits.max_connection_idle,
        max_age: limits.max_connection_age,
        max_age_grace: limits.max_connection_age_grace,
        keepalive_interval: limits.keepalive_interval,
        keepalive_timeout: limits.keepalive_timeout,
    }
}

#[cfg(test)]
mod fuzz_tests;
