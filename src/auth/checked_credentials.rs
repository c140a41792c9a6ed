//! Credentials that were checked, by a keyed hash of each.

use std::{hash::Hasher as _, sync::Arc};

use quick_cache::sync::Cache;
use siphasher::sip128::{Hasher128 as _, SipHasher24};

use super::principal::Principal;

/// Maximum number of credentials. A further one displaces another one, which is checked again when
/// it is used.
const MAX_CREDENTIALS: usize = 10_000;

/// Principals of credentials that were checked.
///
/// The hash is SipHash-2-4 with 128 bits under a random key of the process: without the key nobody
/// can find another text with the same hash, or compute a credential from it (Aumasson, Bernstein,
/// "SipHash: a fast short-input PRF").
pub(super) struct CheckedCredentials {
    key: [u8; 16],
    principals: Cache<u128, Arc<Principal>>,
}

/// The kind of a credential, so that no token has the hash of a certificate.
#[derive(Debug, Clone, Copy)]
pub(super) enum CredentialKind {
    Token,
    Certificate,
}

impl CheckedCredentials {
    pub(super) fn new() -> Self {
        Self { key: rand::random(), principals: Cache::new(MAX_CREDENTIALS) }
    }

    pub(super) fn hash(&self, kind: CredentialKind, credential: &[u8]) -> u128 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(credential);
        hasher.write_u8(kind as u8);
        hasher.finish128().as_u128()
    }

    /// The principal of a credential, unless it has expired.
    #[inline]
    pub(super) fn get(&self, hash: u128) -> Option<Arc<Principal>> {
        self.principals.get(&hash).filter(|principal| !principal.has_expired())
    }

    pub(super) fn insert(&self, hash: u128, principal: &Arc<Principal>) {
        self.principals.insert(hash, principal.clone());
    }

    /// Number of credentials.
    pub(super) fn len(&self) -> usize {
        self.principals.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::auth::grants::Grants;

    #[test]
    fn credentials_are_found_by_their_kind_and_text_until_they_expire() {
        let checked = CheckedCredentials::new();
        let principal = |expires_in: i64| {
            let now = SystemTime::now();
            let offset = Duration::from_secs(expires_in.unsigned_abs());
            let time = if expires_in < 0 { now - offset } else { now + offset };
            Arc::new(Principal::new("a", "a", Grants::default()).expiring_at(time))
        };
        let hash = checked.hash(CredentialKind::Token, b"token");
        assert!(checked.get(hash).is_none());
        checked.insert(hash, &principal(3600));
        assert!(checked.get(hash).is_some());
        assert!(checked.get(checked.hash(CredentialKind::Certificate, b"token")).is_none());
        assert!(checked.get(checked.hash(CredentialKind::Token, b"tokem")).is_none());
        checked.insert(hash, &principal(-1));
        assert!(checked.get(hash).is_none());
    }

    #[test]
    fn the_table_is_bounded() {
        let checked = CheckedCredentials::new();
        let principal = Arc::new(Principal::new("a", "a", Grants::default()));
        for number in 0..2 * MAX_CREDENTIALS as u128 {
            checked.insert(number, &principal);
        }
        assert!(checked.len() <= MAX_CREDENTIALS);
    }
}
