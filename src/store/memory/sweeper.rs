//! Sweeps up what expired or was invalidated, so that it does not take room until somebody asks for it.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use super::{Inner, wakeup_key};

const INTERVAL: Duration = Duration::from_millis(500);
/// Entries dropped under one lock: about a tenth of a millisecond.
const BATCH: usize = 256;

/// Sweeps until the store is dropped.
pub(super) fn spawn(store: &Arc<Inner>) {
    let store = Arc::downgrade(store);
    tokio::spawn(async move {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            if sweep(&store).await.is_none() {
                return;
            }
        }
    });
}

async fn sweep(store: &Weak<Inner>) -> Option<()> {
    let purge = store.upgrade()?.generations.take_ended();
    for place in 0..store.upgrade()?.shards.len() {
        let store = store.upgrade()?;
        store.sweep_leases(place);
        if purge {
            store.purge(place).await;
        }
        while store.expire(place) == BATCH {
            tokio::task::yield_now().await;
        }
        tokio::task::yield_now().await;
    }
    store.upgrade()?.generations.forget_unused();
    Some(())
}

impl Inner {
    async fn purge(&self, place: usize) {
        let mut after = None;
        loop {
            let (freed, next) = self.shards[place].lock().purge(after.as_ref(), BATCH);
            self.budget.release(freed);
            if next.is_none() {
                return;
            }
            after = next;
            tokio::task::yield_now().await;
        }
    }

    fn expire(&self, place: usize) -> usize {
        let now = self.now();
        let expired = self.shards[place].lock().expire(now, BATCH);
        self.budget.release(expired.freed);
        self.budget.expired.fetch_add(expired.entries as u64, Ordering::Relaxed);
        expired.entries
    }

    fn sweep_leases(&self, place: usize) {
        let (freed, ended) = self.shards[place].lock().expire_leases(self.now());
        self.budget.release(freed);
        ended.iter().for_each(|key| self.wakeups.wake(&wakeup_key(key)));
    }
}
