//! The rules of every namespace, and its origin if it has one.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;

use super::{
    Error,
    policy::{self, Verdict},
};
use crate::{
    config::{NamespaceConfig, OriginConfig},
    model::{Entry, FetchSource, Namespace, SchemaVersion, Timestamp},
    origin::client::OriginClient,
};

/// Rules by namespace, replaced as a whole when the configuration is reloaded.
pub struct Namespaces(ArcSwap<RuleTable>);

/// The clients of the origins, by namespace.
pub type OriginClients = HashMap<Namespace, Arc<OriginClient>>;

/// The rules of one namespace.
pub(super) struct NamespaceRules {
    pub(super) config: NamespaceConfig,
    /// Part of the names of all entries.
    pub(super) schema: Option<SchemaVersion>,
    /// Where missing values are fetched; `None` if callers compute them under a lease.
    pub(super) origin: Option<OriginBinding>,
}

/// The origin of a namespace, and how it is used.
pub(super) struct OriginBinding {
    pub(super) client: Arc<OriginClient>,
    pub(super) config: OriginConfig,
}

struct RuleTable {
    configured: HashMap<Namespace, Arc<NamespaceRules>>,
    defaults: Arc<NamespaceRules>,
    strict: bool,
}

impl Namespaces {
    /// `configured` has the rules of configured namespaces. All others follow `defaults`, or are
    /// refused if `strict`. A namespace whose origin has no client is served without an origin.
    pub fn new(
        defaults: &NamespaceConfig,
        configured: &BTreeMap<String, NamespaceConfig>,
        clients: &OriginClients,
        strict: bool,
    ) -> Self {
        Self(ArcSwap::from_pointee(RuleTable::new(defaults, configured, clients, strict)))
    }

    /// Replaces all rules. Calls that have begun finish under the old ones.
    pub fn replace(
        &self,
        defaults: &NamespaceConfig,
        configured: &BTreeMap<String, NamespaceConfig>,
        clients: &OriginClients,
        strict: bool,
    ) {
        self.0.store(Arc::new(RuleTable::new(defaults, configured, clients, strict)));
    }

    /// Namespaces with rules of their own.
    pub fn configured(&self) -> Vec<Namespace> {
        self.0.load().configured.keys().cloned().collect()
    }

    /// The rules in force for a namespace; none if requests to it are refused.
    pub fn config(&self, namespace: &Namespace) -> Option<NamespaceConfig> {
        self.rules(namespace).ok().map(|rules| rules.config.clone())
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

impl RuleTable {
    fn new(
        defaults: &NamespaceConfig,
        configured: &BTreeMap<String, NamespaceConfig>,
        clients: &OriginClients,
        strict: bool,
    ) -> Self {
        // The configuration checks names by the same rule, so none is left out here.
        let configured = configured.iter().filter_map(|(name, config)| {
            let namespace = Namespace::new(name).ok()?;
            let rules = NamespaceRules::new(config.clone(), clients.get(&namespace).cloned());
            Some((namespace, Arc::new(rules)))
        });
        let defaults = Arc::new(NamespaceRules::new(defaults.clone(), None));
        Self { configured: configured.collect(), defaults, strict }
    }
}

impl NamespaceRules {
    pub(super) fn new(config: NamespaceConfig, client: Option<Arc<OriginClient>>) -> Self {
        let origin = config.origin.clone().zip(client);
        let origin = origin.map(|(config, client)| OriginBinding { client, config });
        // The configuration checks versions by the same rule.
        let schema = SchemaVersion::new("version", &config.version).ok();
        Self { config, schema, origin }
    }

    /// Evaluates an entry, see [`policy::evaluate`]. An entry that the origin's present
    /// configuration would not have fetched counts as missing (RFC 9111, section 4.1).
    pub(super) fn evaluate(
        &self,
        entry: &Entry,
        now: Timestamp,
        max_stale: Option<Duration>,
    ) -> Verdict {
        if self.is_of_other_source(entry) {
            return Verdict::Expired;
        }
        policy::evaluate(entry, now, max_stale)
    }

    /// Whether an entry was fetched from another URL or with other headers.
    pub(super) fn is_of_other_source(&self, entry: &Entry) -> bool {
        self.source_of(entry).is_some_and(|(stored, current)| stored != current)
    }

    /// Whether the origin can revalidate the value of an entry.
    pub(super) fn can_revalidate(&self, entry: &Entry) -> bool {
        self.source_of(entry).is_none_or(|(stored, current)| stored.target == current.target)
    }

    /// The source of an entry, and that of the origin; none if one of them is not known.
    fn source_of(&self, entry: &Entry) -> Option<(FetchSource, FetchSource)> {
        let stored = entry.fetch_metadata.as_ref()?.source?;
        Some((stored, self.origin.as_ref()?.client.source()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cache::testing::{FakeOrigin, client, namespace, origin_config};

    fn table(ttl: u64) -> BTreeMap<String, NamespaceConfig> {
        let config =
            NamespaceConfig { ttl: Duration::from_secs(ttl), ..NamespaceConfig::default() };
        BTreeMap::from([("user".to_owned(), config)])
    }

    fn ttl(namespaces: &Namespaces, name: &str) -> Option<u64> {
        let rules = namespaces.rules(&Namespace::new(name).unwrap());
        rules.ok().map(|rules| rules.config.ttl.as_secs())
    }

    #[test]
    fn unconfigured_namespaces_follow_the_defaults_unless_strict() {
        let defaults = NamespaceConfig::default();
        let none = OriginClients::new();
        let namespaces = Namespaces::new(&defaults, &table(60), &none, false);
        assert_eq!((ttl(&namespaces, "user"), ttl(&namespaces, "other")), (Some(60), Some(1800)));
        assert_eq!(namespaces.configured(), [Namespace::new("user").unwrap()]);
        namespaces.replace(&defaults, &table(90), &none, true);
        assert_eq!((ttl(&namespaces, "user"), ttl(&namespaces, "other")), (Some(90), None));
    }

    #[tokio::test]
    async fn an_origin_without_a_client_is_not_used() {
        let namespace = namespace();
        let with_origin =
            NamespaceConfig { origin: Some(origin_config()), ..NamespaceConfig::default() };
        let configured = BTreeMap::from([(namespace.to_string(), with_origin.clone())]);
        let client = client(&FakeOrigin::fast("v"));
        let clients = OriginClients::from([(namespace.clone(), client)]);
        let has_origin = |namespaces: &Namespaces, name: &Namespace| {
            namespaces.rules(name).unwrap().origin.is_some()
        };
        let namespaces = Namespaces::new(&with_origin, &configured, &clients, false);
        assert!(has_origin(&namespaces, &namespace));
        assert!(!has_origin(&namespaces, &Namespace::new("other").unwrap()), "the defaults");
        namespaces.replace(&with_origin, &configured, &OriginClients::new(), false);
        assert!(!has_origin(&namespaces, &namespace));
        namespaces.replace(&with_origin, &BTreeMap::new(), &clients, false);
        assert!(!has_origin(&namespaces, &namespace) && namespaces.configured().is_empty());
    }

    #[test]
    fn calls_that_have_begun_keep_their_rules() {
        let (defaults, none) = (NamespaceConfig::default(), OriginClients::new());
        let namespaces = Namespaces::new(&defaults, &table(60), &none, false);
        let rules = namespaces.rules(&Namespace::new("user").unwrap()).unwrap();
        namespaces.replace(&defaults, &table(90), &none, false);
        assert_eq!(rules.config.ttl.as_secs(), 60);
    }
}
