//! Applies a new configuration to the running server.

use std::sync::Arc;

use super::{
    Error,
    origins::OriginManager,
    stores::{limit_held, near_cache_options},
    tls::Certificates,
    warmer::Warmer,
};
use crate::{
    admin::AdminAccess,
    audit::{AuditLog, Record},
    auth::Authenticator,
    cache::Cache,
    config::Config,
    dashboard::Dashboard,
    model::AuditEvent,
    quota::Quotas,
    rpc::{KeyLogging, RunningConfig},
    stats::registry::StatsRegistry,
    store::{HeldQuotas, near_cache::NearCache},
};

/// Name of a reload in the audit log.
const RELOAD: &str = "config";

/// Handle to the parts of the server that can change while it runs.
#[derive(Clone)]
pub struct Reload {
    pub(super) cache: Arc<Cache>,
    pub(super) registry: Arc<StatsRegistry>,
    pub(super) key_logging: KeyLogging,
    pub(super) running_config: RunningConfig,
    pub(super) origins: Arc<OriginManager>,
    pub(super) near_cache: Arc<NearCache>,
    pub(super) warmer: Arc<Warmer>,
    pub(super) authenticator: Arc<Authenticator>,
    pub(super) quotas: Arc<Quotas>,
    pub(super) held_quotas: HeldQuotas,
    pub(super) certificates: Certificates,
    pub(super) admin_access: Arc<AdminAccess>,
    pub(super) dashboard: Arc<Dashboard>,
    pub(super) audit: AuditLog,
}

impl Reload {
    /// Opens the file of the audit log again, which may have been renamed.
    pub fn reopen_audit_log(&self) {
        self.audit.reopen();
    }

    /// Records that a configuration was applied. `ignored`: keys that need a restart.
    pub fn record_applied(&self, changed: &[String], ignored: &[String]) {
        let mut record = Record::new(AuditEvent::Reload, RELOAD);
        record.list("changed", changed).list("needs_restart", ignored).code("OK");
        self.audit.record(record);
    }

    /// Records that a configuration was refused.
    pub fn record_refused(&self, reason: &str) {
        let mut record = Record::new(AuditEvent::Reload, RELOAD);
        record.text("error", reason).code("FAILED_PRECONDITION");
        self.audit.record(record);
    }

    /// Applies the settings that do not need a restart.
    ///
    /// # Errors
    /// The configuration of an origin or a certificate is invalid. Then nothing changes.
    pub async fn apply(&self, config: &Config) -> Result<(), Error> {
        // Certificates and origins come first, because only they can fail.
        let certificates = self.certificates.load(config).await?;
        let origins = self.origins.replace(&config.namespaces)?;
        self.certificates.replace(certificates);
        self.cache.namespaces().replace(
            &config.defaults,
            &config.namespaces,
            &origins.all,
            config.strict_namespaces,
        );
        self.cache.replace_events(&config.events, config.strict_events);
        self.near_cache.configure(&near_cache_options(config));
        self.registry.reserve(&self.cache.namespaces().configured());
        self.key_logging.set(config.log.keys);
        self.running_config.set(config);
        self.warmer.follow(&origins);
        self.authenticator.configure(config.auth.as_ref());
        self.admin_access.configure(config);
        self.dashboard.configure(config);
        self.quotas.configure(&config.namespaces);
        limit_held(&self.held_quotas, &config.namespaces);
        Ok(())
    }
}
