//! Limits between keys. Those of a single key stand beside it.

use std::time::Duration;

use super::Config;
use super::namespace::{NamespaceConfig, is_name};
use super::origin::{DEFAULT_MIN_LEASE, OriginConfig};
use super::reader::Diagnostics;
use super::toml::join;
use super::value::{KIB, duration_text, size_text};

/// What a request needs beside its value: key, tags, params and framing.
const OVERHEAD: u64 = 64 * KIB;

pub(super) fn check(config: &Config, diagnostics: &mut Diagnostics) {
    if config.listen == config.admin_listen && config.listen.port() != 0 {
        let message = format!("expected another address than listen, got {} twice", config.listen);
        diagnostics.relation("admin_listen", "listen", message);
    }
    ttl_within_max(&config.defaults, "defaults", diagnostics);
    value_within_request(config, &config.defaults, "defaults", diagnostics);
    for (name, namespace) in &config.namespaces {
        let path = join("namespaces", name);
        if !is_name(name) {
            let message = "expected a name of 1 to 64 characters of a-z, 0-9, '.', '_' and '-' \
                that starts with a letter or digit";
            diagnostics.relation(&path, &path, message.to_owned());
        }
        // What a namespace merely inherits is reported once, where it stands.
        let defaults = &config.defaults;
        if let Some(origin) = &namespace.origin {
            times_of_origin(namespace, origin, &path, diagnostics);
        }
        if (namespace.ttl, namespace.max_ttl) != (defaults.ttl, defaults.max_ttl) {
            ttl_within_max(namespace, &path, diagnostics);
        }
        if namespace.max_value_bytes != defaults.max_value_bytes {
            value_within_request(config, namespace, &path, diagnostics);
        }
    }
}

fn ttl_within_max(namespace: &NamespaceConfig, path: &str, diagnostics: &mut Diagnostics) {
    if namespace.ttl > namespace.max_ttl {
        let (ttl, max) = (duration_text(namespace.ttl), duration_text(namespace.max_ttl));
        let message = format!("expected at most {max} ({path}.max_ttl), got {ttl}");
        diagnostics.relation(&format!("{path}.ttl"), &format!("{path}.max_ttl"), message);
    }
}

fn times_of_origin(
    namespace: &NamespaceConfig,
    origin: &OriginConfig,
    path: &str,
    diagnostics: &mut Diagnostics,
) {
    let timeout = format!("{path}.origin.timeout");
    if let Some(soft) = origin.soft_timeout.filter(|soft| *soft >= origin.timeout) {
        let (soft, limit) = (duration_text(soft), duration_text(origin.timeout));
        let message = format!("expected less than {limit} ({timeout}), got {soft}");
        diagnostics.relation(&format!("{path}.origin.soft_timeout"), &timeout, message);
    }
    let mut at_most = |key: &str, value: Duration, limit_key: &str, limit: Duration| {
        if value > limit {
            let (value, limit) = (duration_text(value), duration_text(limit));
            let message = format!("expected at most {limit} ({limit_key}), got {value}");
            diagnostics.relation(&format!("{path}.origin.{key}"), limit_key, message);
        }
    };
    at_most("connect_timeout", origin.connect_timeout, &timeout, origin.timeout);
    // The default gives way to a lease time that is chosen shorter.
    if origin.min_lease != DEFAULT_MIN_LEASE {
        at_most("min_lease", origin.min_lease, &format!("{path}.lease_ttl"), namespace.lease_ttl);
    }
}

fn value_within_request(
    config: &Config,
    namespace: &NamespaceConfig,
    path: &str,
    diagnostics: &mut Diagnostics,
) {
    let value = u64::try_from(namespace.max_value_bytes).unwrap_or(u64::MAX);
    let request = u64::try_from(config.limits.max_request_bytes).unwrap_or(u64::MAX);
    let room = request.saturating_sub(OVERHEAD);
    if value > room {
        let (value, room) = (size_text(value), size_text(room));
        let message =
            format!("expected at most {room} (limits.max_request_bytes less 64KiB), got {value}");
        diagnostics.relation(
            &format!("{path}.max_value_bytes"),
            "limits.max_request_bytes",
            message,
        );
    }
}
