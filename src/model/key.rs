//! Names of entries: validated newtypes, so that nothing past the edge of the service has to check them again.

use std::{fmt, sync::Arc};

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

use crate::model::Violation;

/// Longest namespace name, in bytes.
pub const MAX_NAMESPACE_BYTES: usize = 64;
/// Longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 1024;
/// Most params on one key.
pub const MAX_PARAMS: usize = 64;
/// Size of all names and values of one key's params together, in bytes.
pub const MAX_PARAMS_BYTES: usize = 8 * 1024;

/// Name of a logical cache: `[a-z0-9][a-z0-9._-]{0,63}`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Namespace(Arc<str>);

/// Names one entry: namespace, key and params. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct EntryKey {
    namespace: Namespace,
    key: Arc<str>,
    params: Option<ParamsDigest>,
}

/// SHA-256 over the params in the order of their names, each name and value preceded by its length.
///
/// The full hash is kept: the systems that Larder replaces cut theirs to 64 bits and fewer, where collisions can be
/// made at will.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParamsDigest(Arc<[u8; 32]>);

// === impl Namespace ===

impl Namespace {
    /// Checks a name.
    ///
    /// # Errors
    /// A violation of field `namespace` when the name is not 1 to 64 characters of `[a-z0-9][a-z0-9._-]*`.
    pub fn new(name: &str) -> Result<Self, Violation> {
        if name.is_empty() {
            return Err(Violation::new("namespace", "must be set"));
        }
        if name.len() > MAX_NAMESPACE_BYTES {
            return Err(Violation::over_limit(
                "namespace",
                format!("is {} bytes long, the limit is {MAX_NAMESPACE_BYTES}", name.len()),
                MAX_NAMESPACE_BYTES,
            ));
        }
        let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let mut bytes = name.bytes();
        let well_formed = bytes.next().is_some_and(alphanumeric)
            && bytes.all(|byte| alphanumeric(byte) || matches!(byte, b'.' | b'_' | b'-'));
        if !well_formed {
            return Err(Violation::new("namespace", "must match [a-z0-9][a-z0-9._-]{0,63}"));
        }
        Ok(Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for Namespace {
    fn borrow(&self) -> &str {
        &self.0
    }
}

// === impl EntryKey ===

impl EntryKey {
    /// Checks a key and folds its params. `params` must come sorted by name and without repeated names.
    ///
    /// # Errors
    /// A violation of field `key` or `params` that names the limit.
    pub fn new<'a>(
        namespace: Namespace,
        key: &str,
        params: impl ExactSizeIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Violation> {
        if key.is_empty() {
            return Err(Violation::new("key", "must be set"));
        }
        if key.len() > MAX_KEY_BYTES {
            return Err(Violation::over_limit(
                "key",
                format!("is {} bytes long, the limit is {MAX_KEY_BYTES}", key.len()),
                MAX_KEY_BYTES,
            ));
        }
        let params = ParamsDigest::of(params)?;
        Ok(Self { namespace, key: key.into(), params })
    }

    /// The entry that a name in the store stands for; none if that is no such name. `digest` is what
    /// [`ParamsDigest::write_to`] wrote.
    pub fn restored(namespace: &str, key: &str, digest: Option<&str>) -> Option<Self> {
        let namespace = Namespace::new(namespace).ok()?;
        let params =
            digest.map(ParamsDigest::read).map_or(Some(None), |digest| digest.map(Some))?;
        (1..=MAX_KEY_BYTES).contains(&key.len()).then(|| Self {
            namespace,
            key: key.into(),
            params,
        })
    }

    /// The namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The key as the caller gave it.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The digest of the params; none when there are no params.
    pub fn params(&self) -> Option<&ParamsDigest> {
        self.params.as_ref()
    }

    /// Bytes that the names take in memory.
    pub fn size(&self) -> usize {
        self.key.len() + self.params.as_ref().map_or(0, |_| size_of::<[u8; 32]>())
    }

    /// Which of its namespace's `shards` in Redis it belongs to; the same in every process and release.
    pub fn shard(&self, shards: u64) -> u64 {
        self.stable_hash() % shards.max(1)
    }

    /// Hash of key and params that is the same in every process and release.
    pub fn stable_hash(&self) -> u64 {
        match &self.params {
            None => xxhash_rust::xxh3::xxh3_64(self.key.as_bytes()),
            Some(digest) => {
                let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
                hasher.update(&*digest.0);
                hasher.update(self.key.as_bytes());
                hasher.digest()
            }
        }
    }
}

// === impl ParamsDigest ===

impl ParamsDigest {
    fn of<'a>(
        params: impl ExactSizeIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Option<Self>, Violation> {
        if params.len() == 0 {
            return Ok(None);
        }
        if params.len() > MAX_PARAMS {
            return Err(Violation::over_limit(
                "params",
                format!("has {} pairs, the limit is {MAX_PARAMS}", params.len()),
                MAX_PARAMS,
            ));
        }
        let mut hasher = Sha256::new();
        let mut size = 0;
        for (name, value) in params {
            if name.is_empty() {
                return Err(Violation::new("params", "must not have an empty name"));
            }
            for part in [name, value] {
                size += part.len();
                hasher.update((part.len() as u64).to_be_bytes());
                hasher.update(part.as_bytes());
            }
        }
        if size > MAX_PARAMS_BYTES {
            return Err(Violation::over_limit(
                "params",
                format!("is {size} bytes in all, the limit is {MAX_PARAMS_BYTES}"),
                MAX_PARAMS_BYTES,
            ));
        }
        Ok(Some(Self(Arc::new(hasher.finalize().into()))))
    }

    fn read(text: &str) -> Option<Self> {
        let mut digest = [0; 32];
        let is_digest = BASE64URL_NOPAD.decode_len(text.len()) == Ok(digest.len())
            && BASE64URL_NOPAD.decode_mut(text.as_bytes(), &mut digest) == Ok(digest.len());
        is_digest.then(|| Self(Arc::new(digest)))
    }

    /// Appends the digest as 43 characters of unpadded base64url.
    pub fn write_to(&self, out: &mut String) {
        BASE64URL_NOPAD.encode_append(&*self.0, out);
    }
}

impl fmt::Debug for ParamsDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64URL_NOPAD.encode(&*self.0))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn key(key: &str, params: &[(&str, &str)]) -> EntryKey {
        EntryKey::new(Namespace::new("user").unwrap(), key, params.iter().copied()).unwrap()
    }

    #[test]
    fn namespaces_follow_the_rule() {
        for good in ["a", "0", "user", "a.b-c_d", &"x".repeat(64)] {
            assert!(Namespace::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".a", "-a", "_a", "User", "a b", "a:b", "a{b", "é", &"x".repeat(65)] {
            let violation = Namespace::new(bad).unwrap_err();
            assert_eq!(violation.field(), "namespace", "{bad}");
        }
    }

    #[test]
    fn keys_have_a_length_and_no_other_rule() {
        let name = Namespace::new("user").unwrap();
        for good in ["\0", ":", "{}", "🦀", &"k".repeat(1024)] {
            assert!(EntryKey::new(name.clone(), good, [].into_iter()).is_ok());
        }
        for bad in [String::new(), "k".repeat(1025)] {
            let violation = EntryKey::new(name.clone(), &bad, [].into_iter()).unwrap_err();
            assert_eq!(violation.field(), "key");
        }
    }

    #[test]
    fn params_are_part_of_the_name_and_cannot_be_shifted() {
        let plain = key("k", &[]);
        let one = key("k", &[("a", "b")]);
        let shifted = key("k", &[("ab", "")]);
        assert_ne!(plain, one);
        assert_ne!(one, shifted);
        assert_eq!(one, key("k", &[("a", "b")]));
        assert_ne!(one.stable_hash(), plain.stable_hash());
    }

    #[test]
    fn params_are_bounded() {
        let name = Namespace::new("user").unwrap();
        let many: Vec<(String, String)> =
            (0..65).map(|n| (format!("{n:03}"), String::new())).collect();
        let pairs = many.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let violation = EntryKey::new(name.clone(), "k", pairs).unwrap_err();
        assert_eq!((violation.field(), violation.limit()), ("params", Some(64)));

        let large = "v".repeat(MAX_PARAMS_BYTES);
        let violation = EntryKey::new(name, "k", [("n", large.as_str())].into_iter()).unwrap_err();
        assert_eq!(
            (violation.field(), violation.limit()),
            ("params", Some(MAX_PARAMS_BYTES as u64))
        );
    }

    /// The layout in Redis depends on these: a change of either moves every entry.
    #[test]
    fn digest_and_shard_hash_never_change() {
        let entry = key("42", &[("lang", "de"), ("page", "2")]);
        let mut digest = String::new();
        entry.params().unwrap().write_to(&mut digest);
        assert_eq!(digest, "7W_4UchRNjEoM30CxADdsatfALKajSgdyAh9dRtDFCA");
        assert_eq!(key("42", &[]).stable_hash(), 1_303_733_993_043_075_473);
        assert_eq!(entry.stable_hash(), 8_834_398_145_319_721_289);
    }
}
