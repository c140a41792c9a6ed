//! The rules of every namespace.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use arc_swap::ArcSwap;

use super::Error;
use crate::{config::NamespaceConfig, key::Namespace};

/// Rules by namespace, replaced as a whole when the configuration is read again.
pub struct Namespaces(ArcSwap<Table>);

struct Table {
    configured: HashMap<Namespace, Arc<NamespaceConfig>>,
    defaults: Arc<NamespaceConfig>,
    strict: bool,
}

impl Namespaces {
    /// `configured` has complete rules; all other namespaces follow `defaults`, or are refused if `strict`.
    pub fn new(defaults: &NamespaceConfig, configured: &BTreeMap<String, NamespaceConfig>, strict: bool) -> Self {
        Self(ArcSwap::from_pointee(Table::new(defaults, configured, strict)))
    }

    /// Replaces all rules. Calls that have begun go on under the old ones.
    pub fn replace(&self, defaults: &NamespaceConfig, configured: &BTreeMap<String, NamespaceConfig>, strict: bool) {
        self.0.store(Arc::new(Table::new(defaults, configured, strict)));
    }

    /// Namespaces that have rules of their own.
    pub fn configured(&self) -> Vec<Namespace> {
        self.0.load().configured.keys().cloned().collect()
    }

    pub(super) fn rules(&self, namespace: &Namespace) -> Result<Arc<NamespaceConfig>, Error> {
        let table = self.0.load();
        match table.configured.get(namespace) {
            Some(rules) => Ok(rules.clone()),
            None if table.strict => Err(Error::UnknownNamespace(namespace.clone())),
            None => Ok(table.defaults.clone()),
        }
    }
}

impl Table {
    fn new(defaults: &NamespaceConfig, configured: &BTreeMap<String, NamespaceConfig>, strict: bool) -> Self {
        // The configuration has checked the names.
        let configured = configured
            .iter()
            .filter_map(|(name, rules)| Some((Namespace::new(name).ok()?, Arc::new(rules.clone()))))
            .collect();
        Self { configured, defaults: Arc::new(defaults.clone()), strict }
    }
}
