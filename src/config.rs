//! The configuration: defaults < TOML file < environment < flags, read and checked once, then
//! passed around as plain data.
//!
//! The `config` crate merges the layers and remembers the origin of each value. The values are
//! then read key by key through a `ConfigVisitor` instead of serde, for three reasons:
//!
//! - All mistakes are reported at once, each with its full key and its origin.
//! - Nothing is coerced: `connections = true` is a mistake, not 1.
//! - The list of keys that reads the configuration also renders it.

mod admin;
mod audit;
mod auth;
mod connection_string;
mod diagnostics;
mod environment;
mod error;
mod event_rule;
mod event_source;
mod exposure;
mod file;
#[cfg(test)]
mod fuzz_tests;
mod header;
mod in_force;
mod journal;
mod layer;
mod legacy_env;
mod limits;
mod load;
mod log;
mod memory;
mod namespace;
mod near_cache;
mod origin;
mod quota;
mod reader;
mod redact;
mod reload;
mod render;
mod secret_template;
mod stats;
mod store;
mod store_file;
mod store_url;
mod target;
mod telemetry;
#[cfg(test)]
mod tests;
mod tls;
mod toml;
mod validate;
mod value;
mod visitor;
mod warm;
mod watch;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use namespace::DefaultsSection;
use value::{HOUR, MICROSECOND, MILLISECOND, boolean, duration, socket_address};
use visitor::{ConfigVisitor, Section};

pub use admin::AdminConfig;
pub use audit::{AuditConfig, AuditTarget, KeyForm};
pub use auth::{
    AuthConfig, AuthMode, JwtConfig, MintedConfig, PrincipalConfig, RoleConfig, RuleConfig,
    TokenConfig,
};
pub use error::{ConfigError, Problem};
pub use event_rule::EventRuleConfig;
pub use event_source::{EventSourceConfig, StreamStart};
pub use exposure::Exposure;
pub use in_force::{SettingInForce, SettingSource};
pub use journal::JournalConfig;
pub use limits::LimitsConfig;
pub use load::{Overrides, Sources, load, reload};
pub use log::{LogConfig, LogFormat};
pub use memory::MemoryConfig;
pub use namespace::NamespaceConfig;
pub use near_cache::NearCacheConfig;
pub use origin::{HttpVersionSetting, OriginConfig};
pub use quota::{HeldLimits, NamespaceQuotaConfig, PrincipalQuotaConfig, UseLimits};
pub use secret_template::{InvalidSecret, SecretTemplate};
pub use stats::StatsConfig;
pub use store::{StoreConfig, WaitReplicas};
pub use store_url::{InvalidStoreUrl, StoreUrl};
pub use target::Target;
pub use telemetry::TelemetryConfig;
pub use tls::TlsConfig;
pub use warm::WarmConfig;
pub use watch::WatchConfig;

/// The whole configuration, complete and within its limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Address of the gRPC server. Port 0 takes a free port.
    pub listen: SocketAddr,
    /// Address of `/metrics`, `/livez`, `/readyz`, `/events`, the dashboard and, with `admin.token`
    /// or `[auth]` in force, `/login`: another than `listen`. Port 0 takes a free port.
    pub admin_listen: SocketAddr,
    /// How long running requests may take to finish after a signal to stop.
    pub shutdown_timeout: Duration,
    /// How long an idle thread polls for events before it sleeps. Zero: not at all. See
    /// docs/operations.md#latency.
    pub busy_poll: Duration,
    /// Whether namespaces without a table of their own are refused.
    pub strict_namespaces: bool,
    /// Whether events without rules in `[[events.<name>]]` are refused.
    pub strict_events: bool,
    /// Whether a start is refused if `listen` or `admin_listen` is another address than loopback
    /// and lacks `[tls]`, `[auth]` (`mode = "enforce"`), `[admin.tls]` or `admin.token` (or
    /// `admin.tls.client_cert = "required"`). Otherwise that is a warning at the start.
    pub strict_security: bool,
    /// Whether gRPC reflection is served.
    pub reflection: bool,
    /// TLS of the gRPC port.
    pub tls: TlsConfig,
    /// The admin port.
    pub admin: AdminConfig,
    /// The store of the entries and the connections to it.
    pub store: StoreConfig,
    /// The embedded store.
    pub memory: MemoryConfig,
    /// The rules of namespaces without a table in the configuration.
    pub defaults: NamespaceConfig,
    /// The namespaces with a table in the configuration. Keys missing there have the values of
    /// `defaults`.
    pub namespaces: BTreeMap<String, NamespaceConfig>,
    /// Rules of events, by the events' names.
    pub events: BTreeMap<String, Vec<EventRuleConfig>>,
    /// Where events are read from.
    pub event_sources: Vec<EventSourceConfig>,
    /// Upper limits of one process.
    pub limits: LimitsConfig,
    /// The log on stderr.
    pub log: LogConfig,
    /// Traces and metrics.
    pub telemetry: TelemetryConfig,
    /// Statistics of the fleet.
    pub stats: StatsConfig,
    /// Streams of changes.
    pub watch: WatchConfig,
    /// Invalidations that are kept on disk while Redis is away.
    pub journal: JournalConfig,
    /// The audit log.
    pub audit: AuditConfig,
    /// Callers and what they may do; `None`: everything.
    pub auth: Option<AuthConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 50051)),
            admin_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9464)),
            shutdown_timeout: Duration::from_secs(20),
            busy_poll: Duration::ZERO,
            strict_namespaces: false,
            strict_events: false,
            strict_security: false,
            reflection: true,
            tls: TlsConfig::default(),
            admin: AdminConfig::default(),
            store: StoreConfig::default(),
            memory: MemoryConfig::default(),
            defaults: NamespaceConfig::default(),
            namespaces: BTreeMap::new(),
            events: BTreeMap::new(),
            event_sources: Vec::new(),
            limits: LimitsConfig::default(),
            log: LogConfig::default(),
            telemetry: TelemetryConfig::default(),
            stats: StatsConfig::default(),
            watch: WatchConfig::default(),
            journal: JournalConfig::default(),
            audit: AuditConfig::default(),
            auth: None,
        }
    }
}

impl Section for Config {
    fn visit(&mut self, visitor: &mut impl ConfigVisitor) {
        visitor.key("listen", &mut self.listen, socket_address());
        visitor.key("admin_listen", &mut self.admin_listen, socket_address());
        visitor.key("shutdown_timeout", &mut self.shutdown_timeout, duration(MILLISECOND, HOUR));
        visitor.key("busy_poll", &mut self.busy_poll, duration(MICROSECOND, MILLISECOND).or_zero());
        visitor.key("strict_namespaces", &mut self.strict_namespaces, boolean());
        visitor.key("strict_events", &mut self.strict_events, boolean());
        visitor.key("strict_security", &mut self.strict_security, boolean());
        visitor.key("reflection", &mut self.reflection, boolean());
        visitor.section("tls", &mut self.tls);
        visitor.section("admin", &mut self.admin);
        visitor.section("store", &mut self.store);
        visitor.section("memory", &mut self.memory);
        visitor.section("defaults", &mut DefaultsSection(&mut self.defaults));
        // After `defaults`, the template of every namespace.
        visitor.sections("namespaces", &mut self.namespaces, &self.defaults);
        visitor.lists("events", &mut self.events, &EventRuleConfig::default());
        visitor.list("event_sources", &mut self.event_sources, &EventSourceConfig::default());
        visitor.section("limits", &mut self.limits);
        visitor.section("log", &mut self.log);
        visitor.section("telemetry", &mut self.telemetry);
        visitor.section("stats", &mut self.stats);
        visitor.section("watch", &mut self.watch);
        visitor.section("journal", &mut self.journal);
        visitor.section("audit", &mut self.audit);
        visitor.optional("auth", &mut self.auth, &AuthConfig::default());
    }
}
