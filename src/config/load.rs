//! Loads the configuration from all layers and checks it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use config::{File, FileFormat};

use super::Config;
use super::diagnostics::Diagnostics;
use super::environment::Environment;
use super::error::ConfigError;
use super::file::read_text;
use super::layer::Layer;
use super::reader::Reader;
use super::redact::redact;
use super::store_file::StoreKeys;
use super::toml::join;
use super::validate::validate;

/// Time in which a file that is being written changes.
const WRITE_TIME: Duration = Duration::from_millis(100);
/// Removed namespaces that are named in the log.
const LOGGED_NAMESPACES: usize = 20;
/// Size limit of the configuration file.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// The sources of a configuration, as values, so that tests need no process environment.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The TOML file, if any.
    pub file: Option<PathBuf>,
    /// The environment. Variables that are not Larder's are ignored.
    pub env: BTreeMap<String, String>,
    /// The flags of the command line.
    pub overrides: Overrides,
}

/// The flags that set a key.
///
/// Only values from the command line belong here: the value of a variable would win over
/// `REDIS_ENABLED=false`.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--listen`
    pub listen: Option<String>,
    /// `--admin-listen`
    pub admin_listen: Option<String>,
    /// `--store`
    pub store: Option<String>,
    /// `--store-url-file`
    pub store_url_file: Option<String>,
}

/// Builds the configuration from its sources.
///
/// # Errors
/// The file cannot be read or parsed, or keys or values are wrong. All wrong keys and values are
/// reported, not only the first.
pub fn load(sources: Sources) -> Result<Config, ConfigError> {
    let file = read_file(sources.file.as_ref())?;
    load_text(&file, sources)
}

/// Builds the configuration again, to replace `current`.
///
/// # Errors
/// As [`load`], and the file looks as if it was only written in part: it sets no key, or all
/// namespaces are gone, and it had some before; or some are gone and the file still changes, for
/// which this waits a moment. Namespaces that are gone are logged.
// The file is read in a thread of its own, as a read may block.
#[allow(clippy::disallowed_methods)]
pub fn reload(sources: Sources, current: &Config) -> Result<Config, ConfigError> {
    reload_after(sources, current, || std::thread::sleep(WRITE_TIME))
}

/// As [`reload`]. `wait` is the time in which a file that lacks namespaces may still change.
pub(in crate::config) fn reload_after(
    sources: Sources,
    current: &Config,
    wait: impl FnOnce(),
) -> Result<Config, ConfigError> {
    let source = sources.file.clone();
    let file = read_file(source.as_ref())?;
    let path = source.clone().unwrap_or_default();
    let new = load_text(&file, sources)?;
    let is_blank = |line: &str| line.trim().is_empty() || line.trim().starts_with('#');
    if file.lines().all(is_blank) && !is_same(&new, current) {
        return Err(ConfigError::Emptied { path, what: "it sets no key" });
    }
    if new.namespaces.is_empty() && !current.namespaces.is_empty() {
        return Err(ConfigError::Emptied { path, what: "all namespaces are gone" });
    }
    let gone: Vec<&str> = current
        .namespaces
        .keys()
        .filter(|name| !new.namespaces.contains_key(*name))
        .map(|name| name.as_ref())
        .collect();
    if gone.is_empty() {
        return Ok(new);
    }
    // A file that ends between two tables is valid. A pipe can be read only once.
    if path.is_file() {
        wait();
        if read_file(source.as_ref())? != file {
            return Err(ConfigError::Emptied { path, what: "it changes, and lacks namespaces" });
        }
    }
    let shown = &gone[..gone.len().min(LOGGED_NAMESPACES)];
    tracing::warn!(count = gone.len(), namespaces = ?shown, "the configuration removes namespaces");
    Ok(new)
}

/// Whether nothing changes, apart from the secrets that a URL hides.
fn is_same(new: &Config, current: &Config) -> bool {
    new.render() == current.render()
}

pub(in crate::config) fn load_text(file: &str, sources: Sources) -> Result<Config, ConfigError> {
    let environment = Environment::new(sources.env);
    let origin = sources.file.map_or_else(String::new, |path| path.display().to_string());

    let below = config::Config::builder()
        .add_source(environment.open_telemetry())
        .add_source(File::from_str(file, FileFormat::Toml))
        .build()
        .map_err(|error| ConfigError::syntax(&origin, &error))?;
    let mut diagnostics = Diagnostics::new(origin.clone());
    let configured = |key| below.get_string(key).ok().filter(|text| !text.trim().is_empty());
    let in_file = StoreKeys {
        has_url: configured("store.url").is_some(),
        has_file: configured("store.url_file").is_some(),
    };
    let named = if in_file.has_file || environment.names_store_file() {
        Some("url_file".to_owned())
    } else {
        configured("store.url")
    };
    let variables = environment.larder(named.as_deref(), &mut diagnostics);
    let flags = sources.overrides.layer();
    let store_sources = [in_file, Environment::store_keys(&variables), flags.store_keys()];
    let layers = config::Config::builder()
        .add_source(below)
        .add_source(variables)
        .add_source(flags)
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
    for (index, source) in config.event_sources.iter_mut().enumerate() {
        source.resolve_file(&format!("event_sources[{index}]"), &mut diagnostics);
    }
    config.admin.resolve(environment.variables(), &mut diagnostics);
    config.audit.resolve(environment.variables(), &mut diagnostics);
    if let Some(auth) = &mut config.auth {
        auth.resolve(environment.variables(), &mut diagnostics);
    }
    config.store.resolve_file(&store_sources, &mut diagnostics);
    validate(&config, &mut diagnostics);
    diagnostics.into_result()?;
    config.store.url = environment.complete_credentials(config.store.url);
    Ok(config)
}

fn read_file(path: Option<&PathBuf>) -> Result<String, ConfigError> {
    let Some(path) = path else {
        return Ok(String::new());
    };
    read_text(path, MAX_FILE_BYTES)
        .map_err(|source| ConfigError::Read { path: path.clone(), source })
}

impl Overrides {
    /// Whether a flag contains a password.
    pub fn shows_password(&self) -> bool {
        self.store.as_ref().is_some_and(|store| redact(store) != *store)
    }

    fn layer(self) -> Layer {
        let mut layer = Layer::default();
        for (key, flag, value) in [
            (["listen"].as_slice(), "--listen", self.listen),
            (&["admin_listen"], "--admin-listen", self.admin_listen),
            (&["store", "url"], "--store", self.store),
            (&["store", "url_file"], "--store-url-file", self.store_url_file),
        ] {
            if let Some(value) = value {
                layer.set(key, flag, value);
            }
        }
        layer
    }
}
