//! The invalidations in one namespace.

use std::time::Duration;

use parking_lot::Mutex;
use repeated_events::LogInterval;

use crate::{
    cache::{Durability, namespace_context::NamespaceContext, policy},
    model::{EntryKey, Glob, Namespace, TargetKind},
    stats::counters::Counter,
    store::{self, Backend, Ban, BanLimits, BanOutcome},
};

/// The shortest time between two log lines about invalidations.
pub(in crate::cache) const LOG_INTERVAL: Duration = Duration::from_secs(1);

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
    /// One entry, and those with its key of other releases and clients, whose schema version is
    /// another one. It is not known which there are.
    KeyOfAllVersions(EntryKey),
}

/// The invalidations in one namespace, besides those of single entries.
#[derive(Clone)]
pub(super) struct NamespacePlan {
    pub(super) context: NamespaceContext,
    /// All of its entries.
    pub(super) is_whole: bool,
    pub(super) ban: Ban,
}

// === impl InvalidateTarget ===

impl InvalidateTarget {
    /// The namespace of the entries.
    pub fn namespace(&self) -> &Namespace {
        match self {
            Self::Namespace(namespace) | Self::Tags(namespace, _) | Self::Pattern(namespace, _) => {
                namespace
            }
            Self::Key(key) | Self::KeyOfAllVersions(key) => key.namespace(),
        }
    }

    /// The kinds and names of what it selects, with its namespace: several for tags.
    pub fn parts(&self) -> impl Iterator<Item = (TargetKind, &Namespace, Option<&str>)> {
        let parts = match self {
            Self::Namespace(_) => vec![(TargetKind::Namespace, None)],
            Self::Tags(_, tags) => tags.iter().map(|tag| (TargetKind::Tag, Some(&**tag))).collect(),
            Self::Pattern(_, glob) => vec![(TargetKind::Glob, Some(glob.as_str()))],
            Self::Key(key) | Self::KeyOfAllVersions(key) => {
                vec![(TargetKind::Key, Some(key.key()))]
            }
        };
        parts.into_iter().map(|(kind, name)| (kind, self.namespace(), name))
    }

    pub(super) fn key(&self) -> Option<&EntryKey> {
        match self {
            Self::Key(key) | Self::KeyOfAllVersions(key) => Some(key),
            Self::Namespace(_) | Self::Tags(..) | Self::Pattern(..) => None,
        }
    }
}

// === impl NamespacePlan ===

impl NamespacePlan {
    /// Nothing yet.
    pub(super) fn new(context: NamespaceContext, hold_off: Duration) -> Self {
        Self { context, is_whole: false, ban: Ban { hold_off, ..Ban::default() } }
    }

    /// Adds a target, unless it is a single entry.
    pub(super) fn add(&mut self, target: &InvalidateTarget) {
        match target {
            InvalidateTarget::Namespace(_) => self.is_whole = true,
            InvalidateTarget::Tags(_, tags) => self.ban.tags.extend_from_slice(tags),
            InvalidateTarget::Pattern(_, glob) => self.add_glob(glob),
            InvalidateTarget::KeyOfAllVersions(key) => self.ban.keys.push(key.key().to_owned()),
            InvalidateTarget::Key(_) => {}
        }
    }

    /// Adds everything of another plan for the same namespace and hold-off.
    pub(super) fn merge(&mut self, other: &Self) {
        self.is_whole |= other.is_whole;
        self.ban.tags.extend_from_slice(&other.ban.tags);
        self.ban.keys.extend_from_slice(&other.ban.keys);
        other.ban.globs.iter().for_each(|glob| self.add_glob(glob));
    }

    /// Number of tags, patterns and keys, some of them possibly equal.
    pub(super) fn len(&self) -> usize {
        self.ban.tags.len() + self.ban.globs.len() + self.ban.keys.len()
    }

    fn add_glob(&mut self, glob: &Glob) {
        if !self.ban.globs.contains(glob) {
            self.ban.globs.push(glob.clone());
        }
    }

    /// Invalidates. None if the store is away and the journal has it.
    pub(super) async fn apply(
        mut self,
        namespace: &Namespace,
        store: &dyn Backend,
        log: &Mutex<LogInterval>,
    ) -> store::Result<Option<BanOutcome>> {
        self.ban.tags.sort_unstable();
        self.ban.tags.dedup();
        self.ban.keys.sort_unstable();
        self.ban.keys.dedup();
        let counters = &self.context.counters;
        let limits = policy::ban_limits(self.context.config());
        if self.is_whole {
            // A ban has the hold-off, which an invalidation has not. Each of the two is queued if
            // the store is away for it.
            let mut held_off = Some(());
            if !self.ban.hold_off.is_zero() {
                let banned = store.ban(namespace, &self.everything(), &limits).await;
                held_off = Durability::of(banned)?.map(|_| ());
            }
            let invalidated = Durability::of(store.invalidate(namespace).await)?;
            counters.count(Counter::Invalidations);
            counters.reuse().invalidated(store.now().0, true);
            return Ok(held_off.and(invalidated).map(|()| BanOutcome::NamespaceInvalidated));
        }
        let outcome = Durability::of(store.ban(namespace, &self.ban, &limits).await)?;
        counters.count_many(Counter::Bans, self.len() as u64);
        let is_whole = outcome == Some(BanOutcome::NamespaceInvalidated);
        counters.reuse().invalidated(store.now().0, is_whole);
        if is_whole {
            counters.count(Counter::Invalidations);
            warn_of_widened_ban(namespace, &limits, log);
        }
        Ok(outcome)
    }

    /// The ban of all entries.
    fn everything(&self) -> Ban {
        let globs = Glob::new("*").into_iter().collect();
        Ban { globs, hold_off: self.ban.hold_off, ..Ban::default() }
    }
}

#[cold]
fn warn_of_widened_ban(namespace: &Namespace, limits: &BanLimits, log: &Mutex<LogInterval>) {
    if let Some(count) = log.lock().occurred() {
        tracing::warn!(
            count,
            %namespace,
            max_banned_tags = limits.max_tags,
            max_banned_patterns = limits.max_globs,
            remedy = "raise the limits, or invalidate fewer tags and patterns; a store without \
                      memory for bans logs a line of its own",
            "the whole namespace is invalidated: its bans are too many, or more than the store has \
             room for",
        );
    }
}
