//! The rules of every namespace, and its origin if it has one.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Deref,
    sync::Arc,
};

use arc_swap::ArcSwap;

use super::Error;
use crate::{
    config::{NamespaceConfig, OriginConfig},
    model::Namespace,
    origin::client::OriginClient,
};

/// Rules by namespace, replaced as a whole when the configuration is read again.
pub struct Namespaces(ArcSwap<Table>);

/// The gates before the origins, by namespace.
pub type OriginClients = HashMap<Namespace, Arc<OriginClient>>;

/// The rules of one namespace.
pub(super) struct NamespaceRules {
    config: NamespaceConfig,
    source: Option<OriginBinding>,
}

/// Where the values of a namespace are fetched.
pub(super) struct OriginBinding {
    pub(super) gate: Arc<OriginClient>,
    pub(super) config: OriginConfig,
}

struct Table {
    configured: HashMap<Namespace, Arc<NamespaceRules>>,
    defaults: Arc<NamespaceRules>,
    strict: bool,
}

impl Namespaces {
    /// `configured` has complete rules; all other namespaces follow `defaults`, or are refused if `strict`. A namespace
    /// whose origin has no gate is served as one without an origin.
    pub fn new(
        defaults: &NamespaceConfig,
        configured: &BTreeMap<String, NamespaceConfig>,
        gates: &OriginClients,
        strict: bool,
    ) -> Self {
        Self(ArcSwap::from_pointee(Table::new(defaults, configured, gates, strict)))
    }

    /// Replaces all rules. Calls that have begun go on under the old ones.
    pub fn replace(
        &self,
        defaults: &NamespaceConfig,
        configured: &BTreeMap<String, NamespaceConfig>,
        gates: &OriginClients,
        strict: bool,
    ) {
        self.0.store(Arc::new(Table::new(defaults, configured, gates, strict)));
    }

    /// Namespaces that have rules of their own.
    pub fn configured(&self) -> Vec<Namespace> {
        self.0.load().configured.keys().cloned().collect()
    }

    pub(super) fn rules(&self, namespace: &Namespace) -> Result<Arc<NamespaceRules>, Error> {
        let table = self.0.load();
        match table.configured.get(namespace) {
            Some(rules) => Ok(rules.clone()),
            None if table.strict => Err(Error::UnknownNamespace(namespace.clone())),
            None => Ok(table.defaults.clone()),
        }
    }
}

impl Table {
    fn new(
        defaults: &NamespaceConfig,
        configured: &BTreeMap<String, NamespaceConfig>,
        gates: &OriginClients,
        strict: bool,
    ) -> Self {
        // The configuration has checked the names.
        let configured = configured.iter().filter_map(|(name, config)| {
            let namespace = Namespace::new(name).ok()?;
            let rules = NamespaceRules::new(config.clone(), gates.get(&namespace).cloned());
            Some((namespace, Arc::new(rules)))
        });
        let defaults = Arc::new(NamespaceRules::new(defaults.clone(), None));
        Self { configured: configured.collect(), defaults, strict }
    }
}

impl NamespaceRules {
    pub(super) fn new(config: NamespaceConfig, gate: Option<Arc<OriginClient>>) -> Self {
        let source =
            config.origin.clone().zip(gate).map(|(config, gate)| OriginBinding { gate, config });
        Self { config, source }
    }

    /// Where values are fetched; none if callers compute them.
    pub(super) fn source(&self) -> Option<&OriginBinding> {
        self.source.as_ref()
    }
}

impl Deref for NamespaceRules {
    type Target = NamespaceConfig;

    fn deref(&self) -> &NamespaceConfig {
        &self.config
    }
}
