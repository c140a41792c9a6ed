//! Names of entries: validated newtypes, so that no code behind the edge of the service has to
//! check them again.

use std::{fmt, sync::Arc};

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

use crate::model::{SchemaVersion, Violation};

/// Maximum length of a namespace name, in bytes.
pub const MAX_NAMESPACE_BYTES: usize = 64;
/// Maximum length of a key, in bytes.
pub const MAX_KEY_BYTES: usize = 1024;
/// Maximum number of params of one key.
pub const MAX_PARAMS: usize = 64;
/// Maximum total size of the names and values of one key's params, in bytes.
pub const MAX_PARAMS_BYTES: usize = 8 * 1024;

/// Length of a [`ParamsDigest`], in bytes.
pub const PARAMS_DIGEST_BYTES: usize = 32;

/// Name of a logical cache: `[a-z0-9][a-z0-9._-]{0,63}`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Namespace(Arc<str>);

/// Name of one entry: namespace, key and params. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct EntryKey {
    namespace: Namespace,
    key: Arc<str>,
    params: Option<ParamsDigest>,
}

/// SHA-256 of the params in the order of their names, each name and value preceded by its length.
///
/// The digest is not truncated: with 64 bits or fewer, as in the systems that Larder replaces, an
/// attacker can construct collisions.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParamsDigest(Arc<[u8; PARAMS_DIGEST_BYTES]>);

// === impl Namespace ===

impl Namespace {
    /// Validates a name.
    ///
    /// # Errors
    /// A violation of field `namespace` if the name is longer than 64 characters or does not match
    /// `[a-z0-9][a-z0-9._-]*`.
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

    /// Returns the name.
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
    /// Validates a key and its params. `params` must be sorted by name, and names must be unique.
    ///
    /// # Errors
    /// A violation of field `key` or `params`, with the limit if one is exceeded.
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

    /// Rebuilds the name from the parts of a store key; none if a part is malformed. `digest` is
    /// the text that [`ParamsDigest::write_to`] wrote.
    pub fn restored(namespace: &str, key: &str, digest: Option<&str>) -> Option<Self> {
        let namespace = Namespace::new(namespace).ok()?;
        let digest =
            digest.map(ParamsDigest::parse).map_or(Some(None), |digest| digest.map(Some))?;
        Self::from_parts(namespace, key, digest.map(|digest| *digest.0))
    }

    /// Rebuilds the name from its parts; none if the key is empty or too long.
    pub fn from_parts(namespace: Namespace, key: &str, digest: Option<[u8; 32]>) -> Option<Self> {
        let params = digest.map(|digest| ParamsDigest(Arc::new(digest)));
        (1..=MAX_KEY_BYTES).contains(&key.len()).then(|| Self {
            namespace,
            key: key.into(),
            params,
        })
    }

    /// The name of the entry with this key and these params in a schema version. It has a digest in
    /// any case, so that invalidations and statistics see it as one of the key.
    #[must_use]
    pub fn of_schema(&self, version: &SchemaVersion) -> Self {
        let params = Some(ParamsDigest::of_schema(self.params.as_ref(), version));
        Self { namespace: self.namespace.clone(), key: self.key.clone(), params }
    }

    /// Returns the namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Returns the key as the caller sent it.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns the digest of the params; none if there are no params.
    pub fn params(&self) -> Option<&ParamsDigest> {
        self.params.as_ref()
    }

    /// Memory that the key and the digest take, in bytes.
    pub fn size(&self) -> usize {
        self.key.len() + self.params.as_ref().map_or(0, |_| size_of::<[u8; 32]>())
    }

    /// Returns the number of the entry's shard, of `shards` per namespace in Redis. It is the same
    /// in every process and release.
    pub fn shard(&self, shards: u64) -> u64 {
        self.stable_hash() % shards.max(1)
    }

    /// Hashes key and params. The hash is the same in every process and release.
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

    /// Folds a schema version into the digest of the params, if there is one.
    fn of_schema(params: Option<&Self>, version: &SchemaVersion) -> Self {
        let version = version.as_str();
        let mut hasher = Sha256::new();
        // No name and no value is that long, so that no params have the same digest.
        hasher.update(u64::MAX.to_be_bytes());
        hasher.update((version.len() as u64).to_be_bytes());
        hasher.update(version.as_bytes());
        if let Some(params) = params {
            hasher.update(*params.0);
        }
        Self(Arc::new(hasher.finalize().into()))
    }

    /// Reads what [`ParamsDigest::write_to`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let mut digest = [0; 32];
        let is_digest = BASE64URL_NOPAD.decode_len(text.len()) == Ok(digest.len())
            && BASE64URL_NOPAD.decode_mut(text.as_bytes(), &mut digest) == Ok(digest.len());
        is_digest.then(|| Self(Arc::new(digest)))
    }

    /// Returns the digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns what [`ParamsDigest::write_to`] appends.
    pub fn to_text(&self) -> String {
        BASE64URL_NOPAD.encode(&*self.0)
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
mod tests;
