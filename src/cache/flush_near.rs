//! FlushNearCache: removes copies of entries in this replica.

use super::{Cache, Error};
use crate::model::Namespace;

/// Copies that were removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlushedCopies {
    /// Their number.
    pub entries: u64,
    /// Their memory, in bytes.
    pub bytes: u64,
}

impl Cache {
    /// Removes the copies of a namespace in the near cache of this replica, or of all namespaces.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`].
    pub fn flush_near(&self, namespace: Option<&Namespace>) -> Result<FlushedCopies, Error> {
        if let Some(namespace) = namespace {
            self.namespaces.rules(namespace)?;
        }
        let (entries, bytes) = self.store.flush_near(namespace);
        let name = namespace.map_or("all", Namespace::as_str);
        tracing::info!(namespace = name, entries, bytes, "the near cache was flushed");
        Ok(FlushedCopies { entries, bytes })
    }
}
