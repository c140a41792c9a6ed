//! What whoever computes a key has to know.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::super::{NamespaceContext, namespaces::OriginBinding};
use crate::{
    model::EntryKey,
    origin::{FetchRequest, Validators},
};

/// See the module.
#[derive(Clone)]
pub(in crate::cache) struct FetchJob {
    pub(in crate::cache) key: EntryKey,
    pub(in crate::cache) params: Arc<BTreeMap<String, String>>,
    pub(in crate::cache) scope: NamespaceContext,
}

impl FetchJob {
    /// Where the value is fetched; none if callers compute it.
    pub(in crate::cache) fn source(&self) -> Option<&OriginBinding> {
        self.scope.rules.source()
    }

    /// How long a lease for it holds. One that this replica holds is extended while the fetch goes on, so it need only be
    /// longer than most fetches take: if the replica dies, that is how long the others wait.
    pub(in crate::cache) fn lease_ttl(&self) -> Duration {
        let longest = self.scope.rules.lease_ttl;
        self.source().map_or(longest, |source| {
            (source.gate.expected_fetch_time() * 2)
                .clamp(source.config.min_lease.min(longest), longest)
        })
    }

    /// What is asked of `source`.
    pub(in crate::cache) fn order(
        &self,
        source: &OriginBinding,
        validators: Validators,
    ) -> FetchRequest {
        FetchRequest {
            key: self.key.clone(),
            params: self.params.clone(),
            validators,
            deadline: source.gate.deadline(),
        }
    }
}
