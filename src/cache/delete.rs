//! Delete: removes one entry. Reports success only when the store has confirmed it.

use std::time::Duration;

use super::{Cache, Durability, Error, Found, GetResult, NamespaceContext, VersionCondition};
use crate::{
    model::EntryKey,
    stats::counters::Counter,
    store::{Take, TakeOutcome},
};

/// A delete on a condition, or one that returns the entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deletion {
    /// Time in which no fill is accepted afterwards.
    pub hold_off: Duration,
    /// When to delete.
    pub condition: VersionCondition,
    /// Whether the entry is returned.
    pub returns_entry: bool,
}

/// Answer to a [`Deletion`].
#[derive(Debug, Clone, Default)]
pub struct DeleteResult {
    /// Whether there was an entry.
    pub existed: bool,
    /// Whether an entry was removed.
    pub deleted: bool,
    /// The entry that was removed, if it was asked for and a read would have returned it.
    pub removed: Option<Found>,
    /// Whether the store has applied it.
    pub durability: Durability,
}

impl Cache {
    /// Removes one entry and voids its lease. No fill is accepted until `hold_off` has passed. With
    /// a journal it is queued if the store is away; whether there was an entry is then unknown.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`]; [`Error::StoreUnavailable`], after which the entry may still
    /// be there.
    pub async fn delete(&self, key: &EntryKey, hold_off: Duration) -> Result<DeleteResult, Error> {
        let context = self.context(key.namespace())?;
        self.delete_in(&context, &context.key(key), hold_off).await
    }

    /// As [`Cache::delete`], for a key as the store names it.
    ///
    /// # Errors
    /// As [`Cache::delete`].
    pub async fn delete_stored(
        &self,
        key: &EntryKey,
        hold_off: Duration,
    ) -> Result<DeleteResult, Error> {
        self.delete_in(&self.context(key.namespace())?, key, hold_off).await
    }

    async fn delete_in(
        &self,
        context: &NamespaceContext,
        key: &EntryKey,
        hold_off: Duration,
    ) -> Result<DeleteResult, Error> {
        let applied = Durability::of(self.store.delete(key, hold_off).await)?;
        context.counters.count(Counter::Deletes);
        context.follow_removal(&*self.store, key);
        Ok(match applied {
            Some(existed) => DeleteResult { existed, deleted: existed, ..DeleteResult::default() },
            None => DeleteResult { durability: Durability::Queued, ..DeleteResult::default() },
        })
    }

    /// As [`Cache::delete`], on a condition, and with the removed entry. An unmet condition changes
    /// nothing.
    ///
    /// # Errors
    /// As [`Cache::delete`].
    pub async fn delete_with(
        &self,
        key: &EntryKey,
        deletion: &Deletion,
    ) -> Result<DeleteResult, Error> {
        let context = self.context(key.namespace())?;
        let key = &*context.key(key);
        let &Deletion { hold_off, condition, returns_entry } = deletion;
        let if_version = match condition {
            VersionCondition::Always => None,
            VersionCondition::IfVersion(version) => Some(version),
            VersionCondition::UnknownVersion => {
                let existed = self.store.get(key).await?.is_some();
                return Ok(DeleteResult { existed, ..DeleteResult::default() });
            }
        };
        let entry =
            match self.store.take(key, &Take { hold_off, if_version, returns_entry }).await? {
                TakeOutcome::Removed(entry) => entry,
                TakeOutcome::Absent => {
                    if if_version.is_none() {
                        context.counters.count(Counter::Deletes);
                    }
                    return Ok(DeleteResult::default());
                }
                TakeOutcome::OtherVersion => {
                    return Ok(DeleteResult { existed: true, ..DeleteResult::default() });
                }
            };
        context.counters.count(Counter::Deletes);
        context.follow_removal(&*self.store, key);
        let removed = GetResult::of(entry, &context, None, false, self.store.now()).found;
        let durability = Durability::Applied;
        Ok(DeleteResult { existed: true, deleted: true, removed, durability })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        cache::{
            Outcome,
            testing::{SECOND, TestCache, config, key, key_in, new_entry},
        },
        model::Version,
        store::{ErrorKind, LeaseLoss},
    };

    #[tokio::test(start_paused = true)]
    async fn delete_removes_the_entry_and_returns_whether_there_was_one() {
        let test = TestCache::of_callers(config());
        test.put("k", &new_entry("v", 60 * SECOND)).await;
        assert!(test.cache.delete(&key("k"), Duration::ZERO).await.unwrap().existed);
        assert!(test.stored("k").await.is_none());
        assert!(!test.cache.delete(&key("k"), Duration::ZERO).await.unwrap().existed);
        assert_eq!(test.all_counted(), [(Counter::Deletes, 2)]);
    }

    #[tokio::test(start_paused = true)]
    async fn delete_voids_the_lease() {
        let test = TestCache::of_callers(config());
        let token = test.acquire("k").await;
        test.cache.delete(&key("k"), Duration::ZERO).await.unwrap();
        let filled = test.memory.fill(&key("k"), token, &new_entry("old", SECOND)).await.unwrap();
        assert_eq!(filled, Err(LeaseLoss::Invalidated));
    }

    #[tokio::test(start_paused = true)]
    async fn a_hold_off_refuses_fills_until_it_has_passed() {
        let test = TestCache::of_callers(config());
        test.cache.delete(&key("k"), 5 * SECOND).await.unwrap();
        let fill = async || {
            let token = crate::store::LeaseToken::random();
            test.memory.fill(&key("k"), token, &new_entry("v", SECOND)).await.unwrap()
        };
        assert_eq!(fill().await, Err(LeaseLoss::Invalidated));
        tokio::time::sleep(5 * SECOND).await;
        test.acquire("k").await;
    }

    fn if_version(version: Version) -> Deletion {
        let condition = VersionCondition::IfVersion(version);
        Deletion { hold_off: Duration::ZERO, condition, returns_entry: false }
    }

    async fn delete_with(test: &TestCache, deletion: Deletion) -> (bool, bool) {
        let result = test.cache.delete_with(&key("k"), &deletion).await.unwrap();
        assert!(result.removed.is_none());
        (result.existed, result.deleted)
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_named_version_is_deleted() {
        let test = TestCache::of_callers(config());
        let entry = new_entry("v", 60 * SECOND);
        test.put("k", &entry).await;
        let other = if_version(Version(entry.version.0 ^ 1));
        assert_eq!(delete_with(&test, other).await, (true, false));
        let unknown = Deletion { condition: VersionCondition::UnknownVersion, ..other };
        assert_eq!(delete_with(&test, unknown).await, (true, false));
        assert!(test.all_counted().is_empty() && test.stored("k").await.is_some());
        assert_eq!(delete_with(&test, if_version(entry.version)).await, (true, true));
        assert!(test.stored("k").await.is_none());
        assert_eq!(test.all_counted(), [(Counter::Deletes, 1)]);
        for absent in [if_version(entry.version), unknown] {
            assert_eq!(delete_with(&test, absent).await, (false, false));
        }
        let always = Deletion { condition: VersionCondition::Always, ..unknown };
        assert_eq!(delete_with(&test, always).await, (false, false));
        assert_eq!(test.all_counted(), [(Counter::Deletes, 2)]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unmet_condition_voids_no_lease_and_begins_no_hold_off() {
        let test = TestCache::of_callers(config());
        let token = test.acquire("k").await;
        let deletion = Deletion { hold_off: 60 * SECOND, ..if_version(Version(1)) };
        assert_eq!(delete_with(&test, deletion).await, (false, false));
        let filled = test.memory.fill(&key("k"), token, &new_entry("v", SECOND)).await.unwrap();
        assert_eq!(filled, Ok(()));
        let version = test.stored("k").await.unwrap().version;
        assert_eq!(delete_with(&test, Deletion { ..if_version(version) }).await, (true, true));
    }

    #[tokio::test(start_paused = true)]
    async fn the_removed_entry_is_returned_as_a_read_would_return_it() {
        let test = TestCache::of_callers(config());
        let take = async || {
            let deletion = Deletion {
                hold_off: Duration::ZERO,
                condition: VersionCondition::Always,
                returns_entry: true,
            };
            test.cache.delete_with(&key("k"), &deletion).await.unwrap()
        };
        let mut entry = new_entry("v", SECOND);
        entry.lifetime.stale_while_revalidate = SECOND;
        entry.lifetime.stale_if_error = SECOND;
        for (age, expected) in [(0, Some(Outcome::Hit)), (1, Some(Outcome::Stale)), (2, None)] {
            test.put("k", &entry).await;
            tokio::time::sleep(age * SECOND).await;
            let taken = take().await;
            assert!(taken.existed && taken.deleted);
            assert_eq!(taken.removed.map(|found| found.outcome), expected, "{age}");
        }
        let again = take().await;
        assert!(!again.existed && !again.deleted && again.removed.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_queued_delete_is_acknowledged_and_a_conditional_one_is_not() {
        let test = TestCache::of_callers(config());
        test.store.fail(ErrorKind::Queued);
        let deleted = test.cache.delete(&key("k"), Duration::ZERO).await.unwrap();
        assert_eq!(deleted.durability, Durability::Queued);
        assert!(!deleted.existed && !deleted.deleted);
        assert_eq!(test.all_counted(), [(Counter::Deletes, 1)]);
        let result = test.cache.delete_with(&key("k"), &if_version(Version(1))).await;
        assert!(matches!(result, Err(Error::StoreUnavailable(_))), "{result:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_unconfirmed_delete_is_an_error() {
        let test = TestCache::of_callers(config());
        test.store.fail(ErrorKind::Timeout);
        let result = test.cache.delete(&key("k"), Duration::ZERO).await;
        assert!(matches!(result, Err(Error::StoreUnavailable(_))), "{result:?}");
        for condition in [VersionCondition::UnknownVersion, VersionCondition::IfVersion(Version(1))]
        {
            let deletion = Deletion { condition, ..if_version(Version(1)) };
            let result = test.cache.delete_with(&key("k"), &deletion).await;
            assert!(matches!(result, Err(Error::StoreUnavailable(_))), "{result:?}");
        }
        assert!(test.all_counted().is_empty());
        let unknown = test.cache.delete(&key_in("other", "k"), Duration::ZERO).await;
        assert!(matches!(unknown, Err(Error::UnknownNamespace(_))));
    }
}
