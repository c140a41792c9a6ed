//! Public keys of an issuer: a JSON Web Key Set (RFC 7517).

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse},
};
use serde_json::Value;

use crate::auth::error::AuthError;

/// Maximum number of keys of a set.
const MAX_KEYS: usize = 100;

/// Why a text is no set of keys.
#[derive(Debug, thiserror::Error)]
pub(in crate::auth) enum InvalidKeySet {
    #[error("expected a JSON Web Key Set: {0}")]
    Json(#[from] serde_json::Error),
    #[error("expected a JSON Web Key Set, with a list \"keys\"")]
    NoList,
    #[error("expected at most {MAX_KEYS} keys, got {0}")]
    TooMany(usize),
    #[error("none of its {0} keys can verify tokens: RSA, P-256, P-384 and Ed25519 are supported")]
    NoKey(usize),
}

/// The keys of a set that can verify tokens.
pub(in crate::auth) struct KeySet {
    /// As it was read, to find out whether it changes.
    text: String,
    keys: Vec<PublicKey>,
}

struct PublicKey {
    id: Option<String>,
    family: AlgorithmFamily,
    /// None: all of the family.
    algorithm: Option<Algorithm>,
    key: DecodingKey,
}

impl KeySet {
    /// Reads a set. Keys for other purposes, and of other types, are left out.
    pub(in crate::auth) fn parse(text: &str) -> Result<Self, InvalidKeySet> {
        let set: Value = serde_json::from_str(text)?;
        let list = set.get("keys").and_then(Value::as_array).ok_or(InvalidKeySet::NoList)?;
        if list.len() > MAX_KEYS {
            return Err(InvalidKeySet::TooMany(list.len()));
        }
        let keys: Vec<_> = list.iter().filter_map(PublicKey::parse).collect();
        if keys.is_empty() {
            return Err(InvalidKeySet::NoKey(list.len()));
        }
        Ok(Self { text: text.to_owned(), keys })
    }

    pub(in crate::auth) fn is_same(&self, other: &Self) -> bool {
        self.text == other.text
    }

    pub(in crate::auth) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The key of a token. One without a key id has the only key of its family.
    pub(in crate::auth) fn find(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<&DecodingKey, AuthError> {
        let mut named = self.keys.iter().filter(|key| match id {
            Some(id) => key.id.as_deref() == Some(id),
            None => key.family == algorithm.family(),
        });
        let found = named.next().ok_or(AuthError::UnknownKey)?;
        if named.next().is_some() && id.is_none() {
            return Err(AuthError::UnknownKey);
        }
        let is_accepted = found.family == algorithm.family()
            && found.algorithm.is_none_or(|accepted| accepted == algorithm);
        if is_accepted { Ok(&found.key) } else { Err(AuthError::WrongAlgorithm) }
    }
}

impl PublicKey {
    // Of a library, which may add variants.
    #[allow(clippy::wildcard_enum_match_arm)]
    fn parse(value: &Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
        if matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption)) {
            return None;
        }
        let algorithm = match jwk.common.key_algorithm {
            // One that is named but not supported is for another purpose.
            Some(algorithm) => Some(algorithm.to_string().parse().ok()?),
            None => match &jwk.algorithm {
                AlgorithmParameters::EllipticCurve(key) => match key.curve {
                    EllipticCurve::P256 => Some(Algorithm::ES256),
                    EllipticCurve::P384 => Some(Algorithm::ES384),
                    _ => return None,
                },
                AlgorithmParameters::OctetKeyPair(_) => Some(Algorithm::EdDSA),
                AlgorithmParameters::RSA(_) => None,
                _ => return None,
            },
        };
        let key = DecodingKey::from_jwk(&jwk).ok()?;
        // A shared secret in a public set is none.
        if key.family() == AlgorithmFamily::Hmac {
            return None;
        }
        Some(Self { id: jwk.common.key_id.clone(), family: key.family(), algorithm, key })
    }
}
