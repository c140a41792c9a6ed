//! Balances calls over all addresses of an origin, which are resolved periodically.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::task::AbortOnDropHandle;
use tonic::transport;

use super::{
    endpoint::{Endpoint, EndpointCall},
    resolver::Resolve,
};
use crate::origin::{Error, FailureKind, Result};

/// Shortest time between two lookups.
const MIN_RESOLVE_INTERVAL: Duration = Duration::from_millis(500);
/// Time between a failed lookup and the next one.
const INTERVAL_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Options for all connections of an origin.
pub(super) struct BalancerOptions {
    pub(super) resolver: Box<dyn Resolve>,
    pub(super) endpoint: transport::Endpoint,
    pub(super) connect_timeout: Duration,
    pub(super) resolve_interval: Duration,
}

/// Chooses an endpoint for each call. A task keeps the endpoints up to date until this is dropped.
pub(super) struct Balancer {
    endpoints: watch::Receiver<EndpointSet>,
    re_resolve: Arc<Notify>,
    _resolver_task: AbortOnDropHandle<()>,
}

/// Result of the last lookup.
#[derive(Default)]
struct EndpointSet {
    endpoints: Vec<Arc<Endpoint>>,
    /// Failure of the last lookup. None before the first one has ended.
    failure: Option<String>,
}

// === impl Balancer ===

impl Balancer {
    /// Starts to resolve. Must be called in a Tokio runtime.
    pub(super) fn new(options: BalancerOptions) -> Self {
        let re_resolve = Arc::<Notify>::default();
        let (sender, endpoints) = watch::channel(EndpointSet::default());
        let task = tokio::spawn(resolve_periodically(options, sender, re_resolve.clone()));
        Self { endpoints, re_resolve, _resolver_task: AbortOnDropHandle::new(task) }
    }

    /// Begins a call at an endpoint that is not among `tried`; none if all are. Waits for the first
    /// lookup.
    ///
    /// # Errors
    /// There are no endpoints, because the host name does not resolve.
    pub(super) async fn choose(
        &self,
        tried: &[SocketAddr],
        deadline: Instant,
    ) -> Result<Option<EndpointCall>> {
        let mut endpoints = self.endpoints.clone();
        let stopped = |_| Error::new(FailureKind::Unreachable, "the resolver has stopped");
        let set = endpoints
            .wait_for(|set| !set.endpoints.is_empty() || set.failure.is_some())
            .await
            .map_err(stopped)?;
        if let (true, Some(failure)) = (set.endpoints.is_empty(), &set.failure) {
            self.re_resolve();
            return Err(Error::new(FailureKind::Unreachable, failure));
        }
        let now = Instant::now();
        let endpoint = choose(&set.endpoints, tried, now);
        Ok(endpoint.map(|endpoint| endpoint.begin_call(now, deadline)))
    }

    /// Requests a lookup soon, as a connection has failed.
    pub(super) fn re_resolve(&self) {
        self.re_resolve.notify_one();
    }
}

/// Power of two choices: the less busy of two random endpoints. This spreads calls nearly as well
/// as the least busy of all, without sending every call to the endpoint that has just become idle.
/// Ejected endpoints are chosen only if there are no others.
fn choose(
    endpoints: &[Arc<Endpoint>],
    tried: &[SocketAddr],
    now: Instant,
) -> Option<Arc<Endpoint>> {
    let untried = || endpoints.iter().filter(|endpoint| !tried.contains(&endpoint.socket()));
    let mut candidates: Vec<_> = untried().filter(|endpoint| endpoint.is_available(now)).collect();
    if candidates.is_empty() {
        candidates = untried().collect();
    }
    if let [] | [_] = &*candidates {
        return candidates.first().copied().cloned();
    }
    let one = candidates.swap_remove(rand::random_range(0..candidates.len()));
    let other = candidates.swap_remove(rand::random_range(0..candidates.len()));
    Some(if one.in_flight() <= other.in_flight() { one.clone() } else { other.clone() })
}

async fn resolve_periodically(
    options: BalancerOptions,
    endpoints: watch::Sender<EndpointSet>,
    re_resolve: Arc<Notify>,
) {
    loop {
        let started = Instant::now();
        let found = options.resolver.resolve().await.and_then(|found| {
            if found.is_empty() { Err(io::Error::other("it has no addresses")) } else { Ok(found) }
        });
        let interval = match found {
            Ok(found) => {
                endpoints.send_if_modified(|set| set.replace(found, &options));
                options.resolve_interval
            }
            Err(error) => {
                let host = options.endpoint.uri().host();
                tracing::debug!(%error, host, "an origin's name does not resolve");
                endpoints.send_modify(|set| {
                    set.failure = Some(format!("the origin's name does not resolve: {error}"));
                });
                options.resolve_interval.min(INTERVAL_AFTER_FAILURE)
            }
        };
        let jittered = interval.mul_f64(rand::random_range(0.9..1.1));
        // The next lookup is due when the interval is over, or on request.
        let _ = timeout(jittered, re_resolve.notified()).await;
        sleep_until(started + MIN_RESOLVE_INTERVAL).await;
    }
}

// === impl EndpointSet ===

impl EndpointSet {
    /// Replaces the endpoints by the result of a lookup. Known ones keep their connections; removed
    /// ones close theirs when the last call has ended. Returns whether the set has changed.
    fn replace(&mut self, mut found: Vec<SocketAddr>, options: &BalancerOptions) -> bool {
        found.sort_unstable();
        found.dedup();
        self.failure = None;
        if self.endpoints.iter().map(|endpoint| endpoint.socket()).eq(found.iter().copied()) {
            return false;
        }
        let known = std::mem::take(&mut self.endpoints);
        let keep = |socket| known.iter().find(|endpoint| endpoint.socket() == socket).cloned();
        let connect =
            |socket| Arc::new(Endpoint::new(socket, &options.endpoint, options.connect_timeout));
        self.endpoints = found
            .into_iter()
            .map(|socket| keep(socket).unwrap_or_else(|| connect(socket)))
            .collect();
        true
    }
}
