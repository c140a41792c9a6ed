//! What whoever computes a key has to know.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Scope, namespaces::Source};
use crate::{
    key::EntryKey,
    origin::{Order, Validators},
};

/// See the module.
#[derive(Clone)]
pub(super) struct Errand {
    pub(super) key: EntryKey,
    pub(super) params: Arc<BTreeMap<String, String>>,
    pub(super) scope: Scope,
}

impl Errand {
    /// Where the value is fetched; none if callers compute it.
    pub(super) fn source(&self) -> Option<&Source> {
        self.scope.rules.source()
    }

    /// How long a lease for it holds. One that this replica holds is extended while the fetch goes on, so it need only be
    /// longer than most fetches take: if the replica dies, that is how long the others wait.
    pub(super) fn lease_ttl(&self) -> Duration {
        let longest = self.scope.rules.lease_ttl;
        self.source().map_or(longest, |source| {
            (source.gate.expected_fetch_time() * 2)
                .clamp(source.config.min_lease.min(longest), longest)
        })
    }

    /// What is asked of `source`.
    pub(super) fn order(&self, source: &Source, validators: Validators) -> Order {
        Order {
            key: self.key.clone(),
            params: self.params.clone(),
            validators,
            deadline: source.gate.deadline(),
        }
    }
}
