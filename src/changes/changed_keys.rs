//! The names of changed entries, in one allocation.

use hashbrown::HashTable;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::model::{EntryKey, MAX_KEY_BYTES, PARAMS_DIGEST_BYTES, ParamsDigest};

/// Names of entries of one namespace, each once: the length of the key in two bytes, whether there
/// is a digest in one, the digest, and the key.
#[derive(Debug, Clone, Default)]
pub struct ChangedKeys {
    bytes: Vec<u8>,
    count: usize,
}

/// The name of an entry within its namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangedKey<'a> {
    /// The key.
    pub key: &'a str,
    /// Digest of the params; none if there are no params.
    pub digest: Option<&'a [u8; PARAMS_DIGEST_BYTES]>,
}

/// Names that are being collected.
pub(super) struct PendingKeys {
    keys: ChangedKeys,
    /// Positions in the bytes.
    index: HashTable<u32>,
    seed: u64,
    since: Option<Instant>,
}

const HEAD: usize = 3;

// === impl ChangedKey ===

impl<'a> ChangedKey<'a> {
    /// The name of an entry.
    pub fn of(key: &'a EntryKey) -> Self {
        Self { key: key.key(), digest: key.params().map(ParamsDigest::as_bytes) }
    }
}

// === impl ChangedKeys ===

impl ChangedKeys {
    /// Number of names.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no name.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Memory in bytes.
    pub(super) fn memory(&self) -> usize {
        self.bytes.capacity()
    }

    /// The names, in the order in which they changed first.
    pub fn iter(&self) -> impl Iterator<Item = ChangedKey<'_>> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            let (name, len) = parse(rest)?;
            rest = rest.get(len..)?;
            Some(name)
        })
    }
}

/// The first name in `bytes`, and its length.
fn parse(bytes: &[u8]) -> Option<(ChangedKey<'_>, usize)> {
    let (&[low, high, has_digest], rest) = bytes.split_first_chunk::<HEAD>()?;
    let (digest, rest) = match has_digest {
        0 => (None, rest),
        _ => rest.split_first_chunk().map(|(digest, rest)| (Some(digest), rest))?,
    };
    let key_len = usize::from(u16::from_le_bytes([low, high]));
    let key = std::str::from_utf8(rest.get(..key_len)?).ok()?;
    let len = HEAD + digest.map_or(0, |digest| digest.len()) + key_len;
    Some((ChangedKey { key, digest }, len))
}

// === impl PendingKeys ===

impl PendingKeys {
    pub(super) fn new(seed: u64) -> Self {
        Self { keys: ChangedKeys::default(), index: HashTable::new(), seed, since: None }
    }

    /// Adds a name, unless it is there. Returns the size of all names, in bytes.
    pub(super) fn add(&mut self, name: ChangedKey<'_>, now: impl FnOnce() -> Instant) -> usize {
        let Self { keys: ChangedKeys { bytes, count }, index, seed, since } = self;
        let start = bytes.len();
        // A longer key is foreign.
        if name.key.len() > MAX_KEY_BYTES {
            return start;
        }
        let key_len = u16::try_from(name.key.len()).unwrap_or(u16::MAX).to_le_bytes();
        bytes.extend_from_slice(&[key_len[0], key_len[1], u8::from(name.digest.is_some())]);
        bytes.extend_from_slice(name.digest.map_or(&[][..], |digest| digest));
        bytes.extend_from_slice(name.key.as_bytes());
        let (earlier, added) = bytes.split_at(start);
        let hash = |name: &[u8]| xxh3_64_with_seed(name, *seed);
        // A name does not begin another one, because its length comes first.
        let is_added = |position: &u32| earlier[*position as usize..].starts_with(added);
        let hash_at = |position: &u32| {
            let rest = earlier.get(*position as usize..).unwrap_or_default();
            parse(rest).map_or(0, |(_, len)| hash(&rest[..len]))
        };
        let entry = index.entry(hash(added), is_added, hash_at);
        match (entry, u32::try_from(start)) {
            (hashbrown::hash_table::Entry::Vacant(vacant), Ok(position)) => {
                vacant.insert(position);
                *count += 1;
            }
            _ => bytes.truncate(start),
        }
        since.get_or_insert_with(now);
        bytes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Takes all names, and when the first of them was added.
    pub(super) fn take(&mut self) -> Option<(ChangedKeys, Instant)> {
        let since = self.since.take()?;
        self.index.clear();
        let mut keys = std::mem::take(&mut self.keys);
        keys.bytes.shrink_to_fit();
        Some((keys, since))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(key: &str) -> ChangedKey<'_> {
        ChangedKey { key, digest: None }
    }

    fn keys_of(pending: &mut PendingKeys) -> Vec<String> {
        let taken = pending.take().map(|(keys, _)| keys).unwrap_or_default();
        assert_eq!(taken.iter().count(), taken.len());
        taken.iter().map(|name| name.key.to_owned()).collect()
    }

    #[test]
    fn each_name_is_kept_once_and_digests_distinguish_names() {
        let mut pending = PendingKeys::new(1);
        let digest = [7; 32];
        for _ in 0..3 {
            for key in ["a", "ab", "b", ""] {
                pending.add(name(key), Instant::now);
                pending.add(ChangedKey { key, digest: Some(&digest) }, Instant::now);
            }
        }
        let (keys, _) = pending.take().unwrap();
        let all: Vec<_> = keys.iter().map(|name| (name.key, name.digest.is_some())).collect();
        let expected = ["a", "ab", "b", ""].into_iter().flat_map(|key| [(key, false), (key, true)]);
        assert_eq!(all, expected.collect::<Vec<_>>());
        assert!(!keys.is_empty() && pending.is_empty() && pending.take().is_none());
    }

    proptest! {
        #[test]
        fn no_name_is_lost(names in prop::collection::vec("[ab\u{e9}]{0,6}", 0..200)) {
            let mut pending = PendingKeys::new(9);
            for key in &names {
                pending.add(name(key), Instant::now);
            }
            let mut expected: Vec<String> = Vec::new();
            for key in names {
                if !expected.contains(&key) {
                    expected.push(key);
                }
            }
            prop_assert_eq!(keys_of(&mut pending), expected);
        }
    }
}
