//! A namespace as one call sees it.

use std::{borrow::Cow, sync::Arc};

use super::{Error, namespaces::NamespaceRules, outcome::Outcome};
use crate::{
    config::NamespaceConfig,
    model::{EntryKey, Namespace},
    quota::{QuotaExceeded, QuotaFigure},
    stats::{counters::Counter, striped_counters::StripedCounters},
    store::{self, ErrorKind, LeaseLoss},
};

/// The rules and counters of a namespace, resolved once per call.
#[derive(Clone)]
pub(super) struct NamespaceContext {
    pub(super) rules: Arc<NamespaceRules>,
    pub(super) counters: Arc<StripedCounters>,
}

impl NamespaceContext {
    /// The namespace's configuration.
    pub(super) fn config(&self) -> &NamespaceConfig {
        &self.rules.config
    }

    /// The name of the entry that a caller calls `key`: it has the schema version of the namespace.
    #[inline]
    pub(super) fn key<'k>(&self, key: &'k EntryKey) -> Cow<'k, EntryKey> {
        match &self.rules.schema {
            None => Cow::Borrowed(key),
            Some(version) => Cow::Owned(key.of_schema(version)),
        }
    }

    /// The error of a call for which the store failed in `namespace`.
    pub(super) fn store_failed(&self, namespace: &Namespace, error: store::Error) -> Error {
        match self.exceeded(namespace, error.kind) {
            Some(exceeded) => Error::QuotaExceeded(exceeded),
            None => Error::StoreUnavailable(error),
        }
    }

    /// The quota of `namespace` that a store's refusal stands for; none for other failures.
    pub(super) fn exceeded(&self, namespace: &Namespace, kind: ErrorKind) -> Option<QuotaExceeded> {
        let held = self.config().quota.as_ref()?.held;
        let (figure, limit) = if kind == ErrorKind::KeyQuota {
            (QuotaFigure::Keys, held.max_keys)
        } else if kind == ErrorKind::ByteQuota {
            (QuotaFigure::Bytes, held.max_bytes)
        } else {
            return None;
        };
        let subject = format!("namespace {namespace}").into();
        Some(QuotaExceeded { subject, figure, limit: limit?, retry_after: None })
    }

    /// Counts a read by its outcome; `None` is a miss. Returns whether it is to be sampled.
    #[must_use]
    pub(super) fn count_outcome(&self, outcome: Option<Outcome>) -> bool {
        self.counters.count_read(match outcome {
            Some(Outcome::Hit) => Counter::Hits,
            Some(Outcome::Stale) => Counter::Stale,
            Some(Outcome::Negative) => Counter::Negative,
            None => Counter::Misses,
        })
    }

    /// Counts a fill that its lease no longer permitted.
    pub(super) fn count_lost_fill(&self, loss: LeaseLoss) {
        self.counters.count(match loss {
            LeaseLoss::Expired => Counter::FillsLost,
            LeaseLoss::Invalidated => Counter::FillsInvalidated,
            LeaseLoss::Superseded => Counter::FillsSuperseded,
        });
    }

    /// Counts an answer that was given without the store.
    pub(super) fn count_degraded(&self, degraded: bool) {
        if degraded {
            self.counters.count(Counter::Degraded);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::{
        cache::{
            BatchGet, Change, Consistency, PatchCommand, PatchExpiry, PatchOutcome, SetCommand,
            SetMode, SetOutcome, VersionCondition,
            testing::{SECOND, TestCache, config, key, lease, request},
        },
        model::Kind,
        store::Condition,
    };

    fn release(version: &str) -> NamespaceConfig {
        NamespaceConfig { version: version.to_owned(), ..config() }
    }

    async fn set(test: &TestCache, value: &'static str, mode: SetMode) -> SetOutcome {
        let data = Bytes::from_static(value.as_bytes());
        let (key, kind, tags) = (key("k"), Kind::Json, Vec::new().into());
        let command = SetCommand { key, kind, data, ttl: Some(60 * SECOND), tags, mode };
        test.cache.set(&command).await.unwrap().outcome
    }

    /// The value that all kinds of reads return; they agree.
    async fn read(test: &TestCache) -> Option<Bytes> {
        let one = test.cache.get(&key("k"), None, Consistency::Near).await.unwrap();
        let data = one.found.map(|found| found.entry.data);
        let keys = vec![key("k")];
        let mut batch = BatchGet::new(test.cache.clone(), keys, None, Consistency::Near).unwrap();
        let mut chunk = batch.next_chunk().await.unwrap();
        batch.slide(&mut chunk, 120 * SECOND).await;
        assert_eq!(chunk[0].found.as_ref().map(|found| found.entry.data.clone()), data);
        data
    }

    #[tokio::test(start_paused = true)]
    async fn releases_do_not_see_each_others_entries() {
        let test = TestCache::of_callers(release("1"));
        set(&test, "1", SetMode::On(Condition::Always)).await;
        assert_eq!(read(&test).await.unwrap(), "1");
        assert!(test.stored("k").await.is_none(), "without a version");

        test.reload(release("2"), None);
        assert_eq!(read(&test).await, None);
        let counter = test.cache.increment(&key("k"), 1, None, None).await.unwrap();
        assert_eq!(counter, None);
        assert_eq!(test.cache.touch(&key("k"), None).await.unwrap().ttl, None);
        let patch = PatchCommand {
            key: key("k"),
            change: Change::merge(b"2").unwrap(),
            condition: VersionCondition::Always,
            expiry: PatchExpiry::Keep,
            max_bytes: None,
        };
        assert_eq!(test.cache.patch(&patch).await.unwrap(), PatchOutcome::Missing);
        // A lease belongs to the release that it was granted to.
        let token = lease(test.get_or_fetch(&request("k")).await).guard.into_token();
        test.reload(release("1"), None);
        assert!(matches!(set(&test, "3", SetMode::Under(token)).await, SetOutcome::LeaseLost(_)));
        test.reload(release("2"), None);
        assert_eq!(test.cache.renew(&key("k"), token).await.unwrap().status, Some(Ok(())));
        assert!(matches!(set(&test, "2", SetMode::Under(token)).await, SetOutcome::Stored { .. }));
        assert_eq!(read(&test).await.unwrap(), "2");
        assert!(matches!(test.cache.patch(&patch).await.unwrap(), PatchOutcome::Applied { .. }));
        assert!(test.cache.touch(&key("k"), None).await.unwrap().ttl.is_some());
        assert!(test.cache.delete(&key("k"), Duration::ZERO).await.unwrap().existed);

        test.reload(release("1"), None);
        assert_eq!(read(&test).await.unwrap(), "1");
        test.cache.invalidate_namespace(key("k").namespace()).await.unwrap();
        assert_eq!(read(&test).await, None);
    }
}
