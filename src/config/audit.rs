//! Settings of the audit log: `[audit]`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use config::ValueKind;
use secrecy::SecretString;

use super::auth::resolved_secret;
use super::diagnostics::Diagnostics;
use super::secret_template::SecretTemplate;
use super::toml::quoted;
use super::value::{
    GIB, KIB, MIB, ValueType, as_text, choice, count, list, mismatch, size, value_type,
};
use super::visitor::{ConfigVisitor, Section};
use crate::model::{AuditEvent, AuditEvents};

/// `[audit]`: which caller changed what.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditConfig {
    /// Where records are written. A file is created with mode 0600; its directory must exist.
    /// Empty: no audit log.
    pub to: Option<AuditTarget>,
    /// Names of the kinds of events that are recorded. See docs/audit.md#kinds.
    pub events: Vec<String>,
    /// How keys, tags and globs are written.
    pub keys: KeyForm,
    /// Key of their hashes, of at least 32 characters, which all replicas should share. Empty: a
    /// random one for each start. See docs/audit.md#keys.
    pub hash_key: Option<SecretTemplate>,
    /// Records that may wait to be written. Further ones are lost, and counted.
    pub queue: usize,
    /// Memory for the last records, which `larder audit` prints, in bytes.
    pub tail_bytes: u64,
}

/// Where records are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditTarget {
    /// Standard output.
    Stdout,
    /// Standard error, between the lines of the log.
    Stderr,
    /// A file.
    File(PathBuf),
}

/// How keys, tags and globs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyForm {
    /// As keyed hashes.
    Hashed,
    /// In plain text.
    Plain,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            to: None,
            events: AuditEvent::ALL.map(|event| event.name().to_owned()).into(),
            keys: KeyForm::Hashed,
            hash_key: None,
            queue: 8192,
            tail_bytes: MIB,
        }
    }
}

impl Section for AuditConfig {
    fn visit(&mut self, visitor: &mut impl ConfigVisitor) {
        visitor.key("to", &mut self.to, target());
        visitor.key("events", &mut self.events, list("kinds of events", is_event));
        let forms = &[("hashed", KeyForm::Hashed), ("plain", KeyForm::Plain)];
        visitor.key("keys", &mut self.keys, choice(forms));
        visitor.key("hash_key", &mut self.hash_key, hash_key());
        visitor.key("queue", &mut self.queue, count(16..=1_000_000));
        visitor.key("tail_bytes", &mut self.tail_bytes, size(16 * KIB..=GIB));
    }
}

impl AuditConfig {
    /// The kinds of events that are recorded: none without an audit log.
    pub fn recorded(&self) -> AuditEvents {
        let events = self.events.iter().filter(|_| self.to.is_some());
        events.filter_map(|name| name.parse::<AuditEvent>().ok()).collect()
    }

    /// The key of hashes, if it is configured.
    pub fn hash_secret(&self) -> Option<&SecretString> {
        self.hash_key.as_ref().map(SecretTemplate::value)
    }

    /// Reads the key from a variable or a file.
    pub(super) fn resolve(
        &mut self,
        env: &BTreeMap<String, String>,
        diagnostics: &mut Diagnostics,
    ) {
        let Some(key) = &mut self.hash_key else { return };
        match resolved_secret(key, env) {
            Ok(resolved) => *key = resolved,
            Err(problem) => diagnostics.reject("audit.hash_key", problem),
        }
    }
}

fn is_event(name: &str) -> bool {
    name.parse::<AuditEvent>().is_ok()
}

/// The path of a file, `stdout` or `stderr`; an empty text stands for `None`.
fn target() -> impl ValueType<Value = Option<AuditTarget>> {
    value_type(
        |raw| match as_text(raw) {
            Some("") => Ok(None),
            Some("stdout") => Ok(Some(AuditTarget::Stdout)),
            Some("stderr") => Ok(Some(AuditTarget::Stderr)),
            Some(path) => Ok(Some(AuditTarget::File(path.into()))),
            None => Err(mismatch("the path of a file, \"stdout\" or \"stderr\"", raw)),
        },
        |target: &Option<AuditTarget>| match target {
            None => quoted(""),
            Some(AuditTarget::Stdout) => quoted("stdout"),
            Some(AuditTarget::Stderr) => quoted("stderr"),
            // The path was read from text, so it can be written as text.
            Some(AuditTarget::File(path)) => quoted(&path.display().to_string()),
        },
    )
}

/// A key, by reference; an empty text stands for `None`.
fn hash_key() -> impl ValueType<Value = Option<SecretTemplate>> {
    value_type(
        |raw| {
            if let ValueKind::String(text) = raw {
                let text = text.trim();
                if text.is_empty() {
                    return Ok(None);
                }
                if text.contains("${") {
                    let key = SecretTemplate::unresolved(text).map_err(|error| error.to_string());
                    return key.map(Some);
                }
            }
            Err("expected where the key is: ${file:/path} or ${env:NAME}".to_owned())
        },
        |key: &Option<SecretTemplate>| {
            quoted(&key.as_ref().map_or_else(String::new, SecretTemplate::to_string))
        },
    )
}
