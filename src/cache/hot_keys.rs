//! Hot keys: the keys of a namespace that are read most, by all replicas together.
//!
//! A few of the reads are sampled. Each replica finds the most frequent keys among its samples, and
//! sends them to the store at intervals, from where any replica reads those of all.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{sync::Mutex, time::Instant};

use crate::{
    model::{EntryKey, Namespace},
    stats::{
        hot_keys::{HotKeyBucket, HotKeyCounts, HotKeyRange, HotKeyTally, key_of},
        read_samples::SAMPLING,
        registry::StatsRegistry,
    },
    store::{self, StatsBackend},
};

/// Shortest time between two times at which samples are sent.
const SEND_INTERVAL: Duration = Duration::from_secs(5);
/// Most buckets that are kept until the store takes them.
const MAX_ENDED: usize = 4;

/// Finds the keys that are read most.
pub(super) struct HotKeys {
    registry: Arc<StatsRegistry>,
    store: Arc<dyn StatsBackend>,
    /// Random id of this process.
    replica: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tally: HotKeyTally,
    /// Buckets that the store does not have in full.
    ended: VecDeque<HotKeyBucket>,
    /// Whether there are samples that the store does not have.
    is_changed: bool,
    sent_at: Option<Instant>,
}

/// The keys that were read most. Numbers of reads are estimates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HotKeyReport {
    /// The keys, that with the most reads first.
    pub keys: Vec<HotKey>,
    /// Reads of the namespace.
    pub reads: u64,
    /// Reads that were sampled.
    pub samples: u64,
    /// The time that the report covers.
    pub covered: Duration,
    /// Replicas with samples.
    pub replicas: usize,
}

/// A key that was read often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HotKey {
    /// The key.
    pub key: EntryKey,
    /// Its reads.
    pub reads: u64,
    /// How far off `reads` may be, with a probability of 95 %.
    pub error: u64,
}

impl HotKeys {
    pub(super) fn new(registry: Arc<StatsRegistry>, store: Arc<dyn StatsBackend>) -> Self {
        Self { registry, store, replica: rand::random(), state: Mutex::default() }
    }

    /// Takes the samples of this replica. Sends them if that is due, or if `at_once` is set.
    pub(super) async fn flush(&self, at_once: bool) -> store::Result<()> {
        let mut state = self.state.lock().await;
        let samples = self.registry.read_samples();
        let keys = samples.take();
        let (ended, dropped) = state.tally.add(&keys, self.store.now());
        samples.count_dropped(dropped);
        state.is_changed |= !keys.is_empty();
        state.ended.extend(ended);
        while state.ended.len() > MAX_ENDED {
            state.ended.pop_front();
        }
        let is_due = state.sent_at.is_none_or(|sent_at| sent_at.elapsed() >= SEND_INTERVAL);
        if at_once || is_due { self.send(&mut state).await } else { Ok(()) }
    }

    async fn send(&self, state: &mut State) -> store::Result<()> {
        let open = if state.is_changed { state.tally.open() } else { Vec::new() };
        let buckets: Vec<HotKeyBucket> = state.ended.iter().cloned().chain(open).collect();
        if !buckets.is_empty() {
            state.sent_at = Some(Instant::now());
            self.store.put_hot_keys(self.replica, &buckets).await?;
            state.ended.clear();
            state.is_changed = false;
        }
        Ok(())
    }

    /// Reports the `limit` keys of a namespace that were read most in the time `window` before now,
    /// by this replica up to now, by others up to when they last sent their samples.
    pub(super) async fn report(
        &self,
        namespace: &Namespace,
        window: Duration,
        limit: usize,
    ) -> store::Result<HotKeyReport> {
        self.flush(true).await?;
        let range = HotKeyRange::of(window, self.store.now());
        let parts = self.store.hot_keys(namespace, &range).await?;
        let mut replicas: Vec<u64> = parts.iter().map(|(replica, _)| *replica).collect();
        replicas.sort_unstable();
        replicas.dedup();
        let mut sum = HotKeyCounts::default();
        parts.into_iter().for_each(|(_, counts)| sum.merge(counts));
        let keys = sum.keys.iter().filter_map(|(name, samples)| {
            Some(HotKey {
                key: key_of(namespace, name)?,
                reads: samples.saturating_mul(SAMPLING),
                error: error_of(*samples, sum.error),
            })
        });
        Ok(HotKeyReport {
            keys: keys.take(limit).collect(),
            reads: sum.samples.saturating_mul(SAMPLING),
            samples: sum.samples,
            covered: range.covered,
            replicas: replicas.len(),
        })
    }
}

/// How far off the number of a key's reads may be: the number of its samples is too low by up to
/// `missed`, and it varies by chance, with a standard deviation that is its square root.
fn error_of(samples: u64, missed: u64) -> u64 {
    let deviation = (samples.saturating_add(missed) as f64).sqrt();
    // Far below the largest number.
    let by_chance = (2.0 * deviation).ceil() as u64;
    missed.saturating_add(by_chance).saturating_mul(SAMPLING)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::{
        cache::testing::{FailingStore, key, namespace},
        store::{ErrorKind, memory::MemoryStore},
    };

    const MINUTE: Duration = Duration::from_secs(60);

    fn replica(store: &Arc<FailingStore>) -> HotKeys {
        HotKeys::new(Arc::new(StatsRegistry::new(8)), store.clone())
    }

    fn store() -> Arc<FailingStore> {
        Arc::new(FailingStore::new(Arc::new(MemoryStore::new(1 << 20))))
    }

    fn sample(hot_keys: &HotKeys, name: &str, count: usize) {
        (0..count).for_each(|_| hot_keys.registry.read_samples().add(&key(name)));
    }

    async fn report(hot_keys: &HotKeys, window: Duration) -> (Vec<(String, u64)>, u64, usize) {
        let report = hot_keys.report(&namespace(), window, 2).await.unwrap();
        let keys = report.keys.iter().map(|hot| (hot.key.key().to_owned(), hot.reads)).collect();
        (keys, report.reads, report.replicas)
    }

    #[tokio::test(start_paused = true)]
    async fn samples_of_all_replicas_are_added_and_scaled() {
        let store = store();
        let (one, two) = (replica(&store), replica(&store));
        assert_eq!(report(&one, MINUTE).await, (Vec::new(), 0, 0));
        sample(&one, "a", 3);
        sample(&one, "c", 1);
        sample(&two, "b", 5);
        sample(&two, "a", 4);
        two.flush(false).await.unwrap();
        let keys = vec![("a".to_owned(), 7 * 128), ("b".to_owned(), 5 * 128)];
        assert_eq!(report(&one, MINUTE).await, (keys.clone(), 13 * 128, 2));
        // A bucket that is sent again replaces the former.
        sample(&one, "a", 1);
        let (again, ..) = report(&one, MINUTE).await;
        assert_eq!(again[0], ("a".to_owned(), 8 * 128));
    }

    #[tokio::test(start_paused = true)]
    async fn samples_leave_the_window() {
        let store = store();
        let hot_keys = replica(&store);
        sample(&hot_keys, "a", 1);
        hot_keys.flush(false).await.unwrap();
        advance(5 * MINUTE).await;
        sample(&hot_keys, "b", 1);
        assert_eq!(report(&hot_keys, MINUTE).await.0, [("b".to_owned(), 128)]);
        assert_eq!(report(&hot_keys, 10 * MINUTE).await.1, 2 * 128);
        assert_eq!(report(&hot_keys, 60 * MINUTE).await.1, 2 * 128);
        advance(90 * MINUTE).await;
        assert_eq!(report(&hot_keys, 60 * MINUTE).await.1, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn samples_are_sent_at_intervals_and_kept_while_the_store_fails() {
        let store = store();
        let (one, other) = (replica(&store), replica(&store));
        let seen = async || report(&other, 10 * MINUTE).await.1 / 128;
        sample(&one, "a", 1);
        one.flush(false).await.unwrap();
        assert_eq!(seen().await, 1);
        sample(&one, "a", 1);
        one.flush(false).await.unwrap();
        assert_eq!(seen().await, 1, "not yet");
        advance(SEND_INTERVAL).await;
        store.fail(ErrorKind::Timeout);
        assert!(one.flush(false).await.is_err());
        assert!(one.report(&namespace(), MINUTE, 1).await.is_err());
        advance(2 * MINUTE).await;
        store.recover();
        one.flush(false).await.unwrap();
        assert_eq!(seen().await, 2, "of the minute that has ended");
        for _ in 0..10 {
            store.fail(ErrorKind::Timeout);
            sample(&one, "a", 1);
            assert!(one.flush(true).await.is_err());
            advance(MINUTE).await;
        }
        assert_eq!(one.state.lock().await.ended.len(), MAX_ENDED);
    }

    #[test]
    fn error_is_what_the_sketch_misses_and_chance() {
        assert_eq!(error_of(0, 0), 0);
        assert_eq!(error_of(100, 0), 20 * SAMPLING);
        assert_eq!(error_of(75, 25), 45 * SAMPLING);
        assert_eq!(error_of(u64::MAX, u64::MAX), u64::MAX);
    }
}
