//! Fuzz target of namespace patterns and permissions.

use super::*;
use crate::fuzzing::{Input, check};

/// Rules by lines: permissions that cover a rule allow all that it allows, and the summaries (some,
/// anywhere, everywhere, all) agree with the single decisions.
#[test]
fn grants() {
    check("grants", |bytes| {
        let mut input = Input::new(bytes);
        let asked = rule(&mut input);
        let mut grants = Grants::default();
        while !input.is_empty() && grants.allow.len() + grants.deny.len() < 6 {
            let is_allowed = input.byte() != b'-';
            let Some(rule) = rule(&mut input) else { continue };
            if is_allowed { grants.allow.push(rule) } else { grants.deny.push(rule) }
        }
        let rules: Vec<&Rule> = asked.iter().chain(&grants.allow).chain(&grants.deny).collect();
        for one in rules.iter().flat_map(|rule| &rule.namespaces) {
            assert_eq!(one.to_string().parse::<NamespacePattern>().as_ref(), Ok(one));
            for other in rules.iter().flat_map(|rule| &rule.namespaces) {
                assert_eq!(one.overlaps(other), other.overlaps(one), "{one} {other}");
                assert!(!one.covers(other) || one.overlaps(other), "{one} {other}");
            }
        }
        let is_covered = asked.as_ref().is_some_and(|asked| grants.cover(asked));
        let of_asked = asked.clone().map(Grants::of_rule).unwrap_or_default();
        for (namespace, key) in samples(&rules) {
            for verb in Verb::ALL {
                for scope in [Scope::Key(&key), Scope::Prefix(&key), Scope::ALL] {
                    let is_allowed = grants.allow(verb, &namespace, scope);
                    let is_asked = of_asked.allow(verb, &namespace, scope);
                    assert!(!is_covered || !is_asked || is_allowed, "{verb} {namespace} {scope:?}");
                    if is_allowed {
                        assert!(grants.allow_anywhere(verb) && grants.allow_some(verb, &namespace));
                    }
                    if scope != Scope::ALL && grants.allow(verb, &namespace, Scope::ALL) {
                        assert!(is_allowed, "all of it includes {scope:?}");
                    }
                }
                let pattern: Result<NamespacePattern, _> = namespace.parse();
                if pattern.is_ok_and(|pattern| grants.allow_all(verb, &pattern)) {
                    assert!(grants.allow(verb, &namespace, Scope::ALL));
                }
            }
        }
    });
}

/// `read,write shop,user.* public:`
fn rule(input: &mut Input<'_>) -> Option<Rule> {
    let line = input.text();
    let mut parts = line.splitn(3, ' ');
    let verbs = parts.next()?.split(',').take(4).filter_map(|verb| verb.parse().ok());
    let verbs: VerbSet = verbs.collect();
    let namespaces = parts.next()?.split(',').take(3).filter_map(|name| name.parse().ok());
    let namespaces: Vec<NamespacePattern> = namespaces.collect();
    Some(Rule { verbs, namespaces, keys: parts.next().unwrap_or_default().into() })
}

/// Namespaces and keys at the borders of the rules.
fn samples(rules: &[&Rule]) -> Vec<(String, String)> {
    let mut samples = Vec::new();
    for rule in rules {
        for pattern in &rule.namespaces {
            let text = pattern.to_string();
            let begin = text.trim_end_matches('*');
            for namespace in [begin.to_owned(), format!("{begin}x")] {
                for key in [rule.keys.to_string(), format!("{}k", rule.keys)] {
                    samples.push((namespace.clone(), key));
                }
            }
        }
    }
    samples
}
