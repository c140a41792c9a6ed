//! Distributions: how the entries of a namespace are spread over sizes and ages, from a sample.

use std::time::Duration;

use crate::{
    model::{SaturatingFrom as _, Timestamp},
    store::EntryFacts,
};

/// Upper bounds of the classes of value sizes, in bytes; a last class without a bound follows, as
/// with the others.
const VALUE_CLASSES: [u64; 11] =
    [0, 16, 64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20];
/// Upper bounds of the classes of key sizes, in bytes.
const KEY_CLASSES: [u64; 7] = [8, 16, 32, 64, 128, 256, 512];
/// Upper bounds of the classes of times, in milliseconds.
const TIME_CLASSES: [u64; 9] = [
    0,
    1_000,
    10_000,
    60_000,
    600_000,
    3_600_000,
    6 * 3_600_000,
    24 * 3_600_000,
    7 * 24 * 3_600_000,
];

/// How the examined entries of a namespace are spread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distributions {
    /// Number of entries examined.
    pub examined: u64,
    /// Whether these are all entries of the namespace.
    pub is_complete: bool,
    /// Sizes of values, in bytes.
    pub value_bytes: Distribution,
    /// Sizes of keys, in bytes.
    pub key_bytes: Distribution,
    /// Times until the entries become stale, in milliseconds; zero for stale ones.
    pub ttl_remaining: Distribution,
    /// Times since the values were written or revalidated, in milliseconds.
    pub age: Distribution,
}

/// How a number is spread over classes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    /// Upper bounds of the classes.
    pub bounds: &'static [u64],
    /// Entries per class; one class more than there are bounds.
    pub counts: Vec<u64>,
    /// The smallest number; zero without entries.
    pub min: u64,
    /// The largest number.
    pub max: u64,
    /// Sum of all numbers.
    pub sum: u64,
}

impl Distributions {
    pub(super) fn new() -> Self {
        Self {
            examined: 0,
            is_complete: false,
            value_bytes: Distribution::new(&VALUE_CLASSES),
            key_bytes: Distribution::new(&KEY_CLASSES),
            ttl_remaining: Distribution::new(&TIME_CLASSES),
            age: Distribution::new(&TIME_CLASSES),
        }
    }

    pub(super) fn add(&mut self, entry: &EntryFacts, now: Timestamp) {
        let millis = |time: Duration| u64::saturating_from(time.as_millis());
        let is_first = self.examined == 0;
        self.value_bytes.add(entry.value_bytes, is_first);
        self.key_bytes.add(entry.key_bytes, is_first);
        self.ttl_remaining.add(millis(entry.fresh_until.since(now)), is_first);
        self.age.add(millis(now.since(entry.created_at)), is_first);
        self.examined += 1;
    }
}

impl Distribution {
    fn new(bounds: &'static [u64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], min: 0, max: 0, sum: 0 }
    }

    fn add(&mut self, number: u64, is_first: bool) {
        let class = self.bounds.partition_point(|bound| *bound < number);
        if let Some(count) = self.counts.get_mut(class) {
            *count += 1;
        }
        self.min = if is_first { number } else { self.min.min(number) };
        self.max = self.max.max(number);
        self.sum = self.sum.saturating_add(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_counted_in_the_class_of_their_bound() {
        let mut sizes = Distribution::new(&KEY_CLASSES);
        for (index, number) in [8, 9, 512, 513].into_iter().enumerate() {
            sizes.add(number, index == 0);
        }
        assert_eq!(sizes.counts, [1, 1, 0, 0, 0, 0, 1, 1]);
        assert_eq!((sizes.min, sizes.max, sizes.sum), (8, 513, 1042));
        for classes in [&VALUE_CLASSES[..], &KEY_CLASSES, &TIME_CLASSES] {
            assert!(classes.is_sorted());
        }
    }

    #[test]
    fn an_entry_counts_in_each_distribution() {
        let mut all = Distributions::new();
        let (created_at, fresh_until) = (Timestamp(1_000), Timestamp(61_000));
        let entry = EntryFacts { key_bytes: 3, value_bytes: 100, created_at, fresh_until };
        all.add(&entry, Timestamp(1_500));
        assert_eq!((all.examined, all.age.min, all.ttl_remaining.min), (1, 500, 59_500));
        assert_eq!((all.value_bytes.counts[3], all.key_bytes.counts[0]), (1, 1));
        assert_eq!((all.age.counts[1], all.ttl_remaining.counts[3]), (1, 1));
        all.add(&entry, Timestamp(70_000));
        assert_eq!((all.ttl_remaining.min, all.ttl_remaining.counts[0]), (0, 1), "a stale one");
    }
}
