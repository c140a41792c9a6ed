//! Which server answers: after a failover, the name in the URL may lead to another one, or the
//! sentinels may name another one, while open connections stay with the former primary.

use std::{fmt, sync::Arc};

use parking_lot::Mutex;
use redis::{RedisResult, Value, aio::MultiplexedConnection};
use tokio::{sync::watch, time::Instant};
use xxhash_rust::xxh3::xxh3_64;

use super::fault::Fault;
use crate::{
    planted::{self, Bug},
    store::near_cache::NearCache,
};

/// Identity of a server, from its INFO.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ServerInfo {
    /// Random id of the server's process; none if the server does not report it.
    pub(super) run_id: Option<String>,
    pub(super) is_replica: bool,
    /// Whether the server may have been a replica before: it may lack what its primary had.
    pub(super) is_promoted: bool,
    /// Number of the primary among those that the sentinels have named; zero without sentinels.
    pub(super) term: u64,
}

/// The server that the connections should lead to: the one that the newest connection has met, and
/// none that the sentinels named before. The connections of the pool and the feed of the near cache
/// must agree on it.
pub(super) struct ServerIdentity {
    current: Mutex<Current>,
    changes: watch::Sender<u64>,
    changed_at: Mutex<Instant>,
    near: Arc<NearCache>,
}

#[derive(Debug, Default)]
struct Current {
    run_id: Option<String>,
    term: u64,
    /// Whether the sentinels have named another server, which is not met yet.
    is_left: bool,
}

// === impl ServerInfo ===

impl ServerInfo {
    /// Asks the server on a new connection. A server or a proxy that refuses INFO is unknown.
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
            is_replica: matches!(field("role"), Some("slave" | "replica"))
                && !planted::is(Bug::FormerPrimaryKept),
            is_promoted: field("second_repl_offset") != Some("-1"),
            term: 0,
        }
    }
}

/// Whether the answer to HELLO is that of a replica. It is a map with RESP3, and an array else.
pub(super) fn is_replica(hello: &Value) -> bool {
    let is = |value: &Value, word: &[u8]| match value {
        Value::BulkString(text) => text == word,
        Value::SimpleString(text) => text.as_bytes() == word,
        _ => false,
    };
    let is_role = |name: &Value, value: &Value| {
        is(name, b"role") && (is(value, b"replica") || is(value, b"slave"))
    };
    if planted::is(Bug::FormerPrimaryKept) {
        return false;
    }
    match hello {
        Value::Map(fields) => fields.iter().any(|(name, value)| is_role(name, value)),
        Value::Array(fields) => fields.chunks_exact(2).any(|pair| is_role(&pair[0], &pair[1])),
        _ => false,
    }
}

// === impl ServerIdentity ===

impl ServerIdentity {
    pub(super) fn new(near: Arc<NearCache>) -> Self {
        Self {
            current: Mutex::default(),
            changes: watch::Sender::new(0),
            changed_at: Mutex::new(Instant::now()),
            near,
        }
    }

    /// A number for the server's process, the same in all replicas; zero if it is not known.
    pub(super) fn process_id(&self) -> u64 {
        self.current.lock().run_id.as_ref().map_or(0, |run_id| xxh3_64(run_id.as_bytes()))
    }

    /// Whether no server was met yet.
    pub(super) fn is_unmet(&self) -> bool {
        self.current.lock().run_id.is_none()
    }

    /// Whether no other server was met or named since `instant`.
    pub(super) fn is_unchanged_since(&self, instant: Instant) -> bool {
        *self.changed_at.lock() < instant
    }

    /// Times that another server was met or named.
    pub(super) fn changes(&self) -> u64 {
        *self.changes.borrow()
    }

    /// The same number, with every change.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Records the server of a new connection. If it is another one, `retire` runs, and then the
    /// near cache is dropped: its copies are of the former server. A server that the sentinels do
    /// not name any more is not recorded.
    pub(super) fn meet<T>(&self, server: &ServerInfo, retire: impl FnOnce() -> T) -> Option<T> {
        let run_id = server.run_id.as_ref()?;
        let mut current = self.current.lock();
        let is_named_since = server.term > current.term;
        if server.term < current.term
            || (current.run_id.as_ref() == Some(run_id) && !is_named_since && !current.is_left)
        {
            return None;
        }
        let was_left = std::mem::take(&mut current.is_left);
        current.term = server.term;
        let before = current.run_id.replace(run_id.clone())?;
        if was_left && !is_named_since {
            return None;
        }
        let retired = retire();
        self.near.on_disconnected();
        drop(current);
        self.count_change();
        tracing::warn!(
            %before, now = %run_id, is_replica = server.is_replica,
            "another Redis server answers: earlier connections are replaced"
        );
        Some(retired)
    }

    /// Records that the sentinels name another primary, unless a connection has met it already.
    /// `retire` runs, and then the near cache is dropped.
    pub(super) fn leave(&self, term: u64, primary: &str, retire: impl FnOnce()) {
        let mut current = self.current.lock();
        if term <= current.term {
            return;
        }
        current.term = term;
        current.is_left = true;
        retire();
        self.near.on_disconnected();
        drop(current);
        self.count_change();
        tracing::warn!(primary, "the sentinels name another primary: connections are replaced");
    }

    fn count_change(&self) {
        *self.changed_at.lock() = Instant::now();
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Drops the near cache: the server that announced the changes takes no writes any more.
    pub(super) fn distrust(&self) {
        let _current = self.current.lock();
        self.near.on_disconnected();
    }

    /// Runs `action` unless another server than this one is met or named.
    pub(super) fn while_current(&self, server: &ServerInfo, action: impl FnOnce()) -> bool {
        let current = self.current.lock();
        let is_current = server.term >= current.term
            && match (&current.run_id, &server.run_id) {
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
        f.debug_struct("ServerIdentity").field("current", &self.current).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(run_id: &str) -> ServerInfo {
        ServerInfo { run_id: Some(run_id.to_owned()), ..ServerInfo::default() }
    }

    #[test]
    fn info_has_the_process_and_the_role() {
        let info = "# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\n\r\n# Replication\r\nrole:";
        let parsed = |rest: &str| ServerInfo::parse(&format!("{info}{rest}\r\n"));
        assert_eq!(parsed("master\r\nsecond_repl_offset:-1"), server("abc"));
        assert!(parsed("slave").is_replica);
        let promoted = ServerInfo { is_promoted: true, ..server("abc") };
        assert_eq!(parsed("master\r\nsecond_repl_offset:1417"), promoted);
        assert_eq!(parsed("master"), promoted, "it is not known");
        let unknown = ServerInfo { is_promoted: true, ..ServerInfo::default() };
        assert_eq!(ServerInfo::parse("nonsense"), unknown);
    }

    #[test]
    fn another_server_retires_the_copies_of_the_former_one() {
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

    #[test]
    fn a_server_that_the_sentinels_named_before_is_not_met_again() {
        let identity = ServerIdentity::new(NearCache::new(1));
        let named = |run_id: &str, term| ServerInfo { term, ..server(run_id) };
        assert_eq!(identity.meet(&named("a", 0), || 1), None, "the first server");
        let mut retired = 0;
        identity.leave(1, "b", || retired += 1);
        identity.leave(1, "b", || retired += 1);
        assert_eq!((retired, identity.changes()), (1, 1));
        assert!(!identity.while_current(&named("a", 0), || panic!("the former server")));
        assert_eq!(identity.meet(&named("a", 0), || 2), None, "a late connection");
        assert_eq!(identity.meet(&named("b", 1), || 3), None, "retired already");
        assert!(identity.while_current(&named("b", 1), || ()));
        assert!(!identity.while_current(&named("a", 0), || panic!("the former server")));
        // A connection may be faster than the sentinels' message.
        assert_eq!(identity.meet(&named("a", 2), || 4), Some(4));
        identity.leave(2, "a", || panic!("met already"));
        // The same server was demoted and promoted in between.
        assert_eq!(identity.meet(&named("a", 3), || 5), Some(5));
        assert_eq!(identity.changes(), 3);
    }

    #[test]
    fn role_is_read_from_maps_and_arrays() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        for (role, expected) in [("replica", true), ("slave", true), ("master", false)] {
            let map = Value::Map(vec![(text("proto"), Value::Int(3)), (text("role"), text(role))]);
            assert_eq!(is_replica(&map), expected, "{role}");
            let array = Value::Array(vec![text("proto"), Value::Int(2), text("role"), text(role)]);
            assert_eq!(is_replica(&array), expected, "{role}");
        }
        assert!(!is_replica(&Value::Nil));
    }
}
