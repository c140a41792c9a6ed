//! Invalidate and InvalidateNamespace: several targets at once. Report success only when the store
//! has confirmed all.

mod plan;
#[cfg(test)]
mod tests;
mod windows;

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;

use super::{Cache, Error};
use crate::{
    model::Namespace,
    store::{self, BanOutcome},
};
pub use plan::InvalidateTarget;
pub(super) use plan::LOG_INTERVAL;
pub(super) use windows::InvalidationWindows;

use plan::NamespacePlan;

/// Namespaces that one log line names.
const LOGGED_NAMESPACES: usize = 8;

/// What became of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetOutcome {
    /// The entry is removed.
    Deleted {
        /// Whether there was one.
        existed: bool,
    },
    /// The entries that match are invalid.
    Banned,
    /// All entries of the namespace are invalid.
    NamespaceInvalidated,
}

impl Cache {
    /// Invalidates all targets, and accepts no fill of them until `hold_off` has passed. Returns
    /// what became of each, in order.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`], before anything is invalidated; [`Error::StoreUnavailable`],
    /// after which some targets may be invalidated and others not.
    pub async fn invalidate(
        &self,
        targets: &[InvalidateTarget],
        hold_off: Duration,
    ) -> Result<Vec<TargetOutcome>, Error> {
        let plans = self.plan(targets, hold_off)?;
        let keys = targets.iter().filter_map(InvalidateTarget::key);
        // Entries first, so that a ban of the same call does not hide whether they existed. Each
        // target is tried, so that a failure leaves as little as possible.
        let deleted = join_all(keys.map(|key| self.delete(key, hold_off))).await;
        let windows = &self.invalidation_windows;
        let applied = plans.iter().map(|(namespace, plan)| windows.apply(namespace, plan.clone()));
        let banned = join_all(applied).await;
        let deleted = deleted.into_iter().collect::<Result<Vec<_>, _>>()?;
        let banned = banned.into_iter().collect::<store::Result<Vec<_>>>()?;
        let outcomes: BTreeMap<_, _> = plans.keys().copied().zip(banned).collect();
        self.log_invalidation(&plans, deleted.len());
        let mut deleted = deleted.into_iter();
        let outcome = |target: &InvalidateTarget| match target {
            InvalidateTarget::Key(_) => {
                TargetOutcome::Deleted { existed: deleted.next().unwrap_or_default() }
            }
            InvalidateTarget::Namespace(_) => TargetOutcome::NamespaceInvalidated,
            InvalidateTarget::Tags(namespace, _) | InvalidateTarget::Pattern(namespace, _) => {
                match outcomes.get(namespace) {
                    Some(BanOutcome::Banned) => TargetOutcome::Banned,
                    Some(BanOutcome::NamespaceInvalidated) | None => {
                        TargetOutcome::NamespaceInvalidated
                    }
                }
            }
        };
        Ok(targets.iter().map(outcome).collect())
    }

    /// Joins the targets of each namespace. Checks the namespaces of all targets.
    fn plan<'a>(
        &self,
        targets: &'a [InvalidateTarget],
        hold_off: Duration,
    ) -> Result<BTreeMap<&'a Namespace, NamespacePlan>, Error> {
        let mut plans = BTreeMap::new();
        for target in targets {
            let namespace = target.namespace();
            if let InvalidateTarget::Key(_) = target {
                self.context(namespace)?;
                continue;
            }
            if !plans.contains_key(namespace) {
                let context = self.context(namespace)?;
                plans.insert(namespace, NamespacePlan::new(context, hold_off));
            }
            if let Some(plan) = plans.get_mut(namespace) {
                plan.add(target);
            }
        }
        Ok(plans)
    }

    fn log_invalidation(&self, plans: &BTreeMap<&Namespace, NamespacePlan>, keys: usize) {
        let Some(count) = self.invalidate_log.lock().occurred() else { return };
        let tags: usize = plans.values().map(|plan| plan.ban.tags.len()).sum();
        let patterns: usize = plans.values().map(|plan| plan.ban.globs.len()).sum();
        let whole = plans.values().filter(|plan| plan.is_whole).count();
        let namespaces: Vec<&str> =
            plans.keys().take(LOGGED_NAMESPACES).map(|name| name.as_str()).collect();
        tracing::info!(count, ?namespaces, whole, tags, patterns, keys, "invalidated");
    }
}
