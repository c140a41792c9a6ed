//! The permissions of a caller, from the rules of its roles.

use crate::{
    config::{RoleConfig, RuleConfig},
    model::{NamespacePattern, Verb, VerbSet},
};

/// Part of a namespace that a call touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope<'a> {
    /// One key.
    Key(&'a str),
    /// Keys that begin with a text. Empty: all keys, and what belongs to the namespace itself.
    Prefix(&'a str),
}

/// Permissions: what a rule allows, unless a rule denies it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Grants {
    allow: Vec<Rule>,
    deny: Vec<Rule>,
}

/// Calls by verb, namespace and begin of the key.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rule {
    pub(super) verbs: VerbSet,
    pub(super) namespaces: Vec<NamespacePattern>,
    /// Empty: all keys.
    pub(super) keys: Box<str>,
}

impl Scope<'_> {
    /// All of a namespace.
    pub const ALL: Self = Self::Prefix("");

    fn is_within(self, begin: &str) -> bool {
        let (Self::Key(text) | Self::Prefix(text)) = self;
        text.starts_with(begin)
    }

    fn overlaps(self, begin: &str) -> bool {
        self.is_within(begin) || matches!(self, Self::Prefix(prefix) if begin.starts_with(prefix))
    }
}

impl Grants {
    /// The permissions of some roles together.
    pub fn of<'a>(roles: impl IntoIterator<Item = &'a RoleConfig>) -> Self {
        let mut grants = Self::default();
        for role in roles {
            grants.allow.extend(role.allow.iter().map(Rule::from));
            grants.deny.extend(role.deny.iter().map(Rule::from));
        }
        grants
    }

    /// These permissions and those of `other`.
    pub(super) fn with(mut self, other: Self) -> Self {
        self.allow.extend(other.allow);
        self.deny.extend(other.deny);
        self
    }

    /// Those of one rule.
    pub(super) fn of_rule(rule: Rule) -> Self {
        Self { allow: vec![rule], deny: Vec::new() }
    }

    /// Whether a call is allowed.
    #[inline]
    pub fn allow(&self, verb: Verb, namespace: &str, scope: Scope<'_>) -> bool {
        self.allow.iter().any(|rule| rule.is_of(verb, namespace) && scope.is_within(&rule.keys))
            && !self
                .deny
                .iter()
                .any(|rule| rule.is_of(verb, namespace) && scope.overlaps(&rule.keys))
    }

    /// Whether a call of the verb is allowed in any namespace.
    #[inline]
    pub fn allow_anywhere(&self, verb: Verb) -> bool {
        self.allow.iter().any(|rule| rule.verbs.contains(verb))
    }

    /// Whether a call of the verb is allowed for any key of a namespace.
    pub fn allow_some(&self, verb: Verb, namespace: &str) -> bool {
        self.allow.iter().any(|rule| rule.is_of(verb, namespace))
            && !self.deny.iter().any(|rule| rule.keys.is_empty() && rule.is_of(verb, namespace))
    }

    /// Whether a call of the verb that concerns all namespaces is allowed. It is not if any part of
    /// any namespace is denied.
    pub fn allow_everywhere(&self, verb: Verb) -> bool {
        self.allow_server(verb) && !self.deny.iter().any(|rule| rule.verbs.contains(verb))
    }

    /// Whether a call of the verb that concerns no namespace is allowed.
    pub fn allow_server(&self, verb: Verb) -> bool {
        let is_verb = |rule: &&Rule| rule.verbs.contains(verb);
        self.allow.iter().filter(is_verb).any(Rule::is_of_everything)
            && !self.deny.iter().filter(is_verb).any(Rule::is_of_everything)
    }

    /// Whether a call of the verb is allowed for all keys of the namespaces of a pattern.
    pub fn allow_all(&self, verb: Verb, namespaces: &NamespacePattern) -> bool {
        let (verbs, keys) = ([verb].into_iter().collect(), "".into());
        self.cover(&Rule { verbs, namespaces: vec![namespaces.clone()], keys })
    }

    /// Whether all that `rule` allows is allowed. A rule that several others only allow together is
    /// not.
    pub(super) fn cover(&self, rule: &Rule) -> bool {
        let scope = Scope::Prefix(&rule.keys);
        rule.verbs.iter().all(|verb| {
            rule.namespaces.iter().all(|pattern| {
                let is_allowed = self.allow.iter().any(|own| {
                    own.verbs.contains(verb)
                        && own.namespaces.iter().any(|namespaces| namespaces.covers(pattern))
                        && scope.is_within(&own.keys)
                });
                let is_denied = self.deny.iter().any(|own| {
                    own.verbs.contains(verb)
                        && own.namespaces.iter().any(|namespaces| namespaces.overlaps(pattern))
                        && scope.overlaps(&own.keys)
                });
                is_allowed && !is_denied
            })
        })
    }
}

impl Rule {
    #[inline]
    fn is_of(&self, verb: Verb, namespace: &str) -> bool {
        self.verbs.contains(verb)
            && self.namespaces.iter().any(|pattern| pattern.matches(namespace))
    }

    fn is_of_everything(&self) -> bool {
        let is_all = |pattern: &NamespacePattern| pattern.matches("");
        self.keys.is_empty() && self.namespaces.iter().any(is_all)
    }
}

impl From<&RuleConfig> for Rule {
    fn from(rule: &RuleConfig) -> Self {
        let RuleConfig { verbs, namespaces, keys } = rule;
        Self { verbs: *verbs, namespaces: namespaces.clone(), keys: keys.as_str().into() }
    }
}

#[cfg(test)]
mod fuzz_tests;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use super::*;

    /// A rule such as `read,write shop,user.* public:`.
    pub(in crate::auth) fn rule(text: &str) -> Rule {
        let mut parts = text.split(' ');
        let verbs = parts.next().unwrap().split(',').map(|verb| verb.parse().unwrap());
        let namespaces = parts.next().unwrap().split(',').map(|name| name.parse().unwrap());
        Rule {
            verbs: verbs.collect(),
            namespaces: namespaces.collect(),
            keys: parts.next().unwrap_or("").into(),
        }
    }

    fn grants(allow: &[&str], deny: &[&str]) -> Grants {
        let rules = |texts: &[&str]| texts.iter().map(|text| rule(text)).collect();
        Grants { allow: rules(allow), deny: rules(deny) }
    }

    #[test]
    fn nothing_is_allowed_by_default() {
        let none = Grants::default();
        for verb in Verb::ALL {
            assert!(!none.allow(verb, "shop", Scope::ALL) && !none.allow_anywhere(verb));
            assert!(!none.allow_everywhere(verb) && !none.allow_some(verb, "shop"));
        }
    }

    #[test]
    fn a_denied_part_is_no_permission_for_everything() {
        assert!(grants(&["stats *"], &[]).allow_everywhere(Verb::Stats));
        for deny in ["stats secret", "stats *", "stats shop k:", "stats secret.*"] {
            assert!(!grants(&["stats *"], &[deny]).allow_everywhere(Verb::Stats), "{deny}");
        }
        assert!(grants(&["stats *"], &["read secret"]).allow_everywhere(Verb::Stats));
    }

    #[test]
    fn a_rule_allows_its_verbs_in_its_namespaces() {
        let grants = grants(&["read,write shop,user.*"], &[]);
        let cases = [
            (Verb::Read, "shop", true),
            (Verb::Write, "user.eu", true),
            (Verb::Delete, "shop", false),
            (Verb::Read, "user", false),
            (Verb::Read, "shop-eu", false),
        ];
        for (verb, namespace, allowed) in cases {
            let key = Scope::Key("k");
            assert_eq!(grants.allow(verb, namespace, key), allowed, "{verb} {namespace}");
            assert_eq!(grants.allow(verb, namespace, Scope::ALL), allowed, "{verb} {namespace}");
            assert_eq!(grants.allow_some(verb, namespace), allowed, "{verb} {namespace}");
        }
        assert!(grants.allow_anywhere(Verb::Write) && !grants.allow_anywhere(Verb::Delete));
        assert!(!grants.allow_everywhere(Verb::Write));
    }

    #[test]
    fn a_begin_of_keys_allows_only_what_is_wholly_within_it() {
        let grants = grants(&["read user public:"], &[]);
        let cases = [
            (Scope::Key("public:1"), true),
            (Scope::Key("public:"), true),
            (Scope::Key("private:1"), false),
            (Scope::Key("pub"), false),
            (Scope::Prefix("public:"), true),
            (Scope::Prefix("public:eu:"), true),
            (Scope::Prefix("pub"), false),
            (Scope::ALL, false),
        ];
        for (scope, allowed) in cases {
            assert_eq!(grants.allow(Verb::Read, "user", scope), allowed, "{scope:?}");
        }
        assert!(grants.allow_some(Verb::Read, "user"));
        assert!(!grants.allow_everywhere(Verb::Read));
    }

    #[test]
    fn deny_wins_over_every_rule_that_allows() {
        let grants = grants(&["read shop", "read *"], &["read shop secret:"]);
        let cases = [
            ("shop", Scope::Key("secret:1"), false),
            ("shop", Scope::Key("open:1"), true),
            // It would touch secrets as well.
            ("shop", Scope::ALL, false),
            ("shop", Scope::Prefix("sec"), false),
            ("shop", Scope::Prefix("open:"), true),
            ("user", Scope::Key("secret:1"), true),
        ];
        for (namespace, scope, allowed) in cases {
            assert_eq!(grants.allow(Verb::Read, namespace, scope), allowed, "{scope:?}");
        }
        assert!(grants.allow_some(Verb::Read, "shop"));
    }

    #[test]
    fn a_whole_namespace_that_is_denied_is_not_seen() {
        let grants = grants(&["read *"], &["read shop"]);
        assert!(!grants.allow_some(Verb::Read, "shop"));
        assert!(grants.allow_some(Verb::Read, "user"));
        assert!(grants.allow_server(Verb::Read) && !grants.allow_everywhere(Verb::Read));
    }

    #[test]
    fn permissions_cover_a_rule_that_adds_nothing() {
        let grants = grants(&["read,write shop*", "read user public:"], &["write shop.prices"]);
        let cases = [
            ("read shop*", true),
            ("read shop.prices a:", true),
            ("read *", false),
            ("write shop", true),
            // A part of it is denied.
            ("write shop*", false),
            ("write shop.prices", false),
            ("delete shop", false),
            ("read user", false),
            ("read user public:eu:", true),
            ("read shop,user public:", true),
            ("read,write user public:", false),
        ];
        for (text, covered) in cases {
            assert_eq!(grants.cover(&rule(text)), covered, "{text}");
        }
    }
}
