//! Notifications of events per key.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// The watched keys. Clones share the same watches.
#[derive(Clone, Default)]
pub struct KeyWatchers {
    by_key: Arc<Mutex<WatchersByKey>>,
}

type WatchersByKey = HashMap<Arc<[u8]>, Vec<Weak<Notify>>>;

/// A watch on one key, until it is dropped. A notification between [`KeyWatchers::watch`] and
/// [`KeyWatch::notified`] is not lost.
pub struct KeyWatch {
    watchers: KeyWatchers,
    key: Arc<[u8]>,
    notify: Arc<Notify>,
}

// === impl KeyWatchers ===

impl KeyWatchers {
    /// Watches `key`.
    pub fn watch(&self, key: impl Into<Arc<[u8]>>) -> KeyWatch {
        let key = key.into();
        let notify = Arc::new(Notify::new());
        self.by_key.lock().entry(key.clone()).or_default().push(Arc::downgrade(&notify));
        KeyWatch { watchers: self.clone(), key, notify }
    }

    /// Notifies all watches of `key`.
    pub fn notify(&self, key: &[u8]) {
        if let Some(watches) = self.by_key.lock().get(key) {
            watches.iter().filter_map(Weak::upgrade).for_each(|notify| notify.notify_one());
        }
    }

    /// Notifies the watches of all keys that begin with `prefix`. Visits all watched keys.
    pub fn notify_prefix(&self, prefix: &[u8]) {
        let by_key = self.by_key.lock();
        let watches = by_key.iter().filter(|(key, _)| key.starts_with(prefix));
        let watches = watches.flat_map(|(_, watches)| watches).filter_map(Weak::upgrade);
        watches.for_each(|notify| notify.notify_one());
    }

    /// Notifies all watches of all keys, because events may have been missed.
    pub fn notify_all(&self) {
        let by_key = self.by_key.lock();
        by_key.values().flatten().filter_map(Weak::upgrade).for_each(|notify| notify.notify_one());
    }

    /// Whether no key is watched.
    pub fn is_empty(&self) -> bool {
        self.by_key.lock().is_empty()
    }
}

// === impl KeyWatch ===

impl KeyWatch {
    /// Waits for the next notification.
    pub async fn notified(&self) {
        self.notify.notified().await;
    }
}

impl Drop for KeyWatch {
    fn drop(&mut self) {
        let mut by_key = self.watchers.by_key.lock();
        if let Some(watches) = by_key.get_mut(&self.key) {
            watches.retain(|other| !std::ptr::eq(other.as_ptr(), Arc::as_ptr(&self.notify)));
            if watches.is_empty() {
                by_key.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn is_notified(watch: &KeyWatch) -> bool {
        tokio::time::timeout(Duration::from_secs(1), watch.notified()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn notification_before_the_wait_is_not_lost() {
        let watchers = KeyWatchers::default();
        let watch = watchers.watch(*b"k");
        watchers.notify(b"k");
        assert!(is_notified(&watch).await);
        assert!(!is_notified(&watch).await, "one notification ends one wait");
    }

    #[tokio::test(start_paused = true)]
    async fn only_watches_of_the_key_are_notified() {
        let watchers = KeyWatchers::default();
        let (one, again) = (watchers.watch(*b"one"), watchers.watch(*b"one"));
        let two = watchers.watch(*b"two");
        watchers.notify(b"one");
        watchers.notify(b"three");
        assert!(is_notified(&one).await && is_notified(&again).await);
        assert!(!is_notified(&two).await);
    }

    #[tokio::test(start_paused = true)]
    async fn notify_prefix_notifies_the_watches_of_keys_with_the_prefix() {
        let watchers = KeyWatchers::default();
        let (one, two) = (watchers.watch(*b"a:one"), watchers.watch(*b"b:one"));
        watchers.notify_prefix(b"a:");
        assert!(is_notified(&one).await && !is_notified(&two).await);
    }

    #[tokio::test(start_paused = true)]
    async fn notify_all_notifies_every_watch() {
        let watchers = KeyWatchers::default();
        let (one, two) = (watchers.watch(*b"one"), watchers.watch(*b"two"));
        watchers.notify_all();
        assert!(is_notified(&one).await && is_notified(&two).await);
    }

    #[tokio::test(start_paused = true)]
    async fn dropped_watch_leaves_the_others_of_its_key() {
        let watchers = KeyWatchers::default();
        assert!(watchers.is_empty());
        let (one, two) = (watchers.watch(*b"k"), watchers.watch(*b"k"));
        drop(one);
        assert!(!watchers.is_empty());
        watchers.notify(b"k");
        assert!(is_notified(&two).await);
        drop(two);
        assert!(watchers.is_empty());
    }
}
