use std::collections::BTreeMap;

use config::{Map, Source, Value, ValueKind};

use super::StoreUrl;
use super::legacy_env;
use super::reader::Diagnostics;

const PREFIX: &str = "LARDER_";

/// Larder's variables that are no keys: the path of the file, and where clients find the server.
const NOT_KEYS: [&str; 2] = ["LARDER_CONFIG", "LARDER_ADDRESS"];

/// The tables within that of a namespace, which its name cannot hold between double underscores.
const NESTED: [&str; 2] = ["origin", "near_cache"];

/// The environment. An empty variable counts as unset, as compose files cannot unset one.
pub(super) struct Environment {
    variables: BTreeMap<String, String>,
}

impl Environment {
    pub(super) fn new(mut variables: BTreeMap<String, String>) -> Self {
        variables.retain(|_, value| !value.trim().is_empty());
        Self { variables }
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(|value| value.trim())
    }

    pub(super) fn variables(&self) -> &BTreeMap<String, String> {
        &self.variables
    }

    /// What OpenTelemetry's own variables say; the file may say otherwise.
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

    /// What the `REDIS_*` and `LARDER_*` variables say. `configured` is the store of the file.
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
            layer.set_variable(key, name, value.clone());
        }
        // Last, because REDIS_ENABLED=false wins over the rest.
        match legacy_env::store_url(self, configured) {
            Ok(Some((url, origin))) => layer.set(&["store", "url"], origin, url),
            Ok(None) => {}
            Err(problem) => diagnostics.problem(&problem.key, problem.origin, problem.message),
        }
        layer
    }

    /// Fills in the password of a Redis URL that has none, wherever the URL came from: that lets
    /// the URL stand in a file and the password in a secret.
    pub(super) fn complete_credentials(&self, url: StoreUrl) -> StoreUrl {
        match self.get("REDIS_PASSWORD") {
            Some(password) => url.with_credentials(self.get("REDIS_USERNAME"), password),
            None => url,
        }
    }
}

/// Whether Kubernetes set this variable for a Service called `larder` or `larder-something`.
fn is_kubernetes(key: &str) -> bool {
    let of_service =
        |key: &str| key.starts_with("SERVICE_") || key == "PORT" || key.starts_with("PORT_");
    // Our keys have a section, and with it a double underscore.
    let of_other = ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT"].iter().any(|end| key.ends_with(end))
        || ["_SERVICE_PORT_", "_TCP_", "_UDP_"].iter().any(|part| key.contains(part))
        || ["_TCP", "_UDP"].iter().any(|end| key.ends_with(end));
    of_service(key) || (of_other && !key.contains("__"))
}

/// Values with the variable or flag they came from.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer {
    root: Map<String, Value>,
}

impl Layer {
    pub(super) fn set(&mut self, path: &[&str], origin: &str, value: String) {
        let value = Value::new(Some(&origin.to_owned()), value);
        insert(&mut self.root, path, value);
    }

    /// `SECTION__KEY`, where the name of a namespace may itself hold a double underscore.
    fn set_variable(&mut self, key: &str, name: &str, value: String) {
        let key = key.to_ascii_lowercase();
        let Some((namespace, tables, key)) =
            key.strip_prefix("namespaces__").and_then(of_namespace)
        else {
            return self.set(&key.split("__").collect::<Vec<_>>(), name, value);
        };
        let header = tables == ["origin", "headers"];
        // No shell has a dash in the name of a variable, and hardly a header has an underscore.
        let key = if header { key.replace('_', "-") } else { key.to_owned() };
        self.set(&[&["namespaces", namespace], tables.as_slice(), &[&key]].concat(), name, value);
    }
}

/// Splits what follows `namespaces__` into the namespace, the tables within and the key. The name is as long as it can be
/// without swallowing a table.
fn of_namespace(rest: &str) -> Option<(&str, Vec<&str>, &str)> {
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

fn insert(table: &mut Map<String, Value>, path: &[&str], value: Value) {
    let Some((name, below)) = path.split_first() else {
        return;
    };
    if below.is_empty() {
        table.insert((*name).to_owned(), value);
        return;
    }
    let child = table.entry((*name).to_owned()).or_insert_with(|| empty_table(&value));
    if !matches!(child.kind, ValueKind::Table(_)) {
        *child = empty_table(&value);
    }
    if let ValueKind::Table(table) = &mut child.kind {
        insert(table, below, value);
    }
}

fn empty_table(like: &Value) -> Value {
    Value::new(like.origin().map(str::to_owned).as_ref(), Map::<String, Value>::new())
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.root.clone())
    }
}
