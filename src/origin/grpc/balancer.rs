//! Balances calls over all addresses of an origin, which are resolved periodically.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Endpoint as EndpointOptions;

use super::{
    endpoint::{Endpoint, EndpointCall},
    resolver::Resolve,
};
use crate::origin::{Error, OriginErrorKind, Result};

/// Shortest time between two lookups.
const MIN_RESOLVE_INTERVAL: Duration = Duration::from_millis(500);
/// Time between a failed lookup and the next one.
const INTERVAL_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Options for all connections of an origin.
pub(super) struct BalancerOptions {
    pub(super) resolver: Box<dyn Resolve>,
    pub(super) endpoint: EndpointOptions,
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
        let stopped = |_| Error::new(OriginErrorKind::Unreachable, "the resolver has stopped");
        let set = endpoints
            .wait_for(|set| !set.endpoints.is_empty() || set.failure.is_some())
            .await
            .map_err(stopped)?;
        if let (true, Some(failure)) = (set.endpoints.is_empty(), &set.failure) {
            self.re_resolve();
            return Err(Error::new(OriginErrorKind::Unreachable, failure));
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{collections::VecDeque, net::Ipv4Addr};

    use async_trait::async_trait;
    use parking_lot::Mutex;
    use tokio::time::sleep;

    use super::*;
    use crate::origin::grpc::error::CallOutcome;

    const INTERVAL: Duration = Duration::from_secs(10);

    /// Results of the lookups, `None` for a failed one. The last one repeats.
    #[derive(Clone)]
    struct ScriptedResolver {
        lookups: Arc<Mutex<Vec<Instant>>>,
        results: Arc<Mutex<VecDeque<Option<Vec<u16>>>>>,
    }

    impl ScriptedResolver {
        fn new(results: impl IntoIterator<Item = Option<Vec<u16>>>) -> Self {
            let results = Arc::new(Mutex::new(results.into_iter().collect()));
            Self { lookups: Arc::default(), results }
        }

        /// Times between the lookups.
        fn intervals(&self) -> Vec<Duration> {
            self.lookups.lock().windows(2).map(|pair| pair[1] - pair[0]).collect()
        }
    }

    #[async_trait]
    impl Resolve for ScriptedResolver {
        async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
            self.lookups.lock().push(Instant::now());
            let mut results = self.results.lock();
            let result =
                if results.len() > 1 { results.pop_front() } else { results.front().cloned() };
            match result.flatten() {
                Some(ports) => Ok(ports.into_iter().map(socket).collect()),
                None => Err(io::Error::other("no such host")),
            }
        }
    }

    fn socket(port: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, port).into()
    }

    fn options(resolver: ScriptedResolver) -> BalancerOptions {
        BalancerOptions {
            resolver: Box::new(resolver),
            endpoint: EndpointOptions::from_static("http://origin.test"),
            connect_timeout: Duration::from_secs(1),
            resolve_interval: INTERVAL,
        }
    }

    fn balancer(resolver: &ScriptedResolver) -> Balancer {
        Balancer::new(options(resolver.clone()))
    }

    fn endpoints(ports: impl IntoIterator<Item = u16>) -> Vec<Arc<Endpoint>> {
        let options = options(ScriptedResolver::new([]));
        let mut set = EndpointSet::default();
        set.replace(ports.into_iter().map(socket).collect(), &options);
        set.endpoints
    }

    fn begin_call(endpoint: &Arc<Endpoint>) -> EndpointCall {
        let now = Instant::now();
        endpoint.clone().begin_call(now, now + INTERVAL)
    }

    fn eject(endpoint: &Arc<Endpoint>) {
        begin_call(endpoint).end(CallOutcome::NotConnected);
    }

    /// Ports that are chosen in many attempts.
    fn choices(endpoints: &[Arc<Endpoint>], tried: &[SocketAddr]) -> Vec<u16> {
        let choice = |_| Some(choose(endpoints, tried, Instant::now())?.socket().port());
        let mut ports: Vec<u16> = (0..100).filter_map(choice).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    async fn chosen(balancer: &Balancer) -> Result<Option<u16>> {
        let call = balancer.choose(&[], Instant::now() + INTERVAL).await?;
        Ok(call.map(|call| call.socket().port()))
    }

    #[tokio::test(start_paused = true)]
    async fn less_busy_endpoint_of_two_is_chosen() {
        let endpoints = endpoints([1, 2]);
        assert_eq!(choices(&endpoints, &[]), [1, 2]);
        let call = begin_call(&endpoints[0]);
        assert_eq!(choices(&endpoints, &[]), [2]);
        let calls = [begin_call(&endpoints[1]), begin_call(&endpoints[1])];
        assert_eq!(choices(&endpoints, &[]), [1]);
        drop(calls);
        assert_eq!(choices(&endpoints, &[]), [2]);
        drop(call);
        assert_eq!(choices(&endpoints, &[]), [1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn busiest_endpoint_is_never_chosen() {
        let endpoints = endpoints([1, 2, 3]);
        let _call = begin_call(&endpoints[1]);
        assert_eq!(choices(&endpoints, &[]), [1, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn tried_endpoints_are_not_chosen_again() {
        let endpoints = endpoints([1, 2, 3]);
        assert_eq!(choices(&endpoints, &[socket(2)]), [1, 3]);
        assert_eq!(choices(&endpoints, &[socket(1), socket(2)]), [3]);
        assert_eq!(choices(&endpoints, &[socket(1), socket(2), socket(3)]), [0; 0]);
        assert_eq!(choices(&[], &[]), [0; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn ejected_endpoints_are_the_last_resort() {
        let endpoints = endpoints([1, 2, 3]);
        eject(&endpoints[0]);
        assert_eq!(choices(&endpoints, &[]), [2, 3]);
        eject(&endpoints[1]);
        assert_eq!(choices(&endpoints, &[]), [3]);
        assert_eq!(choices(&endpoints, &[socket(3)]), [1, 2]);
        eject(&endpoints[2]);
        assert_eq!(choices(&endpoints, &[]), [1, 2, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn name_is_resolved_periodically() {
        let resolver = ScriptedResolver::new([Some(vec![1]), Some(vec![2])]);
        let balancer = balancer(&resolver);
        assert_eq!(chosen(&balancer).await, Ok(Some(1)));
        sleep(10 * INTERVAL).await;
        assert_eq!(chosen(&balancer).await, Ok(Some(2)));
        let intervals = resolver.intervals();
        assert!((9..=11).contains(&intervals.len()), "{intervals:?}");
        let bounds = INTERVAL.mul_f64(0.89)..INTERVAL.mul_f64(1.11);
        assert!(intervals.iter().all(|interval| bounds.contains(interval)), "{intervals:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn lookups_on_request_keep_a_distance() {
        let resolver = ScriptedResolver::new([Some(vec![1])]);
        let balancer = balancer(&resolver);
        chosen(&balancer).await.unwrap();
        for _ in 0..10 {
            balancer.re_resolve();
            sleep(MIN_RESOLVE_INTERVAL / 5).await;
        }
        sleep(2 * MIN_RESOLVE_INTERVAL).await;
        assert_eq!(resolver.intervals(), [MIN_RESOLVE_INTERVAL; 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn failed_lookup_is_repeated_sooner() {
        let resolver = ScriptedResolver::new([None]);
        let balancer = balancer(&resolver);
        let error = chosen(&balancer).await.unwrap_err();
        let cause = "the origin's name does not resolve: no such host";
        assert_eq!(error, Error::new(OriginErrorKind::Unreachable, cause));
        sleep(Duration::from_secs(4)).await;
        // The failed call has requested the first one.
        let [first, others @ ..] = &resolver.intervals()[..] else { panic!("no lookups") };
        assert_eq!(*first, MIN_RESOLVE_INTERVAL);
        let bounds = Duration::from_millis(890)..Duration::from_millis(1110);
        assert!(others.len() >= 2 && others.iter().all(|interval| bounds.contains(interval)));
    }

    #[tokio::test(start_paused = true)]
    async fn empty_lookup_is_a_failed_one() {
        let balancer = balancer(&ScriptedResolver::new([Some(vec![])]));
        let error = chosen(&balancer).await.unwrap_err();
        assert_eq!(error.cause, "the origin's name does not resolve: it has no addresses");
    }

    #[tokio::test(start_paused = true)]
    async fn known_endpoints_survive_a_failed_lookup() {
        let resolver = ScriptedResolver::new([Some(vec![1]), None]);
        let balancer = balancer(&resolver);
        chosen(&balancer).await.unwrap();
        sleep(3 * INTERVAL).await;
        assert!(resolver.lookups.lock().len() > 3);
        assert_eq!(chosen(&balancer).await, Ok(Some(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn calls_fail_only_until_the_name_resolves() {
        let balancer = balancer(&ScriptedResolver::new([None, Some(vec![1])]));
        assert!(chosen(&balancer).await.is_err());
        sleep(2 * INTERVAL_AFTER_FAILURE).await;
        assert_eq!(chosen(&balancer).await, Ok(Some(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn dropped_balancer_stops_resolving() {
        let resolver = ScriptedResolver::new([Some(vec![1])]);
        let balancer = balancer(&resolver);
        chosen(&balancer).await.unwrap();
        drop(balancer);
        sleep(10 * INTERVAL).await;
        assert_eq!(resolver.lookups.lock().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn only_changed_endpoints_are_replaced() {
        let options = options(ScriptedResolver::new([]));
        let mut set = EndpointSet { failure: Some("down".to_owned()), ..Default::default() };
        let ports = |ports: &[u16]| ports.iter().copied().map(socket).collect::<Vec<_>>();
        assert!(set.replace(ports(&[2, 1, 2]), &options));
        assert_eq!(set.failure, None);
        let before = set.endpoints.clone();
        assert_eq!(
            before.iter().map(|endpoint| endpoint.socket().port()).collect::<Vec<_>>(),
            [1, 2]
        );
        assert!(!set.replace(ports(&[1, 2]), &options), "the order does not matter");
        assert!(set.replace(ports(&[2, 3]), &options));
        assert!(Arc::ptr_eq(&set.endpoints[0], &before[1]), "a known endpoint is kept");
        assert_eq!(set.endpoints[1].socket().port(), 3);
        assert_eq!(set.endpoints.len(), 2);
    }
}
