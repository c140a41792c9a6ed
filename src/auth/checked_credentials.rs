//! Credentials that were checked.

use std::{hash::Hasher as _, sync::Arc};

use bytes::Bytes;
use quick_cache::sync::Cache;
use siphasher::sip128::{Hasher128 as _, SipHasher24};

use super::principal::Principal;

/// Maximum number of tokens, and of certificates. A further one displaces another one, which is
/// checked again when it is used.
const MAX_CREDENTIALS: usize = 10_000;

/// Principals of credentials that were checked.
///
/// Tokens are found by a hash: SipHash-2-4 with 128 bits under a random key of the process. Without
/// the key, no other text with the same hash can be found, and no token follows from a hash
/// (Aumasson, Bernstein: "SipHash: a fast short-input PRF").
///
/// Certificates are found by their address. A connection has one for all of its calls, and the
/// table keeps it, so that no other certificate can have the address.
pub(super) struct CheckedCredentials {
    key: [u8; 16],
    tokens: Cache<u128, Arc<Principal>>,
    certificates: Cache<usize, Certificate>,
}

#[derive(Clone)]
struct Certificate {
    der: Bytes,
    /// None if no principal has the certificate.
    principal: Option<Arc<Principal>>,
}

impl CheckedCredentials {
    pub(super) fn new() -> Self {
        Self {
            key: rand::random(),
            tokens: Cache::new(MAX_CREDENTIALS),
            certificates: Cache::new(MAX_CREDENTIALS),
        }
    }

    /// The hash by which a token is found.
    #[inline]
    pub(super) fn hash(&self, token: &[u8]) -> u128 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(token);
        hasher.finish128().as_u128()
    }

    /// The principal of a token, unless the token has expired.
    #[inline]
    pub(super) fn of_token(&self, hash: u128) -> Option<Arc<Principal>> {
        self.tokens.get(&hash).filter(|principal| !principal.has_expired())
    }

    pub(super) fn insert_token(&self, hash: u128, principal: &Arc<Principal>) {
        self.tokens.insert(hash, principal.clone());
    }

    /// The principal of a certificate, if it was checked, and has one.
    #[inline]
    pub(super) fn of_certificate(&self, certificate: &Bytes) -> Option<Option<Arc<Principal>>> {
        let known = self.certificates.get(&certificate.as_ptr().addr())?;
        (known.der.len() == certificate.len()).then_some(known.principal)
    }

    pub(super) fn insert_certificate(
        &self,
        certificate: &Bytes,
        principal: Option<Arc<Principal>>,
    ) {
        let checked = Certificate { der: certificate.clone(), principal };
        self.certificates.insert(certificate.as_ptr().addr(), checked);
    }

    /// Number of credentials.
    pub(super) fn len(&self) -> usize {
        self.tokens.len() + self.certificates.len()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::auth::grants::Grants;

    fn principal(expires_at: SystemTime) -> Arc<Principal> {
        Arc::new(Principal::new("a", "a", Grants::default()).expiring_at(expires_at))
    }

    #[test]
    fn tokens_are_found_until_they_expire() {
        let (checked, now) = (CheckedCredentials::new(), SystemTime::now());
        let hour = Duration::from_secs(3600);
        let hash = checked.hash(b"token");
        assert!(checked.of_token(hash).is_none());
        checked.insert_token(hash, &principal(now + hour));
        assert!(checked.of_token(hash).is_some());
        assert!(checked.of_token(checked.hash(b"tokem")).is_none());
        checked.insert_token(hash, &principal(now - hour));
        assert!(checked.of_token(hash).is_none());
    }

    #[test]
    fn certificates_are_found_by_the_memory_of_their_connection() {
        let checked = CheckedCredentials::new();
        let (one, same) = (Bytes::copy_from_slice(b"der"), Bytes::copy_from_slice(b"der"));
        assert!(checked.of_certificate(&one).is_none());
        checked.insert_certificate(&one, None);
        assert!(checked.of_certificate(&one.clone()).unwrap().is_none());
        assert!(checked.of_certificate(&same).is_none());
        checked.insert_certificate(&same, Some(principal(SystemTime::now())));
        assert!(checked.of_certificate(&same).unwrap().is_some());
    }

    #[test]
    fn hashes_of_two_processes_differ() {
        assert_ne!(CheckedCredentials::new().hash(b"t"), CheckedCredentials::new().hash(b"t"));
    }

    #[test]
    fn the_table_is_bounded() {
        let checked = CheckedCredentials::new();
        let principal = principal(SystemTime::now());
        for number in 0..2 * MAX_CREDENTIALS as u128 {
            checked.insert_token(number, &principal);
        }
        assert!(checked.len() <= MAX_CREDENTIALS);
    }
}
