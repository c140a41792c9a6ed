//! Connections to one Redis server: a bb8 pool of multiplexed connections whose handles are shared.
//!
//! A multiplexed connection serves many requests at a time. Keeping it checked out for the length
//! of a request, which is the usual way to use a pool, would limit it to one request at a time and
//! measures at a quarter of the throughput. Here the pool makes, keeps and replaces the
//! connections, and requests share the handles that were checked out last.

mod send;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bb8_redis::bb8::{Pool, RunError};
use redis::{AsyncConnectionConfig, Cmd, Pipeline, RedisError, Value};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::{
    connection::{ConnectErrorSink, ConnectionManager, Handle, PoolHealth},
    endpoint::Endpoint,
    fault::Fault,
    replication::{Replication, ReplicationOptions},
    request::unexpected,
    request::{All, Each, One},
    script::Script,
    server_identity::ServerIdentity,
};
use crate::{
    model::Timestamp,
    store::{Error, ErrorKind, Result, clock::StoreClock, near_cache::NearCache},
    tls::ClientTls,
};

/// Requests in flight on one connection; further ones wait.
const PIPELINE_DEPTH: usize = 1024;
/// Number of requests between two checkouts, so that connections made in the meantime get their
/// share. A prime, so that the checkouts rotate over the cached handles.
const CHECKOUT_INTERVAL: usize = 1021;
/// Failed attempts to connect that fail an operation. Others may succeed, for instance when a
/// server or proxy has ended all connections, including those that were just being made.
const MAX_CONNECT_FAILURES: u32 = 3;
/// Time after which a caller that waits for a connection looks again. If several begin to wait at
/// the same moment, bb8 may wake only one of them for two connections: it keeps one notification.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Options of the connections to Redis.
#[derive(Debug, Clone)]
pub struct PoolOptions {
    /// URL of the server: `redis://`, `rediss://`, `unix://`, `valkey://` and so on, or of the
    /// sentinels that name it: `redis-sentinel://`, `rediss-sentinel://`.
    pub url: secrecy::SecretString,
    /// Settings of TLS. None: the authorities of the system are trusted, and no certificate is
    /// presented.
    pub tls: Option<ClientTls>,
    /// Number of connections that requests share.
    pub connections: u32,
    /// Timeout for making a connection, TLS and authentication included.
    pub connect_timeout: Duration,
    /// Timeout of any operation, waiting for a connection included.
    pub timeout: Duration,
    /// The replicas that must have a write that must not be lost; none if none must.
    pub replication: Option<ReplicationOptions>,
}

/// State and counters of the pool.
#[derive(Debug, Clone, Copy, Default)]
pub struct PoolState {
    /// Open connections.
    pub connections: u64,
    /// Connections made so far.
    pub created: u64,
    /// Attempts to connect that failed.
    pub failed: u64,
    /// Operations that got no connection in time.
    pub checkout_timeouts: u64,
    /// Commands that were sent again on another connection.
    pub resent: u64,
    /// Times that another server answered.
    pub server_changes: u64,
    /// Times that the server's clock was set.
    pub clock_steps: u64,
    /// Lead of the store's clock over the server's, in milliseconds.
    pub clock_ahead_ms: u64,
}

impl PoolState {
    /// The sums of both. The clock is that of the first.
    pub(super) fn plus(self, other: &Self) -> Self {
        Self {
            connections: self.connections + other.connections,
            created: self.created + other.created,
            failed: self.failed + other.failed,
            checkout_timeouts: self.checkout_timeouts + other.checkout_timeouts,
            resent: self.resent + other.resent,
            server_changes: self.server_changes + other.server_changes,
            ..self
        }
    }
}

#[derive(Clone)]
pub(super) struct RedisPool {
    pool: Pool<ConnectionManager>,
    /// One slot per connection, used in rotation.
    cached_handles: Arc<[ArcSwapOption<Handle>]>,
    next_handle: Arc<AtomicUsize>,
    checkout_timeouts: Arc<AtomicU64>,
    health: Arc<PoolHealth>,
    replication: Option<Arc<Replication>>,
    connect_timeout: Duration,
    timeout: Duration,
}

/// The place of a connection that is not used any more.
struct Vacancy<'a>(&'a ArcSwapOption<Handle>);

/// Whether a command may be sent again when it is unknown whether it was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    Idempotent,
    Never,
}

// === impl RedisPool ===

impl RedisPool {
    /// Creates a pool that connects when it is first used.
    pub(super) fn new(endpoint: Endpoint, options: &PoolOptions, near: Arc<NearCache>) -> Self {
        let verifies_role = endpoint.sentinels().is_some();
        let health = PoolHealth::new(ServerIdentity::new(near), verifies_role);
        Self::with_health(endpoint, options, health)
    }

    /// As [`Self::new`], with the state that its connections share.
    pub(super) fn with_health(
        endpoint: Endpoint,
        options: &PoolOptions,
        health: PoolHealth,
    ) -> Self {
        if endpoint.is_unverified() {
            tracing::warn!("the certificate of Redis is not verified, as its URL asks for");
        }
        let health = Arc::new(health);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(options.connect_timeout))
            .set_response_timeout(None)
            .set_pipeline_buffer_size(PIPELINE_DEPTH);
        let manager = ConnectionManager {
            endpoint,
            config,
            timeout: options.connect_timeout,
            health: health.clone(),
            tls_check: Arc::default(),
        };
        let replication = options.replication.clone().map(|options| {
            let manager = manager.clone();
            Arc::new(Replication::new(manager, options))
        });
        let pool = Pool::builder()
            .max_size(options.connections)
            // Checkouts are so brief that the pool would never see the need for a second
            // connection.
            .min_idle(options.connections)
            .test_on_check_out(false)
            .connection_timeout(options.connect_timeout)
            .max_lifetime(None)
            .idle_timeout(None)
            .error_sink(Box::new(ConnectErrorSink(health.clone())))
            .retry_connection(false)
            .build_unchecked(manager);
        Self {
            pool,
            cached_handles: (0..options.connections).map(|_| ArcSwapOption::empty()).collect(),
            next_handle: Arc::default(),
            checkout_timeouts: Arc::default(),
            health,
            replication,
            connect_timeout: options.connect_timeout,
            timeout: options.timeout,
        }
    }

    /// The server's clock.
    pub(super) fn clock(&self) -> &StoreClock {
        &self.health.clock
    }

    /// State that the connections of the pool share.
    pub(super) fn health(&self) -> &Arc<PoolHealth> {
        &self.health
    }

    /// Waits for the server's replicas; none if none is required.
    pub(super) fn replication(&self) -> Option<&Arc<Replication>> {
        self.replication.as_ref()
    }

    /// Whether no fault of the server lasts, with every change.
    pub(super) fn subscribe(&self) -> watch::Receiver<bool> {
        self.health.faults.subscribe()
    }

    pub(super) fn state(&self) -> PoolState {
        PoolState {
            connections: u64::from(self.pool.state().connections),
            created: self.health.created(),
            failed: self.health.failed(),
            checkout_timeouts: self.checkout_timeouts.load(Ordering::Relaxed),
            resent: self.health.resent(),
            server_changes: self.health.server().changes(),
            clock_steps: self.health.clock.steps(),
            clock_ahead_ms: self.health.clock.ahead_ms(),
        }
    }

    /// Timeout of an operation.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The latest time, by the store's clock, at which a write that is sent now may be applied.
    pub(super) fn not_after(&self) -> Timestamp {
        self.health.clock.write_deadline(self.timeout, 1)
    }

    /// Sends a command.
    pub(super) async fn query(&self, cmd: &Cmd, retry: Retry) -> Result<Value> {
        self.send(One(cmd), retry, &mut None).await
    }

    /// Sends commands in one round trip. If one of them fails, its error is the result.
    pub(super) async fn query_all(&self, commands: &Pipeline, retry: Retry) -> Result<Vec<Value>> {
        self.send(All(commands), retry, &mut None).await
    }

    /// Sends commands that may be applied twice in one round trip on a connection, which is `used`
    /// then, and returns the answer to each of them.
    pub(super) async fn query_each(
        &self,
        commands: &Pipeline,
        used: &mut Option<Arc<Handle>>,
    ) -> Result<Vec<Value>> {
        self.send(Each(commands), Retry::Idempotent, used).await
    }

    /// Calls a script, and loads it first if the server does not have it.
    pub(super) async fn eval(&self, script: &Script, call: &Cmd, retry: Retry) -> Result<Value> {
        match self.query(call, retry).await {
            Err(error) if is_unknown_script(&error) => {
                self.query(&script.load(), Retry::Idempotent).await?;
                self.query(call, retry).await
            }
            other => other,
        }
    }

    /// Calls a script in one round trip with a command that must run before it.
    pub(super) async fn eval_after(
        &self,
        before: Cmd,
        script: &Script,
        call: Cmd,
    ) -> Result<Value> {
        let mut both = redis::pipe();
        both.add_command(before).add_command(call);
        match self.query_all(&both, Retry::Never).await {
            Err(error) if is_unknown_script(&error) => {
                self.query(&script.load(), Retry::Idempotent).await?;
                self.query_all(&both, Retry::Never).await
            }
            other => other,
        }?
        .pop()
        .ok_or_else(|| unexpected("a script"))
    }

    /// The next connection, unless it is known to be broken or others are to have their share.
    fn cached_handle(&self) -> std::result::Result<Arc<Handle>, Vacancy<'_>> {
        let number = self.next_handle.fetch_add(1, Ordering::Relaxed);
        let cached = &self.cached_handles[number % self.cached_handles.len()];
        if !number.is_multiple_of(CHECKOUT_INTERVAL)
            && let Some(handle) = &*cached.load()
            && self.health.is_usable(handle)
        {
            return Ok(handle.clone());
        }
        Err(Vacancy(cached))
    }

    /// A connection that is not known to be broken, which takes the vacant place.
    async fn new_handle(&self, Vacancy(cached): Vacancy<'_>) -> Result<Arc<Handle>> {
        // Boxed, so that requests with a cached handle do not carry the state of a checkout.
        let handle = Box::pin(self.check_out()).await?;
        cached.store(Some(handle.clone()));
        Ok(handle)
    }

    async fn check_out(&self) -> Result<Arc<Handle>> {
        let mut failures = 0;
        let deadline = Instant::now() + self.connect_timeout;
        loop {
            let pooled = match timeout(LOOK_AGAIN, self.pool.get()).await {
                Err(_) if Instant::now() < deadline => continue,
                Ok(Ok(pooled)) => pooled,
                Ok(Err(RunError::User(error))) => {
                    failures += 1;
                    if failures < MAX_CONNECT_FAILURES && Fault::of(&error) == Fault::Connection {
                        continue;
                    }
                    return Err(cannot_connect(error));
                }
                Ok(Err(RunError::TimedOut)) | Err(_) => {
                    self.checkout_timeouts.fetch_add(1, Ordering::Relaxed);
                    return Err(ErrorKind::Unreachable.into());
                }
            };
            if self.health.is_usable(&pooled) {
                return Ok(pooled.clone());
            }
            // The drop makes the pool call `has_broken` and discard the connection.
        }
    }
}

/// The error of an operation for which no connection could be made: always an outage.
fn cannot_connect(error: RedisError) -> Error {
    let error = Error::from(error);
    let kind = if error.kind.is_outage() { error.kind } else { ErrorKind::Unreachable };
    Error { kind, ..error }
}

pub(super) fn is_unknown_script(error: &Error) -> bool {
    let source = error.source.as_ref().and_then(|source| source.downcast_ref::<RedisError>());
    source.is_some_and(|error| error.code() == Some("NOSCRIPT"))
}
