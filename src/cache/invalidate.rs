//! Invalidate and InvalidateNamespace: several targets at once. Report success only when the store
//! has confirmed all.

mod plan;
#[cfg(test)]
mod tests;
mod windows;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures_util::future::join_all;

use super::{Cache, DeleteResult, Durability, Error};
use crate::{
    model::{Namespace, logged_name},
    store::{self, BanOutcome},
};
pub use plan::InvalidateTarget;
pub(super) use plan::LOG_INTERVAL;
pub(super) use windows::InvalidationWindows;

use plan::NamespacePlan;

/// Namespaces that one log line names.
const LOGGED_NAMESPACES: usize = 8;

/// Tags, patterns and keys that one log line names, of each.
const LOGGED_NAMES: usize = 8;

/// Outcome of a target.
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
    /// The store is away, and the invalidation is in the journal.
    Queued,
}

impl TargetOutcome {
    /// Whether the store has applied it.
    pub fn durability(self) -> Durability {
        match self {
            Self::Deleted { .. } | Self::Banned | Self::NamespaceInvalidated => Durability::Applied,
            Self::Queued => Durability::Queued,
        }
    }

    /// Numbers of entries that existed and were removed, and of targets in the journal.
    pub fn counts(outcomes: impl Iterator<Item = Self>) -> [(&'static str, u64); 2] {
        let (mut existed, mut queued) = (0, 0);
        for outcome in outcomes {
            existed += u64::from(outcome == Self::Deleted { existed: true });
            queued += u64::from(outcome == Self::Queued);
        }
        [("existed", existed), ("queued", queued)]
    }
}

/// Outcomes of several targets.
pub(super) struct Applied {
    /// The outcome of each, in order; none if the store has not confirmed it.
    pub(super) outcomes: Vec<Option<TargetOutcome>>,
    /// Why some are not confirmed.
    pub(super) failure: Option<store::Error>,
}

impl Cache {
    /// Invalidates all targets, and accepts no fill of them until `hold_off` has passed. Returns
    /// the outcome of each, in order.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`], before anything is invalidated; [`Error::StoreUnavailable`],
    /// after which some targets may be invalidated and others not.
    pub async fn invalidate(
        &self,
        targets: &[InvalidateTarget],
        hold_off: Duration,
    ) -> Result<Vec<TargetOutcome>, Error> {
        let Applied { outcomes, failure } =
            self.try_invalidate(targets, hold_off).await.map_err(Error::UnknownNamespace)?;
        match failure {
            Some(error) => Err(error.into()),
            None => Ok(outcomes.into_iter().flatten().collect()),
        }
    }

    /// As [`Cache::invalidate`], and returns which targets the store has confirmed. The error is a
    /// namespace that is unknown.
    pub(super) async fn try_invalidate(
        &self,
        targets: &[InvalidateTarget],
        hold_off: Duration,
    ) -> Result<Applied, Namespace> {
        let plans = self.plan(targets, hold_off)?;
        let keys = targets.iter().filter_map(InvalidateTarget::key);
        // Entries first, so that a ban of the same call does not hide whether they existed. Each
        // target is tried, so that a failure leaves as little as possible.
        let deleted = join_all(keys.map(|key| self.delete(key, hold_off))).await;
        let windows = &self.invalidation_windows;
        let applied = plans.iter().map(|(namespace, plan)| windows.apply(namespace, plan.clone()));
        let banned = join_all(applied).await;
        let keys = deleted.len();
        let mut failure = None;
        let deleted: Vec<Option<TargetOutcome>> = deleted
            .into_iter()
            .map(|deleted| deleted.map_err(|error| failed_by(error, &mut failure)).ok())
            .map(|deleted| deleted.map(outcome_of_delete))
            .collect();
        let banned: Vec<Option<TargetOutcome>> = banned
            .into_iter()
            .map(|banned| banned.map_err(|error| failure.get_or_insert(error).kind).ok())
            .map(|banned| banned.map(outcome_of_ban))
            .collect();
        if failure.is_none() && !targets.is_empty() {
            let queued = deleted.iter().chain(&banned).filter(|one| one.is_some_and(is_queued));
            self.log_invalidation(&plans, keys, queued.count());
            if tracing::enabled!(tracing::Level::DEBUG) {
                log_targets(targets, hold_off);
            }
        }
        let outcomes: BTreeMap<_, _> = plans.keys().copied().zip(banned).collect();
        let mut deleted = deleted.into_iter();
        let outcome = |target: &InvalidateTarget| match target {
            InvalidateTarget::Key(_) => deleted.next().flatten(),
            InvalidateTarget::KeyOfAllVersions(key) => {
                let deleted = deleted.next().flatten();
                match outcomes.get(key.namespace()).copied().flatten()? {
                    TargetOutcome::Queued => deleted.map(|_| TargetOutcome::Queued),
                    TargetOutcome::Deleted { .. }
                    | TargetOutcome::Banned
                    | TargetOutcome::NamespaceInvalidated => deleted,
                }
            }
            InvalidateTarget::Namespace(namespace)
            | InvalidateTarget::Tags(namespace, _)
            | InvalidateTarget::Pattern(namespace, _) => outcomes.get(namespace).copied().flatten(),
        };
        let outcomes = targets.iter().map(outcome).collect();
        Ok(Applied { outcomes, failure })
    }

    /// Joins the targets of each namespace. Checks the namespaces of all targets.
    fn plan<'a>(
        &self,
        targets: &'a [InvalidateTarget],
        hold_off: Duration,
    ) -> Result<BTreeMap<&'a Namespace, NamespacePlan>, Namespace> {
        let context =
            |namespace: &Namespace| self.context(namespace).map_err(|_| namespace.clone());
        let mut plans = BTreeMap::new();
        for target in targets {
            let namespace = target.namespace();
            if let InvalidateTarget::Key(_) = target {
                context(namespace)?;
                continue;
            }
            if !plans.contains_key(namespace) {
                plans.insert(namespace, NamespacePlan::new(context(namespace)?, hold_off));
            }
            if let Some(plan) = plans.get_mut(namespace) {
                plan.add(target);
            }
        }
        Ok(plans)
    }

    fn log_invalidation(
        &self,
        plans: &BTreeMap<&Namespace, NamespacePlan>,
        keys: usize,
        queued: usize,
    ) {
        let Some(count) = self.invalidate_log.lock().occurred() else { return };
        let tags: usize = plans.values().map(|plan| plan.ban.tags.len()).sum();
        let patterns: usize = plans.values().map(|plan| plan.ban.globs.len()).sum();
        let whole = plans.values().filter(|plan| plan.is_whole).count();
        let namespaces: Vec<&str> =
            plans.keys().take(LOGGED_NAMESPACES).map(|name| name.as_str()).collect();
        tracing::info!(count, ?namespaces, whole, tags, patterns, keys, queued, "invalidated");
    }
}

fn is_queued(outcome: TargetOutcome) -> bool {
    outcome == TargetOutcome::Queued
}

fn outcome_of_delete(deleted: DeleteResult) -> TargetOutcome {
    match deleted.durability {
        Durability::Applied => TargetOutcome::Deleted { existed: deleted.existed },
        Durability::Queued => TargetOutcome::Queued,
    }
}

/// The outcome of a namespace's plan; none is one that is queued.
fn outcome_of_ban(banned: Option<BanOutcome>) -> TargetOutcome {
    match banned {
        Some(BanOutcome::Banned) => TargetOutcome::Banned,
        Some(BanOutcome::NamespaceInvalidated) => TargetOutcome::NamespaceInvalidated,
        None => TargetOutcome::Queued,
    }
}

/// Logs what a call has invalidated.
#[cold]
fn log_targets(targets: &[InvalidateTarget], hold_off: Duration) {
    let namespaces: BTreeSet<&str> = targets.iter().map(|one| one.namespace().as_str()).collect();
    for namespace in namespaces.into_iter().take(LOGGED_NAMESPACES) {
        let (mut is_whole, mut tags, mut patterns, mut keys) = (false, vec![], vec![], vec![]);
        for target in targets.iter().filter(|target| target.namespace().as_str() == namespace) {
            match target {
                InvalidateTarget::Namespace(_) => is_whole = true,
                InvalidateTarget::Tags(_, some) => tags.extend(some.iter().map(String::as_str)),
                InvalidateTarget::Pattern(_, glob) => patterns.push(glob.as_str()),
                InvalidateTarget::Key(key) | InvalidateTarget::KeyOfAllVersions(key) => {
                    keys.push(key.key());
                }
            }
        }
        let count = tags.len() + patterns.len() + keys.len();
        let logged = |names: &[&str]| -> Vec<String> {
            names.iter().take(LOGGED_NAMES).map(|name| logged_name(name).into_owned()).collect()
        };
        let (tags, patterns, keys) = (logged(&tags), logged(&patterns), logged(&keys));
        tracing::debug!(
            namespace,
            is_whole,
            ?tags,
            ?patterns,
            ?keys,
            count,
            ?hold_off,
            "invalidation applied"
        );
    }
}

fn failed_by(error: Error, failure: &mut Option<store::Error>) {
    let error = if let Error::StoreUnavailable(error) = error {
        error
    } else {
        // A reload has removed the namespace since its rules were looked up.
        store::Error::new(store::ErrorKind::Refused, error.to_string())
    };
    failure.get_or_insert(error);
}
