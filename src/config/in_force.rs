//! The settings of a namespace as they are in force, with where each comes from.

use std::collections::BTreeMap;

use super::{
    Config, NamespaceConfig, near_cache::NearCacheConfig, origin::OriginConfig,
    quota::NamespaceQuotaConfig, render::TomlRenderer, target::Target, toml::join,
};

/// Where the value of a setting comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingSource {
    /// The table of the namespace, or its variables.
    Namespace,
    /// `[defaults]`.
    Defaults,
    /// No file and no variable sets it.
    BuiltIn,
}

/// A setting of a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingInForce {
    /// Its key within the table of the namespace.
    pub name: String,
    /// Its value as TOML, without secrets.
    pub value: String,
    /// Where it comes from. A table that repeats an inherited value counts as inheriting it.
    pub source: SettingSource,
}

impl Config {
    /// The settings in force for a namespace, sorted by name. One without a table has those of
    /// `[defaults]`.
    pub fn settings_in_force(&self, namespace: &str) -> Vec<SettingInForce> {
        let own = self.namespaces.get(namespace);
        let built_in = rules(&NamespaceConfig::default());
        let defaults = own.map_or_else(|| rules(&self.defaults), |own| self.inherited(own));
        let values = own.map_or(defaults.clone(), |own| TomlRenderer::of(own).into_values());
        let settings = values.into_iter().map(|(name, value)| {
            let is_own = own.is_some() && defaults.get(&name) != Some(&value);
            let source = if is_own && !(name == "version" && value == "\"\"") {
                SettingSource::Namespace
            } else if built_in.get(&name).is_some_and(|built_in| *built_in != value) {
                SettingSource::Defaults
            } else {
                SettingSource::BuiltIn
            };
            SettingInForce { name, value, source }
        });
        settings.collect()
    }

    /// The settings of a namespace if it had set nothing but the address of its origin.
    fn inherited(&self, own: &NamespaceConfig) -> BTreeMap<String, String> {
        let origin = own.origin.as_ref().map(|origin| OriginConfig::new(origin.target.clone()));
        // `[defaults]` has no such tables: what is not set in them is built in.
        let mut values = rules(&NamespaceConfig {
            origin,
            near_cache: own.near_cache.as_ref().map(|_| NearCacheConfig::default()),
            quota: own.quota.as_ref().map(|_| NamespaceQuotaConfig::default()),
            ..self.defaults.clone()
        });
        for key in Target::KEYS {
            values.remove(&join("origin", key));
        }
        values
    }
}

/// The settings that `[defaults]` has too.
fn rules(config: &NamespaceConfig) -> BTreeMap<String, String> {
    let mut values = TomlRenderer::of(config).into_values();
    values.remove("version");
    values
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::url_template::UrlTemplate;

    fn source(config: &Config, namespace: &str, name: &str) -> Option<SettingSource> {
        let settings = config.settings_in_force(namespace);
        settings.into_iter().find(|setting| setting.name == name).map(|found| found.source)
    }

    #[test]
    fn what_is_not_set_in_a_table_of_the_namespace_is_built_in() {
        let url = UrlTemplate::parse("http://users.internal/{key}").unwrap();
        let mut origin = OriginConfig::new(Target::Http(url));
        origin.retries = 3;
        let near_cache = NearCacheConfig { max_bytes: 1 << 20, ..NearCacheConfig::default() };
        let mut quota = NamespaceQuotaConfig::default();
        quota.held.max_keys = Some(7);
        let mut config = Config::default();
        config.defaults.ttl = Duration::from_secs(60);
        let users = NamespaceConfig {
            origin: Some(origin),
            near_cache: Some(near_cache),
            quota: Some(quota),
            ..config.defaults.clone()
        };
        config.namespaces.insert("users".to_owned(), users);
        for (name, expected) in [
            ("origin.url", SettingSource::Namespace),
            ("origin.retries", SettingSource::Namespace),
            ("origin.timeout", SettingSource::BuiltIn),
            ("origin.warm.rate", SettingSource::BuiltIn),
            ("near_cache.max_bytes", SettingSource::Namespace),
            ("near_cache.max_staleness", SettingSource::BuiltIn),
            ("quota.max_keys", SettingSource::Namespace),
            ("ttl", SettingSource::Defaults),
            ("version", SettingSource::BuiltIn),
        ] {
            assert_eq!(source(&config, "users", name), Some(expected), "{name}");
        }
    }

    #[test]
    fn settings_name_where_they_come_from() {
        let mut config = Config::default();
        config.defaults.max_value_bytes = 7;
        let ttl = Duration::from_secs(60);
        let user = NamespaceConfig { ttl, ..config.defaults.clone() };
        config.namespaces.insert("user".to_owned(), user);
        let source = |namespace: &str, name: &str| source(&config, namespace, name);
        assert_eq!(source("user", "ttl"), Some(SettingSource::Namespace));
        assert_eq!(source("user", "max_value_bytes"), Some(SettingSource::Defaults));
        assert_eq!(source("user", "ttl_jitter"), Some(SettingSource::BuiltIn));
        assert_eq!(source("user", "version"), Some(SettingSource::BuiltIn));
        assert_eq!(source("other", "ttl"), Some(SettingSource::BuiltIn));
        assert_eq!(source("other", "max_value_bytes"), Some(SettingSource::Defaults));
    }
}
