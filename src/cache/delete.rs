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
