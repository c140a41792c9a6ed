//! The replicas' samples of the last hour.

use std::collections::BTreeMap;

use crate::{
    model::{Namespace, Timestamp},
    stats::hot_keys::{HotKeyBucket, HotKeyCounts, HotKeyRange, MINUTES, TEN_MINUTES},
};

/// Samples by the width and the number of their bucket, and by replica. Its size is bounded: it has
/// the buckets of the longest window, and each of them is bounded.
#[derive(Debug, Default)]
pub(super) struct HotKeyHistory(BTreeMap<(u64, u64, u64), BTreeMap<Namespace, HotKeyCounts>>);

impl HotKeyHistory {
    /// Replaces buckets of a replica, and drops those that have left their window.
    pub(super) fn put(&mut self, replica: u64, buckets: &[HotKeyBucket], now: Timestamp) {
        for HotKeyBucket { window, number, counts } in buckets {
            self.0.insert((window.bucket_ms, *number, replica), counts.clone());
        }
        self.0.retain(|(bucket_ms, number, _), _| {
            let window = if *bucket_ms == MINUTES.bucket_ms { MINUTES } else { TEN_MINUTES };
            window.at(now).contains(number)
        });
    }

    /// The samples of a namespace with their replicas.
    pub(super) fn of(
        &self,
        namespace: &Namespace,
        range: &HotKeyRange,
    ) -> Vec<(u64, HotKeyCounts)> {
        let HotKeyRange { window, buckets, .. } = range;
        let first = (window.bucket_ms, *buckets.start(), 0);
        let last = (window.bucket_ms, *buckets.end(), u64::MAX);
        let found = self.0.range(first..=last);
        found
            .filter_map(|((.., replica), counts)| Some((*replica, counts.get(namespace)?.clone())))
            .collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::stats::windows::Window;

    const NOW: Timestamp = Timestamp(1_000_000 * 600_000);

    fn namespace() -> Namespace {
        Namespace::new("ns").unwrap()
    }

    fn bucket(window: Window, now: Timestamp, samples: u64) -> HotKeyBucket {
        let counts = HotKeyCounts { samples, ..HotKeyCounts::default() };
        let counts = BTreeMap::from([(namespace(), counts)]);
        HotKeyBucket { window, number: window.bucket(now), counts }
    }

    fn samples(history: &HotKeyHistory, seconds: u64, now: Timestamp) -> Vec<(u64, u64)> {
        let range = HotKeyRange::of(Duration::from_secs(seconds), now);
        let found = history.of(&namespace(), &range);
        found.into_iter().map(|(replica, counts)| (replica, counts.samples)).collect()
    }

    #[test]
    fn a_bucket_of_a_replica_is_replaced_and_leaves_its_window() {
        let mut history = HotKeyHistory::default();
        history.put(7, &[bucket(MINUTES, NOW, 1), bucket(TEN_MINUTES, NOW, 1)], NOW);
        history.put(7, &[bucket(MINUTES, NOW, 2)], NOW);
        history.put(8, &[bucket(MINUTES, NOW, 3)], NOW);
        assert_eq!(samples(&history, 60, NOW), [(7, 2), (8, 3)]);
        assert_eq!(samples(&history, 3600, NOW), [(7, 1)]);
        let other = Namespace::new("other").unwrap();
        let range = HotKeyRange::of(Duration::from_secs(60), NOW);
        assert!(history.of(&other, &range).is_empty());

        let later = Timestamp(NOW.0 + 5 * 60_000);
        assert_eq!(samples(&history, 60, later), []);
        assert_eq!(samples(&history, 600, later), [(7, 2), (8, 3)]);
        history.put(7, &[], Timestamp(NOW.0 + 11 * 60_000));
        assert_eq!(history.0.len(), 1, "the ten minutes");
        history.put(7, &[], Timestamp(NOW.0 + 70 * 60_000));
        assert!(history.0.is_empty());
    }
}
