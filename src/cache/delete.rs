//! Invalidation: of one entry, and of a whole namespace. It is never claimed without the store's word.

use std::time::Duration;

use super::{Cache, Error};
use crate::{
    model::{EntryKey, Namespace},
    stats::counters::Counter,
};

impl Cache {
    /// Removes one entry and voids its lease; answers whether there was an entry. No fill is accepted until `hold_off` has passed.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`]; [`Error::StoreUnavailable`], and then the entry may still be there.
    pub async fn delete(&self, key: &EntryKey, hold_off: Duration) -> Result<bool, Error> {
        let scope = self.scope(key.namespace())?;
        let existed = self.store.delete(key, hold_off).await?;
        scope.counts.count(Counter::Deletes);
        Ok(existed)
    }

    /// Makes every entry of a namespace unreachable and voids its leases.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`]; [`Error::StoreUnavailable`], and then entries may still be there.
    pub async fn invalidate_namespace(&self, namespace: &Namespace) -> Result<(), Error> {
        let scope = self.scope(namespace)?;
        self.store.invalidate(namespace).await?;
        scope.counts.count(Counter::Invalidations);
        Ok(())
    }
}
