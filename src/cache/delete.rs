//! Delete: removes one entry. Reports success only when the store has confirmed it.

use std::time::Duration;

use super::{Cache, Error};
use crate::{model::EntryKey, stats::counters::Counter};

impl Cache {
    /// Removes one entry and voids its lease; returns whether there was an entry. No fill is
    /// accepted until `hold_off` has passed.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`]; [`Error::StoreUnavailable`], after which the entry may still
    /// be there.
    pub async fn delete(&self, key: &EntryKey, hold_off: Duration) -> Result<bool, Error> {
        let context = self.context(key.namespace())?;
        let existed = self.store.delete(key, hold_off).await?;
        context.counters.count(Counter::Deletes);
        Ok(existed)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        cache::testing::{SECOND, TestCache, config, key, key_in, new_entry},
        store::{ErrorKind, LeaseLoss},
    };

    #[tokio::test(start_paused = true)]
    async fn delete_removes_the_entry_and_says_whether_there_was_one() {
        let test = TestCache::of_callers(config());
        test.put("k", &new_entry("v", 60 * SECOND)).await;
        assert!(test.cache.delete(&key("k"), Duration::ZERO).await.unwrap());
        assert!(test.stored("k").await.is_none());
        assert!(!test.cache.delete(&key("k"), Duration::ZERO).await.unwrap());
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

    #[tokio::test(start_paused = true)]
    async fn an_unconfirmed_delete_is_an_error() {
        let test = TestCache::of_callers(config());
        test.store.fail(ErrorKind::Timeout);
        let result = test.cache.delete(&key("k"), Duration::ZERO).await;
        assert!(matches!(result, Err(Error::StoreUnavailable(_))), "{result:?}");
        assert!(test.all_counted().is_empty());
        let unknown = test.cache.delete(&key_in("other", "k"), Duration::ZERO).await;
        assert!(matches!(unknown, Err(Error::UnknownNamespace(_))));
    }
}
