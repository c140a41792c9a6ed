//! Samples of the keys that are read, for the search for hot keys.
//!
//! A read that is not sampled pays a few instructions: the counter of its outcome numbers it, and a
//! hash of the number and of a seed decides.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::model::EntryKey;

/// One of so many reads is sampled, on average.
pub const SAMPLING: u64 = 1 << SAMPLING_BITS;
const SAMPLING_BITS: u32 = 7;
/// Most samples that wait to be taken.
const MAX_SAMPLES: usize = 4096;

/// Keys of sampled reads, until they are taken.
#[derive(Default)]
pub struct ReadSamples {
    keys: Mutex<Vec<EntryKey>>,
    dropped: AtomicU64,
}

/// Whether the read with this number is sampled. Neighbouring numbers are unrelated: a caller that
/// reads its keys in turn is sampled evenly.
#[inline]
pub(super) fn is_sampled(number: u64) -> bool {
    // The finalizer of SplitMix64.
    let mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed >> (u64::BITS - SAMPLING_BITS) == 0
}

impl ReadSamples {
    /// Adds the key of a sampled read. Drops it if too many wait, or if another thread adds one at
    /// this moment: a read never waits.
    #[cold]
    pub fn add(&self, key: &EntryKey) {
        match self.keys.try_lock() {
            Some(mut keys) if keys.len() < MAX_SAMPLES => keys.push(key.clone()),
            _ => self.count_dropped(1),
        }
    }

    /// Takes all samples.
    pub fn take(&self) -> Vec<EntryKey> {
        std::mem::take(&mut *self.keys.lock())
    }

    /// Samples that were dropped so far.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Counts samples that were dropped.
    pub fn count_dropped(&self, samples: u64) {
        self.dropped.fetch_add(samples, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::Namespace;

    #[test]
    fn one_read_in_128_is_sampled_whatever_the_period_of_the_reads() {
        for period in [1, 2, 61, 64, 89, 128, 1000] {
            let reads = 2_000_000 / period;
            let sampled = (0..reads).filter(|turn| is_sampled(turn * period)).count();
            let expected = reads as f64 / SAMPLING as f64;
            let deviation = (sampled as f64 - expected).abs() / expected.sqrt();
            assert!(deviation < 4.0, "{sampled} of {reads} with period {period}");
        }
    }

    #[test]
    fn samples_are_bounded_and_taken_once() {
        let samples = ReadSamples::default();
        let key = EntryKey::new(Namespace::new("ns").unwrap(), "k", [].into_iter()).unwrap();
        (0..MAX_SAMPLES + 3).for_each(|_| samples.add(&key));
        assert_eq!((samples.take().len(), samples.dropped()), (MAX_SAMPLES, 3));
        samples.add(&key);
        assert_eq!((samples.take(), samples.take()), (vec![key.clone()], Vec::new()));
        let held = samples.keys.lock();
        samples.add(&key);
        drop(held);
        assert_eq!((samples.take().len(), samples.dropped()), (0, 4));
    }
}
