//! Names of keys in Redis.
//!
//! ```text
//! <prefix>:{<namespace>:<shard>}:g                     generation marker
//! <prefix>:{<namespace>:<shard>}:k:<key>               entry without params
//! <prefix>:{<namespace>:<shard>}:p:<digest>:<key>      entry with params
//! <prefix>:{<namespace>:<shard>}:t                     scratch key of one script
//! <prefix>:l:{<namespace>:<shard>}:k:<key>             lease (or :p:<digest>:<key>)
//! <prefix>:w:{<namespace>:<shard>}:<number>            large entry on its way
//! <prefix>:{stats}:...                                 the fleet's counters
//! ```
//!
//! All keys that one script touches have the same hash tag, so they live in one Cluster slot. Leases have a prefix of their
//! own, so that a client can follow them without being told of every write; and so have entries on their way, so that those who
//! follow entries are not told of them.

use crate::{
    model::{EntryKey, Namespace},
    stats::windows::Window,
};

/// Chooses names under a prefix.
#[derive(Debug, Clone)]
pub(super) struct KeySchema {
    prefix: String,
    shards: u64,
}

/// The names that belong to one entry.
pub(super) struct EntryKeys {
    /// Its shard's generation marker.
    pub(super) marker: Vec<u8>,
    /// The entry.
    pub(super) entry: Vec<u8>,
}

/// What a name stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ParsedKey<'a> {
    /// The entries of a namespace under one generation marker.
    Marker { namespace: &'a str, shard: u64 },
    /// One entry.
    Entry { namespace: &'a str, key: &'a str, digest: Option<&'a str> },
}

impl KeySchema {
    /// `shards` is the number of generation markers per namespace, at least 1.
    pub(super) fn new(prefix: &str, shards: u16) -> Self {
        Self { prefix: prefix.to_owned(), shards: u64::from(shards.max(1)) }
    }

    pub(super) fn names(&self, key: &EntryKey) -> EntryKeys {
        let mut entry = self.tagged("", key, 64);
        let mut marker = Vec::with_capacity(entry.len() + 2);
        marker.extend_from_slice(entry.as_bytes());
        marker.extend_from_slice(b":g");
        push_local(&mut entry, key);
        EntryKeys { marker, entry: entry.into_bytes() }
    }

    pub(super) fn lease(&self, key: &EntryKey) -> Vec<u8> {
        let mut name = self.tagged("l:", key, 64);
        push_local(&mut name, key);
        name.into_bytes()
    }

    pub(super) fn scratch(&self, key: &EntryKey) -> Vec<u8> {
        let mut name = self.tagged("", key, 2);
        name.push_str(":t");
        name.into_bytes()
    }

    /// Where a large entry waits to be stored. `number` tells it from others.
    pub(super) fn aside(&self, key: &EntryKey, number: u64) -> Vec<u8> {
        use std::fmt::Write as _;
        let mut name = self.tagged("w:", key, 18);
        // Writing to a string cannot fail.
        let _ = write!(name, ":{number:016x}");
        name.into_bytes()
    }

    /// All generation markers of a namespace.
    pub(super) fn markers(&self, namespace: &Namespace) -> Vec<String> {
        (0..self.shards).map(|shard| format!("{}:{{{namespace}:{shard}}}:g", self.prefix)).collect()
    }

    /// What all names of leases begin with.
    pub(super) fn lease_prefix(&self) -> String {
        format!("{}:l:", self.prefix)
    }

    pub(super) fn totals(&self) -> String {
        format!("{}:{{stats}}:total", self.prefix)
    }

    pub(super) fn bucket(&self, window: Window, bucket: u64) -> String {
        format!("{}:{{stats}}:{}s:{bucket}", self.prefix, window.bucket_ms / 1000)
    }

    pub(super) fn sequence(&self, replica: u64) -> String {
        format!("{}:{{stats}}:replica:{replica:016x}", self.prefix)
    }

    /// What all names of a namespace's entries and markers begin with.
    pub(super) fn namespace_prefix(&self, namespace: &Namespace) -> String {
        format!("{}:{{{namespace}:", self.prefix)
    }

    /// What a name stands for, if it is that of an entry or a marker.
    pub(super) fn meaning<'a>(&self, name: &'a [u8]) -> Option<ParsedKey<'a>> {
        let rest =
            std::str::from_utf8(name).ok()?.strip_prefix(&self.prefix)?.strip_prefix(":{")?;
        let (tag, local) = rest.split_once('}')?;
        let (namespace, shard) = tag.rsplit_once(':')?;
        if local == ":g" {
            return Some(ParsedKey::Marker { namespace, shard: shard.parse().ok()? });
        }
        if let Some(key) = local.strip_prefix(":k:") {
            return Some(ParsedKey::Entry { namespace, key, digest: None });
        }
        let (digest, key) = local.strip_prefix(":p:")?.split_once(':')?;
        Some(ParsedKey::Entry { namespace, key, digest: Some(digest) })
    }

    /// The namespace of a key if it is the name of an entry.
    pub(super) fn namespace_of<'a>(&self, name: &'a [u8]) -> Option<&'a str> {
        match self.meaning(name)? {
            ParsedKey::Entry { namespace, .. } => Some(namespace),
            ParsedKey::Marker { .. } => None,
        }
    }

    fn tagged(&self, kind: &str, key: &EntryKey, room: usize) -> String {
        let namespace = key.namespace().as_str();
        let mut name = String::with_capacity(
            self.prefix.len() + namespace.len() + key.key().len() + room + 16,
        );
        let mut digits = itoa::Buffer::new();
        for part in [
            &self.prefix,
            ":",
            kind,
            "{",
            namespace,
            ":",
            digits.format(key.shard(self.shards)),
            "}",
        ] {
            name.push_str(part);
        }
        name
    }
}

fn push_local(name: &mut String, key: &EntryKey) {
    match key.params() {
        None => name.push_str(":k:"),
        Some(digest) => {
            name.push_str(":p:");
            digest.write_to(name);
            name.push(':');
        }
    }
    name.push_str(key.key());
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::stats::windows::HOUR;

    fn key(key: &str, params: &[(&str, &str)]) -> EntryKey {
        EntryKey::new(Namespace::new("user").unwrap(), key, params.iter().copied()).unwrap()
    }

    fn text(name: &[u8]) -> String {
        String::from_utf8(name.to_vec()).unwrap()
    }

    /// Two releases that run side by side must agree on these.
    #[test]
    fn names_never_change() {
        let layout = KeySchema::new("larder", 64);
        let (plain, with_params) = (key("42", &[]), key("42", &[("lang", "de")]));
        let names = [
            text(&layout.names(&plain).marker),
            text(&layout.names(&plain).entry),
            text(&layout.lease(&plain)),
            text(&layout.scratch(&plain)),
            text(&layout.aside(&plain, 7)),
            text(&layout.names(&with_params).entry),
            text(&layout.lease(&with_params)),
            layout.totals(),
            layout.bucket(HOUR, 29_000_000),
            layout.sequence(7),
        ];
        let digest = "e-E9-VncLV-Q-jg4_34-_btAQLbFbjxoNFLH4tDVBUY";
        let expected = [
            "larder:{user:17}:g",
            "larder:{user:17}:k:42",
            "larder:l:{user:17}:k:42",
            "larder:{user:17}:t",
            "larder:w:{user:17}:0000000000000007",
            &format!("larder:{{user:10}}:p:{digest}:42"),
            &format!("larder:l:{{user:10}}:p:{digest}:42"),
            "larder:{stats}:total",
            "larder:{stats}:60s:29000000",
            "larder:{stats}:replica:0000000000000007",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn the_shard_of_a_key_has_one_of_the_namespace_s_markers() {
        let layout = KeySchema::new("larder", 64);
        let markers = layout.markers(&Namespace::new("user").unwrap());
        assert_eq!(markers.len(), 64);
        for number in 0..1000 {
            let marker = text(&layout.names(&key(&number.to_string(), &[])).marker);
            assert!(markers.contains(&marker), "{marker}");
        }
    }

    fn entry_named(layout: &KeySchema, name: &[u8]) -> Option<EntryKey> {
        match layout.meaning(name)? {
            ParsedKey::Entry { namespace, key, digest } => {
                EntryKey::restored(namespace, key, digest)
            }
            ParsedKey::Marker { .. } => None,
        }
    }

    #[test]
    fn names_that_are_none_of_ours_stand_for_nothing() {
        let layout = KeySchema::new("larder", 64);
        for name in [
            "",
            "larder",
            "larder:{",
            "larder:{user:1}",
            "larder:{user}:k:a",
            "larder:{user:1}:t",
            "x:{user:1}:k:a",
        ] {
            assert_eq!(layout.meaning(name.as_bytes()), None, "{name}");
        }
        for name in ["larder:{USER:1}:k:a", "larder:{user:1}:k:", "larder:{user:1}:p:short:a"] {
            assert_eq!(entry_named(&layout, name.as_bytes()), None, "{name}");
        }
        assert_eq!(layout.meaning(b"larder:{user:1}:k:\xff"), None);
    }

    #[test]
    fn entries_tell_their_namespace_and_nothing_else_does() {
        let layout = KeySchema::new("larder", 64);
        for key in [key("}:{", &[]), key("a", &[("b", "c")]), key(":p:g", &[("b", "c")])] {
            assert_eq!(entry_named(&layout, &layout.names(&key).entry), Some(key.clone()));
            let marker = layout.names(&key).marker;
            let shard = key.shard(64);
            assert_eq!(
                layout.meaning(&marker),
                Some(ParsedKey::Marker { namespace: "user", shard })
            );
            assert!(
                layout
                    .names(&key)
                    .entry
                    .starts_with(layout.namespace_prefix(key.namespace()).as_bytes())
            );
            assert_eq!(layout.namespace_of(&layout.names(&key).entry), Some("user"));
            assert_eq!(layout.namespace_of(&layout.names(&key).marker), None);
            assert_eq!(layout.namespace_of(&layout.lease(&key)), None);
        }
        assert_eq!(layout.namespace_of(layout.totals().as_bytes()), None);
        assert_eq!(layout.namespace_of(b"other:{user:1}:k:a"), None);
    }
}
