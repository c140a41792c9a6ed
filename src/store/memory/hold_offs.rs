//! How keys are held off: their leases end, and fills are not accepted for a time.

use std::sync::Arc;

use super::{
    Inner, lease_records::HOLD_OFF_BYTES, name::HashedKey, namespace_state::NamespaceState,
    shard::Shard,
};
use crate::{
    model::{Namespace, Timestamp},
    store::LeaseLoss,
};

impl Inner {
    pub(super) fn void_lease(&self, shard: &mut Shard, key: &HashedKey<'_>, loss: LeaseLoss) {
        if shard.leases.void(key, loss) {
            self.lease_watchers.notify(&key.watch_key());
        }
    }

    /// The state of a namespace in which a key is about to be held off. `None` if there are too
    /// many namespaces to keep another one.
    pub(super) fn namespace_to_hold_off(
        &self,
        namespace: &Namespace,
    ) -> Option<Arc<NamespaceState>> {
        let known = self.generations.state(namespace);
        if known.is_none() && self.budget.is_full_of_namespaces() {
            return None;
        }
        Some(known.unwrap_or_else(|| self.generation(namespace).state().clone()))
    }

    /// Accepts no fill of a key until `until`. The budget may be exceeded afterwards.
    pub(super) fn hold_off(
        &self,
        shard: &mut Shard,
        key: &HashedKey<'_>,
        namespace: &Arc<NamespaceState>,
        until: Timestamp,
    ) {
        if self.budget.is_full_of_namespaces() && !namespace.is_held_off(until) {
            return self.budget.hold_off_all(until);
        }
        let reserve = || self.budget.add_record(&namespace.record_bytes, HOLD_OFF_BYTES);
        if !shard.leases.hold_off(key, namespace, until, reserve) {
            self.widen_hold_off(namespace, until);
        }
    }

    /// Grants no lease of the whole namespace: there are too many hold-offs to record another one,
    /// and each of them may keep out a value that is wrong.
    #[cold]
    fn widen_hold_off(&self, namespace: &NamespaceState, until: Timestamp) {
        namespace.hold_off(until);
        self.budget.records.on_hold_off_widened();
    }
}
