//! Predicts which keys have values that must not be stored, from this replica's recent fetches.
//!
//! A lease is of no use to such keys: replicas would wait for one another's fetch, and each would
//! then have to fetch for itself. Varnish calls this hit-for-miss, Pingora a cacheability
//! predictor.

use std::time::Duration;

use hashlink::LruCache;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::model::EntryKey;

/// How long an observation is used. Every fetch in the meantime corrects it.
const MAX_AGE: Duration = Duration::from_secs(10);
/// How long an observation is trusted without asking for a lease. A key that is fetched this often
/// would otherwise keep other replicas waiting for its lease all the time.
const TRUSTED_AGE: Duration = Duration::from_secs(1);
/// Most keys that are remembered.
const CAPACITY: usize = 4096;

/// Prediction for the next value of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prediction {
    /// There is no recent observation: the value may well be cacheable.
    Unknown,
    /// The value was uncacheable a while ago: a lease is worth asking for, but not waiting for.
    ProbablyUncacheable,
    /// The value was uncacheable a moment ago.
    Uncacheable,
}

/// Keys whose last value was uncacheable, and when that was observed.
pub(super) struct CacheabilityPredictor(Mutex<LruCache<EntryKey, Instant>>);

impl CacheabilityPredictor {
    pub(super) fn new() -> Self {
        Self(Mutex::new(LruCache::new(CAPACITY)))
    }

    pub(super) fn predict(&self, key: &EntryKey) -> Prediction {
        match self.0.lock().peek(key).map(Instant::elapsed) {
            Some(age) if age < TRUSTED_AGE => Prediction::Uncacheable,
            Some(age) if age < MAX_AGE => Prediction::ProbablyUncacheable,
            Some(_) | None => Prediction::Unknown,
        }
    }

    /// Records whether the key's value was cacheable.
    pub(super) fn record(&self, key: &EntryKey, is_cacheable: bool) {
        let mut observed = self.0.lock();
        if is_cacheable {
            observed.remove(key);
        } else {
            observed.insert(key.clone(), Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::testing::key;

    #[tokio::test(start_paused = true)]
    async fn an_observation_fades() {
        let predictor = CacheabilityPredictor::new();
        predictor.record(&key("a"), false);
        assert_eq!(predictor.predict(&key("a")), Prediction::Uncacheable);
        assert_eq!(predictor.predict(&key("b")), Prediction::Unknown);
        tokio::time::advance(TRUSTED_AGE).await;
        assert_eq!(predictor.predict(&key("a")), Prediction::ProbablyUncacheable);
        tokio::time::advance(MAX_AGE - TRUSTED_AGE).await;
        assert_eq!(predictor.predict(&key("a")), Prediction::Unknown);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cacheable_value_corrects_the_prediction() {
        let predictor = CacheabilityPredictor::new();
        predictor.record(&key("a"), false);
        predictor.record(&key("a"), true);
        assert_eq!(predictor.predict(&key("a")), Prediction::Unknown);
    }

    #[tokio::test]
    async fn memory_is_bounded() {
        let predictor = CacheabilityPredictor::new();
        (0..CAPACITY * 2).for_each(|number| predictor.record(&key(&number.to_string()), false));
        assert_eq!(predictor.0.lock().len(), CAPACITY);
    }
}
