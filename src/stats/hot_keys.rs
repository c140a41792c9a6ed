//! The most frequent keys among sampled reads: a sketch of bounded size per namespace and time.
//!
//! The sketch is a variant of Misra and Gries's: its count of a key is too low by no more than a
//! known error. So the counts of all replicas can be added, and so can their errors.

use std::{
    collections::{BTreeMap, HashMap},
    ops::RangeInclusive,
    time::Duration,
};

use datasketches::frequencies::{ErrorType, FrequentItemsSketch};
use serde::{Deserialize, Serialize};

use super::windows::Window;
use crate::model::{EntryKey, Namespace, SaturatingFrom as _, Timestamp};

/// Buckets of windows up to ten minutes.
pub const MINUTES: Window = Window { bucket_ms: 60_000, buckets: 11 };
/// Buckets of windows up to an hour.
pub const TEN_MINUTES: Window = Window { bucket_ms: 600_000, buckets: 7 };
/// The longest window.
pub const MAX_WINDOW: Duration = Duration::from_secs(3600);

/// Namespaces that are followed in one bucket; the busiest are likely to be among them.
const MAX_NAMESPACES: usize = 64;
/// Size of a sketch, a power of two: it distinguishes three quarters as many keys.
const SKETCH_SIZE: usize = 256;
/// Keys that are kept of a sketch.
const MAX_ROWS: usize = 32;

/// Samples of one replica in one bucket, by namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HotKeyBucket {
    /// The width of the bucket.
    pub window: Window,
    /// Number of the bucket.
    pub number: u64,
    /// The samples.
    pub counts: BTreeMap<Namespace, HotKeyCounts>,
}

/// The most frequent keys of a namespace among some samples. Replicas exchange it as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HotKeyCounts {
    /// All samples, also those of other keys.
    pub samples: u64,
    /// No key has more samples than counted here by more than this, and none fewer.
    pub error: u64,
    /// Names of keys with their samples: `k:<key>`, or `p:<digest of the params>:<key>`.
    pub keys: Vec<(String, u64)>,
}

/// The buckets of a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HotKeyRange {
    /// Their width.
    pub window: Window,
    /// Their numbers.
    pub buckets: RangeInclusive<u64>,
    /// The time that they cover.
    pub covered: Duration,
}

/// The samples of this replica in the buckets that have not ended.
#[derive(Default)]
pub struct HotKeyTally {
    minute: Option<OpenBucket>,
    ten_minutes: Option<OpenBucket>,
}

struct OpenBucket {
    number: u64,
    sketches: HashMap<Namespace, FrequentItemsSketch<EntryKey>>,
}

// === impl HotKeyTally ===

impl HotKeyTally {
    /// Adds samples at the time `now`. Returns the buckets that have ended, and the number of
    /// samples that were dropped from any because there are too many namespaces.
    pub fn add(&mut self, keys: &[EntryKey], now: Timestamp) -> (Vec<HotKeyBucket>, u64) {
        let (mut ended, mut is_dropped) = (Vec::new(), vec![false; keys.len()]);
        for (window, open) in [(MINUTES, &mut self.minute), (TEN_MINUTES, &mut self.ten_minutes)] {
            let number = window.bucket(now);
            if let Some(old) = open.take_if(|open| open.number != number) {
                ended.extend(old.summary(window));
            }
            let open = open.get_or_insert_with(|| OpenBucket::new(number));
            for (key, is_dropped) in keys.iter().zip(&mut is_dropped) {
                *is_dropped |= !open.add(key);
            }
        }
        (ended, is_dropped.into_iter().filter(|is_dropped| *is_dropped).count() as u64)
    }

    /// The buckets that have not ended and have samples.
    pub fn open(&self) -> Vec<HotKeyBucket> {
        [(MINUTES, &self.minute), (TEN_MINUTES, &self.ten_minutes)]
            .into_iter()
            .filter_map(|(window, open)| open.as_ref()?.summary(window))
            .collect()
    }
}

impl OpenBucket {
    fn new(number: u64) -> Self {
        Self { number, sketches: HashMap::new() }
    }

    /// Returns false if there are too many namespaces.
    fn add(&mut self, key: &EntryKey) -> bool {
        if let Some(sketch) = self.sketches.get_mut(key.namespace()) {
            sketch.update_ref(key);
            return true;
        }
        // The size is a power of two, so that a sketch can always be made.
        match FrequentItemsSketch::new(SKETCH_SIZE) {
            Ok(mut sketch) if self.sketches.len() < MAX_NAMESPACES => {
                sketch.update_ref(key);
                self.sketches.insert(key.namespace().clone(), sketch);
                true
            }
            _ => false,
        }
    }

    fn summary(&self, window: Window) -> Option<HotKeyBucket> {
        let sketches = self.sketches.iter();
        let counts: BTreeMap<_, _> = sketches
            .map(|(namespace, sketch)| (namespace.clone(), HotKeyCounts::of(sketch)))
            .collect();
        (!counts.is_empty()).then_some(HotKeyBucket { window, number: self.number, counts })
    }
}

// === impl HotKeyCounts ===

impl HotKeyCounts {
    fn of(sketch: &FrequentItemsSketch<EntryKey>) -> Self {
        let rows = sketch.frequent_items_with_threshold(ErrorType::NoFalseNegatives, 0);
        let mut keys: Vec<(String, u64)> =
            rows.iter().map(|row| (name_of(row.item()), row.lower_bound())).collect();
        keys.sort_unstable_by(|(one, more), (two, less)| less.cmp(more).then(one.cmp(two)));
        let cut = keys.get(MAX_ROWS).map_or(0, |(_, samples)| *samples);
        keys.truncate(MAX_ROWS);
        Self { samples: sketch.total_weight(), error: sketch.maximum_error() + cut, keys }
    }

    /// Adds other samples.
    pub fn merge(&mut self, other: Self) {
        self.samples = self.samples.saturating_add(other.samples);
        self.error = self.error.saturating_add(other.error);
        let mut sums: HashMap<String, u64> = std::mem::take(&mut self.keys).into_iter().collect();
        for (name, samples) in other.keys {
            let sum = sums.entry(name).or_default();
            *sum = sum.saturating_add(samples);
        }
        self.keys = sums.into_iter().collect();
        self.keys.sort_unstable_by(|(one, more), (two, less)| less.cmp(more).then(one.cmp(two)));
    }
}

/// The key of a name in [`HotKeyCounts::keys`]; none if it is malformed.
pub fn key_of(namespace: &Namespace, name: &str) -> Option<EntryKey> {
    if let Some(key) = name.strip_prefix("k:") {
        return EntryKey::restored(namespace.as_str(), key, None);
    }
    let (digest, key) = name.strip_prefix("p:")?.split_once(':')?;
    EntryKey::restored(namespace.as_str(), key, Some(digest))
}

fn name_of(key: &EntryKey) -> String {
    let mut name = String::with_capacity(key.key().len() + 48);
    match key.params() {
        None => name.push_str("k:"),
        Some(digest) => {
            name.push_str("p:");
            digest.write_to(&mut name);
            name.push(':');
        }
    }
    name.push_str(key.key());
    name
}

// === impl HotKeyRange ===

impl HotKeyRange {
    /// The buckets of at least the time `window` before `now`, and of [`MAX_WINDOW`] at most.
    pub fn of(window: Duration, now: Timestamp) -> Self {
        let wanted = u64::saturating_from(window.min(MAX_WINDOW).as_millis());
        let window = [MINUTES, TEN_MINUTES]
            .into_iter()
            .find(|window| wanted <= window.bucket_ms * (window.buckets - 1))
            .unwrap_or(TEN_MINUTES);
        let newest = window.bucket(now);
        let oldest = newest.saturating_sub(wanted.div_ceil(window.bucket_ms));
        let begin = Timestamp(oldest * window.bucket_ms);
        Self { window, buckets: oldest..=newest, covered: now.since(begin) }
    }
}

#[cfg(test)]
mod tests;
