//! InvalidateNamespace. Reports success only when the store has confirmed it.

use std::time::Duration;

use super::{Cache, Durability, Error, InvalidateTarget, TargetOutcome};
use crate::model::Namespace;

impl Cache {
    /// Makes every entry of a namespace unreachable and voids its leases.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`]; [`Error::StoreUnavailable`], after which entries may still be
    /// there.
    pub async fn invalidate_namespace(&self, namespace: &Namespace) -> Result<Durability, Error> {
        let target = InvalidateTarget::Namespace(namespace.clone());
        let outcomes = self.invalidate(&[target], Duration::ZERO).await?;
        Ok(Durability::of_all(outcomes.into_iter().map(TargetOutcome::durability)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        cache::testing::{SECOND, TestCache, config, key, namespace, new_entry},
        stats::counters::Counter,
        store::{ErrorKind, LeaseLoss},
    };

    #[tokio::test(start_paused = true)]
    async fn every_entry_and_lease_of_the_namespace_becomes_invalid() {
        let test = TestCache::of_callers(config());
        test.put("a", &new_entry("v", 60 * SECOND)).await;
        let token = test.acquire("b").await;
        test.cache.invalidate_namespace(&namespace()).await.unwrap();
        assert!(test.stored("a").await.is_none());
        let extended = test.memory.extend(&key("b"), token, Duration::from_secs(1)).await.unwrap();
        assert_eq!(extended, Err(LeaseLoss::Invalidated));
        assert_eq!(test.all_counted(), [(Counter::Invalidations, 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unconfirmed_invalidation_is_an_error() {
        let test = TestCache::of_callers(config());
        test.store.fail(ErrorKind::Timeout);
        let result = test.cache.invalidate_namespace(&namespace()).await;
        assert!(matches!(result, Err(Error::StoreUnavailable(_))), "{result:?}");
        assert!(test.all_counted().is_empty());
        let unknown = test.cache.invalidate_namespace(&Namespace::new("other").unwrap()).await;
        assert!(matches!(unknown, Err(Error::UnknownNamespace(_))));
    }
}
