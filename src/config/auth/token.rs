//! Tokens and keys for tokens, which are never kept or shown in plain text.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use config::ValueKind;
use data_encoding::HEXLOWER_PERMISSIVE;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::super::diagnostics::Diagnostics;
use super::super::secret_template::SecretTemplate;
use super::super::toml::quoted;
use super::super::value::{HOUR, SECOND, ValueType, duration, list_of_type, value_type};
use super::super::visitor::{ConfigVisitor, Section};

/// Minimum length of a token or key, in characters. `larder token new` makes longer ones.
const MIN_CHARACTERS: usize = 32;
/// Maximum length of a token, in characters.
const MAX_CHARACTERS: usize = 4096;
/// Maximum number of keys for minted tokens.
const MAX_KEYS: usize = 8;
const DIGEST: &str = "sha256:";

/// A token, of which only the digest is kept.
#[derive(Clone)]
pub struct TokenConfig {
    written: SecretTemplate,
    digest: [u8; 32],
}

/// `[auth.minted]`: short-lived tokens that this server issues.
#[derive(Clone, Debug, PartialEq)]
pub struct MintedConfig {
    /// Keys, each a random text of 32 characters or more; the first signs, and all of them verify.
    /// It is required.
    pub keys: Vec<SecretTemplate>,
    /// Longest lifetime of a token.
    pub max_ttl: Duration,
}

impl TokenConfig {
    /// SHA-256 of the token.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// A token for tests, whose reference is not shown.
    #[cfg(test)]
    pub(crate) fn of(token: &str) -> Self {
        let written = SecretTemplate::unresolved(token).unwrap_or_else(|error| panic!("{error}"));
        Self { written, digest: Sha256::digest(token).into() }
    }

    /// Reads the token or its digest.
    pub(in crate::config) fn resolve(
        &mut self,
        env: &BTreeMap<String, String>,
    ) -> Result<(), String> {
        let value = self.written.resolve(env).map_err(|error| error.to_string())?;
        let value = value.expose_secret().trim();
        self.digest = match value.strip_prefix(DIGEST) {
            Some(digits) => digest(digits)?,
            None => {
                check_secret(value)?;
                Sha256::digest(value).into()
            }
        };
        Ok(())
    }
}

/// Reads a secret from its variable or file, and checks it.
pub(in crate::config) fn resolved_secret(
    reference: &SecretTemplate,
    env: &BTreeMap<String, String>,
) -> Result<SecretTemplate, String> {
    let resolved = reference.resolved(env).map_err(|error| error.to_string())?;
    check_secret(resolved.value().expose_secret())?;
    Ok(resolved)
}

/// Rejects a secret that can be guessed, or that no header can have.
fn check_secret(secret: &str) -> Result<(), String> {
    let length = secret.len();
    if length < MIN_CHARACTERS {
        return Err(format!(
            "expected a random text of at least {MIN_CHARACTERS} characters, got {length}; \
             larder token new makes one"
        ));
    }
    if length > MAX_CHARACTERS {
        return Err(format!("expected at most {MAX_CHARACTERS} characters, got {length}"));
    }
    if secret.contains(' ') {
        return Err("expected a text without spaces".to_owned());
    }
    Ok(())
}

fn digest(digits: &str) -> Result<[u8; 32], String> {
    let bytes = HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| format!("expected 64 hexadecimal digits after {DIGEST}"))
}

/// A token: its digest, or a reference to where it is. A token in plain text is refused.
pub(in crate::config) fn token() -> impl ValueType<Value = TokenConfig> {
    value_type(
        |raw| {
            let ValueKind::String(text) = raw else {
                return Err(expected_token());
            };
            let text = text.trim();
            if let Some(digits) = text.strip_prefix(DIGEST) {
                digest(digits)?;
            } else if !text.contains("${") {
                return Err(expected_token());
            }
            let written = SecretTemplate::unresolved(text).map_err(|error| error.to_string())?;
            Ok(TokenConfig { written, digest: [0; 32] })
        },
        |token: &TokenConfig| quoted(&token.to_string()),
    )
}

fn expected_token() -> String {
    "expected sha256: and the digest of a token (larder token new prints both), or where the token \
     is: ${file:/path} or ${env:NAME}"
        .to_owned()
}

impl fmt::Display for TokenConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.written.fmt(f)
    }
}

impl fmt::Debug for TokenConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenConfig({self})")
    }
}

impl PartialEq for TokenConfig {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest && self.written == other.written
    }
}

impl Default for MintedConfig {
    fn default() -> Self {
        Self { keys: Vec::new(), max_ttl: Duration::from_secs(3600) }
    }
}

impl Section for MintedConfig {
    fn visit(&mut self, visitor: &mut impl ConfigVisitor) {
        visitor.key("keys", &mut self.keys, list_of_type(key(), MAX_KEYS));
        visitor.key("max_ttl", &mut self.max_ttl, duration(SECOND, 24 * HOUR));
    }
}

impl MintedConfig {
    /// The keys as they are used.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretString> {
        self.keys.iter().map(SecretTemplate::value)
    }

    pub(super) fn resolve(
        &mut self,
        env: &BTreeMap<String, String>,
        diagnostics: &mut Diagnostics,
    ) {
        for (index, key) in self.keys.iter_mut().enumerate() {
            match resolved_secret(key, env) {
                Ok(resolved) => *key = resolved,
                Err(problem) => {
                    diagnostics.reject("auth.minted.keys", format!("item {index}: {problem}"));
                }
            }
        }
    }
}

/// A key, by reference.
fn key() -> impl ValueType<Value = SecretTemplate> {
    value_type(
        |raw| {
            if let ValueKind::String(text) = raw
                && text.contains("${")
            {
                return SecretTemplate::unresolved(text.trim()).map_err(|error| error.to_string());
            }
            Err("expected where the key is: ${file:/path} or ${env:NAME}".to_owned())
        },
        |key: &SecretTemplate| quoted(&key.to_string()),
    )
}
