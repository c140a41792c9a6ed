//! The names of the keys in Redis.
//!
//! ```text
//! <prefix>:{<namespace>:<shard>}:g                     generation marker
//! <prefix>:{<namespace>:<shard>}:k:<key>               entry without params
//! <prefix>:{<namespace>:<shard>}:p:<digest>:<key>      entry with params
//! <prefix>:{<namespace>:<shard>}:t                     scratch key of one script
//! <prefix>:h:{<namespace>:bans}                        head of the log of bans
//! <prefix>:h:{<namespace>:all}                         announces an invalidation; never kept
//! <prefix>:b:{<namespace>:bans}:t, :g, :o, :i and :c   the log of bans
//! <prefix>:l:{<namespace>:<shard>}:k:<key>             lease (or :p:<digest>:<key>)
//! <prefix>:w:{<namespace>:<shard>}:<number>            large entry before it is stored
//! <prefix>:{stats}:...                                 the fleet's counters
//! <prefix>:{probe}:1 and :2                            keys of the full probe; in a cluster
//!                                                      {probe:<number>}
//! <prefix>:{sweep}                                     the replica that sweeps, for a time
//! <prefix>:{clock}                                     what the replicas agree on about the clock
//! ```
//!
//! All keys of one script have the same hash tag, so they live in one Cluster slot. Leases have
//! their own prefix, so that a client can track them without announcements of every write. So have
//! staged entries, so that clients that track entries get no announcements of them.

use crate::{
    model::{EntryKey, Namespace},
    planted::{self, Bug},
    stats::windows::Window,
};

/// Builds and parses the names under a prefix.
#[derive(Debug, Clone)]
pub(super) struct KeySchema {
    prefix: String,
    shards: u64,
}

/// The names of the keys that a read needs.
pub(super) struct EntryKeys {
    /// The generation marker of the shard.
    pub(super) marker: Vec<u8>,
    /// The entry.
    pub(super) entry: Vec<u8>,
}

/// The parsed name of a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ParsedKey<'a> {
    /// A generation marker of a namespace.
    Marker { namespace: &'a str, shard: u64 },
    /// An entry.
    Entry { namespace: &'a str, key: &'a str, digest: Option<&'a str> },
}

impl KeySchema {
    /// `shards` is the number of generation markers per namespace, at least 1.
    pub(super) fn new(prefix: &str, shards: u16) -> Self {
        Self { prefix: prefix.to_owned(), shards: u64::from(shards.max(1)) }
    }

    /// The number of shards of a namespace.
    pub(super) fn shards(&self) -> u64 {
        self.shards
    }

    pub(super) fn entry_keys(&self, key: &EntryKey) -> EntryKeys {
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

    /// The staging key of a large entry. `number` keeps concurrent writes apart.
    pub(super) fn staging(&self, key: &EntryKey, number: u64) -> Vec<u8> {
        use std::fmt::Write as _;
        let mut name = self.tagged("w:", key, 18);
        // Writing to a string cannot fail.
        let _ = write!(name, ":{number:016x}");
        name.into_bytes()
    }

    /// The generation markers of a namespace.
    pub(super) fn markers(&self, namespace: &Namespace) -> Vec<String> {
        (0..self.shards).map(|shard| self.marker(namespace, shard)).collect()
    }

    /// The generation marker of a shard.
    pub(super) fn marker(&self, namespace: &Namespace, shard: u64) -> String {
        format!("{}:{{{namespace}:{shard}}}:g", self.prefix)
    }

    /// The prefix of all leases.
    pub(super) fn lease_prefix(&self) -> String {
        format!("{}:l:", self.prefix)
    }

    /// The prefix of the leases of a namespace.
    pub(super) fn namespace_lease_prefix(&self, namespace: &Namespace) -> String {
        format!("{}:l:{{{namespace}:", self.prefix)
    }

    /// The prefix of the heads of all logs of bans.
    pub(super) fn ban_head_prefix(&self) -> String {
        format!("{}:h:", self.prefix)
    }

    /// The log of bans of a namespace: head, tags, globs, hold-offs, ids and checkpoints.
    pub(super) fn ban_log(&self, namespace: &Namespace) -> [String; 6] {
        let part = |name| format!("{}:b:{{{namespace}:bans}}:{name}", self.prefix);
        let head = format!("{}:h:{{{namespace}:bans}}", self.prefix);
        [head, part("t"), part("g"), part("o"), part("i"), part("c")]
    }

    /// The namespace of the head of a log of bans, by its name.
    pub(super) fn banned_namespace<'a>(&self, name: &'a [u8]) -> Option<&'a str> {
        self.namespace_of_head(name)?.strip_suffix(":bans}")
    }

    /// The key that announces that a namespace was invalidated.
    pub(super) fn invalidation(&self, namespace: &Namespace) -> String {
        format!("{}:h:{{{namespace}:all}}", self.prefix)
    }

    /// The namespace of a key that announces an invalidation, by its name.
    pub(super) fn invalidated_namespace<'a>(&self, name: &'a [u8]) -> Option<&'a str> {
        self.namespace_of_head(name)?.strip_suffix(":all}")
    }

    fn namespace_of_head<'a>(&self, name: &'a [u8]) -> Option<&'a str> {
        std::str::from_utf8(name).ok()?.strip_prefix(&self.prefix)?.strip_prefix(":h:{")
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

    /// The replicas' samples of the keys of a namespace in a bucket.
    pub(super) fn hot_keys(&self, window: Window, bucket: u64, namespace: &Namespace) -> String {
        let seconds = window.bucket_ms / 1000;
        format!("{}:{{stats}}:hot:{seconds}s:{bucket}:{namespace}", self.prefix)
    }

    /// The shared state of the clock.
    pub(super) fn clock(&self) -> String {
        format!("{}:{{clock}}", self.prefix)
    }

    /// The keys of the full probe.
    pub(super) fn probe(&self) -> [String; 2] {
        [1, 2].map(|number| format!("{}:{{probe}}:{number}", self.prefix))
    }

    /// As [`Self::probe`], in another slot for each `tag`.
    pub(super) fn probe_with(&self, tag: u32) -> [String; 2] {
        [1, 2].map(|number| format!("{}:{{probe:{tag}}}:{number}", self.prefix))
    }

    /// The prefix of all entries and markers of a namespace.
    pub(super) fn namespace_prefix(&self, namespace: &Namespace) -> String {
        format!("{}:{{{namespace}:", self.prefix)
    }

    /// The prefix of all entries and markers of all namespaces, and of a few other keys.
    pub(super) fn all_namespaces_prefix(&self) -> String {
        format!("{}:{{", self.prefix)
    }

    /// The pattern of SCAN that matches all entries of a namespace, and perhaps other names.
    pub(super) fn entry_pattern(&self, namespace: &Namespace) -> String {
        // Neither a prefix nor a namespace has characters with a meaning in patterns.
        format!("{}:{{{namespace}:*}}:[kp]:*", self.prefix)
    }

    /// The pattern of SCAN that matches the markers of all namespaces, and perhaps other names.
    pub(super) fn marker_pattern(&self) -> String {
        format!("{}:{{*}}:g", self.prefix)
    }

    /// The pattern of SCAN that matches all entries and leases of a namespace, or of all, and other
    /// names.
    pub(super) fn sweep_pattern(&self, namespace: Option<&Namespace>) -> String {
        match namespace {
            Some(namespace) => format!("{}:*{{{namespace}:*", self.prefix),
            None => format!("{}:*{{*", self.prefix),
        }
    }

    /// The namespace of a lease, by its name; none for any other name.
    pub(super) fn leased_namespace<'a>(&self, name: &'a [u8]) -> Option<&'a str> {
        let rest = std::str::from_utf8(name).ok()?.strip_prefix(&self.prefix)?;
        let (tag, _) = rest.strip_prefix(":l:{")?.split_once('}')?;
        Some(tag.rsplit_once(':')?.0)
    }

    /// The lock of the sweep.
    pub(super) fn sweep(&self) -> String {
        format!("{}:{{sweep}}", self.prefix)
    }

    /// Parses a name; none if it is not that of an entry or a marker.
    pub(super) fn parse<'a>(&self, name: &'a [u8]) -> Option<ParsedKey<'a>> {
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

    /// The namespace of an entry, by its name; none for any other name.
    pub(super) fn namespace_of<'a>(&self, name: &'a [u8]) -> Option<&'a str> {
        match self.parse(name)? {
            ParsedKey::Entry { namespace, .. } => Some(namespace),
            ParsedKey::Marker { .. } => None,
        }
    }

    fn tagged(&self, kind: &str, key: &EntryKey, spare: usize) -> String {
        let mut namespace = key.namespace().as_str();
        if planted::is(Bug::NamespacesCollide) {
            namespace = namespace.split('-').next().unwrap_or_default();
        }
        let mut name = String::with_capacity(
            self.prefix.len() + namespace.len() + key.key().len() + spare + 16,
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
    use proptest::prelude::*;

    use super::*;
    use crate::{model::Glob, stats::windows::HOUR};

    fn key(key: &str, params: &[(&str, &str)]) -> EntryKey {
        EntryKey::new(Namespace::new("user").unwrap(), key, params.iter().copied()).unwrap()
    }

    fn text(name: &[u8]) -> String {
        String::from_utf8(name.to_vec()).unwrap()
    }

    /// Replicas of two releases can share one Redis, so they must agree on the names.
    #[test]
    fn names_never_change() {
        let schema = KeySchema::new("larder", 64);
        let (plain, with_params) = (key("42", &[]), key("42", &[("lang", "de")]));
        let names = [
            text(&schema.entry_keys(&plain).marker),
            text(&schema.entry_keys(&plain).entry),
            text(&schema.lease(&plain)),
            text(&schema.scratch(&plain)),
            text(&schema.staging(&plain, 7)),
            text(&schema.entry_keys(&with_params).entry),
            text(&schema.lease(&with_params)),
            schema.totals(),
            schema.bucket(HOUR, 29_000_000),
            schema.sequence(7),
            schema.hot_keys(HOUR, 29_000_000, plain.namespace()),
            schema.probe().join(" "),
            schema.clock(),
            schema.sweep(),
            schema.invalidation(plain.namespace()),
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
            "larder:{stats}:hot:60s:29000000:user",
            "larder:{probe}:1 larder:{probe}:2",
            "larder:{clock}",
            "larder:{sweep}",
            "larder:h:{user:all}",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn marker_of_a_key_is_one_of_the_namespace() {
        let schema = KeySchema::new("larder", 64);
        let markers = schema.markers(&Namespace::new("user").unwrap());
        assert_eq!(markers.len(), 64);
        for number in 0..1000 {
            let marker = text(&schema.entry_keys(&key(&number.to_string(), &[])).marker);
            assert!(markers.contains(&marker), "{marker}");
        }
    }

    fn entry_named(schema: &KeySchema, name: &[u8]) -> Option<EntryKey> {
        match schema.parse(name)? {
            ParsedKey::Entry { namespace, key, digest } => {
                EntryKey::restored(namespace, key, digest)
            }
            ParsedKey::Marker { .. } => None,
        }
    }

    #[test]
    fn foreign_and_malformed_names_are_not_parsed() {
        let schema = KeySchema::new("larder", 64);
        for name in [
            "",
            "larder",
            "larder:{",
            "larder:{user:1}",
            "larder:{user}:k:a",
            "larder:{user:1}:t",
            "x:{user:1}:k:a",
        ] {
            assert_eq!(schema.parse(name.as_bytes()), None, "{name}");
        }
        for name in ["larder:{USER:1}:k:a", "larder:{user:1}:k:", "larder:{user:1}:p:short:a"] {
            assert_eq!(entry_named(&schema, name.as_bytes()), None, "{name}");
        }
        assert_eq!(schema.parse(b"larder:{user:1}:k:\xff"), None);
    }

    proptest! {
        /// A ban, a sweep or an announcement of a namespace never concerns another one.
        #[test]
        fn names_of_namespaces_are_distinguished(
            one in "[a-z0-9_.-]{1,6}",
            two in "[a-z0-9_.-]{1,6}",
            key in "[a-z:{}*?\\[\\]\\\\]{1,8}",
        ) {
            let schema = KeySchema::new("larder", 64);
            let namespaces = [&one, &two].map(|name| Namespace::new(name));
            let [Ok(one), Ok(two)] = namespaces else { return Ok(()) };
            let entry = EntryKey::new(one.clone(), &key, [].into_iter()).unwrap();
            let (name, lease) = (schema.entry_keys(&entry).entry, schema.lease(&entry));
            prop_assert_eq!(schema.namespace_of(&name), Some(one.as_str()));
            prop_assert_eq!(schema.leased_namespace(&lease), Some(one.as_str()));
            prop_assert_eq!(schema.leased_namespace(&name), None);
            prop_assert_eq!(schema.parse(&lease), None);
            let head = schema.ban_log(&one)[0].clone();
            prop_assert_eq!(schema.banned_namespace(head.as_bytes()), Some(one.as_str()));
            let found_by = |namespace| {
                let pattern = Glob::new(&schema.sweep_pattern(namespace)).unwrap();
                [&name, &lease].map(|name| pattern.matches(&text(name)))
            };
            prop_assert_eq!(found_by(Some(&one)), [true; 2]);
            prop_assert_eq!(found_by(None), [true; 2]);
            let is_same = one == two;
            prop_assert_eq!(schema.ban_log(&one) == schema.ban_log(&two), is_same);
            let prefix = schema.namespace_lease_prefix(&two);
            prop_assert_eq!(lease.starts_with(prefix.as_bytes()), is_same);
        }
    }

    #[test]
    fn bans_and_invalidations_are_distinguished() {
        let schema = KeySchema::new("larder", 64);
        let user = Namespace::new("user").unwrap();
        let [head, ..] = schema.ban_log(&user);
        let invalidation = schema.invalidation(&user);
        assert_eq!(schema.banned_namespace(head.as_bytes()), Some("user"));
        assert_eq!(schema.invalidated_namespace(head.as_bytes()), None);
        assert_eq!(schema.invalidated_namespace(invalidation.as_bytes()), Some("user"));
        assert_eq!(schema.banned_namespace(invalidation.as_bytes()), None);
        assert_eq!(schema.parse(invalidation.as_bytes()), None);
        assert!(invalidation.starts_with(&schema.ban_head_prefix()));
    }

    #[test]
    fn names_of_entries_and_markers_round_trip() {
        let schema = KeySchema::new("larder", 64);
        for key in [key("}:{", &[]), key("a", &[("b", "c")]), key(":p:g", &[("b", "c")])] {
            assert_eq!(entry_named(&schema, &schema.entry_keys(&key).entry), Some(key.clone()));
            let marker = schema.entry_keys(&key).marker;
            let shard = key.shard(64);
            assert_eq!(schema.parse(&marker), Some(ParsedKey::Marker { namespace: "user", shard }));
            assert!(
                schema
                    .entry_keys(&key)
                    .entry
                    .starts_with(schema.namespace_prefix(key.namespace()).as_bytes())
            );
            assert_eq!(schema.namespace_of(&schema.entry_keys(&key).entry), Some("user"));
            assert_eq!(schema.namespace_of(&schema.entry_keys(&key).marker), None);
            assert_eq!(schema.namespace_of(&schema.lease(&key)), None);
            assert_eq!(schema.leased_namespace(&schema.lease(&key)), Some("user"));
            assert_eq!(schema.leased_namespace(&schema.entry_keys(&key).entry), None);
        }
        assert_eq!(schema.namespace_of(schema.totals().as_bytes()), None);
        assert_eq!(schema.namespace_of(b"other:{user:1}:k:a"), None);
    }
}
