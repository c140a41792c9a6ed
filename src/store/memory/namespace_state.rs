//! State of a namespace that outlives its generations.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use parking_lot::{Mutex, RwLock};

use super::{
    budget::Budget,
    namespace_bans::{BanAccount, NamespaceBans},
};
use crate::{
    model::{Namespace, Timestamp},
    store::LeaseLoss,
};

/// State that all generations of a namespace share.
pub(super) struct NamespaceState {
    name: Namespace,
    /// Memory of the namespace's leases and hold-offs.
    pub(super) record_bytes: AtomicU64,
    /// No lease of the namespace is granted until then, because some hold-offs are not recorded.
    held_off_until: AtomicU64,
    /// Until then, a lease without a record may be one that an invalidation has ended.
    invalidated_until: AtomicU64,
    /// Until then, each fill is checked against the bans, because some of them have a hold-off.
    fills_checked_until: AtomicU64,
    /// Locked from the check of a quota to the write that it allows.
    pub(super) quota_lock: Mutex<()>,
    /// Unset until the first ban.
    bans: OnceLock<Box<RwLock<NamespaceBans>>>,
}

impl NamespaceState {
    pub(super) fn of(name: &Namespace) -> Arc<Self> {
        Arc::new(Self {
            name: name.clone(),
            record_bytes: AtomicU64::default(),
            held_off_until: AtomicU64::default(),
            invalidated_until: AtomicU64::default(),
            fills_checked_until: AtomicU64::default(),
            quota_lock: Mutex::default(),
            bans: OnceLock::new(),
        })
    }

    pub(super) fn name(&self) -> &Namespace {
        &self.name
    }

    /// Grants no lease of the whole namespace until `until`.
    pub(super) fn hold_off(&self, until: Timestamp) {
        self.held_off_until.fetch_max(until.0, Ordering::Relaxed);
    }

    /// End of the hold-off of the whole namespace, if it lies in the future.
    pub(super) fn held_off_until(&self, now: Timestamp) -> Option<Timestamp> {
        let until = Timestamp(self.held_off_until.load(Ordering::Relaxed));
        (now < until).then_some(until)
    }

    /// Whether the whole namespace is held off until `end` or longer, so that a hold-off until then
    /// needs no record.
    pub(super) fn covers_hold_off(&self, end: Timestamp) -> bool {
        end.0 <= self.held_off_until.load(Ordering::Relaxed)
    }

    /// The record of a lease was removed because its generation has ended, before the lease
    /// expired.
    pub(super) fn remember_invalidation(&self, lease_expires_at: Timestamp) {
        self.invalidated_until.fetch_max(lease_expires_at.0, Ordering::Relaxed);
    }

    /// Why a lease is lost that is not recorded.
    pub(super) fn unrecorded_loss(&self, now: Timestamp) -> LeaseLoss {
        if now.0 < self.invalidated_until.load(Ordering::Relaxed) {
            LeaseLoss::Invalidated
        } else {
            LeaseLoss::Expired
        }
    }

    /// The bans of the namespace, if there were any.
    pub(super) fn bans(&self) -> Option<&RwLock<NamespaceBans>> {
        self.bans.get().map(|bans| &**bans)
    }

    pub(super) fn bans_or_default(&self) -> &RwLock<NamespaceBans> {
        self.bans.get_or_init(Box::default)
    }

    pub(super) fn ban_account<'a>(
        &'a self,
        generation_bytes: u64,
        budget: &'a Budget,
    ) -> BanAccount<'a> {
        BanAccount { budget, record_bytes: &self.record_bytes, generation_bytes }
    }

    /// Number of the newest ban.
    pub(super) fn ban_sequence(&self) -> u64 {
        self.bans().map_or(0, |bans| bans.read().sequence())
    }

    /// Checks each fill against the bans until `until`.
    pub(super) fn check_fills(&self, until: Timestamp) {
        self.fills_checked_until.fetch_max(until.0, Ordering::Relaxed);
    }

    /// Whether each fill is checked against the bans.
    pub(super) fn checks_fills(&self, now: Timestamp) -> bool {
        now.0 < self.fills_checked_until.load(Ordering::Relaxed)
    }

    /// End of the hold-off of a key by a banned pattern, if it lies in the future.
    pub(super) fn ban_held_off_until(&self, key: &str, now: Timestamp) -> Option<Timestamp> {
        if !self.checks_fills(now) {
            return None;
        }
        self.bans().and_then(|bans| bans.read().table().held_off_until(key, now))
    }

    /// Whether the namespace has records, or needs none for a hold-off until `until`: one more
    /// keeps no further namespace in memory.
    pub(super) fn is_held_off(&self, until: Timestamp) -> bool {
        self.record_bytes.load(Ordering::Relaxed) > 0 || self.covers_hold_off(until)
    }

    /// Whether nothing has to be remembered. If memory `is_short`, it is forgotten why leases are
    /// lost.
    pub(super) fn is_idle(&self, now: Timestamp, is_short: bool) -> bool {
        self.held_off_until(now).is_none()
            && (is_short || self.unrecorded_loss(now) == LeaseLoss::Expired)
            && !self.checks_fills(now)
    }
}
