//! Connections on which all servers announce changed keys. What they announce is complete only
//! while all of them are open, and while no other server has keys.

use std::time::Duration;

use futures_util::future::{join_all, select_all, try_join, try_join_all};
use redis::{ErrorKind, RedisError, RedisResult, Value};

use super::{
    client_tracking::{ClientTracking, Invalidation},
    router::{Member, Members, Router},
    server_identity::ServerInfo,
};

/// The servers that are followed.
pub(super) struct TrackedServers {
    router: Router,
    /// Number of the set of servers.
    pub(super) version: u64,
    servers: Vec<Tracked>,
}

struct Tracked {
    member: Member,
    connection: ClientTracking,
    server: ServerInfo,
}

impl TrackedServers {
    /// Connects to all servers, see [`ClientTracking::open`].
    pub(super) async fn open(
        router: &Router,
        timeout: Duration,
        prefixes: &[String],
        on_invalidation: impl Fn(Invalidation<'_>) + Clone + Send + Sync + 'static,
    ) -> RedisResult<Self> {
        router.refresh_members().await;
        let Members { version, list } = router.members();
        if list.is_empty() {
            return Err((ErrorKind::Io, "no primary of the Redis Cluster is known").into());
        }
        let opening = list.into_iter().map(async |member| {
            let on_invalidation = on_invalidation.clone();
            let connection =
                ClientTracking::open(&member.endpoint, timeout, prefixes, on_invalidation).await?;
            let server = connection.server().clone();
            Ok::<_, RedisError>(Tracked { member, connection, server })
        });
        let servers = try_join_all(opening).await?;
        for Tracked { member, server, .. } in &servers {
            member.health.meet(server);
        }
        Ok(Self { router: router.clone(), version, servers })
    }

    /// Asks all servers whether they are primaries. What they announced before has been passed on
    /// when it returns.
    pub(super) async fn beat(&self) -> RedisResult<()> {
        let beats = self.servers.iter().map(|server| heartbeat(&server.connection, &server.member));
        // All at the same time, and not only until the first error: its server may be gone.
        join_all(beats).await.into_iter().collect()
    }

    /// Waits for the end of one of the connections.
    pub(super) async fn lost(&self) {
        let lost = self.servers.iter().map(|server| Box::pin(server.connection.lost()));
        select_all(lost).await;
    }

    /// Runs `action` unless there are other servers than these, and returns whether it has run.
    pub(super) fn while_current(&self, action: impl FnOnce()) -> bool {
        let servers = &self.servers;
        self.router.while_members(self.version, || while_all_current(servers, action))
    }

    /// A fault may affect the other connections to the servers as well.
    pub(super) fn retire_all(&self) {
        for server in &self.servers {
            server.member.health.retire_all();
        }
    }
}

fn while_all_current(servers: &[Tracked], action: impl FnOnce()) -> bool {
    let mut action = Some(action);
    let mut run = || {
        if let Some(action) = action.take() {
            action();
        }
    };
    while_rest_current(servers, &mut run)
}

/// Each server is checked under the lock of those before it.
fn while_rest_current(servers: &[Tracked], action: &mut dyn FnMut()) -> bool {
    let Some((first, rest)) = servers.split_first() else {
        action();
        return true;
    };
    let mut are_current = false;
    let identity = first.member.health.server();
    identity.while_current(&first.server, || are_current = while_rest_current(rest, action))
        && are_current
}

/// Checks that the server answers and is still the primary: a server that became a replica may lag
/// behind the new primary, which acknowledges the writes. HELLO returns the role, changes nothing,
/// and is permitted to users with few rights. A primary that is cut off from its cluster reports
/// that the cluster has failed: another one may have its slots.
async fn heartbeat(tracking: &ClientTracking, member: &Member) -> RedisResult<()> {
    // Both at the same time: one that wakes up an idle server costs it more than the command.
    let cluster_state = async {
        if !member.is_in_cluster {
            return Ok(String::new());
        }
        let mut info = redis::cmd("CLUSTER");
        info.arg("INFO");
        Ok::<String, RedisError>(redis::from_redis_value(tracking.query(&info).await?)?)
    };
    let hello = redis::cmd("HELLO");
    let (state, answer) = try_join(cluster_state, tracking.query(&hello)).await?;
    if state.contains("cluster_state:fail") {
        return Err((ErrorKind::Client, "the server is cut off from its cluster").into());
    }
    let Value::Map(fields) = answer else {
        return Err((ErrorKind::UnexpectedReturnType, "unexpected answer to HELLO").into());
    };
    let is = |value: &Value, word: &[u8]| match value {
        Value::BulkString(text) => text == word,
        Value::SimpleString(text) => text.as_bytes() == word,
        _ => false,
    };
    let is_primary = fields.iter().any(|(name, value)| is(name, b"role") && is(value, b"master"));
    if is_primary { Ok(()) } else { Err((ErrorKind::Client, "the server takes no writes").into()) }
}
