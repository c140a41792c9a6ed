//! Lines of the configuration file that a finding suggests.

use std::time::Duration;

use crate::model::Namespace;

/// A setting of a namespace, under its table. `value` is TOML.
pub(super) fn setting(namespace: &Namespace, key: &str, value: &str) -> String {
    let name = namespace.as_str();
    // A dot would separate two tables. A name has no quotes.
    let table = if name.contains('.') { format!("\"{name}\"") } else { name.to_owned() };
    format!("[namespaces.{table}]\n{key} = {value}\n")
}

/// As [`setting`], for a duration.
pub(super) fn duration_setting(namespace: &Namespace, key: &str, value: Duration) -> String {
    setting(namespace, key, &format!("\"{}\"", humantime::format_duration(value)))
}

/// The memory of the embedded store, doubled.
pub(super) fn twice_the_memory(bytes: u64) -> String {
    format!("[memory]\nmax_bytes = \"{}MiB\"\n", bytes.saturating_mul(2).div_ceil(1024 * 1024))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    #[test]
    fn settings_are_accepted_by_the_configuration() {
        let mut lines = String::new();
        for (name, hours) in [("plain-1", 2), ("shop.prices", 36), ("a_b.c-d", 24 * 7)] {
            let namespace = Namespace::new(name).unwrap();
            lines += &duration_setting(&namespace, "ttl", Duration::from_secs(hours * 3600));
        }
        lines += &twice_the_memory(64 * 1024 * 1024);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("larder.toml");
        std::fs::write(&path, &lines).unwrap();
        let config = load(Sources { file: Some(path), ..Sources::default() }).unwrap();
        assert_eq!(config.memory.max_bytes, 128 * 1024 * 1024);
        let ttl = |name: &str| config.namespaces[name].ttl.as_secs() / 3600;
        assert_eq!(["plain-1", "shop.prices", "a_b.c-d"].map(ttl), [2, 36, 168], "{lines}");
    }
}
