//! Redis streams as sources of events: each is read by a consumer group that all replicas share.
//!
//! At least once: an entry is acknowledged after the store has confirmed what it invalidates. Until
//! then it is pending in the group, and another replica takes it over if this one ends.

mod commands;
mod entry;
mod entry_records;
mod metrics;
mod source;
mod stats;

use std::{sync::Arc, time::Duration};

use opentelemetry::metrics::Meter;
use redis::RedisError;
use secrecy::ExposeSecret as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    audit::AuditLog,
    cache::Cache,
    config::{Config, StoreUrl},
    store::redis::Endpoint,
    tls::ClientTls,
};
use source::Source;
use stats::SourceStats;

/// A source that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("event_sources[{index}].url cannot be used")]
pub struct Error {
    index: usize,
    source: RedisError,
}

/// The parts that a source uses.
#[derive(Clone)]
pub struct SourceParts {
    /// Applies the events.
    pub cache: Arc<Cache>,
    /// Records them.
    pub audit: AuditLog,
    /// TLS to the store's server.
    pub tls: Option<ClientTls>,
}

/// The sources, and the tasks that read them.
pub struct EventStreams {
    sources: Vec<Source>,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl EventStreams {
    /// Opens the configured sources. A server that does not answer is not an error.
    ///
    /// # Errors
    /// The URL of a source cannot be used.
    pub fn open(config: &Config, parts: &SourceParts, meter: &Meter) -> Result<Self, Error> {
        let (mut sources, mut all) = (Vec::new(), Vec::new());
        for (index, source) in config.event_sources.iter().enumerate() {
            // The configuration checks that it is a server.
            let StoreUrl::Redis(url) = source.server(&config.store.url) else { continue };
            let timeout = config.store.connect_timeout;
            // The certificates are for the store.
            let tls = parts.tls.as_ref().filter(|_| source.url.is_none());
            let endpoint = Endpoint::new(url.expose_secret(), tls, timeout)
                .map_err(|error| Error { index, source: error })?;
            let stats = Arc::new(SourceStats::new(index, source));
            all.push(stats.clone());
            sources.push(Source::new(source.clone(), endpoint, timeout, parts.clone(), stats));
        }
        if !all.is_empty() {
            metrics::register(meter, all);
        }
        Ok(Self { sources, tasks: JoinSet::new(), stop: CancellationToken::new() })
    }

    /// Starts a task for each source.
    pub fn start(&mut self) {
        for source in self.sources.drain(..) {
            self.tasks.spawn(source.run(self.stop.clone()));
        }
    }

    /// Ends reading. Entries that were read are still applied.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits for the tasks, and aborts them after `limit`. Entries that are not acknowledged by
    /// then stay pending for other replicas.
    pub async fn ended(mut self, limit: Duration) {
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(limit, ended).await.is_err() {
            tracing::warn!("the event sources did not end in time: entries stay pending");
        }
    }
}
