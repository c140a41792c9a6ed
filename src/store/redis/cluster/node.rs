//! One primary of a cluster: its connections, its circuit breaker and its clock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::address::Address;
use crate::{
    circuit_breaker::{CircuitBreaker, ProbeIntervals},
    store::{
        Error, ErrorKind, Result, Trouble,
        redis::{
            connection::PoolHealth,
            endpoint::Endpoint,
            pool::{PoolOptions, RedisPool, Retry},
            request::Request,
        },
    },
};

/// Time for which a node that no slot map names is kept after a primary has named it: slots are
/// being moved to it.
const KEPT_UNLISTED: Duration = Duration::from_secs(15);

/// A primary.
pub(in crate::store::redis) struct Node {
    pub(super) address: Address,
    /// Its connections.
    pub(in crate::store::redis) pool: RedisPool,
    /// For connections of other kinds.
    pub(in crate::store::redis) endpoint: Endpoint,
    /// Open until the first probe has succeeded.
    breaker: CircuitBreaker,
    /// Whether a probe has failed.
    has_failed: watch::Sender<bool>,
    /// Cancelled when the cluster has it no more.
    gone: CancellationToken,
    /// Whether it did not answer since the map of slots was read: another one may have its slots.
    is_suspect: AtomicBool,
    is_listed: AtomicBool,
    named_at: Mutex<Instant>,
}

impl Node {
    /// Prepares a node that is connected to when it is first used. `on_change` runs when its
    /// circuit breaker opens or closes.
    pub(super) fn new(
        address: Address,
        options: &PoolOptions,
        breaker_threshold: u32,
        health: PoolHealth,
        on_change: impl Fn(&Address) + Send + Sync + 'static,
    ) -> Result<Arc<Self>> {
        use secrecy::ExposeSecret as _;
        let PoolOptions { url, tls, connect_timeout, .. } = options;
        let endpoint = Endpoint::new(url.expose_secret(), tls.as_ref(), *connect_timeout)?;
        let pool = RedisPool::with_health(endpoint.clone(), options, health);
        let (name, health) = (address.clone(), pool.health().clone());
        let breaker = CircuitBreaker::new(breaker_threshold, move |closed| {
            if closed {
                tracing::info!(node = %name, "a primary of the Redis Cluster is available");
            } else {
                let trouble = health.faults.trouble().or_else(|| health.outage().trouble());
                let cause = trouble.map_or_else(|| "no answer in time".into(), |it| it.cause);
                tracing::warn!(
                    node = %name, cause,
                    "a primary of the Redis Cluster is unavailable: its keys are served without it"
                );
            }
            on_change(&name);
        });
        Ok(Arc::new(Self {
            address,
            pool,
            endpoint,
            breaker,
            has_failed: watch::Sender::new(false),
            gone: CancellationToken::new(),
            is_suspect: AtomicBool::new(false),
            is_listed: AtomicBool::new(false),
            named_at: Mutex::new(Instant::now()),
        }))
    }

    /// Host and port.
    pub(in crate::store::redis) fn name(&self) -> String {
        self.address.to_string()
    }

    /// Sends a request, unless the node is known to be down. Waits for the first probe.
    pub(super) async fn send<R: Request>(&self, request: R, retry: Retry) -> Result<R::Answer> {
        if !self.breaker.is_closed() {
            self.await_first_probe().await?;
        }
        let outcome = self.pool.send(request, retry, &mut None).await;
        if outcome.as_ref().is_err_and(|error| error.kind.is_outage()) {
            self.suspect();
        }
        self.breaker.record(&outcome, |error| error.kind.is_outage());
        outcome
    }

    /// Waits until a probe has succeeded or failed.
    #[cold]
    async fn await_first_probe(&self) -> Result<()> {
        let (mut closed, mut failed) = (self.breaker.subscribe(), self.has_failed.subscribe());
        let probed = async {
            tokio::select! {
                _ = closed.wait_for(|closed| *closed) => {}
                _ = failed.wait_for(|failed| *failed) => {}
            }
        };
        let _ = timeout(self.pool.timeout(), Box::pin(probed)).await;
        if self.breaker.is_closed() { Ok(()) } else { Err(self.unavailable()) }
    }

    /// The error of an operation that is not tried.
    fn unavailable(&self) -> Error {
        match self.trouble() {
            Some(Trouble { cause, .. }) => {
                Error::new(ErrorKind::Unreachable, format!("{}: {cause}", self.address))
            }
            None => ErrorKind::Unreachable.into(),
        }
    }

    /// Another node may have its slots by now: the map must be read before it is asked again. A
    /// primary that hung may take itself for one when it goes on.
    fn suspect(&self) {
        self.is_suspect.store(true, Ordering::Release);
    }

    /// Whether the map must be read before it is asked.
    #[inline]
    pub(super) fn is_suspect(&self) -> bool {
        self.is_suspect.load(Ordering::Acquire)
    }

    /// The map was read since, and still names it.
    pub(super) fn trust(&self) {
        self.is_suspect.store(false, Ordering::Release);
    }

    /// Whether requests are sent to it.
    pub(in crate::store::redis) fn is_available(&self) -> bool {
        self.breaker.is_closed()
    }

    /// Whether it is known if the node is available.
    pub(super) async fn is_probed(&self) -> bool {
        self.breaker.is_closed() || self.await_first_probe().await.is_ok()
    }

    /// The fault or outage of the node, if it has one.
    pub(in crate::store::redis) fn trouble(&self) -> Option<Trouble> {
        let health = self.pool.health();
        health.faults.trouble().or_else(|| health.outage().trouble())
    }

    /// Probes the node until the cluster has it no more.
    pub(in crate::store::redis) async fn run_probe<F: Future<Output = Result<()>>>(
        &self,
        intervals: ProbeIntervals,
        probe: impl Fn() -> F,
    ) {
        let probe = || async {
            let answer = probe().await;
            match &answer {
                Err(_) => {
                    self.has_failed.send_replace(true);
                    self.suspect();
                }
                Ok(()) => self.pool.health().outage().works(),
            }
            answer
        };
        let probes = self.breaker.run_probe(intervals, probe, |error| error.kind.is_outage());
        self.gone.run_until_cancelled(probes).await;
    }

    /// Cancelled when the cluster has the node no more.
    pub(in crate::store::redis) fn gone(&self) -> &CancellationToken {
        &self.gone
    }

    /// The node is part of a slot map.
    pub(super) fn on_listed(&self) {
        self.is_listed.store(true, Ordering::Relaxed);
    }

    /// Another node has named it.
    pub(super) fn on_named(&self) {
        *self.named_at.lock() = Instant::now();
    }

    /// Whether it is kept although the slot map does not name it.
    pub(super) fn is_kept_unlisted(&self) -> bool {
        !self.is_listed.load(Ordering::Relaxed) && self.named_at.lock().elapsed() < KEPT_UNLISTED
    }
}
