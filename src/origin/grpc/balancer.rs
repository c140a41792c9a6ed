//! All addresses of an origin: kept up to date, and one chosen for each call.

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
use crate::origin::{Error, ErrorKind, Result};

/// Least time from one question to the resolver to the next.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(500);
/// When to ask again after a question failed.
const INTERVAL_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// How an origin's addresses are found and connected to.
pub(super) struct Route {
    pub(super) resolver: Box<dyn Resolve>,
    pub(super) endpoint: transport::Endpoint,
    pub(super) connect_timeout: Duration,
    pub(super) interval: Duration,
}

/// The addresses. A task keeps them up to date for as long as this lives.
pub(super) struct Balancer {
    known: watch::Receiver<EndpointSet>,
    doubt: Arc<Notify>,
    _keeper: AbortOnDropHandle<()>,
}

/// What the resolver said last.
#[derive(Default)]
struct EndpointSet {
    addresses: Vec<Arc<Endpoint>>,
    /// Why there are no addresses; none before the first answer.
    failure: Option<String>,
}

// === impl Addresses ===

impl Balancer {
    /// Begins to resolve. Must be called on a runtime.
    pub(super) fn new(route: Route) -> Self {
        let doubt = Arc::<Notify>::default();
        let (sender, known) = watch::channel(EndpointSet::default());
        let keeper = tokio::spawn(keep_up_to_date(route, sender, doubt.clone()));
        Self { known, doubt, _keeper: AbortOnDropHandle::new(keeper) }
    }

    /// Chooses an address for a call until `deadline` that has failed at `tried`; none if it has failed everywhere.
    ///
    /// # Errors
    /// The origin's name does not resolve.
    pub(super) async fn choose(
        &self,
        tried: &[SocketAddr],
        deadline: Instant,
    ) -> Result<Option<EndpointCall>> {
        let mut known = self.known.clone();
        let gone = |_| Error::new(ErrorKind::Unreachable, "the resolver has stopped");
        let known = known
            .wait_for(|known| !known.addresses.is_empty() || known.failure.is_some())
            .await
            .map_err(gone)?;
        if let (true, Some(failure)) = (known.addresses.is_empty(), &known.failure) {
            self.doubt();
            return Err(Error::new(ErrorKind::Unreachable, failure));
        }
        let now = Instant::now();
        Ok(choose(&known.addresses, tried, now).map(|address| address.begin_call(now, deadline)))
    }

    /// Has the name resolved again soon.
    pub(super) fn doubt(&self) {
        self.doubt.notify_one();
    }
}

/// The less busy of two at random, which spreads calls nearly as well as the least busy of all would, and does not send
/// everybody to the one that has just become free. Those set aside only if there are no others.
fn choose(
    addresses: &[Arc<Endpoint>],
    tried: &[SocketAddr],
    now: Instant,
) -> Option<Arc<Endpoint>> {
    let untried = || addresses.iter().filter(|address| !tried.contains(&address.socket()));
    let mut candidates: Vec<_> = untried().filter(|address| address.is_available(now)).collect();
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

async fn keep_up_to_date(route: Route, known: watch::Sender<EndpointSet>, doubt: Arc<Notify>) {
    loop {
        let asked_at = Instant::now();
        let found = route.resolver.resolve().await.and_then(|found| {
            if found.is_empty() { Err(io::Error::other("it has no addresses")) } else { Ok(found) }
        });
        let interval = match found {
            Ok(found) => {
                known.send_if_modified(|known| known.is_changed_by(found, &route));
                route.interval
            }
            Err(error) => {
                tracing::debug!(%error, host = route.endpoint.uri().host(), "an origin's name does not resolve");
                known.send_modify(|known| {
                    known.failure = Some(format!("the origin's name does not resolve: {error}"))
                });
                route.interval.min(INTERVAL_AFTER_FAILURE)
            }
        };
        // Either way it is time to ask again.
        let _ = timeout(interval.mul_f64(rand::random_range(0.9..1.1)), doubt.notified()).await;
        sleep_until(asked_at + SHORTEST_INTERVAL).await;
    }
}

// === impl Known ===

impl EndpointSet {
    /// Takes over what was found. Who stays keeps its connection; who goes ends it when its last call has ended.
    fn is_changed_by(&mut self, mut found: Vec<SocketAddr>, route: &Route) -> bool {
        found.sort_unstable();
        found.dedup();
        self.failure = None;
        if self.addresses.iter().map(|address| address.socket()).eq(found.iter().copied()) {
            return false;
        }
        let before = std::mem::take(&mut self.addresses);
        let kept = |socket| before.iter().find(|address| address.socket() == socket).cloned();
        let new = |socket| Arc::new(Endpoint::new(socket, &route.endpoint, route.connect_timeout));
        self.addresses =
            found.into_iter().map(|socket| kept(socket).unwrap_or_else(|| new(socket))).collect();
        true
    }
}
