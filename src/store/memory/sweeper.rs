//! The sweeper: removes expired and invalidated entries, so that they do not occupy memory until
//! the next read of their key.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use tokio::{
    task::yield_now,
    time::{MissedTickBehavior, interval},
};

use super::{Inner, watch_key};

const INTERVAL: Duration = Duration::from_millis(500);
/// Entries removed under one lock, which takes about a tenth of a millisecond.
const BATCH: usize = 256;

/// Sweeps until the store is dropped.
pub(super) fn spawn(store: &Arc<Inner>) {
    let store = Arc::downgrade(store);
    tokio::spawn(async move {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if sweep(&store).await.is_none() {
                return;
            }
        }
    });
}

/// Sweeps all shards; none if the store was dropped.
async fn sweep(store: &Weak<Inner>) -> Option<()> {
    let has_ended_generation = store.upgrade()?.generations.take_ended();
    for index in 0..store.upgrade()?.shards.len() {
        let store = store.upgrade()?;
        store.sweep_leases(index);
        if has_ended_generation {
            store.purge(index).await;
        }
        while store.expire(index) == BATCH {
            yield_now().await;
        }
        yield_now().await;
    }
    let store = store.upgrade()?;
    store.generations.remove_unused().await;
    Some(())
}

impl Inner {
    async fn purge(&self, index: usize) {
        let mut after = None;
        loop {
            let (freed, next) = self.shards[index].lock().purge(after.as_ref(), BATCH);
            self.budget.release(freed);
            if next.is_none() {
                return;
            }
            after = next;
            yield_now().await;
        }
    }

    fn expire(&self, index: usize) -> usize {
        let now = self.now();
        let expired = self.shards[index].lock().expire(now, BATCH);
        self.budget.release(expired.freed);
        self.budget.expired.fetch_add(expired.entries as u64, Ordering::Relaxed);
        expired.entries
    }

    fn sweep_leases(&self, index: usize) {
        let (freed, expired) = self.shards[index].lock().expire_leases(self.now());
        self.budget.release(freed);
        expired.iter().for_each(|key| self.lease_watchers.notify(&watch_key(key)));
    }
}
