//! Fields of the access log: one DEBUG event per request, with the target `larder::request`.
//!
//! Handlers collect the fields only while the event is enabled.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tonic::Code;
use tracing::Level;

use super::method::Method;
use crate::{
    model::{EntryKey, Namespace, SaturatingFrom as _, log_names_in_plain_text},
    pb::code_name,
};

/// Target of the access log.
const TARGET: &str = "larder::request";

/// Whether keys are logged in plain text. By default only a hash is logged, which is equal for
/// equal keys. Clones share the setting.
#[derive(Debug, Clone, Default)]
pub struct KeyLogging(Arc<AtomicBool>);

/// An extension of the response that carries the handler's fields to the end of the call.
#[derive(Debug, Clone)]
pub(super) struct AccessLogFields {
    namespace: Namespace,
    key: String,
    outcome: &'static str,
}

impl KeyLogging {
    /// Logs keys in plain text, or as a hash.
    pub fn set(&self, plain_text: bool) {
        self.0.store(plain_text, Ordering::Relaxed);
        log_names_in_plain_text(plain_text);
    }

    fn format(&self, key: &EntryKey) -> String {
        if self.0.load(Ordering::Relaxed) {
            key.key().to_owned()
        } else {
            format!("#{:016x}", key.stable_hash())
        }
    }

    /// Attaches the fields of a call for one key.
    pub(super) fn attach<T>(
        &self,
        response: &mut tonic::Response<T>,
        key: &EntryKey,
        outcome: &'static str,
    ) {
        if tracing::enabled!(target: TARGET, Level::DEBUG) {
            let namespace = key.namespace().clone();
            let fields = AccessLogFields { namespace, key: self.format(key), outcome };
            response.extensions_mut().insert(fields);
        }
    }
}

/// Attaches the fields of a call for a whole namespace; the key is empty.
pub(super) fn attach_namespace<T>(
    response: &mut tonic::Response<T>,
    namespace: &Namespace,
    outcome: &'static str,
) {
    if tracing::enabled!(target: TARGET, Level::DEBUG) {
        let namespace = namespace.clone();
        response.extensions_mut().insert(AccessLogFields {
            namespace,
            key: String::new(),
            outcome,
        });
    }
}

/// Writes the event of a call that has ended.
pub(super) fn write(
    method: Method,
    code: Code,
    duration: Duration,
    fields: Option<&AccessLogFields>,
) {
    match fields {
        Some(fields) => tracing::debug!(
            target: TARGET,
            method = method.name(),
            status = code_name(code),
            namespace = %fields.namespace,
            key = fields.key,
            outcome = fields.outcome,
            took_us = u64::saturating_from(duration.as_micros()),
        ),
        None => tracing::debug!(
            target: TARGET,
            method = method.name(),
            status = code_name(code),
            took_us = u64::saturating_from(duration.as_micros()),
        ),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tracing_subscriber::filter::LevelFilter;

    use super::*;

    fn key(key: &str) -> EntryKey {
        EntryKey::new(Namespace::new("ns").unwrap(), key, std::iter::empty()).unwrap()
    }

    /// The fields that are attached while events of `level` are enabled.
    fn attached(level: LevelFilter, keys: &KeyLogging) -> Option<AccessLogFields> {
        let subscriber = tracing_subscriber::fmt().with_max_level(level).finish();
        tracing::subscriber::with_default(subscriber, || {
            let mut response = tonic::Response::new(());
            keys.attach(&mut response, &key("secret"), "HIT");
            response.extensions_mut().remove()
        })
    }

    #[test]
    fn keys_are_logged_as_a_hash_unless_configured_otherwise() {
        let keys = KeyLogging::default();
        let hashed = keys.format(&key("secret"));
        assert!(hashed.starts_with('#') && hashed.len() == 17, "{hashed}");
        assert_eq!(hashed, keys.format(&key("secret")));
        assert_ne!(hashed, keys.format(&key("other")));
        keys.clone().set(true);
        assert_eq!(keys.format(&key("secret")), "secret");
    }

    #[test]
    fn fields_are_collected_only_for_an_enabled_log() {
        let keys = KeyLogging::default();
        assert!(attached(LevelFilter::INFO, &keys).is_none());
        let fields = attached(LevelFilter::DEBUG, &keys).unwrap();
        assert_eq!((fields.namespace.as_str(), fields.outcome), ("ns", "HIT"));
        assert!(fields.key.starts_with('#'));
    }
}
