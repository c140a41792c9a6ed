//! What a request was about, for the log. Nothing is gathered unless it will be logged.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tracing::Level;

use crate::model::{EntryKey, Namespace};

/// Target of the log line that every request has.
pub(super) const TARGET: &str = "larder::request";

/// Whether keys are logged as they are. Otherwise only a hash of them is, which tells equal from different. Clones share the
/// setting.
#[derive(Debug, Clone, Default)]
pub struct KeyLogging(Arc<AtomicBool>);

/// Travels with the response, as an extension, to where the request is logged.
#[derive(Debug, Clone)]
pub(super) struct AccessLogFields {
    pub(super) namespace: Namespace,
    pub(super) key: String,
    pub(super) outcome: &'static str,
}

impl KeyLogging {
    /// Changes the setting.
    pub fn set(&self, clear: bool) {
        self.0.store(clear, Ordering::Relaxed);
    }

    fn show(&self, key: &EntryKey) -> String {
        if self.0.load(Ordering::Relaxed) {
            key.key().to_owned()
        } else {
            format!("#{:016x}", key.stable_hash())
        }
    }

    /// Adds the facts to a response, if they will be logged.
    pub(super) fn note<T>(
        &self,
        response: &mut tonic::Response<T>,
        key: &EntryKey,
        outcome: &'static str,
    ) {
        if tracing::enabled!(target: TARGET, Level::DEBUG) {
            let facts = AccessLogFields {
                namespace: key.namespace().clone(),
                key: self.show(key),
                outcome,
            };
            response.extensions_mut().insert(facts);
        }
    }

    /// The same for a call that names no key.
    pub(super) fn note_namespace<T>(
        response: &mut tonic::Response<T>,
        namespace: &Namespace,
        outcome: &'static str,
    ) {
        if tracing::enabled!(target: TARGET, Level::DEBUG) {
            let facts =
                AccessLogFields { namespace: namespace.clone(), key: String::new(), outcome };
            response.extensions_mut().insert(facts);
        }
    }
}
