//! The sweeper: removes expired and invalidated entries, so that they do not occupy memory until
//! the next read of their key.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use tokio::{
    task::yield_now,
    time::{Instant, MissedTickBehavior, interval},
};

use super::{Inner, lease_records::SweepPosition};

const INTERVAL: Duration = Duration::from_millis(500);
/// Entries removed under one lock, which takes about a tenth of a millisecond.
const BATCH: u32 = 256;
/// Places for leases, most of them empty, that are visited under one lock.
const BUCKETS: usize = 1024;

/// Part of the time for which the sweeper may look for invalid entries, which takes time linear in
/// the number of all entries: one in ten.
const PAUSE_FACTOR: u32 = 9;

/// Sweeps until the store is dropped.
pub(super) fn spawn(store: &Arc<Inner>) {
    let store = Arc::downgrade(store);
    tokio::spawn(async move {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next_purge = Instant::now();
        loop {
            ticks.tick().await;
            if sweep(&store, &mut next_purge).await.is_none() {
                return;
            }
        }
    });
}

/// Sweeps all shards; none if the store was dropped. Looks for invalid entries if there may be some
/// and `next_purge` has come.
async fn sweep(store: &Weak<Inner>, next_purge: &mut Instant) -> Option<()> {
    let began_at = Instant::now();
    let purges = *next_purge <= began_at && store.upgrade()?.generations.take_invalid();
    for index in 0..store.upgrade()?.shards.len() {
        let store = store.upgrade()?;
        store.sweep_leases(index).await;
        if purges {
            store.purge(index).await;
        }
        while store.expire(index) == BATCH as usize {
            yield_now().await;
        }
        yield_now().await;
    }
    store.upgrade()?.budget.records.log_ends();
    if purges {
        *next_purge = Instant::now() + PAUSE_FACTOR * began_at.elapsed();
    }
    let store = store.upgrade()?;
    store.generations.remove_unused(store.now(), &store.budget).await;
    Some(())
}

impl Inner {
    async fn purge(&self, index: usize) {
        let mut before = None;
        loop {
            let (freed, next) = self.shards[index].lock().entries.purge(before, BATCH);
            self.budget.release(freed);
            if next.is_none() {
                return;
            }
            before = next;
            yield_now().await;
        }
    }

    fn expire(&self, index: usize) -> usize {
        let now = self.now();
        let expired = self.shards[index].lock().entries.expire(now, BATCH as usize);
        self.budget.release(expired.freed);
        self.budget.expired.fetch_add(expired.entries as u64, Ordering::Relaxed);
        expired.entries
    }

    /// Removes leases and hold-offs that are over.
    pub(super) async fn sweep_leases(&self, index: usize) {
        let mut position = Some(SweepPosition::default());
        let mut removed = Vec::new();
        while let Some(from) = position {
            let now = self.now();
            position = self.shards[index].lock().leases.sweep(from, BUCKETS, now, &mut removed);
            for record in removed.drain(..) {
                self.budget.release_record(&record.namespace.record_bytes, record.bytes);
                if let Some(watch_key) = record.watch_key {
                    self.lease_watchers.notify(&watch_key);
                }
            }
            if position.is_some() {
                yield_now().await;
            }
        }
    }
}
