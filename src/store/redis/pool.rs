//! Connections to one Redis server: a bb8 pool of multiplexed connections whose handles are shared.
//!
//! A multiplexed connection serves many requests at a time. Keeping it checked out for the length
//! of a request, which is the usual way to use a pool, would limit it to one request at a time and
//! measures at a quarter of the throughput. Here the pool makes, keeps and replaces the
//! connections, and requests share the handles that were checked out last.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bb8_redis::bb8::{Pool, RunError};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, Pipeline, ProtocolVersion, RedisError,
    Value,
};
use tokio::time::{Instant, timeout};

use super::{
    connection::{ConnectErrorSink, ConnectionManager, Handle, PoolHealth, client, error_or_value},
    script::Script,
    unexpected,
};
use crate::{
    model::Timestamp,
    store::{Error, ErrorKind, Result, clock::StoreClock},
};

/// Requests in flight on one connection; further ones wait.
const PIPELINE_DEPTH: usize = 1024;
/// Number of requests between two checkouts, so that connections made in the meantime get their
/// share. A prime, so that the checkouts rotate over the cached handles.
const CHECKOUT_INTERVAL: usize = 1021;

/// Options of the connections to Redis.
#[derive(Debug, Clone)]
pub struct PoolOptions {
    /// URL of the server: `redis://`, `rediss://`, `unix://`, `valkey://` and so on.
    pub url: secrecy::SecretString,
    /// Number of connections that requests share.
    pub connections: u32,
    /// Timeout for making a connection, TLS and authentication included.
    pub connect_timeout: Duration,
    /// Timeout of any operation, waiting for a connection included.
    pub timeout: Duration,
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
}

#[derive(Clone)]
pub(super) struct RedisPool {
    pool: Pool<ConnectionManager>,
    /// One slot per connection, used in rotation.
    cached_handles: Arc<[ArcSwapOption<Handle>]>,
    next_handle: Arc<AtomicUsize>,
    checkout_timeouts: Arc<AtomicU64>,
    health: Arc<PoolHealth>,
    timeout: Duration,
}

/// Whether a command may be sent again when it is unknown whether it was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    Idempotent,
    Never,
}

// === impl RedisPool ===

impl RedisPool {
    /// Creates a pool that connects when it is first used.
    pub(super) fn new(options: &PoolOptions) -> Result<Self> {
        use secrecy::ExposeSecret as _;
        let client = client(options.url.expose_secret(), ProtocolVersion::RESP2)?;
        warn_if_unverified(&client);
        let health = Arc::new(PoolHealth::new());
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(options.connect_timeout))
            .set_response_timeout(None)
            .set_pipeline_buffer_size(PIPELINE_DEPTH);
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
            .build_unchecked(ConnectionManager { client, config, health: health.clone() });
        Ok(Self {
            pool,
            cached_handles: (0..options.connections).map(|_| ArcSwapOption::empty()).collect(),
            next_handle: Arc::default(),
            checkout_timeouts: Arc::default(),
            health,
            timeout: options.timeout,
        })
    }

    /// The server's clock.
    pub(super) fn clock(&self) -> &StoreClock {
        &self.health.clock
    }

    pub(super) fn state(&self) -> PoolState {
        PoolState {
            connections: u64::from(self.pool.state().connections),
            created: self.health.created(),
            failed: self.health.failed(),
            checkout_timeouts: self.checkout_timeouts.load(Ordering::Relaxed),
        }
    }

    /// The latest time, by the server's clock, at which a write that is sent now may be applied.
    pub(super) fn not_after(&self) -> Timestamp {
        self.health.clock.now().after(self.timeout)
    }

    /// Sends a command.
    pub(super) async fn query(&self, cmd: &Cmd, retry: Retry) -> Result<Value> {
        let mut used = None;
        let answer = timeout(self.timeout, self.attempt(cmd, retry, &mut used)).await;
        answer.unwrap_or_else(|_| Err(timed_out(used)))
    }

    /// Sends commands in one round trip. If one of them fails, its error is the result.
    pub(super) async fn query_all(&self, commands: &Pipeline) -> Result<Vec<Value>> {
        let mut used = None;
        let answer = timeout(self.timeout, async {
            let handle = used.insert(self.handle().await?);
            let answers =
                handle.connection.clone().send_packed_commands(commands, 0, commands.len()).await;
            handle
                .record(answers)?
                .into_iter()
                .map(|answer| handle.record(error_or_value(answer)))
                .collect()
        });
        let answer = answer.await;
        answer.unwrap_or_else(|_| Err(timed_out(used)))
    }

    /// Calls a script, and loads it first if the server does not know it.
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
        match self.query_all(&both).await {
            Err(error) if is_unknown_script(&error) => {
                self.query(&script.load(), Retry::Idempotent).await?;
                self.query_all(&both).await
            }
            other => other,
        }?
        .pop()
        .ok_or_else(|| unexpected("a script"))
    }

    /// Reads the server's time on a connection of the pool, and synchronizes the clock. If that
    /// fails on an existing connection, all connections are suspect, and are replaced.
    pub(super) async fn probe(&self) -> Result<()> {
        let sent_at = Instant::now();
        let mut used = None;
        let time = redis::cmd("TIME");
        let answer = timeout(self.timeout, self.attempt(&time, Retry::Idempotent, &mut used)).await;
        match answer.unwrap_or_else(|_| Err(ErrorKind::Timeout.into())) {
            Ok(value) => {
                let (seconds, micros): (u64, u64) =
                    redis::from_redis_value(value).map_err(RedisError::from)?;
                let server_time = Timestamp(seconds * 1000 + micros / 1000);
                self.health.clock.synchronize(server_time, sent_at);
                Ok(())
            }
            Err(error) => {
                if let Some(handle) = used {
                    self.health.retire(&handle);
                }
                Err(error)
            }
        }
    }

    async fn attempt(
        &self,
        cmd: &Cmd,
        retry: Retry,
        used: &mut Option<Arc<Handle>>,
    ) -> Result<Value> {
        let handle = used.insert(self.handle().await?);
        match handle.connection.clone().send_packed_command(cmd).await {
            // The server may have closed an idle connection, or restarted a moment ago.
            Err(error) if error.is_connection_dropped() && retry == Retry::Idempotent => {
                handle.mark_broken();
                let handle = used.insert(self.handle().await?);
                let answer = handle.connection.clone().send_packed_command(cmd).await;
                handle.record(answer.and_then(error_or_value))
            }
            answer => handle.record(answer.and_then(error_or_value)),
        }
    }

    /// A connection that is not known to be broken.
    async fn handle(&self) -> Result<Arc<Handle>> {
        let number = self.next_handle.fetch_add(1, Ordering::Relaxed);
        let cached = &self.cached_handles[number % self.cached_handles.len()];
        if !number.is_multiple_of(CHECKOUT_INTERVAL)
            && let Some(handle) = &*cached.load()
            && self.health.is_usable(handle)
        {
            return Ok(handle.clone());
        }
        // Boxed, so that requests with a cached handle do not carry the state of a checkout.
        let handle = Box::pin(self.check_out()).await?;
        cached.store(Some(handle.clone()));
        Ok(handle)
    }

    async fn check_out(&self) -> Result<Arc<Handle>> {
        loop {
            let pooled = match self.pool.get().await {
                Ok(pooled) => pooled,
                Err(RunError::User(error)) => return Err(error.into()),
                Err(RunError::TimedOut) => {
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

fn warn_if_unverified(client: &Client) {
    if let ConnectionAddr::TcpTls { insecure: true, .. } = client.get_connection_info().addr() {
        tracing::warn!("the certificate of Redis is not verified, as its URL asks for");
    }
}

/// The error of an operation that timed out on this connection.
fn timed_out(used: Option<Arc<Handle>>) -> Error {
    if let Some(handle) = used {
        handle.record_timeout();
    }
    ErrorKind::Timeout.into()
}

fn is_unknown_script(error: &Error) -> bool {
    let source = error.source.as_ref().and_then(|source| source.downcast_ref::<RedisError>());
    source.is_some_and(|error| error.code() == Some("NOSCRIPT"))
}
