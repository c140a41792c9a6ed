//! The tokens of the admin port.

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

use crate::config::TokenConfig;

/// Digests of the tokens that are valid.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tokens(Vec<[u8; 32]>);

impl Tokens {
    /// The configured ones; none if there is no token.
    pub(super) fn new(tokens: &[TokenConfig]) -> Option<Self> {
        let mut digests: Vec<_> = tokens.iter().map(|token| *token.digest()).collect();
        digests.sort_unstable();
        (!digests.is_empty()).then_some(Self(digests))
    }

    /// Whether `token` is one of them. The time does not depend on which, nor on how much of it is
    /// right.
    pub(super) fn contains(&self, token: &[u8]) -> bool {
        let digest: [u8; 32] = Sha256::digest(token).into();
        let found =
            self.0.iter().fold(Choice::from(0), |found, known| found | known.ct_eq(&digest));
        found.into()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_of_several_tokens_is_valid() {
        let tokens = Tokens::new(&["one", "two"].map(TokenConfig::of)).unwrap();
        assert!(tokens.contains(b"one") && tokens.contains(b"two"));
        for other in [&b""[..], b"on", b"one ", b"onetwo", b"three"] {
            assert!(!tokens.contains(other), "{other:?}");
        }
        assert_eq!(Tokens::new(&[]), None);
    }

    #[test]
    fn the_order_is_no_difference() {
        let of = |names: [&str; 2]| Tokens::new(&names.map(TokenConfig::of));
        assert_eq!(of(["one", "two"]), of(["two", "one"]));
        assert_ne!(of(["one", "two"]), of(["one", "three"]));
    }
}
