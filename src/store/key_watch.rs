//! Wakes whoever waits for something to happen to a key.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Who waits for which key. Clones share the same list.
#[derive(Clone, Default)]
pub struct KeyWatchers {
    waiting: Arc<Mutex<WaitingByKey>>,
}

type WaitingByKey = HashMap<Arc<[u8]>, Vec<Weak<Notify>>>;

/// A place on the list, until it is dropped. News that arrives between registering and waiting is not lost.
pub struct KeyWatch {
    list: KeyWatchers,
    key: Arc<[u8]>,
    notify: Arc<Notify>,
}

impl KeyWatchers {
    /// Registers for news of `key`.
    pub fn register(&self, key: impl Into<Arc<[u8]>>) -> KeyWatch {
        let key = key.into();
        let notify = Arc::new(Notify::new());
        self.waiting.lock().entry(key.clone()).or_default().push(Arc::downgrade(&notify));
        KeyWatch { list: self.clone(), key, notify }
    }

    /// Wakes all who wait for `key`.
    pub fn wake(&self, key: &[u8]) {
        if let Some(waiting) = self.waiting.lock().get(key) {
            waiting.iter().filter_map(Weak::upgrade).for_each(|notify| notify.notify_one());
        }
    }

    /// Wakes everybody, because news may have been missed.
    pub fn wake_all(&self) {
        let waiting = self.waiting.lock();
        waiting.values().flatten().filter_map(Weak::upgrade).for_each(|notify| notify.notify_one());
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.lock().is_empty()
    }
}

impl KeyWatch {
    /// Waits for the next news.
    pub async fn notified(&self) {
        self.notify.notified().await;
    }
}

impl Drop for KeyWatch {
    fn drop(&mut self) {
        let mut waiting = self.list.waiting.lock();
        if let Some(list) = waiting.get_mut(&self.key) {
            list.retain(|other| !std::ptr::eq(other.as_ptr(), Arc::as_ptr(&self.notify)));
            if list.is_empty() {
                waiting.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn news_before_waiting_is_not_lost() {
        let wakeups = KeyWatchers::default();
        let wakeup = wakeups.register(*b"k");
        wakeups.wake(b"k");
        wakeup.notified().await;
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_key_that_had_news_is_woken() {
        let wakeups = KeyWatchers::default();
        let (one, two) = (wakeups.register(*b"one"), wakeups.register(*b"two"));
        wakeups.wake(b"one");
        one.notified().await;
        let waited = tokio::time::timeout(std::time::Duration::from_secs(1), two.notified()).await;
        assert!(waited.is_err());
        wakeups.wake_all();
        two.notified().await;
    }

    #[test]
    fn leaving_takes_the_place_off_the_list() {
        let wakeups = KeyWatchers::default();
        let (one, two) = (wakeups.register(*b"k"), wakeups.register(*b"k"));
        drop(one);
        assert!(!wakeups.is_empty());
        drop(two);
        assert!(wakeups.is_empty());
    }
}
