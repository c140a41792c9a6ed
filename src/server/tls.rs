//! Certificates of the ports and of the connections to Redis: opened at the start, and replaced by
//! SIGHUP and when their files change.
//!
//! Files are compared by their contents, at an interval. A notification of the file system would
//! save little, and miss the swap of a symbolic link by which Kubernetes replaces a secret, as well
//! as changes on a network.

mod expiry;
mod in_thread;
mod in_use;
mod metrics;

use std::{sync::Arc, time::Duration};

use opentelemetry::metrics::Meter;
use rustls::ClientConfig;
use tokio::time::MissedTickBehavior;
use transport::{PortNames, TlsPort, TlsSettings};

use self::{
    expiry::Expiries,
    in_use::{InUse, Loaded, Reports},
    metrics::HandshakeMetrics,
};
use crate::{
    audit::AuditLog,
    config::{Config, StoreUrl},
    tls::{ClientTls, ClientTlsOptions, ServerTls, ServerTlsOptions, TlsError},
};

/// Time between two comparisons of the files.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// Failure to read or use certificates.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// They cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A file system does not answer.
    #[error("the files of certificates cannot be read")]
    Read(#[from] in_thread::ThreadError),
}

/// The certificates of a server.
#[derive(Clone)]
pub(super) struct Certificates {
    grpc: Option<Port>,
    admin: Option<Port>,
    store: Option<Store>,
    expiries: Arc<Expiries>,
}

/// A port with TLS.
#[derive(Clone)]
struct Port {
    tls: Arc<TlsPort>,
    in_use: Arc<InUse<ServerTlsOptions>>,
}

/// Connections to Redis with certificates of the configuration.
#[derive(Clone)]
struct Store {
    tls: ClientTls,
    in_use: Arc<InUse<ClientTlsOptions>>,
}

/// Certificates that can replace those in use.
pub(super) struct Replacement {
    grpc: Option<Loaded<ServerTlsOptions>>,
    admin: Option<Loaded<ServerTlsOptions>>,
}

impl Certificates {
    /// Reads the certificates, and registers their metrics.
    pub(super) async fn open(
        config: &Config,
        meter: &Meter,
        audit: &AuditLog,
    ) -> Result<Self, CertificateError> {
        let handshakes = HandshakeMetrics::new(meter);
        let expiries = Arc::new(Expiries::default());
        metrics::register_expiry(meter, &expiries);
        let reports = Reports { expiries: expiries.clone(), audit: audit.clone() };
        let grpc = Port::open("grpc", config.grpc_tls(), &handshakes, &reports).await?;
        let admin = Port::open("admin", config.admin_tls(), &handshakes, &reports).await?;
        let store = Store::open(config, &reports).await?;
        Ok(Self { grpc, admin, store, expiries })
    }

    /// TLS of the gRPC port; none for plain text.
    pub(super) fn grpc(&self) -> Option<Arc<TlsPort>> {
        self.grpc.as_ref().map(|port| port.tls.clone())
    }

    /// TLS of the admin port; none for plain text.
    pub(super) fn admin(&self) -> Option<Arc<TlsPort>> {
        self.admin.as_ref().map(|port| port.tls.clone())
    }

    /// TLS to Redis; none for the authorities of the system, and no certificate.
    pub(super) fn store(&self) -> Option<ClientTls> {
        self.store.as_ref().map(|store| store.tls.clone())
    }

    /// Reads the certificates of a new configuration. A port that has no TLS gets none.
    pub(super) async fn load(&self, config: &Config) -> Result<Replacement, CertificateError> {
        let grpc = config.grpc_tls().filter(|_| self.grpc.is_some());
        let admin = config.admin_tls().filter(|_| self.admin.is_some());
        Ok(Replacement { grpc: Loaded::read(grpc).await?, admin: Loaded::read(admin).await? })
    }

    /// Puts certificates into use.
    pub(super) fn replace(&self, Replacement { grpc, admin }: Replacement) {
        for (port, loaded) in [(&self.grpc, grpc), (&self.admin, admin)] {
            if let (Some(port), Some(loaded)) = (port, loaded) {
                port.in_use.replace(loaded);
            }
        }
    }

    /// Compares the files with what is in use, for ever, and warns of certificates that expire.
    pub(super) async fn follow(self) {
        let mut ticks = tokio::time::interval(CHECK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.expiries.warn();
            for port in [&self.grpc, &self.admin].into_iter().flatten() {
                port.in_use.check().await;
            }
            if let Some(store) = &self.store {
                store.in_use.check().await;
            }
        }
    }
}

impl Port {
    async fn open(
        name: &'static str,
        options: Option<ServerTlsOptions>,
        handshakes: &HandshakeMetrics,
        reports: &Reports,
    ) -> Result<Option<Self>, CertificateError> {
        let Some(loaded) = Loaded::read(options).await? else { return Ok(None) };
        let names = PortNames { port: name, section: loaded.options.section };
        let settings = settings(&loaded.options, &loaded.built);
        let tls = Arc::new(TlsPort::new(names, settings, handshakes.observer(name)));
        let port = tls.clone();
        let put = move |options: &_, built: &_| port.replace(self::settings(options, built));
        let in_use = Arc::new(InUse::new(name, loaded, put, reports.clone()));
        Ok(Some(Self { tls, in_use }))
    }
}

fn settings(options: &ServerTlsOptions, built: &ServerTls) -> TlsSettings {
    TlsSettings {
        config: built.config.clone(),
        client_verifier: built.client_verifier.clone(),
        handshake_timeout: options.handshake_timeout,
    }
}

impl Store {
    async fn open(config: &Config, reports: &Reports) -> Result<Option<Self>, CertificateError> {
        let options = config.store.tls();
        let has_any = options.ca.is_some() || options.cert.is_some();
        let is_redis = config.store.url != StoreUrl::Memory;
        let options = Some(options).filter(|_| has_any && is_redis);
        let Some(loaded) = Loaded::read(options).await? else { return Ok(None) };
        let tls = ClientTls::new(loaded.built.0.clone());
        let put = {
            let tls = tls.clone();
            move |_: &_, (config, _): &(Arc<ClientConfig>, _)| tls.replace(config.clone())
        };
        let in_use = Arc::new(InUse::new("store", loaded, put, reports.clone()));
        Ok(Some(Self { tls, in_use }))
    }
}
