//! InvalidateNamespace. Reports success only when the store has confirmed it.

use super::{Cache, Error};
use crate::{model::Namespace, stats::counters::Counter};

impl Cache {
    /// Makes every entry of a namespace unreachable and voids its leases.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`]; [`Error::StoreUnavailable`], after which entries may still be
    /// there.
    pub async fn invalidate_namespace(&self, namespace: &Namespace) -> Result<(), Error> {
        let context = self.context(namespace)?;
        self.store.invalidate(namespace).await?;
        context.counters.count(Counter::Invalidations);
        Ok(())
    }
}
