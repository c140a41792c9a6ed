//! Which keys have values that must not be stored, as far as this replica has seen lately.
//!
//! A lease is of no use to them: the replicas would only wait for one another, each in vain. Varnish calls this hit-for-miss.

use std::time::Duration;

use hashlink::LruCache;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::key::EntryKey;

/// How long it is believed. Whatever is fetched meanwhile may correct it.
const BELIEVED: Duration = Duration::from_secs(10);
/// Most keys that are remembered.
const CAPACITY: usize = 4096;

/// See the module.
pub(super) struct Uncacheable(Mutex<LruCache<EntryKey, Instant>>);

impl Uncacheable {
    pub(super) fn new() -> Self {
        Self(Mutex::new(LruCache::new(CAPACITY)))
    }

    /// Whether the value of the key must not be stored.
    pub(super) fn contains(&self, key: &EntryKey) -> bool {
        self.0.lock().peek(key).is_some_and(|until| Instant::now() < *until)
    }

    /// Takes note of what was seen.
    pub(super) fn note(&self, key: &EntryKey, is_cacheable: bool) {
        let mut seen = self.0.lock();
        if is_cacheable {
            seen.remove(key);
        } else {
            seen.insert(key.clone(), Instant::now() + BELIEVED);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::key::Namespace;

    fn key(name: &str) -> EntryKey {
        EntryKey::new(Namespace::new("ns").unwrap(), name, [].into_iter()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_seen_is_believed_for_a_while() {
        let uncacheable = Uncacheable::new();
        uncacheable.note(&key("a"), false);
        uncacheable.note(&key("b"), false);
        uncacheable.note(&key("b"), true);
        assert!(uncacheable.contains(&key("a")) && !uncacheable.contains(&key("b")));
        tokio::time::advance(BELIEVED).await;
        assert!(!uncacheable.contains(&key("a")));
    }

    #[tokio::test]
    async fn memory_is_bounded() {
        let uncacheable = Uncacheable::new();
        (0..CAPACITY * 2).for_each(|number| uncacheable.note(&key(&number.to_string()), false));
        assert_eq!(uncacheable.0.lock().len(), CAPACITY);
    }
}
