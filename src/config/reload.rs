use super::Config;
use super::render::TomlRenderer;

impl Config {
    /// The changed keys whose new value takes effect only after a restart, in order.
    ///
    /// A reload applies `namespaces`, `defaults`, `events`, `strict_namespaces`, `strict_events`,
    /// `log.level` and `log.keys`.
    pub fn needs_restart(&self, new: &Self) -> Vec<String> {
        let reloaded = |key: &str| {
            key.starts_with("namespaces.")
                || key.starts_with("defaults.")
                || key.starts_with("events.")
                || matches!(key, "strict_namespaces" | "strict_events" | "log.level" | "log.keys")
        };
        let old = TomlRenderer::of(self).into_values();
        // A rendered URL hides its password, and a new password needs a restart as well.
        let url_changed = |key: &str| match key {
            "store.url" => self.store.url != new.store.url,
            "store.url_file" => new.store.url_file.is_some() && self.store.url != new.store.url,
            "telemetry.otlp_endpoint" => {
                self.telemetry.otlp_endpoint != new.telemetry.otlp_endpoint
            }
            _ => false,
        };
        let sources = (self.event_sources != new.event_sources).then(|| "event_sources".to_owned());
        let changed = TomlRenderer::of(new)
            .into_values()
            .into_iter()
            .filter(|(key, value)| old.get(key) != Some(value) || url_changed(key))
            .map(|(key, _)| key)
            // They are compared as a whole, because one may be gone.
            .filter(|key| !reloaded(key) && !key.starts_with("event_sources["));
        let mut changed: Vec<String> = changed.chain(sources).collect();
        changed.sort_unstable();
        changed
    }
}
