//! Roles and their rules: `[auth.roles.<name>]`.

use config::ValueKind;

use super::super::quota::PrincipalQuotaConfig;
use super::super::toml::quoted;
use super::super::value::{ValueType, as_text, list_of_type, mismatch, text, value_type};
use super::super::visitor::{ConfigVisitor, Section};
use crate::model::{MAX_KEY_BYTES, NamespacePattern, UnknownVerb, Verb, VerbSet};

/// Maximum number of patterns of one rule.
const MAX_NAMESPACES: usize = 256;

/// `[auth.roles.<name>]`: a set of permissions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RoleConfig {
    /// Calls that the role allows.
    pub allow: Vec<RuleConfig>,
    /// Calls that are refused although a role of the caller allows them.
    pub deny: Vec<RuleConfig>,
    /// How much each caller with the role may use; `None`: no such limits.
    pub quota: Option<PrincipalQuotaConfig>,
}

/// Calls, by verb, namespace and key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleConfig {
    /// The verbs, or `["*"]` for all: `read`, `fetch`, `write`, `delete`, `invalidate`, `watch`,
    /// `stats`, `events`, `admin`, `reflect`. It is required.
    pub verbs: VerbSet,
    /// Names, begins of names such as `shop.*`, or `*`. It is required.
    pub namespaces: Vec<NamespacePattern>,
    /// Begin of the keys. Empty: all of the namespace.
    pub keys: String,
}

impl Section for RoleConfig {
    fn visit(&mut self, visitor: &mut impl ConfigVisitor) {
        visitor.list("allow", &mut self.allow, &RuleConfig::default());
        visitor.list("deny", &mut self.deny, &RuleConfig::default());
        visitor.optional("quota", &mut self.quota, &PrincipalQuotaConfig::default());
    }
}

impl Section for RuleConfig {
    fn visit(&mut self, visitor: &mut impl ConfigVisitor) {
        visitor.key("verbs", &mut self.verbs, verbs());
        let namespaces = list_of_type(namespace_pattern(), MAX_NAMESPACES);
        visitor.key("namespaces", &mut self.namespaces, namespaces);
        let is_begin = |text: &str| text.len() <= MAX_KEY_BYTES;
        visitor.key("keys", &mut self.keys, text("the begin of keys, up to 1024 bytes", is_begin));
    }
}

/// A list of verbs, or `["*"]` for all of them.
fn verbs() -> impl ValueType<Value = VerbSet> {
    value_type(
        |raw| {
            let ValueKind::Array(items) = raw else {
                return Err(mismatch("a list of verbs", raw));
            };
            let mut set = Vec::with_capacity(items.len());
            for item in items {
                match as_text(&item.kind) {
                    Some("*") => set.extend(Verb::ALL),
                    Some(text) => match text.parse() {
                        Ok(verb) => set.push(verb),
                        Err(UnknownVerb) => {
                            let expected = format_args!("{} or *", Verb::NAMES);
                            return Err(mismatch(expected, &item.kind));
                        }
                    },
                    None => return Err(mismatch("the name of a verb", &item.kind)),
                }
            }
            Ok(set.into_iter().collect())
        },
        |set: &VerbSet| {
            let names: Vec<_> = set.iter().map(|verb| quoted(verb.name())).collect();
            format!("[{}]", names.join(", "))
        },
    )
}

fn namespace_pattern() -> impl ValueType<Value = NamespacePattern> {
    value_type(
        |raw| {
            if let ValueKind::String(text) = raw {
                return text.parse().map_err(|_| {
                    mismatch("a namespace such as shop, or the begin of one such as shop.*", raw)
                });
            }
            Err(mismatch("a namespace, or the begin of one", raw))
        },
        |pattern: &NamespacePattern| quoted(&pattern.to_string()),
    )
}
