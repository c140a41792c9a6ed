//! Names of entries within their namespace, as bytes: the digest of the params, if the key has any,
//! and then the key.

use crate::{
    model::{EntryKey, Namespace, PARAMS_DIGEST_BYTES},
    store::memory::allocation::allocated,
};

/// A key and its hash, which is computed once per operation.
#[derive(Clone, Copy)]
pub(super) struct HashedKey<'a> {
    pub(super) key: &'a EntryKey,
    pub(super) hash: u64,
}

/// A name with its own allocation.
pub(super) struct Name {
    bytes: Box<[u8]>,
    has_params: bool,
}

/// The two parts of the name of a key. Together they are [`EntryKey::size`] bytes.
pub(super) fn parts(key: &EntryKey) -> [&[u8]; 2] {
    let digest = key.params().map_or(&[][..], |digest| digest.as_bytes());
    [digest, key.key().as_bytes()]
}

/// The key in a name.
pub(super) fn text(name: &[u8], has_params: bool) -> &[u8] {
    let digest = if has_params { PARAMS_DIGEST_BYTES } else { 0 };
    name.get(digest..).unwrap_or_default()
}

/// Memory of a name of `len` bytes in an allocation of its own.
pub(super) fn memory(len: usize) -> u64 {
    allocated(len, 1)
}

/// Whether `name` is the name of a key.
pub(super) fn is_name_of(name: &[u8], has_params: bool, key: &EntryKey) -> bool {
    let [digest, text] = parts(key);
    has_params == key.params().is_some()
        && name.len() == digest.len() + text.len()
        && name.ends_with(text)
        && name.starts_with(digest)
}

/// The key under which the watches of a lease are listed.
pub(super) fn watch_key(namespace: &Namespace, has_params: bool, parts: &[&[u8]]) -> Vec<u8> {
    // Unambiguous: a namespace contains neither byte, and the digest has a fixed length.
    let separator = u8::from(has_params);
    [&[namespace.as_str().as_bytes(), &[separator]], parts].concat().concat()
}

// === impl HashedKey ===

impl HashedKey<'_> {
    /// The part of the hash that is stored with an entry or a lease: 24 bits.
    #[allow(clippy::cast_possible_truncation)]
    pub(super) fn short_hash(self) -> u32 {
        self.hash as u32 & 0xFF_FFFF
    }

    /// The hash of the short hash in tables.
    pub(super) fn table_hash(self) -> u64 {
        table_hash(self.short_hash())
    }

    /// The key under which the watches of its lease are listed.
    pub(super) fn watch_key(self) -> Vec<u8> {
        watch_key(self.key.namespace(), self.key.params().is_some(), &parts(self.key))
    }
}

/// The hash that a table uses of a short hash: it needs the lowest and the highest bits.
pub(super) fn table_hash(short_hash: u32) -> u64 {
    u64::from(short_hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

// === impl Name ===

impl Name {
    pub(super) fn of(key: &EntryKey) -> Self {
        Self { bytes: parts(key).concat().into(), has_params: key.params().is_some() }
    }

    pub(super) fn is_of(&self, key: &EntryKey) -> bool {
        is_name_of(&self.bytes, self.has_params, key)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The key under which the watches of the name's lease are listed.
    pub(super) fn watch_key(&self, namespace: &Namespace) -> Vec<u8> {
        watch_key(namespace, self.has_params, &[&self.bytes])
    }
}
