//! Checks of `[auth]` that depend on several keys.

use std::collections::BTreeMap;

use http::Uri;

use super::super::diagnostics::Diagnostics;
use super::super::toml::{join, quoted};
use super::{AuthConfig, JwtConfig, RuleConfig, is_name};

/// Maximum number of principals, and of roles.
const MAX_NAMES: usize = 10_000;
/// Maximum number of issuers of JSON Web Tokens.
const MAX_ISSUERS: usize = 16;
/// Maximum number of rules of one list.
const MAX_RULES: usize = 256;
/// Names that logs and metrics have for callers without a table of their own.
const RESERVED: [&str; 3] = ["anonymous", "minted", "unidentified"];

/// Checks that names exist, that credentials are of one principal, and that rules are complete.
pub(in crate::config) fn check_auth(auth: &AuthConfig, diagnostics: &mut Diagnostics) {
    check_table("auth.principals", auth.principals.keys(), MAX_NAMES, diagnostics);
    check_table("auth.roles", auth.roles.keys(), MAX_NAMES, diagnostics);
    check_table("auth.jwt", auth.jwt.keys(), MAX_ISSUERS, diagnostics);
    check_reserved("auth.principals", auth.principals.keys(), diagnostics);
    check_reserved("auth.jwt", auth.jwt.keys(), diagnostics);
    check_roles(auth, "auth.anonymous", &auth.anonymous, diagnostics);
    for (name, role) in &auth.roles {
        let path = join("auth.roles", name);
        check_rules(&role.allow, &join(&path, "allow"), diagnostics);
        check_rules(&role.deny, &join(&path, "deny"), diagnostics);
    }
    check_principals(auth, diagnostics);
    for (name, issuer) in &auth.jwt {
        check_issuer(auth, name, issuer, diagnostics);
    }
    if auth.minted.as_ref().is_some_and(|minted| minted.keys.is_empty()) {
        let message = "expected 1 to 8 keys".to_owned();
        diagnostics.reject_in("auth.minted", "auth.minted.keys", message);
    }
}

fn check_table<'a>(
    path: &str,
    names: impl ExactSizeIterator<Item = &'a String>,
    max: usize,
    diagnostics: &mut Diagnostics,
) {
    if names.len() > max {
        diagnostics.reject(path, format!("expected at most {max} tables, got {}", names.len()));
    }
    for name in names.filter(|name| !is_name(name)) {
        let message = "expected a name of 1 to 64 characters of a-z, 0-9, '.', '_' and '-'";
        diagnostics.reject(&join(path, name), message.to_owned());
    }
}

fn check_reserved<'a>(
    path: &str,
    names: impl Iterator<Item = &'a String>,
    diagnostics: &mut Diagnostics,
) {
    for name in names.filter(|name| RESERVED.contains(&name.as_str())) {
        let message =
            "expected another name: this one is that of other callers in logs and metrics";
        diagnostics.reject(&join(path, name), message.to_owned());
    }
}

fn check_roles(auth: &AuthConfig, key: &str, roles: &[String], diagnostics: &mut Diagnostics) {
    if let Some(unknown) = roles.iter().find(|role| !auth.roles.contains_key(*role)) {
        let message = format!("expected names of [auth.roles], got {}", quoted(unknown));
        diagnostics.reject(key, message);
    }
}

fn check_rules(rules: &[RuleConfig], path: &str, diagnostics: &mut Diagnostics) {
    if rules.len() > MAX_RULES {
        diagnostics.reject(path, format!("expected at most {MAX_RULES}, got {}", rules.len()));
    }
    for (index, rule) in rules.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if rule.verbs.is_empty() {
            let message = "expected one verb or more".to_owned();
            diagnostics.reject_in(&path, &join(&path, "verbs"), message);
        }
        if rule.namespaces.is_empty() {
            let message = "expected one namespace or more; [\"*\"] is all of them".to_owned();
            diagnostics.reject_in(&path, &join(&path, "namespaces"), message);
        }
    }
}

fn check_principals(auth: &AuthConfig, diagnostics: &mut Diagnostics) {
    let mut owners: BTreeMap<Vec<u8>, &str> = BTreeMap::new();
    for (name, principal) in &auth.principals {
        let path = join("auth.principals", name);
        check_roles(auth, &join(&path, "roles"), &principal.roles, diagnostics);
        for subject in &principal.jwt {
            let issuer = subject.split_once('/').map_or("", |(issuer, _)| issuer);
            if !auth.jwt.contains_key(issuer) {
                let message = format!("expected names of [auth.jwt], got {}", quoted(issuer));
                diagnostics.reject(&join(&path, "jwt"), message);
            }
        }
        let certificates =
            principal.certificates.iter().map(|name| ("certificates", name.as_bytes()));
        let tokens = principal.tokens.iter().map(|token| ("tokens", token.digest().as_slice()));
        let subjects = principal.jwt.iter().map(|subject| ("jwt", subject.as_bytes()));
        for (key, credential) in certificates.chain(tokens).chain(subjects) {
            let owned = [key.as_bytes(), b":", credential].concat();
            if let Some(owner) = owners.insert(owned, name) {
                let message = if owner == name {
                    "has one credential twice".to_owned()
                } else {
                    format!("has a credential of principal {owner} too")
                };
                diagnostics.reject(&join(&path, key), message);
            }
        }
    }
}

fn check_issuer(auth: &AuthConfig, name: &str, issuer: &JwtConfig, diagnostics: &mut Diagnostics) {
    let path = join("auth.jwt", name);
    let required = [
        ("issuer", issuer.issuer.is_empty(), "expected the claim iss of the tokens"),
        // Otherwise a token for any other service of the issuer would be accepted.
        ("audience", issuer.audience.is_empty(), "expected the claim aud of tokens for Larder"),
        ("keys", issuer.keys.is_empty(), "expected the path or the https:// URL of the keys"),
    ];
    for (key, is_missing, message) in required {
        if is_missing {
            diagnostics.reject_in(&path, &join(&path, key), message.to_owned());
        }
    }
    // Keys that anybody on the way can replace prove nothing, unless the way is this machine.
    if issuer.keys.starts_with("http://") && !is_loopback(&issuer.keys) {
        let message = "expected https://, as plain HTTP can be changed on its way".to_owned();
        diagnostics.reject(&join(&path, "keys"), message);
    }
    check_roles(auth, &join(&path, "default_roles"), &issuer.default_roles, diagnostics);
    let same = auth.jwt.iter().find(|(other, config)| {
        other.as_str() < name && config.issuer == issuer.issuer && !issuer.issuer.is_empty()
    });
    if let Some((other, _)) = same {
        let message = format!("is that of [auth.jwt.{other}] too");
        diagnostics.reject(&join(&path, "issuer"), message);
    }
}

fn is_loopback(url: &str) -> bool {
    let host = url.parse::<Uri>().ok().and_then(|url| url.host().map(str::to_owned));
    host.is_some_and(|host| ["127.0.0.1", "[::1]", "localhost"].contains(&host.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_of_this_machine_may_be_plain() {
        for url in ["http://127.0.0.1/k", "http://localhost:8080/k", "http://[::1]:1/k"] {
            assert!(is_loopback(url), "{url}");
        }
        for url in [
            "http://localhost.example/k",
            "http://127.0.0.1.example/k",
            "http://localhost@example/k",
            "http://127.0.0.1@example/k",
            "http://example/k",
            "http://",
        ] {
            assert!(!is_loopback(url), "{url}");
        }
    }
}
