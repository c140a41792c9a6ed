//! Compares a reloaded configuration with the one in use.

use super::render::TomlRenderer;
use super::{AdminConfig, Config};

impl Config {
    /// The changed keys whose new value takes effect only after a restart, in order.
    pub fn needs_restart(&self, new: &Self) -> Vec<String> {
        self.changed_keys(new).into_iter().filter(|key| !self.is_reloaded(new, key)).collect()
    }

    /// Whether a reload applies a change of `key`.
    ///
    /// It applies `namespaces`, `defaults`, `events`, `auth`, `strict_namespaces`, `strict_events`,
    /// `log.level`, `log.keys`, the tokens and sessions of the admin port, and the certificates of
    /// ports that have TLS.
    pub(super) fn is_reloaded(&self, new: &Self, key: &str) -> bool {
        key.starts_with("namespaces.")
            || key.starts_with("defaults.")
            || key.starts_with("events.")
            || key.starts_with("auth.")
            || AdminConfig::is_reloaded(key)
            || matches!(key, "strict_namespaces" | "strict_events" | "log.level" | "log.keys")
            || self.is_reloaded_tls(new, key)
    }

    /// The keys that `new` sets to another value, or no longer sets, in order.
    pub fn changed_keys(&self, new: &Self) -> Vec<String> {
        let old = TomlRenderer::of(self).into_values();
        // A rendered URL hides its password, and a new password is a change as well.
        let url_changed = |key: &str| match key {
            "store.url" => self.store.url != new.store.url,
            "store.url_file" => new.store.url_file.is_some() && self.store.url != new.store.url,
            "telemetry.otlp_endpoint" => {
                self.telemetry.otlp_endpoint != new.telemetry.otlp_endpoint
            }
            _ => false,
        };
        let sources = (self.event_sources != new.event_sources).then(|| "event_sources".to_owned());
        let new = TomlRenderer::of(new).into_values();
        let mut changed: Vec<String> =
            old.keys().filter(|key| !new.contains_key(*key)).cloned().collect();
        let differing =
            new.into_iter().filter(|(key, value)| old.get(key) != Some(value) || url_changed(key));
        changed.extend(differing.map(|(key, _)| key));
        // They are compared as a whole, because a rendered URL hides its password.
        changed.retain(|key| !key.starts_with("event_sources["));
        changed.extend(sources);
        changed.sort_unstable();
        changed
    }
}
