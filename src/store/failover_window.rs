//! The failover window: invalidations that were acknowledged shortly before another primary took
//! over are applied to it again, because it may lack them.
//!
//! Redis acknowledges a write before its replicas have it. So the invalidations of the last
//! seconds are remembered. When the primary changes, an entry that one of them may match is not
//! read until all are applied again.

pub mod metrics;
pub mod reapply;
pub mod store;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::RwLock;
use tokio::{sync::Notify, time::Instant};

use super::targets::Targets;
use crate::{
    model::{EntryKey, Namespace, Timestamp},
    store::Invalidation,
};

/// Most invalidations that are remembered. If there are more, those of the namespace with the most
/// become one of the whole namespace.
const MAX_INVALIDATIONS: usize = 50_000;

/// Longest time that a call waits until the primary has all invalidations.
const SETTLE_TIMEOUT: Duration = Duration::from_millis(250);

/// The invalidations of the last seconds.
pub struct FailoverWindow {
    length: Duration,
    /// Changes before the first command to another primary is sent.
    epoch: Arc<AtomicU64>,
    /// The epoch whose primary has all invalidations.
    trusted: AtomicU64,
    /// Notified when that changes.
    settled: Notify,
    recent: RwLock<Targets<Recent>>,
    /// Notified when a call meets another primary.
    changed: Notify,
    reapplied: AtomicU64,
}

/// A remembered invalidation.
#[derive(Debug, Clone, Copy)]
struct Recent {
    acknowledged_at: Instant,
    /// End of the hold-off, by the store's clock.
    held_until: Timestamp,
    /// Epoch of the primary that has it.
    epoch: u64,
}

/// Counters and sizes of a failover window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailoverWindowStats {
    /// Invalidations that are remembered.
    pub remembered: usize,
    /// Invalidations that were applied again.
    pub reapplied: u64,
    /// Whether entries wait for that.
    pub is_reapplying: bool,
}

impl FailoverWindow {
    /// Remembers invalidations for `length`. `epoch` changes before the first command to another
    /// primary is sent.
    pub fn new(length: Duration, epoch: Arc<AtomicU64>) -> Self {
        Self {
            length,
            trusted: AtomicU64::new(epoch.load(Ordering::Acquire)),
            epoch,
            settled: Notify::new(),
            recent: RwLock::default(),
            changed: Notify::new(),
            reapplied: AtomicU64::new(0),
        }
    }

    /// Figures for metrics.
    pub fn stats(&self) -> FailoverWindowStats {
        FailoverWindowStats {
            remembered: self.recent.read().len(),
            reapplied: self.reapplied.load(Ordering::Relaxed),
            is_reapplying: !self.is_trusted(),
        }
    }

    fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    #[inline]
    fn is_trusted(&self) -> bool {
        self.epoch() == self.trusted.load(Ordering::Acquire)
    }

    /// The epoch of a primary that has the invalidations of an entry. Waits a little for it; none
    /// if there is none then.
    #[inline]
    async fn epoch_for(&self, key: &EntryKey) -> Option<u64> {
        let epoch = self.epoch();
        if epoch == self.trusted.load(Ordering::Acquire) || !self.remembers(key) {
            return Some(epoch);
        }
        self.is_settled().await.then(|| self.trusted.load(Ordering::Acquire))
    }

    /// Waits until the primary has all invalidations, for a limited time.
    #[cold]
    async fn is_settled(&self) -> bool {
        let settled = async {
            loop {
                let notified = self.settled.notified();
                if self.is_trusted() {
                    return;
                }
                notified.await;
            }
        };
        tokio::time::timeout(SETTLE_TIMEOUT, settled).await.is_ok()
    }

    /// Whether a primary that was used since `epoch` may have lacked an invalidation of an entry.
    #[inline]
    fn lacked_since(&self, epoch: u64, key: &EntryKey) -> bool {
        self.epoch() != epoch && self.remembers(key)
    }

    /// Whether a remembered invalidation may match an entry. Asks for a check of the primary.
    #[cold]
    fn remembers(&self, key: &EntryKey) -> bool {
        self.changed.notify_one();
        self.recent.read().covers(key)
    }

    /// Remembers an invalidation that the primary of `epoch` has acknowledged, or an earlier one.
    fn remember(&self, invalidation: Invalidation, held_until: Timestamp, epoch: u64) {
        let recent = Recent { acknowledged_at: Instant::now(), held_until, epoch };
        let mut all = self.recent.write();
        all.insert(invalidation, recent, later);
        if all.len() > MAX_INVALIDATIONS {
            self.forget(&mut all);
            widen(&mut all);
        }
    }

    /// Forgets invalidations that are older than the window, while the primary is trusted. To be
    /// called only while the store answers: then a failover can take back only the last ones.
    fn forget_old(&self) {
        self.forget(&mut self.recent.write());
    }

    fn forget(&self, all: &mut Targets<Recent>) {
        if self.is_trusted() {
            all.retain(|_, recent| recent.acknowledged_at.elapsed() < self.length);
        }
    }

    /// The invalidations that the primary of `epoch` may lack.
    fn lacking(&self, epoch: u64) -> Vec<(Invalidation, Timestamp)> {
        let all = self.recent.read();
        let lacking = all.iter().filter(|(_, recent)| recent.epoch != epoch);
        lacking.map(|(invalidation, recent)| (invalidation.clone(), recent.held_until)).collect()
    }

    /// The primary of `epoch` has all invalidations.
    fn trust(&self, epoch: u64, reapplied: usize) {
        self.reapplied.fetch_add(reapplied as u64, Ordering::Relaxed);
        self.trusted.store(epoch, Ordering::Release);
        self.settled.notify_waiters();
    }
}

/// Joins two equal invalidations. A primary has both only if it has the one with the later end.
fn later(before: &Recent, after: Recent) -> Recent {
    if before.held_until > after.held_until {
        Recent { acknowledged_at: after.acknowledged_at, ..*before }
    } else {
        after
    }
}

/// Turns the invalidations of the namespace with the most of them into one of the whole namespace,
/// and their hold-offs into the longest of them for all of its entries.
fn widen(all: &mut Targets<Recent>) {
    let mut counts = BTreeMap::<Namespace, usize>::new();
    for (invalidation, _) in all.iter() {
        *counts.entry(invalidation.namespace().clone()).or_default() += 1;
    }
    let Some((namespace, _)) = counts.into_iter().max_by_key(|(_, count)| *count) else { return };
    let of_namespace = all.iter().filter(|(one, _)| *one.namespace() == namespace);
    let (epoch, held_until) = of_namespace
        .map(|(_, recent)| (recent.epoch, recent.held_until))
        .reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))
        .unwrap_or_default();
    all.retain(|one, _| *one.namespace() != namespace);
    let acknowledged_at = Instant::now();
    if held_until > Timestamp(0) {
        let held = Recent { acknowledged_at, held_until, epoch };
        all.insert(Invalidation::of_everything(&namespace), held, later);
    }
    let whole = Recent { acknowledged_at, held_until: Timestamp(0), epoch };
    all.insert(Invalidation::Namespace(namespace), whole, later);
}
