//! One connection to Redis, and what the connections of a pool share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use bb8_redis::bb8::{ErrorSink, ManageConnection};
use redis::{
    AsyncConnectionConfig, Client, IntoConnectionInfo, ProtocolVersion, RedisError, RedisResult,
    Value, aio::MultiplexedConnection, io::tcp::TcpSettings,
};

use super::outage_log::OutageLog;
use crate::store::{Result, clock::StoreClock};

/// Consecutive timeouts after which a connection is replaced: its peer may have vanished without
/// closing it.
const MAX_CONSECUTIVE_TIMEOUTS: u32 = 3;

/// State shared by all connections of a pool.
#[derive(Debug)]
pub(super) struct PoolHealth {
    /// The server's clock.
    pub(super) clock: StoreClock,
    /// Connections of earlier epochs are not used any more.
    epoch: AtomicU64,
    created: AtomicU64,
    failed: AtomicU64,
    outage: OutageLog,
}

/// A shared connection with its health.
pub(super) struct Handle {
    pub(super) connection: MultiplexedConnection,
    epoch: u64,
    is_broken: AtomicBool,
    consecutive_timeouts: AtomicU32,
}

/// Makes the connections of a pool.
pub(super) struct ConnectionManager {
    pub(super) client: Client,
    pub(super) config: AsyncConnectionConfig,
    pub(super) health: Arc<PoolHealth>,
}

/// Receives the errors of connection attempts, which the users of the pool do not see.
#[derive(Debug, Clone)]
pub(super) struct ConnectErrorSink(pub(super) Arc<PoolHealth>);

/// Creates a client for `url` with the TCP settings of a cache.
pub(super) fn client(url: &str, protocol: ProtocolVersion) -> RedisResult<Client> {
    let info = url.into_connection_info()?;
    let settings = info.redis_settings().clone().set_protocol(protocol);
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(15))
        .with_interval(Duration::from_secs(5));
    let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    Client::open(info.set_redis_settings(settings).set_tcp_settings(tcp))
}

/// Turns a server error into an error: the client library returns it as a value.
pub(super) fn error_or_value(value: Value) -> RedisResult<Value> {
    match value {
        Value::ServerError(error) => Err(error.into()),
        value => Ok(value),
    }
}

// === impl PoolHealth ===

impl PoolHealth {
    pub(super) fn new() -> Self {
        Self {
            clock: StoreClock::new(),
            epoch: AtomicU64::new(0),
            created: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            outage: OutageLog::default(),
        }
    }

    /// Connections made so far.
    pub(super) fn created(&self) -> u64 {
        self.created.load(Ordering::Relaxed)
    }

    /// Attempts to connect that failed.
    pub(super) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    pub(super) fn is_usable(&self, handle: &Handle) -> bool {
        !handle.is_broken.load(Ordering::Relaxed)
            && handle.epoch >= self.epoch.load(Ordering::Relaxed)
    }

    /// Retires a connection and all that were made before it or with it.
    pub(super) fn retire(&self, handle: &Handle) {
        self.epoch.fetch_max(handle.epoch + 1, Ordering::Relaxed);
    }
}

// === impl Handle ===

impl Handle {
    /// Records the outcome of a command for the health of the connection.
    pub(super) fn record<T>(&self, outcome: RedisResult<T>) -> Result<T> {
        match outcome {
            Ok(value) => {
                self.consecutive_timeouts.store(0, Ordering::Relaxed);
                Ok(value)
            }
            Err(error) => {
                // A server that became a replica refuses writes. A new connection may reach the new
                // primary.
                if error.is_unrecoverable_error()
                    || error.is_io_error()
                    || error.code() == Some("READONLY")
                {
                    self.mark_broken();
                }
                Err(error.into())
            }
        }
    }

    pub(super) fn record_timeout(&self) {
        let before = self.consecutive_timeouts.fetch_add(1, Ordering::Relaxed);
        if before + 1 >= MAX_CONSECUTIVE_TIMEOUTS {
            self.mark_broken();
        }
    }

    pub(super) fn mark_broken(&self) {
        self.is_broken.store(true, Ordering::Relaxed);
    }
}

// === impl ConnectionManager ===

impl ManageConnection for ConnectionManager {
    type Connection = Arc<Handle>;
    type Error = RedisError;

    async fn connect(&self) -> std::result::Result<Arc<Handle>, RedisError> {
        let epoch = self.health.epoch.load(Ordering::Relaxed);
        let connection =
            self.client.get_multiplexed_async_connection_with_config(&self.config).await?;
        self.health.created.fetch_add(1, Ordering::Relaxed);
        self.health.outage.recovered();
        Ok(Arc::new(Handle {
            connection,
            epoch,
            is_broken: AtomicBool::new(false),
            consecutive_timeouts: AtomicU32::new(0),
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
        !self.health.is_usable(handle)
    }
}

// === impl ConnectErrorSink ===

impl ErrorSink<RedisError> for ConnectErrorSink {
    fn sink(&self, error: RedisError) {
        self.0.failed.fetch_add(1, Ordering::Relaxed);
        self.0.outage.failed(&error, "cannot connect to Redis");
    }

    fn boxed_clone(&self) -> Box<dyn ErrorSink<RedisError>> {
        Box::new(self.clone())
    }
}
