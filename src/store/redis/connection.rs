//! One connection to Redis, and what the connections of a pool share.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use bb8_redis::bb8::{ErrorSink, ManageConnection};
use redis::{
    AsyncConnectionConfig, ErrorKind, ProtocolVersion, PushInfo, PushKind, RedisError, RedisResult,
    aio::MultiplexedConnection,
};
use tokio::{
    sync::watch,
    time::{Instant, error::Elapsed, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    endpoint::{Endpoint, Route},
    epochs::Epochs,
    fault::{Fault, words},
    fault_log::FaultLog,
    missing_commands::MissingCommands,
    outage_log::{Outage, OutageLog},
    request::error_or_value,
    server_identity::{ServerIdentity, ServerInfo},
    stream::{Driver, Opened, WrittenBytes},
    tls_check::TlsCheck,
};
use crate::{
    planted::{self, Bug},
    store::clock::StoreClock,
};

/// Consecutive timeouts after which a connection is replaced: its peer may have vanished without
/// closing it.
const MAX_CONSECUTIVE_TIMEOUTS: u32 = 3;

/// Least age of a connection that is replaced because of an error answer. It bounds the rate of new
/// connections to a server that has the fault on each of them.
const MIN_REPLACED_AGE: Duration = Duration::from_millis(500);

/// State shared by all connections of a pool.
#[derive(Debug)]
pub(super) struct PoolHealth {
    /// The server's clock.
    pub(super) clock: StoreClock,
    /// The faults of the server.
    pub(super) faults: FaultLog,
    /// Commands that the server does not have.
    pub(super) missing: MissingCommands,
    /// Connections of earlier epochs are not used any more.
    epoch: AtomicU64,
    /// The epochs of the bans and of the primary.
    epochs: Arc<Epochs>,
    created: AtomicU64,
    failed: AtomicU64,
    resent: AtomicU64,
    outage: OutageLog,
    server: ServerIdentity,
    /// Whether each connection is known to lead to a primary when it is made.
    verifies_role: bool,
    /// The number of shards that the fleet uses, if it is another one than that of this replica.
    pub(super) other_shards: watch::Sender<Option<u16>>,
}

/// A shared connection with its health.
pub(super) struct Handle {
    pub(super) connection: MultiplexedConnection,
    epoch: u64,
    created_at: Instant,
    /// Set by the connection itself when it ends.
    is_broken: Arc<AtomicBool>,
    written: Option<WrittenBytes>,
    driver: Option<Driver>,
    consecutive_timeouts: AtomicU32,
}

/// Makes the connections of a pool.
#[derive(Clone)]
pub(super) struct ConnectionManager {
    pub(super) endpoint: Endpoint,
    pub(super) config: AsyncConnectionConfig,
    /// Limits the time to connect, the first command included.
    pub(super) timeout: Duration,
    pub(super) health: Arc<PoolHealth>,
    pub(super) tls_check: Arc<TlsCheck>,
}

/// Receives the errors of connection attempts, which the users of the pool do not see.
#[derive(Debug, Clone)]
pub(super) struct ConnectErrorSink(pub(super) Arc<PoolHealth>);

/// Leaves the former primary whenever the sentinels name another one, until `stop` is cancelled.
pub(super) fn follow_sentinels(
    endpoint: Endpoint,
    health: Arc<PoolHealth>,
    stop: CancellationToken,
) {
    tokio::spawn(stop.run_until_cancelled_owned(async move {
        if let Some(sentinels) = endpoint.sentinels() {
            sentinels.follow(|term, primary| health.leave(term, primary)).await;
        }
    }));
}

// === impl PoolHealth ===

impl PoolHealth {
    pub(super) fn new(server: ServerIdentity, verifies_role: bool) -> Self {
        Self {
            clock: StoreClock::new(),
            faults: FaultLog::new(),
            missing: MissingCommands::new(),
            epoch: AtomicU64::new(0),
            epochs: Arc::default(),
            created: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            resent: AtomicU64::new(0),
            outage: OutageLog::new(Outage::Connections),
            server,
            verifies_role,
            other_shards: watch::Sender::new(None),
        }
    }

    /// State of the connections to a node of a cluster, whose nodes share the epochs.
    pub(super) fn of_node(server: ServerIdentity, epochs: Arc<Epochs>, node: &str) -> Self {
        Self {
            faults: FaultLog::of_node(node.to_owned()),
            outage: OutageLog::of_node(Outage::Connections, node.to_owned()),
            epochs,
            ..Self::new(server, false)
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

    /// Whether and why no connection can be made.
    pub(super) fn outage(&self) -> &OutageLog {
        &self.outage
    }

    /// Commands that were sent again on another connection.
    pub(super) fn resent(&self) -> u64 {
        self.resent.load(Ordering::Relaxed)
    }

    pub(super) fn count_resent(&self) {
        self.resent.fetch_add(1, Ordering::Relaxed);
    }

    /// The server that is followed.
    pub(super) fn server(&self) -> &ServerIdentity {
        &self.server
    }

    pub(super) fn is_usable(&self, handle: &Handle) -> bool {
        !handle.is_broken.load(Ordering::Relaxed)
            && handle.epoch >= self.epoch.load(Ordering::Acquire)
    }

    /// Retires a connection and all that were made before it or with it.
    pub(super) fn retire(&self, handle: &Handle) {
        self.epoch.fetch_max(handle.epoch + 1, Ordering::AcqRel);
    }

    /// Retires all connections.
    pub(super) fn retire_all(&self) -> u64 {
        self.epoch.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Retires the connections whose age is known to be that of this one at least, unless it is too
    /// young. Returns whether it was retired.
    pub(super) fn replace(&self, handle: &Handle) -> bool {
        let is_replaced = handle.created_at.elapsed() >= MIN_REPLACED_AGE;
        if is_replaced {
            self.retire(handle);
        }
        is_replaced
    }

    /// Retires the connections to a server that is a replica. Returns whether they are retired. If
    /// new ones lead to a primary only, that is done at any age, and what the server announced for
    /// the near cache is not used any more.
    pub(super) fn leave_replica(&self, handle: &Handle) -> bool {
        if planted::is(Bug::FormerPrimaryKept) {
            return false;
        }
        if !self.verifies_role {
            return self.replace(handle);
        }
        self.retire(handle);
        self.server.distrust();
        true
    }

    /// Leaves the former primary: the sentinels name another one.
    pub(super) fn leave(&self, term: u64, primary: &str) {
        self.server.leave(term, primary, || {
            self.epochs.on_other_primary();
            self.retire_all();
        });
    }

    /// Records which server answers on a connection. If it is another one than before, all earlier
    /// connections are retired, and the new epoch is returned.
    pub(super) fn meet(&self, server: &ServerInfo) -> Option<u64> {
        if server.is_replica {
            self.faults.met(Fault::ReadOnly, &"role:slave");
        }
        // A node of a cluster that takes slots over from another one: its replica, or a new node,
        // which receives all entries of a slot that is moved.
        if server.is_promoted && self.server.is_unmet() {
            self.epochs.on_promoted();
        }
        self.server.meet(server, || {
            self.epochs.on_other_primary();
            self.retire_all()
        })
    }

    /// The epochs of the bans and of the primary.
    pub(super) fn epochs(&self) -> &Arc<Epochs> {
        &self.epochs
    }

    /// The copies of the logs of bans may be outdated.
    pub(super) fn forget_bans(&self) {
        self.epochs.forget_bans();
    }
}

// === impl Handle ===

impl Handle {
    /// Bytes written so far; none if they are not counted.
    pub(super) fn written(&self) -> Option<u64> {
        self.written.as_ref().map(WrittenBytes::get)
    }

    pub(super) fn record_success(&self) {
        self.consecutive_timeouts.store(0, Ordering::Relaxed);
    }

    pub(super) fn record_timeout(&self) {
        let before = self.consecutive_timeouts.fetch_add(1, Ordering::Relaxed);
        if before + 1 >= MAX_CONSECUTIVE_TIMEOUTS {
            self.mark_broken();
        }
    }

    /// Whether it has ended, so that there are no more answers. Not known of connections that the
    /// client library opens.
    pub(super) fn has_ended(&self) -> bool {
        self.driver.as_ref().is_some_and(Driver::has_ended)
    }

    pub(super) fn mark_broken(&self) {
        self.is_broken.store(true, Ordering::Relaxed);
    }
}

// === impl ConnectionManager ===

impl ConnectionManager {
    /// On servers and proxies without RESP3, the end of a connection is only noticed when it is
    /// used.
    async fn open(&self, route: &Route, is_broken: &Arc<AtomicBool>) -> RedisResult<Opened> {
        let on_end = is_broken.clone();
        let config = self.config.clone().set_push_sender(move |push: PushInfo| {
            if push.kind == PushKind::Disconnection {
                on_end.store(true, Ordering::Relaxed);
            }
            std::result::Result::<(), redis::aio::SendError>::Ok(())
        });
        match route.open(ProtocolVersion::RESP3, &config).await {
            Err(error) if error.kind() == ErrorKind::RESP3NotSupported => {
                route.open(ProtocolVersion::RESP2, &self.config).await
            }
            opened => opened,
        }
    }
}

impl ConnectionManager {
    /// Replaces an error by its cause if the port and the URL disagree about TLS.
    #[cold]
    async fn explain(&self, route: &Route, error: RedisError) -> RedisError {
        let is_vague = match Fault::of(&error) {
            Fault::Connection => !error.is_connection_refusal(),
            Fault::Timeout | Fault::Protocol => true,
            _ => false,
        };
        if !is_vague {
            return route.explain(error);
        }
        match self.tls_check.disagreement(route.address(), self.timeout).await {
            Some(cause) => (ErrorKind::InvalidClientConfig, cause, cause.to_owned()).into(),
            None => route.explain(error),
        }
    }
}

impl ManageConnection for ConnectionManager {
    type Connection = Arc<Handle>;
    type Error = RedisError;

    async fn connect(&self) -> std::result::Result<Arc<Handle>, RedisError> {
        let epoch = self.health.epoch.load(Ordering::Acquire);
        let is_broken = Arc::new(AtomicBool::new(false));
        let deadline = Instant::now() + self.timeout;
        let route = timeout_at(deadline, self.endpoint.route()).await.unwrap_or_else(timed_out)?;
        let opening = async {
            let mut opened = self.open(&route, &is_broken).await?;
            let server = route.identify(&mut opened.connection).await?;
            Ok::<_, RedisError>((opened, server))
        };
        let opening = async {
            tokio::select! {
                opened = timeout_at(deadline, opening) => opened.unwrap_or_else(timed_out),
                () = self.endpoint.moved(&route) => {
                    Err((ErrorKind::Io, "the sentinels name another primary").into())
                }
            }
        };
        let (opened, server) = match opening.await {
            Ok(opened) => opened,
            Err(error) => return Err(self.explain(&route, error).await),
        };
        let Opened { connection, written, driver } = opened;
        let epoch = self.health.meet(&server).unwrap_or(epoch);
        self.health.created.fetch_add(1, Ordering::Relaxed);
        self.health.outage.works();
        Ok(Arc::new(Handle {
            connection,
            epoch,
            created_at: Instant::now(),
            is_broken,
            written,
            driver,
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

fn timed_out<T>(_: Elapsed) -> RedisResult<T> {
    Err(io::Error::from(io::ErrorKind::TimedOut).into())
}

// === impl ConnectErrorSink ===

impl ErrorSink<RedisError> for ConnectErrorSink {
    fn sink(&self, error: RedisError) {
        self.0.failed.fetch_add(1, Ordering::Relaxed);
        self.0.faults.met(Fault::of(&error), &words(&error));
        self.0.outage.failed(&error);
    }

    fn boxed_clone(&self) -> Box<dyn ErrorSink<RedisError>> {
        Box::new(self.clone())
    }
}
