//! Reads the variables of the environment.

use std::collections::BTreeMap;

use super::diagnostics::Diagnostics;
use super::layer::Layer;
use super::legacy_env;
use super::store_file::StoreKeys;
use super::store_url::StoreUrl;

const PREFIX: &str = "LARDER_";

/// Larder's variables that set no key: the path of the file, and those of the command line and of
/// the client libraries, with the server's address and how to connect.
const NOT_KEYS: [&str; 11] = [
    "LARDER_CONFIG",
    "LARDER_ADDRESS",
    "LARDER_TLS_CA",
    "LARDER_TLS_SERVER_NAME",
    "LARDER_CERT",
    "LARDER_KEY",
    "LARDER_TOKEN",
    "LARDER_ENDPOINT",
    "LARDER_CA_FILE",
    "LARDER_CERT_FILE",
    "LARDER_KEY_FILE",
];

/// The tables of a namespace. A variable cannot name a namespace that contains one of them between
/// double underscores.
const NESTED: [&str; 2] = ["origin", "near_cache"];

/// The environment. An empty variable counts as unset, because compose files cannot unset one.
pub(super) struct Environment {
    variables: BTreeMap<String, String>,
}

impl Environment {
    /// Drops empty variables and trims the others.
    pub(super) fn new(variables: BTreeMap<String, String>) -> Self {
        let trimmed = variables.into_iter().map(|(name, value)| (name, value.trim().to_owned()));
        Self { variables: trimmed.filter(|(_, value)| !value.is_empty()).collect() }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    pub(super) fn variables(&self) -> &BTreeMap<String, String> {
        &self.variables
    }

    /// The keys set by OpenTelemetry's own variables. The file overrides them.
    pub(super) fn open_telemetry(&self) -> Layer {
        let mut layer = Layer::default();
        for (variable, key) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "otlp_endpoint"),
            ("OTEL_SERVICE_NAME", "service_name"),
        ] {
            if let Some(value) = self.get(variable) {
                layer.set(&["telemetry", key], variable, value.to_owned());
            }
        }
        layer
    }

    /// The keys set by `REDIS_*` and `LARDER_*` variables. `configured` is the store that is known
    /// already: that of the file, or a text that is no URL for a store that another key names.
    pub(super) fn larder(&self, configured: Option<&str>, diagnostics: &mut Diagnostics) -> Layer {
        let mut layer = Layer::default();
        if let Some(prefix) = self.get(legacy_env::PREFIX) {
            layer.set(&["store", "prefix"], legacy_env::PREFIX, prefix.to_owned());
        }
        for (name, value) in &self.variables {
            let Some(key) = name.strip_prefix(PREFIX) else {
                continue;
            };
            if NOT_KEYS.contains(&name.as_str()) || is_kubernetes(key) || name == "LARDER_STORE" {
                continue;
            }
            set_variable(&mut layer, key, name, value.clone());
        }
        // Last, because REDIS_ENABLED=false wins over the rest.
        match legacy_env::store_url(&self.variables, configured) {
            Ok(Some((url, origin))) => layer.set(&["store", "url"], origin, url),
            Ok(None) => {}
            Err(problem) => diagnostics.push(problem),
        }
        layer
    }

    /// The keys of the store that `variables`, a result of [`Self::larder`], sets. If Redis is
    /// switched off, no file is read.
    pub(super) fn store_keys(variables: &Layer) -> StoreKeys {
        let is_switched = variables.store_origin("url").is_some_and(legacy_env::is_switch);
        let keys = variables.store_keys();
        StoreKeys { has_file: keys.has_file && !is_switched, ..keys }
    }

    /// Whether a variable names the file of the store's URL.
    pub(super) fn names_store_file(&self) -> bool {
        self.get("LARDER_STORE__URL_FILE").is_some()
    }

    /// Fills in the password of a Redis URL that has none, whichever source the URL has. The URL
    /// can then be in a file and the password in a secret.
    pub(super) fn complete_credentials(&self, url: StoreUrl) -> StoreUrl {
        let url = match self.get("REDIS_PASSWORD") {
            Some(password) => url.with_credentials(self.get("REDIS_USERNAME"), password),
            None => url,
        };
        match self.get("REDIS_SENTINEL_PASSWORD") {
            Some(password) => {
                url.with_sentinel_credentials(self.get("REDIS_SENTINEL_USERNAME"), password)
            }
            None => url,
        }
    }
}

/// Whether Kubernetes set this variable for a Service called `larder` or `larder-something`.
fn is_kubernetes(key: &str) -> bool {
    let of_larder = key.starts_with("SERVICE_") || key == "PORT" || key.starts_with("PORT_");
    // Keys of Larder have a section, and with it a double underscore.
    let of_other = ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT"].iter().any(|end| key.ends_with(end))
        || ["_SERVICE_PORT_", "_TCP_", "_UDP_"].iter().any(|part| key.contains(part))
        || ["_TCP", "_UDP"].iter().any(|end| key.ends_with(end));
    of_larder || (of_other && !key.contains("__"))
}

/// Sets the key of a variable `SECTION__KEY`. The name of a namespace may contain a double
/// underscore.
fn set_variable(layer: &mut Layer, key: &str, name: &str, value: String) {
    let key = key.to_ascii_lowercase();
    let Some((namespace, tables, key)) = key.strip_prefix("namespaces__").and_then(split_namespace)
    else {
        return layer.set(&key.split("__").collect::<Vec<_>>(), name, value);
    };
    let header = tables == ["origin", "headers"];
    // Shells allow no dash in the name of a variable, and few headers have an underscore.
    let key = if header { key.replace('_', "-") } else { key.to_owned() };
    layer.set(&[&["namespaces", namespace], tables.as_slice(), &[&key]].concat(), name, value);
}

/// Splits the text after `namespaces__` into the namespace, its nested tables and the key. The
/// namespace is as long as possible without containing a table.
fn split_namespace(rest: &str) -> Option<(&str, Vec<&str>, &str)> {
    for table in NESTED {
        let Some((namespace, below)) =
            rest.split_once(&format!("__{table}__")).filter(|(name, _)| !name.is_empty())
        else {
            continue;
        };
        if let Some(header) = below.strip_prefix("headers__") {
            return Some((namespace, vec![table, "headers"], header));
        }
        let mut path: Vec<_> = below.split("__").collect();
        let key = path.pop()?;
        path.insert(0, table);
        return Some((namespace, path, key));
    }
    let (namespace, key) = rest.rsplit_once("__")?;
    Some((namespace, Vec::new(), key))
}
