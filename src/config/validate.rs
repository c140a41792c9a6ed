//! Checks of values that depend on other keys.

use std::time::Duration;

use super::Config;
use super::auth::check_auth;
use super::diagnostics::Diagnostics;
use super::event_rule::check_events;
use super::event_source::check_sources;
use super::namespace::NamespaceConfig;
use super::origin::{DEFAULT_MIN_LEASE, OriginConfig};
use super::toml::join;
use super::value::{KIB, format_duration, format_size};
use crate::model::Namespace;

/// Bytes of a request in addition to its value: key, tags, params and framing.
const OVERHEAD: u64 = 64 * KIB;

pub(super) fn validate(config: &Config, diagnostics: &mut Diagnostics) {
    if config.listen == config.admin_listen && config.listen.port() != 0 {
        let message = format!("expected an address other than listen, got {} twice", config.listen);
        diagnostics.conflict("admin_listen", "listen", message);
    }
    config.check_tls(diagnostics);
    config.check_exposures(diagnostics);
    config.store.check_tls(diagnostics);
    check_events(config, diagnostics);
    check_sources(config, diagnostics);
    if let Some(auth) = &config.auth {
        check_auth(auth, diagnostics);
    }
    check_ttl(&config.defaults, "defaults", diagnostics);
    check_value_size(config, &config.defaults, "defaults", diagnostics);
    for (name, namespace) in &config.namespaces {
        let path = join("namespaces", name);
        if Namespace::new(name).is_err() {
            let message = "expected a name of 1 to 64 characters of a-z, 0-9, '.', '_' and '-' \
                that starts with a letter or digit";
            diagnostics.reject(&path, message.to_owned());
        }
        if let Some(origin) = &namespace.origin {
            check_origin_times(namespace, origin, &path, diagnostics);
        }
        // A conflict that a namespace inherits is reported once, for `defaults`.
        let defaults = &config.defaults;
        if (namespace.ttl, namespace.max_ttl) != (defaults.ttl, defaults.max_ttl) {
            check_ttl(namespace, &path, diagnostics);
        }
        if namespace.max_value_bytes != defaults.max_value_bytes {
            check_value_size(config, namespace, &path, diagnostics);
        }
    }
}

fn check_ttl(namespace: &NamespaceConfig, path: &str, diagnostics: &mut Diagnostics) {
    if namespace.ttl > namespace.max_ttl {
        let (ttl, max) = (format_duration(namespace.ttl), format_duration(namespace.max_ttl));
        let message = format!("expected at most {max} ({path}.max_ttl), got {ttl}");
        diagnostics.conflict(&format!("{path}.ttl"), &format!("{path}.max_ttl"), message);
    }
}

fn check_origin_times(
    namespace: &NamespaceConfig,
    origin: &OriginConfig,
    path: &str,
    diagnostics: &mut Diagnostics,
) {
    let timeout = format!("{path}.origin.timeout");
    if let Some(soft) = origin.soft_timeout.filter(|soft| *soft >= origin.timeout) {
        let (soft, limit) = (format_duration(soft), format_duration(origin.timeout));
        let message = format!("expected less than {limit} ({timeout}), got {soft}");
        diagnostics.conflict(&format!("{path}.origin.soft_timeout"), &timeout, message);
    }
    let mut at_most = |key: &str, value: Duration, limit_key: &str, limit: Duration| {
        if value > limit {
            let (value, limit) = (format_duration(value), format_duration(limit));
            let message = format!("expected at most {limit} ({limit_key}), got {value}");
            diagnostics.conflict(&format!("{path}.origin.{key}"), limit_key, message);
        }
    };
    at_most("connect_timeout", origin.connect_timeout, &timeout, origin.timeout);
    // The default may exceed a short `lease_ttl`, which then is the limit.
    if origin.min_lease != DEFAULT_MIN_LEASE {
        at_most("min_lease", origin.min_lease, &format!("{path}.lease_ttl"), namespace.lease_ttl);
    }
}

fn check_value_size(
    config: &Config,
    namespace: &NamespaceConfig,
    path: &str,
    diagnostics: &mut Diagnostics,
) {
    let value = u64::try_from(namespace.max_value_bytes).unwrap_or(u64::MAX);
    let request = u64::try_from(config.limits.max_request_bytes).unwrap_or(u64::MAX);
    let limit = request.saturating_sub(OVERHEAD);
    if value > limit {
        let (value, limit) = (format_size(value), format_size(limit));
        let message =
            format!("expected at most {limit} (limits.max_request_bytes less 64KiB), got {value}");
        let key = format!("{path}.max_value_bytes");
        diagnostics.conflict(&key, "limits.max_request_bytes", message);
    }
}
