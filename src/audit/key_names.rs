//! How keys, tags and globs are written: in plain text, or as a keyed hash.

use data_encoding::HEXLOWER;
use rand::RngExt as _;
use ring::hmac::{HMAC_SHA256, Key, sign};
use secrecy::ExposeSecret as _;

use crate::config::{AuditConfig, KeyForm};

/// Bytes of a hash that are written. 128 bits leave no collisions by chance.
const HASH_BYTES: usize = 16;

/// Writes the names of targets.
pub(super) enum KeyNames {
    Plain,
    /// HMAC-SHA-256 of the text. An unkeyed hash would hide nothing: keys such as `user:17` are
    /// found by hashing all of them.
    Hashed(Key),
}

impl KeyNames {
    /// As configured. Without a configured key, the hashes have a random one.
    pub(super) fn new(config: &AuditConfig) -> Self {
        if config.keys == KeyForm::Plain {
            return Self::Plain;
        }
        let key = match config.hash_secret() {
            Some(secret) => Key::new(HMAC_SHA256, secret.expose_secret().as_bytes()),
            None => Key::new(HMAC_SHA256, &rand::rng().random::<[u8; 32]>()),
        };
        Self::Hashed(key)
    }

    /// The hash of a text; none if it is written as it is.
    pub(super) fn hash(&self, text: &str) -> Option<String> {
        match self {
            Self::Plain => None,
            Self::Hashed(key) => {
                Some(HEXLOWER.encode(&sign(key, text.as_bytes()).as_ref()[..HASH_BYTES]))
            }
        }
    }
}
