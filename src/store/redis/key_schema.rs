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
//! <prefix>:{probe:<number>}:r                          written before a wait for replicas
//! <prefix>:{journals}                                  the journals of the fleet
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

impl<'a> ParsedKey<'a> {
    /// The namespace of the entry or the marker.
    pub(super) fn namespace(&self) -> &'a str {
        match self {
            Self::Marker { namespace, .. } | Self::Entry { namespace, .. } => namespace,
        }
    }
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

    /// The reports of the replicas in a bucket.
    pub(super) fn replica_reports(&self, bucket: u64) -> String {
        format!("{}:{{stats}}:reports:{bucket}", self.prefix)
    }

    /// The replicas' samples of the keys of a namespace in a bucket.
    pub(super) fn hot_keys(&self, window: Window, bucket: u64, namespace: &Namespace) -> String {
        let seconds = window.bucket_ms / 1000;
        format!("{}:{{stats}}:hot:{seconds}s:{bucket}:{namespace}", self.prefix)
    }

    /// The replica that joins the events of followed keys, for a time.
    pub(super) fn reuse_turn(&self) -> String {
        format!("{}:{{stats}}:reuse:turn", self.prefix)
    }

    /// The events of followed keys that the replicas have left.
    pub(super) fn reuse_events(&self) -> String {
        format!("{}:{{stats}}:reuse:events", self.prefix)
    }

    /// The counts of followed keys in a bucket.
    pub(super) fn reuse_figures(&self, bucket: u64) -> String {
        format!("{}:{{stats}}:reuse:counts:{bucket}", self.prefix)
    }

    /// The shares of the keys that all replicas follow.
    pub(super) fn reuse_shares(&self) -> String {
        format!("{}:{{stats}}:reuse:shares", self.prefix)
    }

    /// The followed keys of a namespace.
    pub(super) fn reuse_table(&self, namespace: &str) -> String {
        format!("{}:{{stats}}:reuse:keys:{namespace}", self.prefix)
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

    /// The key that marks the end of what the replicas of a server must have, in another slot for
    /// each `tag`.
    pub(super) fn replication_mark(&self, tag: u32) -> String {
        format!("{}:{{probe:{tag}}}:r", self.prefix)
    }

    /// The prefixes of all entries and markers of namespaces; that of all namespaces if there are
    /// more than `max`: each prefix costs Redis a comparison for every write of any client.
    pub(super) fn namespace_prefixes<'a>(
        &self,
        namespaces: impl ExactSizeIterator<Item = &'a Namespace>,
        max: usize,
    ) -> Vec<String> {
        if namespaces.len() > max {
            return vec![self.all_namespaces_prefix()];
        }
        namespaces.map(|namespace| self.namespace_prefix(namespace)).collect()
    }

    /// The prefix of all entries and markers of a namespace.
    pub(super) fn namespace_prefix(&self, namespace: &Namespace) -> String {
        format!("{}:{{{namespace}:", self.prefix)
    }

    /// The prefix of all entries and markers of all namespaces, and of a few other keys.
    fn all_namespaces_prefix(&self) -> String {
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

    /// The journals of the fleet.
    pub(super) fn journals(&self) -> String {
        format!("{}:{{journals}}", self.prefix)
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
mod tests;
