//! Bans: the invalidations of a namespace by tag and by pattern.
//!
//! A ban makes the entries invalid that were written before it and that have the tag, or whose key
//! matches the pattern. It costs the same for any number of entries, because no entry is visited:
//! an entry records the sequence number of the newest ban at the time of its write, and a read
//! checks it against the bans that are newer. The method is that of Varnish
//! (<https://varnish-cache.org/docs/trunk/users-guide/purging.html>).

mod records;
mod times;

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use super::{BanListing, BanPattern, EntryInspection, ListedBan, MatchingBan};
use crate::{
    changes::PublishedChange,
    model::{Glob, Timestamp, escaped},
};
use records::{Record, Records};

pub(super) use times::BanTimes;

/// One invalidation of a namespace by tags and patterns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ban {
    /// Entries with any of these tags are banned.
    pub tags: Vec<String>,
    /// Entries whose key matches any of these are banned.
    pub globs: Vec<Glob>,
    /// Entries with these keys are banned, whatever their params and schema version are.
    pub keys: Vec<String>,
    /// Time for which no fill of such an entry is accepted, not even under a lease that is granted
    /// after the ban.
    pub hold_off: Duration,
}

/// The bans that a namespace keeps. A ban that would exceed a limit on their number invalidates the
/// whole namespace instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BanLimits {
    /// Maximum number of banned tags.
    pub max_tags: usize,
    /// Maximum number of banned patterns.
    pub max_globs: usize,
    /// Longest lifetime of an entry of the namespace, stale windows included. A ban is kept for
    /// longer.
    pub longest_lifetime: Duration,
}

/// How a ban was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BanOutcome {
    /// The matching entries are invalid.
    Banned,
    /// The namespace has too many bans: all of its entries are invalid.
    NamespaceInvalidated,
}

/// A text that is banned.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Banned<'a> {
    Tag(&'a str),
    Key(&'a str),
    Glob(&'a str),
}

/// The bans of a namespace, by what they match. An equal ban replaces its elder.
#[derive(Debug, Default)]
pub(super) struct BanTable {
    tags: Records,
    /// Keys that are banned without wildcards.
    keys: Records,
    /// In the order of their sequence numbers.
    globs: Vec<(Glob, Record)>,
    /// End of the last hold-off of all bans.
    held_until: Timestamp,
    /// Memory of all patterns, in bytes.
    glob_bytes: usize,
}

// === impl Ban ===

impl Ban {
    /// Changes that are published for the ban.
    pub(super) fn changes(&self, outcome: BanOutcome) -> Vec<PublishedChange> {
        if outcome == BanOutcome::NamespaceInvalidated {
            return vec![PublishedChange::Namespace];
        }
        let tags = (!self.tags.is_empty()).then(|| PublishedChange::Tags(self.tags.clone()));
        let globs =
            self.globs.iter().map(|glob| PublishedChange::Pattern(glob.as_str().to_owned()));
        let keys = self.keys.iter().map(|key| PublishedChange::Pattern(escaped(key)));
        tags.into_iter().chain(globs).chain(keys).collect()
    }
}

// === impl BanLimits ===

impl Default for BanLimits {
    fn default() -> Self {
        Self {
            max_tags: 100_000,
            max_globs: 1_000,
            longest_lifetime: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

// === impl Banned ===

impl Banned<'_> {
    fn pattern(&self) -> BanPattern {
        match *self {
            Self::Tag(tag) => BanPattern::Tag(tag.to_owned()),
            Self::Key(key) => BanPattern::Glob(escaped(key)),
            Self::Glob(glob) => BanPattern::Glob(glob.to_owned()),
        }
    }
}

// === impl BanTable ===

impl BanTable {
    /// Whether an entry is banned whose write or lease is as old as the ban `since`.
    pub(super) fn bans(&self, since: u64, key: &str, tags: &[String]) -> bool {
        self.matching(since, key, tags).next().is_some()
    }

    /// Whether a fill of an entry is refused whose lease is as old as the ban `since`.
    pub(super) fn refuses_fill(
        &self,
        since: u64,
        key: &str,
        tags: &[String],
        now: Timestamp,
    ) -> bool {
        let is_held_off = || {
            now < self.held_until
                && self.matching(0, key, tags).any(|record| now < record.held_until)
        };
        self.bans(since, key, tags) || is_held_off()
    }

    /// The matching bans that are newer than the ban `since`.
    fn matching(&self, since: u64, key: &str, tags: &[String]) -> impl Iterator<Item = &Record> {
        let is_newer = move |record: &&Record| record.sequence > since;
        let by_tag = tags.iter().filter_map(|tag| self.tags.get(tag)).filter(is_newer);
        let by_key = self.keys.get(key).into_iter().filter(is_newer);
        let newer = self.globs.partition_point(|(_, record)| record.sequence <= since);
        let by_glob = self.globs[newer..].iter().filter(|(glob, _)| glob.matches(key));
        by_key.chain(by_tag).chain(by_glob.map(|(_, record)| record))
    }

    /// The bans that are newer than the ban `since` and match an entry, the newest first.
    pub(super) fn list(&self, since: u64, key: &str, tags: &[String]) -> Vec<MatchingBan> {
        let by_tag = tags.iter().filter_map(|tag| {
            let record = self.tags.get(tag)?;
            Some((BanPattern::Tag(tag.clone()), record))
        });
        let by_glob = self.globs.iter().filter(|(glob, _)| glob.matches(key));
        let by_glob = by_glob.map(|(glob, record)| (BanPattern::Glob(glob.to_string()), record));
        let by_key = self.keys.get(key).map(|record| (BanPattern::Glob(escaped(key)), record));
        let mut bans: Vec<MatchingBan> = by_tag
            .chain(by_glob)
            .chain(by_key)
            .filter(|(_, record)| record.sequence > since)
            .map(|(pattern, record)| MatchingBan { pattern, sequence: record.sequence })
            .collect();
        bans.sort_by_key(|ban| std::cmp::Reverse(ban.sequence));
        bans.truncate(EntryInspection::MAX_BANS);
        bans
    }

    /// The newest bans of all, the newest first. Visits all bans.
    pub(super) fn newest(&self, times: &BanTimes, now: Timestamp) -> Vec<ListedBan> {
        let tags = self.tags.iter().map(|(tag, record)| (Banned::Tag(tag), record));
        let keys = self.keys.iter().map(|(key, record)| (Banned::Key(key), record));
        let globs = self.globs.iter().map(|(glob, record)| (Banned::Glob(glob.as_str()), record));
        let mut newest = BinaryHeap::with_capacity(BanListing::MAX_NEWEST + 1);
        for (banned, record) in tags.chain(keys).chain(globs) {
            newest.push(Reverse((record.sequence, banned, record.held_until)));
            if newest.len() > BanListing::MAX_NEWEST {
                newest.pop();
            }
        }
        let newest = newest.into_sorted_vec().into_iter();
        let listed = newest.map(|Reverse((sequence, banned, held_until))| ListedBan {
            pattern: banned.pattern(),
            sequence,
            made_at: times.time_of(sequence),
            held_until: (now < held_until).then_some(held_until),
        });
        listed.collect()
    }

    /// The bans that refuse a fill under a lease as old as the ban `since`, the newest first. A
    /// hold-off may be older.
    pub(super) fn refusing(&self, since: u64, key: &str, tags: &[String]) -> Vec<MatchingBan> {
        let newer = self.list(since, key, tags);
        if newer.is_empty() { self.list(0, key, tags) } else { newer }
    }

    /// Adds a ban with the next sequence number.
    pub(super) fn insert(&mut self, ban: &Ban, sequence: u64, held_until: Timestamp) {
        for tag in &ban.tags {
            self.insert_tag(tag, sequence, held_until);
        }
        for glob in &ban.globs {
            self.insert_glob(glob.clone(), sequence, held_until);
        }
        for key in &ban.keys {
            self.insert_key(key, sequence, held_until);
        }
    }

    pub(super) fn insert_tag(&mut self, tag: &str, sequence: u64, held_until: Timestamp) {
        self.held_until = self.held_until.max(held_until);
        self.tags.insert(tag, Record { sequence, held_until });
    }

    pub(super) fn insert_key(&mut self, key: &str, sequence: u64, held_until: Timestamp) {
        self.held_until = self.held_until.max(held_until);
        self.keys.insert(key, Record { sequence, held_until });
    }

    pub(super) fn insert_glob(&mut self, glob: Glob, sequence: u64, held_until: Timestamp) {
        self.held_until = self.held_until.max(held_until);
        let mut record = Record { sequence, held_until };
        if let Some(index) = self.globs.iter().position(|(other, _)| *other == glob) {
            let (_, elder) = self.globs.remove(index);
            record.renew(elder);
        } else {
            self.glob_bytes += glob.memory();
        }
        let index = self.globs.partition_point(|(_, other)| other.sequence <= record.sequence);
        self.globs.insert(index, (glob, record));
    }

    /// Whether the limits would be exceeded with `ban`.
    pub(super) fn is_full_for(&self, ban: &Ban, limits: &BanLimits) -> bool {
        let new_tags = self.tags.count_new(&ban.tags) + self.keys.count_new(&ban.keys);
        let new_globs = ban.globs.iter().filter(|glob| !self.globs.iter().any(|(g, _)| g == *glob));
        self.tag_count() + new_tags > limits.max_tags
            || self.globs.len() + new_globs.count() > limits.max_globs
    }

    /// Drops the bans up to `sequence`, because no entry is older, unless they have a hold-off at
    /// `now` that is longer than that of all keys. Visits all bans.
    pub(super) fn drop_until(&mut self, sequence: u64, now: Timestamp) {
        let of_all_keys = self.globs.iter().find(|(glob, _)| glob.as_str() == "*");
        let held_anyway = of_all_keys.map_or(now, |(_, record)| record.held_until.max(now));
        let is_kept =
            |record: &Record| record.sequence > sequence || record.held_until > held_anyway;
        self.tags.retain(is_kept);
        self.keys.retain(is_kept);
        let mut freed = 0;
        self.globs.retain(|(glob, record)| {
            let is_kept = is_kept(record) || (glob.as_str() == "*" && record.held_until > now);
            freed += if is_kept { 0 } else { glob.memory() };
            is_kept
        });
        self.glob_bytes -= freed;
    }

    /// End of the hold-off of a key whose tags are not known, if it lies in the future.
    pub(super) fn held_off_until(&self, key: &str, now: Timestamp) -> Option<Timestamp> {
        if self.held_until <= now {
            return None;
        }
        let ends = self.matching(0, key, &[]).map(|record| record.held_until);
        ends.max().filter(|end| now < *end)
    }

    /// End of the last hold-off of all bans, also of those that were dropped.
    pub(super) fn last_hold_off(&self) -> Timestamp {
        self.held_until
    }

    /// Estimated memory, in bytes. Does not visit the bans.
    pub(super) fn memory(&self) -> usize {
        self.tags.memory()
            + self.keys.memory()
            + self.globs.capacity() * size_of::<(Glob, Record)>()
            + self.glob_bytes
    }

    /// Number of banned tags and keys.
    pub(super) fn tag_count(&self) -> usize {
        self.tags.len() + self.keys.len()
    }

    pub(super) fn glob_count(&self) -> usize {
        self.globs.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tag_count() == 0 && self.globs.is_empty()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
