//! The followed keys of a namespace.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::{
    EARLIER_HALVINGS, MAX_HALVINGS, TTLS_MS,
    counts::{ReuseCounts, ReuseFigures},
    event::{NamespaceEvents, ReuseEvent, ReuseInvalidation},
    is_below,
    record::{Counting, KeyRecord},
};

/// Most keys that are followed in a namespace.
const MAX_KEYS: usize = 1024;
/// Time without an event after which a key is no longer followed: the longest simulated TTL, and
/// some more.
const IDLE_MS: u64 = 25 * 3_600_000;
/// Time for which keys are followed before they count, in milliseconds: that of the longest
/// simulated TTL. Without their reads and writes before, their misses would be too many.
const LEARNING_MS: u64 = TTLS_MS[TTLS_MS.len() - 1];
/// Shortest time from the last attempt to follow more keys to the next one, in milliseconds.
const RETRY_MS: u64 = 3_600_000;
/// Most events of an exchange: with more of them, fewer keys are followed.
const MAX_STEPS: usize = 8_192;
/// Number of followed keys that is not reduced further because of their events.
const FEW_KEYS: usize = 64;
/// Time after the end of an entry in which events of it may still arrive, in milliseconds.
const LATE_MS: u64 = 1_000;

/// The followed keys of a namespace. Replicas exchange it as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReuseTable {
    /// How often the share was halved, because there were too many keys or events: that for keys
    /// that count. Earlier releases count from one key in 128, under another name.
    #[serde(rename = "halved")]
    halvings: u32,
    /// How many of these do not apply to the keys that are followed, since some time: the table has
    /// room again, and the keys in between count once all their entries are followed.
    #[serde(default)]
    learning: u32,
    #[serde(default)]
    learning_since: u64,
    /// When entries were last invalidated without their keys.
    invalidated_at: u64,
    /// The keys by their hash.
    records: HashMap<u64, KeyRecord>,
}

/// Counts and followed keys of some namespaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReuseState {
    /// Number of the bucket of the counts.
    pub bucket: u64,
    /// The counts, by namespace.
    pub figures: BTreeMap<String, ReuseFigures>,
    /// The followed keys, by namespace.
    pub tables: BTreeMap<String, ReuseTable>,
    /// How often the share of followed keys is halved, by namespace, for all replicas; empty if
    /// that does not change.
    pub shares: BTreeMap<String, u32>,
}

/// An event of a namespace.
enum Step {
    Key(u64, ReuseEvent),
    Invalidation(ReuseInvalidation),
}

impl ReuseTable {
    /// Number of followed keys.
    pub fn keys(&self) -> usize {
        self.records.len()
    }

    /// Number of keys for one that is followed.
    pub fn weight(&self) -> u64 {
        1 << self.halvings
    }

    /// How often the share of followed keys is halved now, with those that do not count yet.
    pub fn share(&self) -> u32 {
        self.halvings - self.learning
    }

    /// Counts the events of some replicas in the order of their times.
    pub fn apply(&mut self, events: Vec<NamespaceEvents>, figures: &mut ReuseFigures) {
        let mut steps = Vec::new();
        for NamespaceEvents { keys, invalidations, skipped, all_skipped, raised } in events {
            figures.skip(all_skipped.saturating_add(skipped.saturating_mul(1 << EARLIER_HALVINGS)));
            // A replica has no events of the other keys.
            while self.share() < raised.min(MAX_HALVINGS) {
                self.halve();
            }
            steps.extend(invalidations.into_iter().map(Step::Invalidation));
            for (hash, events) in keys {
                steps.extend(events.into_iter().map(|event| Step::Key(hash, event)));
            }
        }
        // The sort is stable: events of one replica stay in their order.
        steps.sort_by_key(Step::at);
        for step in &steps {
            match step {
                Step::Key(hash, event) => self.apply_to_key(*hash, event, figures),
                Step::Invalidation(invalidation) => self.invalidate(*invalidation, figures),
            }
        }
        if steps.len() > MAX_STEPS && self.keys() > FEW_KEYS && self.share() < MAX_HALVINGS {
            self.halve();
        }
    }

    /// Counts the entries that have ended, and drops keys without events for a day. If few are
    /// left, more keys are followed.
    pub fn sweep(&mut self, now: u64, figures: &mut ReuseFigures) {
        let late = now.saturating_sub(LATE_MS);
        self.each(figures, |record, to| record.end_if_over(late, to));
        self.records.retain(|_, record| now.saturating_sub(record.seen_at()) < IDLE_MS);
        if self.learning == 0 {
            let is_due = now.saturating_sub(self.learning_since) >= RETRY_MS;
            if self.halvings > 0 && is_due && self.keys() < MAX_KEYS / 4 {
                let has_room = |more: &u32| self.keys() << more <= MAX_KEYS / 2;
                self.learning = (0..=self.halvings).take_while(has_room).last().unwrap_or(0);
                self.learning_since = now;
            }
        } else if now.saturating_sub(self.learning_since) >= LEARNING_MS {
            self.halvings -= self.learning;
            self.learning = 0;
        }
    }

    fn is_in_table(&self, hash: u64) -> bool {
        is_below(hash, self.share())
    }

    fn apply_to_key(&mut self, hash: u64, event: &ReuseEvent, figures: &mut ReuseFigures) {
        if !self.records.contains_key(&hash) {
            let is_full = |table: &Self| table.records.len() >= MAX_KEYS;
            while self.is_in_table(hash) && is_full(self) && self.share() < MAX_HALVINGS {
                self.halve();
            }
            if !self.is_in_table(hash) || is_full(self) {
                return;
            }
        }
        let (weight, invalidated_at) = (self.weight(), self.invalidated_at);
        let mut unused = ReuseCounts::default();
        let is_counted = is_below(hash, self.halvings);
        let counts = if is_counted { figures.of_key(hash) } else { &mut unused };
        let mut to = Counting { counts, weight, invalidated_at };
        self.records.entry(hash).or_default().apply(event, &mut to);
    }

    /// Follows half of the keys.
    fn halve(&mut self) {
        match self.learning {
            0 => self.halvings += 1,
            _ => self.learning -= 1,
        }
        let halvings = self.share();
        self.records.retain(|hash, _| is_below(*hash, halvings));
    }

    fn invalidate(&mut self, invalidation: ReuseInvalidation, figures: &mut ReuseFigures) {
        self.invalidated_at = self.invalidated_at.max(invalidation.at);
        if invalidation.is_whole {
            self.each(figures, |record, to| record.remove(invalidation.at, to));
        }
    }

    fn each(
        &mut self,
        figures: &mut ReuseFigures,
        mut action: impl FnMut(&mut KeyRecord, &mut Counting<'_>),
    ) {
        let (weight, invalidated_at) = (self.weight(), self.invalidated_at);
        let mut unused = ReuseCounts::default();
        for (hash, record) in &mut self.records {
            let is_counted = is_below(*hash, self.halvings);
            let counts = if is_counted { figures.of_key(*hash) } else { &mut unused };
            action(record, &mut Counting { counts, weight, invalidated_at });
        }
    }

    /// Whether the table can be used: another process may have written it.
    pub fn is_valid(&self) -> bool {
        self.records.len() <= MAX_KEYS
            && self.halvings <= MAX_HALVINGS
            && self.learning <= self.halvings
    }
}

impl Step {
    fn at(&self) -> u64 {
        match self {
            Self::Key(_, event) => event.at(),
            Self::Invalidation(invalidation) => invalidation.at,
        }
    }
}

#[cfg(test)]
mod tests;
