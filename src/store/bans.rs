//! Bans: the invalidations of a namespace by tag and by pattern.
//!
//! A ban makes the entries invalid that were written before it and that have the tag, or whose key
//! matches the pattern. It costs the same for any number of entries, because no entry is visited:
//! an entry records the sequence number of the newest ban at the time of its write, and a read
//! checks it against the bans that are newer. The method is that of Varnish
//! (<https://varnish-cache.org/docs/trunk/users-guide/purging.html>).

use std::{collections::HashMap, time::Duration};

use super::{BanPattern, EntryInspection, MatchingBan};
use crate::{
    changes::PublishedChange,
    model::{Glob, Timestamp},
};

/// One invalidation of a namespace by tags and patterns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ban {
    /// Entries with any of these tags are banned.
    pub tags: Vec<String>,
    /// Entries whose key matches any of these are banned.
    pub globs: Vec<Glob>,
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

/// The bans of a namespace, by what they match. An equal ban replaces its elder.
#[derive(Debug, Default)]
pub(super) struct BanTable {
    tags: HashMap<Box<str>, BanRecord>,
    /// In the order of their sequence numbers.
    globs: Vec<(Glob, BanRecord)>,
    /// End of the last hold-off of all bans.
    held_until: Timestamp,
    /// Length of all tags, and memory of all patterns, in bytes.
    content_bytes: usize,
}

#[derive(Debug, Clone, Copy)]
struct BanRecord {
    /// Number of the ban in the sequence of the namespace's bans, from 1 on.
    sequence: u64,
    /// End of its hold-off.
    held_until: Timestamp,
}

// === impl Ban ===

impl Ban {
    /// What watches are told of the ban.
    pub(super) fn changes(&self, outcome: BanOutcome) -> Vec<PublishedChange> {
        if outcome == BanOutcome::NamespaceInvalidated {
            return vec![PublishedChange::Namespace];
        }
        let tags = (!self.tags.is_empty()).then(|| PublishedChange::Tags(self.tags.clone()));
        let globs =
            self.globs.iter().map(|glob| PublishedChange::Pattern(glob.as_str().to_owned()));
        tags.into_iter().chain(globs).collect()
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
    fn matching(&self, since: u64, key: &str, tags: &[String]) -> impl Iterator<Item = &BanRecord> {
        let is_newer = move |record: &&BanRecord| record.sequence > since;
        let by_tag = tags.iter().filter_map(|tag| self.tags.get(tag.as_str())).filter(is_newer);
        let newer = self.globs.partition_point(|(_, record)| record.sequence <= since);
        let by_glob = self.globs[newer..].iter().filter(|(glob, _)| glob.matches(key));
        by_tag.chain(by_glob.map(|(_, record)| record))
    }

    /// The bans that are newer than the ban `since` and match an entry, the newest first.
    pub(super) fn list(&self, since: u64, key: &str, tags: &[String]) -> Vec<MatchingBan> {
        let by_tag = tags.iter().filter_map(|tag| {
            let record = self.tags.get(tag.as_str())?;
            Some((BanPattern::Tag(tag.clone()), record))
        });
        let by_glob = self.globs.iter().filter(|(glob, _)| glob.matches(key));
        let by_glob = by_glob.map(|(glob, record)| (BanPattern::Glob(glob.to_string()), record));
        let mut bans: Vec<MatchingBan> = by_tag
            .chain(by_glob)
            .filter(|(_, record)| record.sequence > since)
            .map(|(pattern, record)| MatchingBan { pattern, sequence: record.sequence })
            .collect();
        bans.sort_by_key(|ban| std::cmp::Reverse(ban.sequence));
        bans.truncate(EntryInspection::MAX_BANS);
        bans
    }

    /// Adds a ban with the next sequence number.
    pub(super) fn insert(&mut self, ban: &Ban, sequence: u64, held_until: Timestamp) {
        for tag in &ban.tags {
            self.insert_tag(tag, sequence, held_until);
        }
        for glob in &ban.globs {
            self.insert_glob(glob.clone(), sequence, held_until);
        }
    }

    pub(super) fn insert_tag(&mut self, tag: &str, sequence: u64, held_until: Timestamp) {
        self.held_until = self.held_until.max(held_until);
        match self.tags.get_mut(tag) {
            Some(record) => record.renew(sequence, held_until),
            None => {
                self.content_bytes += tag.len();
                self.tags.insert(tag.into(), BanRecord { sequence, held_until });
            }
        }
    }

    pub(super) fn insert_glob(&mut self, glob: Glob, sequence: u64, held_until: Timestamp) {
        self.held_until = self.held_until.max(held_until);
        let mut record = BanRecord { sequence, held_until };
        if let Some(index) = self.globs.iter().position(|(other, _)| *other == glob) {
            let (_, elder) = self.globs.remove(index);
            record.renew(elder.sequence, elder.held_until);
        } else {
            self.content_bytes += glob.memory();
        }
        let index = self.globs.partition_point(|(_, other)| other.sequence <= record.sequence);
        self.globs.insert(index, (glob, record));
    }

    /// Whether the limits would be exceeded with `ban`.
    pub(super) fn is_full_for(&self, ban: &Ban, limits: &BanLimits) -> bool {
        let new_tags = ban.tags.iter().filter(|tag| !self.tags.contains_key(tag.as_str()));
        let new_globs = ban.globs.iter().filter(|glob| !self.globs.iter().any(|(g, _)| g == *glob));
        self.tags.len() + new_tags.count() > limits.max_tags
            || self.globs.len() + new_globs.count() > limits.max_globs
    }

    /// Drops the bans up to `sequence` whose hold-off has ended at `now`, or is not longer than that
    /// of all keys: no entry that is older than them is left. Visits all bans.
    pub(super) fn drop_until(&mut self, sequence: u64, now: Timestamp) {
        let of_all_keys = self.globs.iter().find(|(glob, _)| glob.as_str() == "*");
        let held_anyway = of_all_keys.map_or(now, |(_, record)| record.held_until.max(now));
        let is_kept =
            |record: &BanRecord| record.sequence > sequence || record.held_until > held_anyway;
        let mut freed = 0;
        self.tags.retain(|tag, record| {
            let is_kept = is_kept(record);
            freed += if is_kept { 0 } else { tag.len() };
            is_kept
        });
        self.globs.retain(|(glob, record)| {
            let is_kept = is_kept(record) || (glob.as_str() == "*" && record.held_until > now);
            freed += if is_kept { 0 } else { glob.memory() };
            is_kept
        });
        self.content_bytes -= freed;
        if self.tags.capacity() > 4 * self.tags.len().max(16) {
            self.tags.shrink_to(2 * self.tags.len());
        }
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
        // With a control byte for each element. The table is at most 7/8 full.
        let tag = size_of::<(Box<str>, BanRecord)>() + 1;
        let rounding = 16 * self.tags.len();
        self.tags.capacity() * tag * 8 / 7
            + self.globs.capacity() * size_of::<(Glob, BanRecord)>()
            + self.content_bytes
            + rounding
    }

    pub(super) fn tag_count(&self) -> usize {
        self.tags.len()
    }

    pub(super) fn glob_count(&self) -> usize {
        self.globs.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tags.is_empty() && self.globs.is_empty()
    }
}

// === impl BanRecord ===

impl BanRecord {
    fn renew(&mut self, sequence: u64, held_until: Timestamp) {
        self.sequence = self.sequence.max(sequence);
        self.held_until = self.held_until.max(held_until);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const NEVER: Timestamp = Timestamp(0);
    const NOW: Timestamp = Timestamp(1_000);

    fn tags(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn ban(tag_names: &[&str], globs: &[&str]) -> Ban {
        let globs = globs.iter().map(|glob| Glob::new(glob).unwrap()).collect();
        Ban { tags: tags(tag_names), globs, hold_off: Duration::ZERO }
    }

    #[test]
    fn only_newer_bans_of_a_tag_or_a_matching_pattern_count() {
        let mut table = BanTable::default();
        table.insert(&ban(&["a"], &[]), 1, NEVER);
        table.insert(&ban(&["b"], &["user:*"]), 2, NEVER);
        assert!(table.bans(0, "k", &tags(&["x", "a"])));
        assert!(!table.bans(1, "k", &tags(&["a"])));
        assert!(table.bans(1, "k", &tags(&["b"])));
        assert!(table.bans(1, "user:1", &[]));
        assert!(!table.bans(2, "user:1", &tags(&["a", "b"])));
        assert!(!table.bans(0, "k", &tags(&["c"])));
    }

    #[test]
    fn bans_that_hide_an_entry_are_listed() {
        let mut table = BanTable::default();
        table.insert(&ban(&["a"], &[]), 1, NEVER);
        table.insert(&ban(&["b"], &["user:*"]), 2, NEVER);
        table.insert(&ban(&[], &["team:*", "u*"]), 3, NEVER);
        let listed = |since, key: &str, names: &[&str]| {
            let bans = table.list(since, key, &tags(names));
            bans.into_iter().map(|ban| (ban.pattern, ban.sequence)).collect::<Vec<_>>()
        };
        let tag = |name: &str| BanPattern::Tag(name.to_owned());
        let glob = |glob: &str| BanPattern::Glob(glob.to_owned());
        let expected = [(glob("u*"), 3), (tag("b"), 2), (glob("user:*"), 2)];
        assert_eq!(listed(1, "user:1", &["a", "b"]), expected);
        assert_eq!(listed(0, "k", &["a"]), [(tag("a"), 1)]);
        assert_eq!(listed(3, "user:1", &["a", "b"]), []);
    }

    #[test]
    fn an_equal_ban_replaces_its_elder() {
        let mut table = BanTable::default();
        for sequence in 1..=10 {
            table.insert(&ban(&["a"], &["k*"]), sequence, NEVER);
        }
        assert_eq!((table.tag_count(), table.glob_count()), (1, 1));
        assert!(table.bans(9, "x", &tags(&["a"])) && table.bans(9, "k", &[]));
        assert!(!table.bans(10, "k", &tags(&["a"])));
    }

    #[test]
    fn bans_that_arrive_out_of_order_keep_the_newest_sequence() {
        let mut table = BanTable::default();
        table.insert(&ban(&["a"], &["k*"]), 5, NOW);
        table.insert(&ban(&[], &["l*"]), 4, NEVER);
        table.insert(&ban(&["a"], &["k*"]), 3, NEVER);
        assert!(table.bans(4, "k", &[]) && table.bans(4, "x", &tags(&["a"])));
        assert!(table.bans(3, "l", &[]) && !table.bans(4, "l", &[]));
        assert!(table.refuses_fill(5, "k", &[], Timestamp(999)), "the longer hold-off counts");
    }

    #[test]
    fn a_hold_off_refuses_fills_under_newer_leases_until_it_ends() {
        let mut table = BanTable::default();
        table.insert(&ban(&["a"], &["k*"]), 1, NOW);
        let before = Timestamp(NOW.0 - 1);
        for (key, tag_names) in [("x", &["a"][..]), ("k", &[])] {
            let tags = tags(tag_names);
            assert!(table.refuses_fill(1, key, &tags, before));
            assert!(!table.refuses_fill(1, key, &tags, NOW));
            assert!(table.refuses_fill(0, key, &tags, NOW), "a lease from before the ban");
        }
        assert!(!table.refuses_fill(1, "x", &tags(&["b"]), before));
    }

    #[test]
    fn a_hold_off_of_a_key_is_that_of_its_patterns() {
        let mut table = BanTable::default();
        table.insert(&ban(&["a"], &["k*"]), 1, NOW);
        table.insert(&ban(&[], &["*"]), 2, Timestamp(NOW.0 + 5));
        assert_eq!(table.held_off_until("k", Timestamp(1)), Some(Timestamp(NOW.0 + 5)));
        assert_eq!(table.held_off_until("k", Timestamp(NOW.0 + 5)), None);
        assert_eq!(table.last_hold_off(), Timestamp(NOW.0 + 5));
    }

    #[test]
    fn memory_grows_with_the_bans_and_is_given_back() {
        let mut table = BanTable::default();
        let tag_names: Vec<String> =
            (0..1000).map(|number| format!("tag-{number:0>100}")).collect();
        for (tag, sequence) in tag_names.iter().zip(1..) {
            table.insert_tag(tag, sequence, NEVER);
        }
        table.insert(&ban(&[], &["k?"]), 1001, NEVER);
        let full = table.memory();
        assert!((130_000..300_000).contains(&full), "{full}");
        table.insert(&ban(&[&tag_names[0]], &["k?"]), 1002, NEVER);
        assert_eq!(table.memory(), full, "equal bans take no memory");
        table.drop_until(1002, NOW);
        assert!(table.memory() < 5_000, "{}", table.memory());
        assert_eq!(table.content_bytes, 0);
    }

    #[test]
    fn limits_count_what_is_new() {
        let mut table = BanTable::default();
        let limits = BanLimits { max_tags: 2, max_globs: 1, ..BanLimits::default() };
        table.insert(&ban(&["a", "b"], &["k*"]), 1, NEVER);
        assert!(!table.is_full_for(&ban(&["b"], &["k*"]), &limits));
        assert!(table.is_full_for(&ban(&["c"], &[]), &limits));
        assert!(table.is_full_for(&ban(&[], &["l*"]), &limits));
    }

    #[test]
    fn dropped_bans_are_forgotten_but_not_during_their_hold_off() {
        let mut table = BanTable::default();
        table.insert(&ban(&["a"], &["k*"]), 1, NEVER);
        table.insert(&ban(&["b"], &[]), 2, Timestamp(NOW.0 + 1));
        table.insert(&ban(&["c"], &["l*"]), 3, NEVER);
        table.drop_until(2, NOW);
        assert_eq!((table.tag_count(), table.glob_count()), (2, 1));
        assert!(!table.bans(0, "k", &tags(&["a"])));
        assert!(table.refuses_fill(2, "k", &tags(&["b"]), NOW));
        assert!(table.bans(0, "l", &tags(&["c"])));
        table.drop_until(3, Timestamp(NOW.0 + 1));
        assert!(table.is_empty());
    }

    #[test]
    fn a_hold_off_of_all_keys_replaces_the_shorter_ones() {
        let mut table = BanTable::default();
        table.insert(&ban(&["a"], &["k*"]), 1, Timestamp(NOW.0 + 5));
        table.insert(&ban(&["b"], &[]), 1, Timestamp(NOW.0 + 9));
        table.insert(&ban(&[], &["*"]), 2, Timestamp(NOW.0 + 5));
        table.drop_until(2, NOW);
        assert_eq!((table.tag_count(), table.glob_count()), (1, 1));
        assert!(table.refuses_fill(2, "any", &[], Timestamp(NOW.0 + 4)));
        assert!(table.refuses_fill(2, "any", &tags(&["b"]), Timestamp(NOW.0 + 8)));
        table.drop_until(2, Timestamp(NOW.0 + 9));
        assert!(table.is_empty());
    }
}
