//! The configuration: defaults < TOML file < environment < flags, read and checked once, then
//! handed around as plain data.
//!
//! The `config` crate stacks the layers and remembers where each value came from. Its values are
//! then read key by key (see `keys`) rather than through serde, for three reasons: one start
//! shows every mistake and not only the first, each with its full key and its origin; nothing is
//! coerced (`connections = true` is a mistake, not 1); and the same list of keys that reads the
//! configuration also renders it.

mod environment;
mod error;
mod legacy_env;
mod limits;
mod log;
mod namespace;
mod near_cache;
mod origin;
mod reader;
mod render;
mod store;
mod store_url;
mod telemetry;
#[cfg(test)]
mod tests;
mod toml;
mod validate;
mod value;
mod visitor;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use config::{File, FileFormat};

use environment::{Environment, Layer};
use namespace::Defaults;
use reader::{Diagnostics, Reader};
use render::TomlRenderer;
use toml::join;
use value::{HOUR, MICROSECOND, MILLISECOND, address, boolean, duration};
use visitor::{ConfigVisitor, Section};

pub use error::{ConfigError, Problem};
pub use limits::LimitsConfig;
pub use log::{LogConfig, LogFormat};
pub use namespace::NamespaceConfig;
pub use near_cache::NearCacheConfig;
pub use origin::{
    HeaderTemplate, HttpVersionSetting, InvalidHeader, OriginConfig, Target, WarmConfig,
};
pub use store::{MemoryConfig, StoreConfig};
pub use store_url::{InvalidStoreUrl, StoreUrl};
pub use telemetry::{StatsConfig, TelemetryConfig};

/// The whole configuration, complete and within its limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where gRPC is served. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where `/metrics`, `/livez` and `/readyz` are served. Port 0 takes a free one.
    pub admin_listen: SocketAddr,
    /// How long running requests may take to finish after a signal to stop.
    pub shutdown_timeout: Duration,
    /// How long a thread that has run out of work looks for more before it sleeps. Zero: not at all.
    pub busy_poll: Duration,
    /// Whether a namespace without a table of its own is refused.
    pub strict_namespaces: bool,
    /// Whether gRPC reflection is served.
    pub reflection: bool,
    /// Where entries are kept and how that store is reached.
    pub store: StoreConfig,
    /// The embedded store.
    pub memory: MemoryConfig,
    /// What holds for a namespace without a table of its own.
    pub defaults: NamespaceConfig,
    /// Namespaces with a table of their own, complete: `defaults` fills what the table leaves out.
    pub namespaces: BTreeMap<String, NamespaceConfig>,
    /// What one process accepts at most.
    pub limits: LimitsConfig,
    /// The log on stderr.
    pub log: LogConfig,
    /// Traces and metrics.
    pub telemetry: TelemetryConfig,
    /// Statistics of the fleet.
    pub stats: StatsConfig,
}

/// Everything a configuration is made of. Values, so that tests need no process environment.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The TOML file, if any.
    pub file: Option<PathBuf>,
    /// The environment; variables that are not Larder's are ignored.
    pub env: BTreeMap<String, String>,
    /// The flags of the command line.
    pub overrides: Overrides,
}

/// The flags that set a key. Only what stands on the command line belongs here: a variable passed
/// off as a flag would win over `REDIS_ENABLED=false`.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--listen`
    pub listen: Option<String>,
    /// `--admin-listen`
    pub admin_listen: Option<String>,
    /// `--store`
    pub store: Option<String>,
}

/// Builds the configuration from its sources.
///
/// Fails with every mistake found, not only the first.
pub fn load(sources: Sources) -> Result<Config, ConfigError> {
    let environment = Environment::new(sources.env);
    let file = read_file(sources.file.as_ref())?;
    let origin = sources.file.map_or_else(String::new, |path| path.display().to_string());

    let below = config::Config::builder()
        .add_source(environment.open_telemetry())
        .add_source(File::from_str(&file, FileFormat::Toml))
        .build()
        .map_err(|error| ConfigError::syntax(&origin, &error))?;
    let mut diagnostics = Diagnostics::new(origin.clone());
    let configured_url = below.get_string("store.url").ok();
    let variables = environment.larder(configured_url.as_deref(), &mut diagnostics);
    let layers = config::Config::builder()
        .add_source(below)
        .add_source(variables)
        .add_source(sources.overrides.layer())
        .build()
        .map_err(|error| ConfigError::syntax(&origin, &error))?;

    let mut config = Config::default();
    Reader::read(layers.cache, &mut config, &mut diagnostics);
    for (name, namespace) in &mut config.namespaces {
        if let Some(origin) = &mut namespace.origin {
            let path = join(&join("namespaces", name), "origin");
            origin.resolve_headers(&path, environment.variables(), &mut diagnostics);
        }
    }
    validate::check(&config, &mut diagnostics);
    diagnostics.into_result()?;
    config.store.url = environment.complete_credentials(config.store.url);
    Ok(config)
}

fn read_file(path: Option<&PathBuf>) -> Result<String, ConfigError> {
    let Some(path) = path else {
        return Ok(String::new());
    };
    std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.clone(), source })
}

impl Config {
    /// Renders the effective configuration as TOML that [`load`] reads, passwords as `***`.
    pub fn render(&self) -> String {
        TomlRenderer::of(self).to_toml()
    }

    /// The keys whose new value only a restart brings into force, in order.
    ///
    /// Reloaded without one: `namespaces`, `defaults`, `log.level` and `log.keys`.
    pub fn needs_restart(&self, new: &Self) -> Vec<String> {
        let reloaded = |key: &str| {
            key.starts_with("namespaces.")
                || key.starts_with("defaults.")
                || matches!(key, "log.level" | "log.keys")
        };
        let old = TomlRenderer::of(self).into_values();
        // A rendered URL hides its password, and a new password needs a restart as well.
        let url_changed = |key: &str| key == "store.url" && self.store.url != new.store.url;
        TomlRenderer::of(new)
            .into_values()
            .into_iter()
            .filter(|(key, value)| old.get(key) != Some(value) || url_changed(key))
            .map(|(key, _)| key)
            .filter(|key| !reloaded(key))
            .collect()
    }
}

impl Overrides {
    fn layer(self) -> Layer {
        let mut layer = Layer::default();
        for (key, flag, value) in [
            (["listen"].as_slice(), "--listen", self.listen),
            (&["admin_listen"], "--admin-listen", self.admin_listen),
            (&["store", "url"], "--store", self.store),
        ] {
            if let Some(value) = value {
                layer.set(key, flag, value);
            }
        }
        layer
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 50051)),
            admin_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9464)),
            shutdown_timeout: Duration::from_secs(20),
            busy_poll: Duration::ZERO,
            strict_namespaces: false,
            reflection: true,
            store: StoreConfig::default(),
            memory: MemoryConfig::default(),
            defaults: NamespaceConfig::default(),
            namespaces: BTreeMap::new(),
            limits: LimitsConfig::default(),
            log: LogConfig::default(),
            telemetry: TelemetryConfig::default(),
            stats: StatsConfig::default(),
        }
    }
}

impl Section for Config {
    fn visit(&mut self, visitor: &mut impl ConfigVisitor) {
        visitor.key("listen", &mut self.listen, address());
        visitor.key("admin_listen", &mut self.admin_listen, address());
        visitor.key("shutdown_timeout", &mut self.shutdown_timeout, duration(MILLISECOND, HOUR));
        visitor.key("busy_poll", &mut self.busy_poll, duration(MICROSECOND, MILLISECOND).or_zero());
        visitor.key("strict_namespaces", &mut self.strict_namespaces, boolean());
        visitor.key("reflection", &mut self.reflection, boolean());
        visitor.section("store", &mut self.store);
        visitor.section("memory", &mut self.memory);
        visitor.section("defaults", &mut Defaults(&mut self.defaults));
        // After `defaults`, whose values every namespace starts from.
        visitor.sections("namespaces", &mut self.namespaces, &self.defaults);
        visitor.section("limits", &mut self.limits);
        visitor.section("log", &mut self.log);
        visitor.section("telemetry", &mut self.telemetry);
        visitor.section("stats", &mut self.stats);
    }
}
