//! Requests of callers: consistency, fetch mode, waits.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::NamespaceContext;
use crate::model::{EntryKey, Version};

/// The longest that a call may wait for a value.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(60);
/// Part of the time until a call's deadline that is reserved for the answer to arrive: a fifth, but
/// within these bounds.
const MIN_DEADLINE_MARGIN: Duration = Duration::from_millis(20);
const MAX_DEADLINE_MARGIN: Duration = Duration::from_millis(200);

/// How recent an answer must be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Consistency {
    /// As recent as the namespace's near cache, if it has one.
    #[default]
    Near,
    /// As recent as the store.
    Store,
}

/// The version that an entry must have for a change of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionCondition {
    /// Any.
    Always,
    /// This one.
    IfVersion(Version),
    /// One that no entry has. Versions are opaque to callers, so an unknown form is not an error.
    UnknownVersion,
}

/// How a GetOrFetch uses the cache, after HTTP's request directives (RFC 9111, 5.2.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FetchMode {
    /// A missing value is computed.
    #[default]
    Normal,
    /// The value is computed in any case; a computation that began before this call does not do.
    NoCache,
    /// A missing value is not computed.
    OnlyIfCached,
}

/// A GetOrFetch for one key.
#[derive(Debug, Clone)]
pub struct GetOrFetchRequest {
    /// The key.
    pub key: EntryKey,
    /// The params of the key, for the origin.
    pub params: Arc<BTreeMap<String, String>>,
    /// How stale a value the caller accepts; `None` accepts what the namespace allows.
    pub max_stale: Option<Duration>,
    /// How long the caller waits; `None` is the namespace's `lease_wait`.
    pub wait: Option<Duration>,
    /// The call's deadline.
    pub deadline: Option<Instant>,
    /// How the call uses the cache.
    pub mode: FetchMode,
    /// How recent the answer must be.
    pub consistency: Consistency,
}

impl GetOrFetchRequest {
    /// The request with the name of the entry in the store.
    pub(super) fn stored_in(&self, context: &NamespaceContext) -> Cow<'_, Self> {
        match context.key(&self.key) {
            Cow::Borrowed(_) => Cow::Borrowed(self),
            Cow::Owned(key) => Cow::Owned(Self { key, ..self.clone() }),
        }
    }

    /// The part of `wait` that leaves time for the answer to arrive before the call's deadline.
    pub(super) fn within_deadline(&self, wait: Duration) -> Duration {
        let wait = wait.min(MAX_WAIT);
        let Some(deadline) = self.deadline else { return wait };
        let left = deadline.saturating_duration_since(Instant::now());
        let margin = (left / 5).clamp(MIN_DEADLINE_MARGIN, MAX_DEADLINE_MARGIN);
        wait.min(left.saturating_sub(margin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::testing::request;

    #[test]
    fn a_wait_has_an_upper_bound() {
        assert_eq!(request("k").within_deadline(Duration::ZERO), Duration::ZERO);
        assert_eq!(request("k").within_deadline(MAX_WAIT), MAX_WAIT);
        assert_eq!(request("k").within_deadline(Duration::from_secs(90)), MAX_WAIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_leaves_time_for_the_answer() {
        let wait = |deadline| {
            let deadline = Some(Instant::now() + Duration::from_millis(deadline));
            let request = GetOrFetchRequest { deadline, ..request("k") };
            request.within_deadline(MAX_WAIT).as_millis()
        };
        assert_eq!(wait(10_000), 9800, "at most the longest margin");
        assert_eq!(wait(500), 400, "a fifth");
        assert_eq!(wait(50), 30, "at least the shortest margin");
        assert_eq!(wait(10), 0);
    }
}
