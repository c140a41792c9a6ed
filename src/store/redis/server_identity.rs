//! Which server answers: after a failover, the name in the URL may lead to another one while open
//! connections stay with the former primary.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use redis::{RedisResult, Value, aio::MultiplexedConnection};
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use super::fault::Fault;
use crate::store::near_cache::NearCache;

/// What a server says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ServerInfo {
    /// Random id of the server's process; none if it is not told.
    pub(super) run_id: Option<String>,
    pub(super) is_replica: bool,
}

/// The server that the connections should lead to: the one that the newest connection has met. The
/// connections of the pool and the feed of the near cache must agree on it.
pub(super) struct ServerIdentity {
    run_id: Mutex<Option<String>>,
    changes: AtomicU64,
    changed_at: Mutex<Instant>,
    near: Arc<NearCache>,
}

// === impl ServerInfo ===

impl ServerInfo {
    /// Asks the server on a new connection. A server or a proxy that refuses to tell is unknown.
    pub(super) async fn ask(connection: &mut MultiplexedConnection) -> RedisResult<Self> {
        let mut info = redis::cmd("INFO");
        info.arg("server").arg("replication");
        match connection.send_packed_command(&info).await? {
            Value::ServerError(error) => {
                let fault = Fault::of(&error.clone().into());
                if fault.kind().is_outage() { Err(error.into()) } else { Ok(Self::default()) }
            }
            answer => Ok(redis::from_redis_value(answer)
                .map_or_else(|_| Self::default(), |text: String| Self::parse(&text))),
        }
    }

    fn parse(info: &str) -> Self {
        let field = |name: &str| {
            info.lines().find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'))
        };
        Self {
            run_id: field("run_id").filter(|id| !id.is_empty()).map(str::to_owned),
            is_replica: matches!(field("role"), Some("slave" | "replica")),
        }
    }
}

// === impl ServerIdentity ===

impl ServerIdentity {
    pub(super) fn new(near: Arc<NearCache>) -> Self {
        Self {
            run_id: Mutex::new(None),
            changes: AtomicU64::new(0),
            changed_at: Mutex::new(Instant::now()),
            near,
        }
    }

    /// A number for the server's process, the same in all replicas; zero if it is not known.
    pub(super) fn process_id(&self) -> u64 {
        self.run_id.lock().as_ref().map_or(0, |run_id| xxh3_64(run_id.as_bytes()))
    }

    /// Whether no other server was met since `instant`.
    pub(super) fn is_unchanged_since(&self, instant: Instant) -> bool {
        *self.changed_at.lock() < instant
    }

    /// Times that another server was met.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Records the server of a new connection. If it is another one, `retire` runs, and then the
    /// near cache is dropped: what it holds was said by the former server.
    pub(super) fn meet<T>(&self, server: &ServerInfo, retire: impl FnOnce() -> T) -> Option<T> {
        let run_id = server.run_id.as_ref()?;
        let mut current = self.run_id.lock();
        if current.as_ref() == Some(run_id) {
            return None;
        }
        let before = current.replace(run_id.clone())?;
        let retired = retire();
        self.near.on_disconnected();
        drop(current);
        *self.changed_at.lock() = Instant::now();
        self.changes.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            %before, now = %run_id, is_replica = server.is_replica,
            "another Redis server answers: earlier connections are replaced"
        );
        Some(retired)
    }

    /// Runs `action` unless another server than this one is met.
    pub(super) fn while_current(&self, server: &ServerInfo, action: impl FnOnce()) -> bool {
        let current = self.run_id.lock();
        let is_current = match (&*current, &server.run_id) {
            (Some(current), Some(run_id)) => current == run_id,
            _ => true,
        };
        if is_current {
            action();
        }
        is_current
    }
}

impl fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerIdentity").field("run_id", &self.run_id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(run_id: &str) -> ServerInfo {
        ServerInfo { run_id: Some(run_id.to_owned()), is_replica: false }
    }

    #[test]
    fn info_tells_the_process_and_the_role() {
        let info = "# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\n\r\n# Replication\r\nrole:";
        assert_eq!(ServerInfo::parse(&format!("{info}master\r\n")), server("abc"));
        assert!(ServerInfo::parse(&format!("{info}slave\r\n")).is_replica);
        assert_eq!(ServerInfo::parse("nonsense"), ServerInfo::default());
    }

    #[test]
    fn another_server_retires_what_the_former_one_said() {
        let identity = ServerIdentity::new(NearCache::new(1));
        assert_eq!(identity.meet(&server("a"), || 1), None, "the first server");
        assert_eq!(identity.meet(&server("a"), || 2), None, "the same server");
        assert_eq!(identity.meet(&ServerInfo::default(), || 3), None, "an unknown server");
        assert!(identity.while_current(&server("a"), || ()));
        assert_eq!(identity.meet(&server("b"), || 4), Some(4));
        assert_eq!(identity.changes(), 1);
        assert!(!identity.while_current(&server("a"), || panic!("the former server")));
        assert!(identity.while_current(&server("b"), || ()));
        assert!(identity.while_current(&ServerInfo::default(), || ()));
    }
}
