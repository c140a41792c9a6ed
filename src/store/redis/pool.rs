//! Connections to one Redis: a bb8 pool of multiplexed connections, whose handles are cloned out.
//!
//! A multiplexed connection serves many requests at a time. Keeping it checked out for the length of a request, as a pool
//! is commonly used, would allow one request per connection at a time and measures at a quarter of the throughput. The pool
//! makes, keeps and replaces the connections; between its turns requests share the handles that were checked out last.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bb8_redis::bb8::{ErrorSink, ManageConnection, Pool, RunError};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, IntoConnectionInfo, Pipeline,
    ProtocolVersion, RedisError, RedisResult, Value, aio::MultiplexedConnection,
    io::tcp::TcpSettings,
};
use tokio::time::Instant;

use super::{clock::ServerClock, script::Script, unexpected};
use crate::{
    model::Timestamp,
    store::{Error, ErrorKind, Result},
};

/// Requests that one connection takes before further ones wait for room.
const PIPELINE_DEPTH: usize = 1024;
/// Requests after which one asks the pool for its connection, so that connections that were made meanwhile get their share.
const TURNS: usize = 1021;
/// Answers in a row that may be late before a connection is given up: its peer may be gone without a word.
const MAX_TIMEOUTS: u32 = 3;

/// How to reach Redis.
#[derive(Debug, Clone)]
pub struct PoolOptions {
    /// `redis://`, `rediss://`, `unix://`, `valkey://` and so on.
    pub url: secrecy::SecretString,
    /// Number of connections that requests share.
    pub connections: u32,
    /// Time for a connection to be made, TLS and authentication included.
    pub connect_timeout: Duration,
    /// Time for any operation, waiting for a connection included.
    pub timeout: Duration,
}

/// What the pool has done and holds.
#[derive(Debug, Clone, Copy, Default)]
pub struct PoolState {
    /// Connections.
    pub connections: u64,
    /// Connections made so far.
    pub created: u64,
    /// Attempts to connect that failed.
    pub failed: u64,
    /// Operations that got no connection in time.
    pub starved: u64,
}

#[derive(Clone)]
pub(super) struct RedisPool {
    pool: Pool<Manager>,
    /// A place for each connection, used in turn.
    at_hand: Arc<[ArcSwapOption<Handle>]>,
    turn: Arc<AtomicUsize>,
    shared: Arc<PoolHealth>,
    timeout: Duration,
}

#[derive(Debug)]
pub(super) struct PoolHealth {
    pub(super) clock: ServerClock,
    /// Connections of an earlier epoch are not used any more.
    epoch: AtomicU64,
    created: AtomicU64,
    failed: AtomicU64,
    starved: AtomicU64,
    failing: AtomicBool,
}

/// A connection, and how it is doing.
pub(super) struct Handle {
    connection: MultiplexedConnection,
    epoch: u64,
    broken: AtomicBool,
    timeouts: AtomicU32,
}

struct Manager {
    client: Client,
    config: AsyncConnectionConfig,
    shared: Arc<PoolHealth>,
}

/// Whether an operation may be sent again when it is not known if it was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    Harmless,
    Never,
}

/// A client for `url` with the TCP settings that a cache needs.
pub(super) fn client(url: &str, protocol: ProtocolVersion) -> RedisResult<Client> {
    let info = url.into_connection_info()?;
    let settings = info.redis_settings().clone().set_protocol(protocol);
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(15))
        .with_interval(Duration::from_secs(5));
    let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    Client::open(info.set_redis_settings(settings).set_tcp_settings(tcp))
}

// === impl RedisPool ===

impl RedisPool {
    /// A pool that connects when it is first used.
    pub(super) fn new(options: &PoolOptions) -> Result<Self> {
        use secrecy::ExposeSecret as _;
        let client = client(options.url.expose_secret(), ProtocolVersion::RESP2)?;
        if matches!(
            client.get_connection_info().addr(),
            ConnectionAddr::TcpTls { insecure: true, .. }
        ) {
            tracing::warn!("the certificate of Redis is not verified, as its URL asks for");
        }
        let shared = Arc::new(PoolHealth {
            clock: ServerClock::new(),
            epoch: AtomicU64::new(0),
            created: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            starved: AtomicU64::new(0),
            failing: AtomicBool::new(false),
        });
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(options.connect_timeout))
            .set_response_timeout(None)
            .set_pipeline_buffer_size(PIPELINE_DEPTH);
        let pool = Pool::builder()
            .max_size(options.connections)
            // Connections are checked out so briefly that the pool would never see a need for a second one.
            .min_idle(options.connections)
            .test_on_check_out(false)
            .connection_timeout(options.connect_timeout)
            .max_lifetime(None)
            .idle_timeout(None)
            .error_sink(Box::new(ConnectErrors(shared.clone())))
            .retry_connection(false)
            .build_unchecked(Manager { client, config, shared: shared.clone() });
        let at_hand = (0..options.connections).map(|_| ArcSwapOption::empty()).collect();
        Ok(Self { pool, at_hand, turn: Arc::default(), shared, timeout: options.timeout })
    }

    pub(super) fn shared(&self) -> &PoolHealth {
        &self.shared
    }

    pub(super) fn state(&self) -> PoolState {
        PoolState {
            connections: u64::from(self.pool.state().connections),
            created: self.shared.created.load(Ordering::Relaxed),
            failed: self.shared.failed.load(Ordering::Relaxed),
            starved: self.shared.starved.load(Ordering::Relaxed),
        }
    }

    /// The latest moment, by the server's clock, at which what is sent now may be applied.
    pub(super) fn not_after(&self) -> Timestamp {
        self.shared.clock.now().after(self.timeout)
    }

    /// Sends one command.
    pub(super) async fn query(&self, cmd: &Cmd, repeat: Retry) -> Result<Value> {
        let mut used = None;
        let answer = tokio::time::timeout(self.timeout, self.attempt(cmd, repeat, &mut used)).await;
        answer.unwrap_or_else(|_| Err(late(used)))
    }

    /// Sends commands in one go. An error of one is the answer to all.
    pub(super) async fn query_all(&self, commands: &Pipeline) -> Result<Vec<Value>> {
        let mut used = None;
        let answer = tokio::time::timeout(self.timeout, async {
            let handle = used.insert(self.handle().await?);
            let answers =
                handle.connection.clone().send_packed_commands(commands, 0, commands.len()).await;
            handle
                .outcome(answers)?
                .into_iter()
                .map(|answer| handle.outcome(error_or_value(answer)))
                .collect()
        });
        let answer = answer.await;
        answer.unwrap_or_else(|_| Err(late(used)))
    }

    /// Calls a script, which the server is told first if it does not know it.
    pub(super) async fn eval(&self, script: &Script, call: &Cmd, repeat: Retry) -> Result<Value> {
        match self.query(call, repeat).await {
            Err(error) if is_unknown_script(&error) => {
                self.query(&script.load(), Retry::Harmless).await?;
                self.query(call, repeat).await
            }
            other => other,
        }
    }

    /// Calls a script in one go with a command that it needs to have been done before.
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
                self.query(&script.load(), Retry::Harmless).await?;
                self.query_all(&both).await
            }
            other => other,
        }?
        .pop()
        .ok_or_else(|| unexpected("a script"))
    }

    /// Asks for the server's time on a connection of the pool. If that fails on a connection that was made before, all
    /// connections are suspect and will be made anew.
    pub(super) async fn probe(&self) -> Result<()> {
        let asked = Instant::now();
        let mut used = None;
        let time = redis::cmd("TIME");
        let answer =
            tokio::time::timeout(self.timeout, self.attempt(&time, Retry::Harmless, &mut used))
                .await;
        let answer = answer.unwrap_or_else(|_| Err(ErrorKind::Timeout.into()));
        match answer {
            Ok(value) => {
                let (seconds, micros): (u64, u64) =
                    redis::from_redis_value(value).map_err(RedisError::from)?;
                self.shared.clock.seen(Timestamp(seconds * 1000 + micros / 1000), asked);
                Ok(())
            }
            Err(error) => {
                if let Some(handle) = used {
                    self.shared.epoch.fetch_max(handle.epoch + 1, Ordering::Relaxed);
                }
                Err(error)
            }
        }
    }

    async fn attempt(
        &self,
        cmd: &Cmd,
        repeat: Retry,
        used: &mut Option<Arc<Handle>>,
    ) -> Result<Value> {
        let handle = used.insert(self.handle().await?);
        match handle.connection.clone().send_packed_command(cmd).await {
            // The server may have closed an idle connection, or just restarted.
            Err(error) if error.is_connection_dropped() && repeat == Retry::Harmless => {
                handle.give_up();
                let handle = used.insert(self.handle().await?);
                let answer = handle.connection.clone().send_packed_command(cmd).await;
                handle.outcome(answer.and_then(error_or_value))
            }
            answer => handle.outcome(answer.and_then(error_or_value)),
        }
    }

    /// A connection that is not known to be broken.
    async fn handle(&self) -> Result<Arc<Handle>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let place = &self.at_hand[turn % self.at_hand.len()];
        if !turn.is_multiple_of(TURNS)
            && let Some(handle) = &*place.load()
            && self.shared.is_usable(handle)
        {
            return Ok(handle.clone());
        }
        // In a box, which costs nothing to those who need not ask the pool.
        let handle = Box::pin(self.pooled()).await?;
        place.store(Some(handle.clone()));
        Ok(handle)
    }

    async fn pooled(&self) -> Result<Arc<Handle>> {
        loop {
            let pooled = match self.pool.get().await {
                Ok(pooled) => pooled,
                Err(RunError::User(error)) => return Err(error.into()),
                Err(RunError::TimedOut) => {
                    self.shared.starved.fetch_add(1, Ordering::Relaxed);
                    return Err(ErrorKind::Unreachable.into());
                }
            };
            if self.shared.is_usable(&pooled) {
                return Ok(pooled.clone());
            }
            // Dropping it makes the pool ask `has_broken` and forget it.
        }
    }
}

/// The library hands an error of the server out as a value.
fn error_or_value(value: Value) -> RedisResult<Value> {
    match value {
        Value::ServerError(error) => Err(error.into()),
        value => Ok(value),
    }
}

fn late(used: Option<Arc<Handle>>) -> Error {
    if let Some(handle) = used {
        handle.timed_out();
    }
    ErrorKind::Timeout.into()
}

fn is_unknown_script(error: &Error) -> bool {
    let source = error.source.as_ref().and_then(|source| source.downcast_ref::<RedisError>());
    source.is_some_and(|error| error.code() == Some("NOSCRIPT"))
}

// === impl Shared ===

impl PoolHealth {
    fn is_usable(&self, handle: &Handle) -> bool {
        !handle.broken.load(Ordering::Relaxed) && handle.epoch >= self.epoch.load(Ordering::Relaxed)
    }
}

// === impl Handle ===

impl Handle {
    /// Takes note of how the connection did.
    fn outcome<T>(&self, answer: RedisResult<T>) -> Result<T> {
        match answer {
            Ok(value) => {
                self.timeouts.store(0, Ordering::Relaxed);
                Ok(value)
            }
            Err(error) => {
                // A server that became a replica refuses writes: the next connection may find the new primary.
                if error.is_unrecoverable_error()
                    || error.is_io_error()
                    || error.code() == Some("READONLY")
                {
                    self.give_up();
                }
                Err(error.into())
            }
        }
    }

    fn timed_out(&self) {
        if self.timeouts.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_TIMEOUTS {
            self.give_up();
        }
    }

    fn give_up(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }
}

// === impl Manager ===

impl ManageConnection for Manager {
    type Connection = Arc<Handle>;
    type Error = RedisError;

    async fn connect(&self) -> std::result::Result<Arc<Handle>, RedisError> {
        let epoch = self.shared.epoch.load(Ordering::Relaxed);
        let connection =
            self.client.get_multiplexed_async_connection_with_config(&self.config).await?;
        self.shared.created.fetch_add(1, Ordering::Relaxed);
        self.shared.failing.store(false, Ordering::Relaxed);
        Ok(Arc::new(Handle {
            connection,
            epoch,
            broken: AtomicBool::new(false),
            timeouts: AtomicU32::new(0),
        }))
    }

    async fn is_valid(&self, handle: &mut Arc<Handle>) -> std::result::Result<(), RedisError> {
        handle
            .connection
            .clone()
            .send_packed_command(&redis::cmd("PING"))
            .await
            .and_then(error_or_value)
            .map(|_| ())
    }

    fn has_broken(&self, handle: &mut Arc<Handle>) -> bool {
        !self.shared.is_usable(handle)
    }
}

/// Takes the errors of connecting, which callers of the pool do not get to see.
#[derive(Debug, Clone)]
struct ConnectErrors(Arc<PoolHealth>);

impl ErrorSink<RedisError> for ConnectErrors {
    fn sink(&self, error: RedisError) {
        self.0.failed.fetch_add(1, Ordering::Relaxed);
        // Said once for an outage: a wrong password must be seen, and a log must not be flooded.
        if self.0.failing.swap(true, Ordering::Relaxed) {
            tracing::debug!(%error, "cannot connect to Redis");
        } else {
            tracing::warn!(%error, "cannot connect to Redis");
        }
    }

    fn boxed_clone(&self) -> Box<dyn ErrorSink<RedisError>> {
        Box::new(self.clone())
    }
}
