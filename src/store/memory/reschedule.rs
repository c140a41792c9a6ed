//! New lifetimes of entries.

use super::Inner;
use crate::model::{EntryKey, Lifetime, Version};

impl Inner {
    /// Gives a fresh entry a new lifetime from now; with `prolongs`, only the entry with that
    /// version, and only if it is then fresh for longer. Returns whether it did.
    pub(super) fn reschedule(
        &self,
        key: &EntryKey,
        lifetime: Lifetime,
        prolongs: Option<Version>,
    ) -> bool {
        let now = self.now();
        let (key, shard) = self.locate(key);
        let mut shard = shard.lock();
        let Some(entry) = shard.entries.read(&key, now).filter(|entry| entry.is_fresh(now)) else {
            return false;
        };
        if let Some(version) = prolongs
            && (entry.version != version || now.after(lifetime.ttl) <= entry.fresh_until)
        {
            return false;
        }
        let revalidation_window = entry.revalidation_window;
        self.revise(&mut shard, &key, now, |entry| {
            entry.reschedule(&Lifetime { revalidation_window, ..lifetime }, now);
        });
        drop(shard);
        self.evict_to_limit();
        true
    }
}
