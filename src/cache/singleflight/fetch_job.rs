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

    /// The longest duration of a lease. No fetch takes longer than its timeout, which includes
    /// the retries, so a longer lease would only outlast a replica that has died.
    pub(super) fn max_lease_ttl(&self) -> Duration {
        let longest = self.context.config().lease_ttl;
        self.origin().map_or(longest, |origin| {
            origin.config.timeout.max(origin.config.min_lease).min(longest)
        })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cache::testing::{
            FakeOrigin, MILLISECOND, SECOND, TestCache, config, origin_config, request,
        },
        config::{NamespaceConfig, OriginConfig},
    };

    fn lease_ttl(test: &TestCache) -> Duration {
        FetchJob::new(&test.context(), &request("k")).lease_ttl()
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_origin_a_lease_lasts_as_configured() {
        let test = TestCache::of_callers(NamespaceConfig { lease_ttl: 7 * SECOND, ..config() });
        assert_eq!(lease_ttl(&test), 7 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn with_an_origin_a_lease_lasts_twice_as_long_as_fetches_take() {
        // A first fetch of one second makes three seconds the expected time.
        for (fetch_time, expected) in [(SECOND, 6 * SECOND), (2 * SECOND, 10 * SECOND)] {
            let test = TestCache::of_origin(&FakeOrigin::slow("v", fetch_time), config());
            assert_eq!(lease_ttl(&test), 10 * SECOND, "nothing is known of the origin");
            test.get_or_fetch(&request("other")).await;
            assert_eq!(lease_ttl(&test), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_no_longer_than_the_timeout_of_a_fetch() {
        for (timeout, expected) in
            [(2 * SECOND, 2 * SECOND), (5 * MILLISECOND, SECOND), (60 * SECOND, 10 * SECOND)]
        {
            let min_lease = SECOND;
            let origin_rules = OriginConfig { timeout, min_lease, ..origin_config() };
            let rules = NamespaceConfig { origin: Some(origin_rules), ..config() };
            let test = TestCache::of_origin(&FakeOrigin::fast("v"), rules);
            assert_eq!(lease_ttl(&test), expected, "nothing is known of the origin");
            let job = FetchJob::new(&test.context(), &request("k"));
            assert_eq!(job.max_lease_ttl(), expected, "an extension");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_has_a_minimum_that_the_maximum_limits() {
        let origin = FakeOrigin::slow("v", MILLISECOND);
        for (min_lease, expected) in [(2 * SECOND, 2 * SECOND), (60 * SECOND, 10 * SECOND)] {
            let origin_rules = OriginConfig { min_lease, ..origin_config() };
            let rules = NamespaceConfig { origin: Some(origin_rules), ..config() };
            let test = TestCache::of_origin(&origin, rules);
            test.get_or_fetch(&request("other")).await;
            assert_eq!(lease_ttl(&test), expected, "{min_lease:?}");
        }
    }
}
