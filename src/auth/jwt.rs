//! JSON Web Tokens (RFC 7519) of configured issuers.

mod claims;
mod key_set;
mod ring_provider;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use jsonwebtoken::{Algorithm, Header, Validation, errors::ErrorKind};

use super::error::AuthError;
use crate::config::JwtConfig;
pub(super) use claims::{Claims, IssuerClaim};
pub(super) use key_set::{InvalidKeySet, KeySet};
pub(super) use ring_provider::install as install_provider;

/// Algorithms of public keys. Those with a shared secret are not among them: with one of them, a
/// token could be signed with the public key as the secret.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// An issuer of tokens.
pub(super) struct Issuer {
    pub(super) name: String,
    pub(super) config: JwtConfig,
    /// None until they could be read.
    pub(super) keys: ArcSwapOption<KeySet>,
}

/// The parts of a token that are read before its signature is verified.
pub(super) struct UnverifiedToken<'a> {
    text: &'a str,
    header: Header,
    pub(super) issuer: String,
}

impl<'a> UnverifiedToken<'a> {
    // Of a library, which may add variants.
    #[allow(clippy::wildcard_enum_match_arm)]
    pub(super) fn read(text: &'a str) -> Result<Self, AuthError> {
        let header = jsonwebtoken::decode_header(text);
        // `none` and other unknown algorithms make the header malformed.
        let header = header.map_err(|error| match error.kind() {
            ErrorKind::Json(_) | ErrorKind::InvalidAlgorithmName => AuthError::WrongAlgorithm,
            _ => AuthError::MalformedToken,
        })?;
        let claims = jsonwebtoken::dangerous::insecure_decode_claims::<IssuerClaim>(text);
        let issuer = claims.map_err(|_| AuthError::MalformedToken)?.iss;
        Ok(Self { text, header, issuer })
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.header.alg
    }

    pub(super) fn key_id(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    /// Verifies the signature with a key, and the claims.
    pub(super) fn verify(
        &self,
        key: &jsonwebtoken::DecodingKey,
        expected: &Expected<'_>,
    ) -> Result<Claims, AuthError> {
        let mut validation = Validation::new(self.header.alg);
        validation.set_issuer(&[expected.issuer]);
        validation.set_audience(expected.audience);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.validate_nbf = true;
        validation.leeway = expected.leeway.as_secs();
        let decoded = jsonwebtoken::decode::<Claims>(self.text, key, &validation);
        decoded.map(|data| data.claims).map_err(|error| error_of(error.kind()))
    }
}

/// Values that the claims of a token must have.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) audience: &'a [String],
    pub(super) leeway: Duration,
}

impl Issuer {
    pub(super) fn new(name: &str, config: &JwtConfig) -> Self {
        let (name, config) = (name.to_owned(), config.clone());
        Self { name, config, keys: ArcSwapOption::empty() }
    }

    /// Verifies a token of this issuer.
    pub(super) fn verify(&self, token: &UnverifiedToken<'_>) -> Result<Claims, AuthError> {
        if !ALGORITHMS.contains(&token.algorithm()) {
            return Err(AuthError::WrongAlgorithm);
        }
        let Some(keys) = self.keys.load_full() else { return Err(AuthError::KeysUnavailable) };
        let key = keys.find(token.key_id(), token.algorithm())?;
        let JwtConfig { issuer, audience, leeway, .. } = &self.config;
        token.verify(key, &Expected { issuer, audience, leeway: *leeway })
    }

    /// Whether the keys of another issuer are those of this one.
    pub(super) fn is_same_source(&self, other: &Self) -> bool {
        self.config.keys == other.config.keys
    }

    /// Replaces the keys. Whether that makes a difference.
    pub(super) fn replace_keys(&self, keys: KeySet) -> bool {
        let is_same = self.keys.load().as_ref().is_some_and(|current| current.is_same(&keys));
        if !is_same {
            self.keys.store(Some(Arc::new(keys)));
        }
        !is_same
    }
}

// Of a library, which may add variants.
#[allow(clippy::wildcard_enum_match_arm)]
fn error_of(kind: &ErrorKind) -> AuthError {
    match kind {
        ErrorKind::InvalidSignature | ErrorKind::Signing(_) => AuthError::WrongSignature,
        ErrorKind::ExpiredSignature => AuthError::Expired,
        ErrorKind::ImmatureSignature => AuthError::NotYetValid,
        ErrorKind::InvalidAudience => AuthError::WrongAudience,
        ErrorKind::InvalidIssuer => AuthError::UnknownIssuer,
        ErrorKind::InvalidAlgorithm
        | ErrorKind::InvalidAlgorithmName
        | ErrorKind::UnsupportedAlgorithm
        | ErrorKind::InvalidKeyFormat => AuthError::WrongAlgorithm,
        _ => AuthError::MalformedToken,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
