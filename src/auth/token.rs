//! Static tokens: random texts, of which the configuration has the digest.

use std::fmt;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// Begin of a token, by which scanners for leaked secrets find it.
const PREFIX: &str = "larder_";

/// A new token of 256 random bits.
pub struct NewToken(SecretString);

impl NewToken {
    /// Makes a token.
    pub fn random() -> Self {
        let bits: [u8; 32] = rand::random();
        Self(format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&bits)).into())
    }

    /// The token, to be given to the caller.
    pub fn secret(&self) -> &str {
        self.0.expose_secret()
    }

    /// The digest, to be written into the configuration.
    pub fn digest(&self) -> String {
        format!("sha256:{}", HEXLOWER.encode(&digest(self.secret().as_bytes())))
    }
}

impl fmt::Debug for NewToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewToken(***)")
    }
}

pub(super) fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_long_random_and_not_shown() {
        let (one, other) = (NewToken::random(), NewToken::random());
        assert_ne!(one.secret(), other.secret());
        assert_eq!(one.secret().len(), PREFIX.len() + 43);
        assert_eq!(one.digest().len(), "sha256:".len() + 64);
        assert!(!format!("{one:?}").contains(&one.secret()[PREFIX.len()..]));
    }
}
