//! The settings of a namespace as they are in force, with where each comes from.

use std::collections::BTreeMap;

use super::{Config, NamespaceConfig, render::TomlRenderer};

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
        let defaults = rules(&self.defaults);
        let built_in = rules(&NamespaceConfig::default());
        let own = self.namespaces.get(namespace);
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
}

/// The settings that `[defaults]` has too.
fn rules(config: &NamespaceConfig) -> BTreeMap<String, String> {
    let mut values = TomlRenderer::of(config).into_values();
    values.remove("version");
    values
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn settings_name_where_they_come_from() {
        let mut config = Config::default();
        config.defaults.max_value_bytes = 7;
        let ttl = Duration::from_secs(60);
        let user = NamespaceConfig { ttl, ..config.defaults.clone() };
        config.namespaces.insert("user".to_owned(), user);
        let source = |namespace: &str, name: &str| {
            let settings = config.settings_in_force(namespace);
            settings.into_iter().find(|setting| setting.name == name).map(|found| found.source)
        };
        assert_eq!(source("user", "ttl"), Some(SettingSource::Namespace));
        assert_eq!(source("user", "max_value_bytes"), Some(SettingSource::Defaults));
        assert_eq!(source("user", "ttl_jitter"), Some(SettingSource::BuiltIn));
        assert_eq!(source("user", "version"), Some(SettingSource::BuiltIn));
        assert_eq!(source("other", "ttl"), Some(SettingSource::BuiltIn));
        assert_eq!(source("other", "max_value_bytes"), Some(SettingSource::Defaults));
    }
}
