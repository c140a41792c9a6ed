//! Which keys have values that must not be stored, as far as this replica has seen lately.
//!
//! A lease is of no use to them: the replicas would only wait for one another, each in vain. Varnish calls this hit-for-miss.

use std::time::Duration;

use hashlink::LruCache;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::model::EntryKey;

/// How long it is remembered. Whatever is fetched meanwhile may correct it.
const REMEMBERED: Duration = Duration::from_secs(10);
/// How long it is taken for certain. A key that is asked for so often would keep other replicas waiting for its lease all the time.
const CERTAIN: Duration = Duration::from_secs(1);
/// Most keys that are remembered.
const CAPACITY: usize = 4096;

/// What is known of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cache) enum Prediction {
    /// Nothing: its value may well be stored.
    None,
    /// Its value must not be stored, as far as was seen a while ago: a lease is worth asking for, and not worth waiting for.
    Faded,
    /// Its value must not be stored.
    Fresh,
}

/// See the module.
pub(in crate::cache) struct CacheabilityPredictor(Mutex<LruCache<EntryKey, Instant>>);

impl CacheabilityPredictor {
    pub(in crate::cache) fn new() -> Self {
        Self(Mutex::new(LruCache::new(CAPACITY)))
    }

    /// What is known of the key.
    pub(in crate::cache) fn recall(&self, key: &EntryKey) -> Prediction {
        match self.0.lock().peek(key).map(Instant::elapsed) {
            Some(age) if age < CERTAIN => Prediction::Fresh,
            Some(age) if age < REMEMBERED => Prediction::Faded,
            Some(_) | None => Prediction::None,
        }
    }

    /// Takes note of what was seen.
    pub(in crate::cache) fn note(&self, key: &EntryKey, is_cacheable: bool) {
        let mut seen = self.0.lock();
        if is_cacheable {
            seen.remove(key);
        } else {
            seen.insert(key.clone(), Instant::now());
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::Namespace;

    fn key(name: &str) -> EntryKey {
        EntryKey::new(Namespace::new("ns").unwrap(), name, [].into_iter()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_seen_is_remembered_for_a_while() {
        let uncacheable = CacheabilityPredictor::new();
        uncacheable.note(&key("a"), false);
        uncacheable.note(&key("b"), false);
        uncacheable.note(&key("b"), true);
        assert_eq!(
            (uncacheable.recall(&key("a")), uncacheable.recall(&key("b"))),
            (Prediction::Fresh, Prediction::None)
        );
        tokio::time::advance(CERTAIN).await;
        assert_eq!(uncacheable.recall(&key("a")), Prediction::Faded);
        tokio::time::advance(REMEMBERED - CERTAIN).await;
        assert_eq!(uncacheable.recall(&key("a")), Prediction::None);
    }

    #[tokio::test]
    async fn memory_is_bounded() {
        let uncacheable = CacheabilityPredictor::new();
        (0..CAPACITY * 2).for_each(|number| uncacheable.note(&key(&number.to_string()), false));
        assert_eq!(uncacheable.0.lock().len(), CAPACITY);
    }
}
