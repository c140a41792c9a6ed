//! Invalidate: several targets at once. Reports success only when the store has confirmed all.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;

use super::{Cache, Error, NamespaceContext, policy};
use crate::{
    model::{EntryKey, Glob, Namespace},
    stats::counters::Counter,
    store::{self, Ban, BanLimits, BanOutcome},
};

/// The shortest time between two log lines about invalidations.
pub(super) const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Entries to invalidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvalidateTarget {
    /// All entries of a namespace.
    Namespace(Namespace),
    /// Entries of a namespace with any of the tags.
    Tags(Namespace, Vec<String>),
    /// Entries of a namespace whose key matches.
    Pattern(Namespace, Glob),
    /// One entry.
    Key(EntryKey),
}

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

/// What is to be invalidated in one namespace, besides single entries.
struct NamespacePlan {
    context: NamespaceContext,
    /// All of its entries.
    is_whole: bool,
    ban: Ban,
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
        let applied = plans.iter().map(|(namespace, plan)| self.apply(namespace, plan));
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
                let ban = Ban { hold_off, ..Ban::default() };
                plans.insert(namespace, NamespacePlan { context, is_whole: false, ban });
            }
            if let Some(plan) = plans.get_mut(namespace) {
                plan.add(target);
            }
        }
        for plan in plans.values_mut() {
            plan.ban.tags.sort_unstable();
            plan.ban.tags.dedup();
        }
        Ok(plans)
    }

    async fn apply(
        &self,
        namespace: &Namespace,
        plan: &NamespacePlan,
    ) -> store::Result<BanOutcome> {
        let counters = &plan.context.counters;
        let limits = policy::ban_limits(plan.context.config());
        if let Some(ban) = plan.whole_ban() {
            self.invalidate_whole(namespace, ban, &limits).await?;
            counters.count(Counter::Invalidations);
            return Ok(BanOutcome::NamespaceInvalidated);
        }
        let outcome = self.store.ban(namespace, &plan.ban, &limits).await?;
        counters.count_many(Counter::Bans, (plan.ban.tags.len() + plan.ban.globs.len()) as u64);
        if outcome == BanOutcome::NamespaceInvalidated {
            counters.count(Counter::Invalidations);
            self.warn_of_widened_ban(namespace, &limits);
        }
        Ok(outcome)
    }

    /// Invalidates a namespace. A ban has the hold-off, which an invalidation has not.
    async fn invalidate_whole(
        &self,
        namespace: &Namespace,
        ban: Ban,
        limits: &BanLimits,
    ) -> store::Result<()> {
        if !ban.hold_off.is_zero() {
            self.store.ban(namespace, &ban, limits).await?;
        }
        self.store.invalidate(namespace).await
    }

    #[cold]
    fn warn_of_widened_ban(&self, namespace: &Namespace, limits: &BanLimits) {
        if let Some(count) = self.widened_ban_log.lock().occurred() {
            tracing::warn!(
                count,
                %namespace,
                max_banned_tags = limits.max_tags,
                max_banned_patterns = limits.max_globs,
                "the whole namespace is invalidated: it has too many banned tags or patterns",
            );
        }
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

/// Namespaces that one log line names.
const LOGGED_NAMESPACES: usize = 8;

// === impl InvalidateTarget ===

impl InvalidateTarget {
    /// The namespace of the entries.
    pub fn namespace(&self) -> &Namespace {
        match self {
            Self::Namespace(namespace) | Self::Tags(namespace, _) | Self::Pattern(namespace, _) => {
                namespace
            }
            Self::Key(key) => key.namespace(),
        }
    }

    fn key(&self) -> Option<&EntryKey> {
        match self {
            Self::Key(key) => Some(key),
            Self::Namespace(_) | Self::Tags(..) | Self::Pattern(..) => None,
        }
    }
}

// === impl NamespacePlan ===

impl NamespacePlan {
    fn add(&mut self, target: &InvalidateTarget) {
        match target {
            InvalidateTarget::Namespace(_) => self.is_whole = true,
            InvalidateTarget::Tags(_, tags) => self.ban.tags.extend_from_slice(tags),
            InvalidateTarget::Pattern(_, glob) if !self.ban.globs.contains(glob) => {
                self.ban.globs.push(glob.clone());
            }
            InvalidateTarget::Pattern(..) | InvalidateTarget::Key(_) => {}
        }
    }

    /// The ban of all entries, if all are to be invalidated.
    fn whole_ban(&self) -> Option<Ban> {
        if !self.is_whole {
            return None;
        }
        let globs = Glob::new("*").into_iter().collect();
        Some(Ban { tags: Vec::new(), globs, hold_off: self.ban.hold_off })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        cache::testing::{SECOND, TestCache, config, key, key_in, namespace, new_entry},
        model::NewEntry,
        store::{ErrorKind, LeaseLoss, LeaseToken},
    };

    fn tags(names: &[&str]) -> InvalidateTarget {
        InvalidateTarget::Tags(namespace(), names.iter().map(ToString::to_string).collect())
    }

    fn pattern(glob: &str) -> InvalidateTarget {
        InvalidateTarget::Pattern(namespace(), Glob::new(glob).unwrap())
    }

    fn tagged(tags: &[&str]) -> NewEntry {
        let tags = tags.iter().map(ToString::to_string).collect();
        NewEntry { tags, ..new_entry("v", 60 * SECOND) }
    }

    /// Keys of `names` that are stored.
    async fn stored(test: &TestCache, names: &[&'static str]) -> Vec<&'static str> {
        let mut stored = Vec::new();
        for name in names {
            if test.stored(name).await.is_some() {
                stored.push(*name);
            }
        }
        stored
    }

    #[tokio::test(start_paused = true)]
    async fn every_target_has_its_result_in_order() {
        let test = TestCache::of_callers(config());
        for (name, tag) in [("a", "x"), ("b", "y"), ("c1", "w"), ("d", "w")] {
            test.put(name, &tagged(&[tag])).await;
        }
        let targets = [
            InvalidateTarget::Key(key("d")),
            tags(&["x", "w", "y"]),
            InvalidateTarget::Key(key("none")),
            pattern("c*"),
            tags(&["x"]),
        ];
        let results = test.cache.invalidate(&targets, Duration::ZERO).await.unwrap();
        let expected = [
            TargetOutcome::Deleted { existed: true },
            TargetOutcome::Banned,
            TargetOutcome::Deleted { existed: false },
            TargetOutcome::Banned,
            TargetOutcome::Banned,
        ];
        assert_eq!(results, expected);
        assert!(stored(&test, &["a", "b", "c1", "d"]).await.is_empty());
        assert_eq!(test.all_counted(), [(Counter::Deletes, 2), (Counter::Bans, 4)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_covers_its_other_targets() {
        let test = TestCache::of_callers(config());
        test.put("a", &tagged(&["x"])).await;
        test.put("b", &tagged(&[])).await;
        let targets = [tags(&["x"]), InvalidateTarget::Namespace(namespace())];
        let results = test.cache.invalidate(&targets, Duration::ZERO).await.unwrap();
        assert_eq!(results, [TargetOutcome::NamespaceInvalidated; 2]);
        assert!(stored(&test, &["a", "b"]).await.is_empty());
        assert_eq!(test.all_counted(), [(Counter::Invalidations, 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hold_off_holds_for_every_target() {
        for target in [
            InvalidateTarget::Namespace(namespace()),
            pattern("k"),
            tags(&["x"]),
            InvalidateTarget::Key(key("k")),
        ] {
            let test = TestCache::of_callers(config());
            let fill = async || {
                let token = LeaseToken::random();
                let request = crate::store::AcquireRequest {
                    token,
                    ttl: 60 * SECOND,
                    fresher_than: crate::model::Timestamp::default(),
                };
                test.memory.acquire(&key("k"), &request).await.unwrap();
                test.memory.fill(&key("k"), token, &tagged(&["x"])).await.unwrap()
            };
            test.cache.invalidate(std::slice::from_ref(&target), 5 * SECOND).await.unwrap();
            assert_eq!(fill().await, Err(LeaseLoss::Invalidated), "{target:?}");
            tokio::time::sleep(5 * SECOND).await;
            assert_eq!(fill().await, Ok(()), "{target:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn more_tags_than_the_limit_invalidate_the_namespace() {
        let mut config = config();
        (config.max_banned_tags, config.max_banned_patterns) = (2, 1);
        let test = TestCache::of_callers(config);
        test.put("k", &tagged(&[])).await;
        let results = test.cache.invalidate(&[tags(&["x", "y"])], Duration::ZERO).await.unwrap();
        assert_eq!(results, [TargetOutcome::Banned]);
        let targets = [tags(&["z"]), pattern("z*")];
        let results = test.cache.invalidate(&targets, Duration::ZERO).await.unwrap();
        assert_eq!(results, [TargetOutcome::NamespaceInvalidated; 2]);
        assert!(stored(&test, &["k"]).await.is_empty());
        assert_eq!(test.all_counted(), [(Counter::Invalidations, 1), (Counter::Bans, 4)]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_namespace_fails_the_call_before_anything_is_invalidated() {
        let test = TestCache::of_callers(config());
        test.put("k", &tagged(&["x"])).await;
        let unknown = InvalidateTarget::Key(key_in("other", "k"));
        let result = test.cache.invalidate(&[tags(&["x"]), unknown], Duration::ZERO).await;
        assert!(matches!(result, Err(Error::UnknownNamespace(_))), "{result:?}");
        assert!(!stored(&test, &["k"]).await.is_empty() && test.all_counted().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_unconfirmed_target_is_an_error() {
        let test = TestCache::of_callers(config());
        test.store.fail(ErrorKind::Timeout);
        for target in [
            InvalidateTarget::Namespace(namespace()),
            pattern("k"),
            tags(&["x"]),
            InvalidateTarget::Key(key("k")),
        ] {
            let result = test.cache.invalidate(&[target], Duration::ZERO).await;
            assert!(matches!(result, Err(Error::StoreUnavailable(_))), "{result:?}");
        }
        assert!(test.all_counted().is_empty());
    }
}
