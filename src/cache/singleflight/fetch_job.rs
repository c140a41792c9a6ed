//! The key that a flight computes, and the rules for it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    cache::{GetOrFetchRequest, NamespaceContext, namespaces::OriginBinding},
    model::EntryKey,
    origin::{FetchRequest, Validators},
};

/// Everything that a fetch needs: key, params, and the namespace's rules.
#[derive(Clone)]
pub(in crate::cache) struct FetchJob {
    pub(super) key: EntryKey,
    params: Arc<BTreeMap<String, String>>,
    pub(super) context: NamespaceContext,
}

impl FetchJob {
    pub(in crate::cache) fn new(context: &NamespaceContext, request: &GetOrFetchRequest) -> Self {
        let (key, params) = (request.key.clone(), request.params.clone());
        Self { key, params, context: context.clone() }
    }

    /// Where the value is fetched; `None` if callers compute it.
    pub(super) fn origin(&self) -> Option<&OriginBinding> {
        self.context.rules.origin.as_ref()
    }

    /// The longest duration of a lease.
    pub(super) fn max_lease_ttl(&self) -> Duration {
        self.context.config().lease_ttl
    }

    /// Duration of the lease when it is acquired. A fetch extends its lease, so the lease need
    /// only be longer than most fetches take: if the replica dies, others wait that long.
    pub(super) fn lease_ttl(&self) -> Duration {
        let longest = self.max_lease_ttl();
        self.origin().map_or(longest, |origin| {
            let shortest = origin.config.min_lease.min(longest);
            (origin.client.expected_fetch_time() * 2).clamp(shortest, longest)
        })
    }

    /// The request to the origin.
    pub(super) fn request(&self, origin: &OriginBinding, validators: Validators) -> FetchRequest {
        FetchRequest {
            key: self.key.clone(),
            params: self.params.clone(),
            validators,
            deadline: origin.client.deadline(),
        }
    }
}
