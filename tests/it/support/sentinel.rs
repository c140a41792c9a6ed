//! A service: a primary and its replicas, with sentinels that watch over them.

use std::{collections::HashMap, time::Instant};

use redis::aio::MultiplexedConnection;

use super::{
    proxy::{Proxy, Upstream},
    redis::{DISTURBED, RedisServer, announced_way},
    server::{Builder, Larder},
    wait::eventually,
};

pub(crate) use super::sentinel_server::{FAILOVER, Passwords, SERVICE, SentinelServer};

/// User and password of clients.
const USER: &str = "app:app-password";
/// The first sync of a replica begins at once.
const SERVER_ARGUMENTS: [&str; 4] =
    ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"];

/// A primary, replicas and sentinels.
pub(crate) struct Service {
    pub(crate) servers: Vec<RedisServer>,
    pub(crate) sentinels: Vec<SentinelServer>,
    passwords: Option<Passwords>,
    /// Whether clients have a user of their own.
    has_user: bool,
    ways: Option<Ways>,
}

/// Proxies in front of all servers and sentinels.
pub(crate) struct Ways {
    /// One for each server, whose address the server announces.
    pub(crate) servers: Vec<Proxy>,
    /// One for each sentinel. Only the client with faults uses them.
    pub(crate) sentinels: Vec<Proxy>,
}

// === impl Service ===

impl Service {
    /// Starts a primary, two replicas and three sentinels that have found one another.
    pub(crate) async fn start() -> Self {
        Self::start_with(2, 3, None).await
    }

    /// Starts a primary, `replicas` and `sentinels`, of which most must agree on a failover.
    pub(crate) async fn start_with(
        replicas: usize,
        sentinels: usize,
        passwords: Option<Passwords>,
    ) -> Self {
        let mut arguments = SERVER_ARGUMENTS.to_vec();
        if let Some(Passwords { server, .. }) = passwords {
            arguments.extend(["--requirepass", server, "--masterauth", server]);
        }
        let mut servers = Vec::new();
        for _ in 0..=replicas {
            servers.push(RedisServer::start_tcp_with(&arguments).await);
        }
        let mut service =
            Self { servers, sentinels: Vec::new(), passwords, has_user: false, ways: None };
        service.join(sentinels).await;
        service
    }

    /// As [`Self::start`], with proxies between all servers and their clients. Faults of the
    /// proxies concern only the client with the URL [`Self::disturbed_url`].
    #[allow(dead_code, reason = "the checker uses it")]
    pub(crate) async fn start_with_ways() -> Self {
        let mut ways = Ways { servers: Vec::new(), sentinels: Vec::new() };
        let mut servers = Vec::new();
        for _ in 0..3 {
            let (way, announced) = announced_way("--replica-announce-port").await;
            let mut arguments = SERVER_ARGUMENTS.to_vec();
            arguments.extend(announced.iter().map(String::as_str));
            let server = RedisServer::start_tcp_with(&arguments).await;
            way.redirect(server.upstream());
            servers.push(server);
            ways.servers.push(way);
        }
        let (sentinels, passwords) = (Vec::new(), None);
        let mut service = Self { servers, sentinels, passwords, has_user: false, ways: Some(ways) };
        service.join(3).await;
        for number in 0..service.sentinels.len() {
            let port = service.sentinels[number].port();
            let way = Proxy::start(Upstream::Address(([127, 0, 0, 1], port).into())).await;
            service.ways.as_mut().unwrap().sentinels.push(way);
        }
        service
    }

    /// Makes the other servers replicas of the first one, and starts sentinels.
    async fn join(&mut self, sentinels: usize) {
        let service = self;
        let (replicas, passwords) = (service.servers.len() - 1, service.passwords);
        let primary = service.announced_port(0);
        for index in 1..=replicas {
            let mut replica = service.server_connection(index).await;
            let mut follow = redis::cmd("REPLICAOF");
            follow.arg("127.0.0.1").arg(primary).exec_async(&mut replica).await.unwrap();
        }
        let mut connection = service.server_connection(0).await;
        eventually("the replicas are in sync", FAILOVER, async || {
            let info = replication(&mut connection).await;
            let online = info.values().filter(|value| value.contains("state=online")).count();
            (online == replicas).then_some(())
        })
        .await;
        for _ in 0..sentinels {
            service
                .sentinels
                .push(SentinelServer::start(primary, sentinels / 2 + 1, passwords).await);
        }
        for sentinel in &service.sentinels {
            eventually("the sentinels have found one another", FAILOVER, async || {
                let state = sentinel.master().await?;
                let is = |name: &str, count: usize| state.get(name) == Some(&count.to_string());
                let knows_all =
                    is("num-other-sentinels", sentinels - 1) && is("num-slaves", replicas);
                knows_all.then_some(())
            })
            .await;
        }
    }

    /// The port at which a server is known to the others.
    pub(crate) fn announced_port(&self, index: usize) -> u16 {
        match &self.ways {
            Some(ways) => ways.servers[index].address().port(),
            None => self.servers[index].port(),
        }
    }

    /// The proxies.
    #[allow(dead_code, reason = "the checker uses it")]
    pub(crate) fn ways(&mut self) -> &mut Ways {
        self.ways.as_mut().expect("a service with proxies")
    }

    /// URL for the client that the faults of the proxies concern.
    #[allow(dead_code, reason = "the checker uses it")]
    pub(crate) fn disturbed_url(&self) -> String {
        let ways = self.ways.as_ref().expect("a service with proxies");
        let hosts: Vec<String> =
            ways.sentinels.iter().map(|way| way.address().to_string()).collect();
        format!("redis-sentinel://{DISTURBED}:{DISTURBED}@{}/{SERVICE}", hosts.join(","))
    }

    /// The server that the sentinels name.
    #[allow(dead_code, reason = "the checker uses it")]
    pub(crate) async fn primary(&self) -> usize {
        let port = self.primary_port().await;
        let numbers = 0..self.servers.len();
        numbers.into_iter().find(|index| self.announced_port(*index) == port).unwrap()
    }

    /// Waits until all sentinels name the same server, and begin nothing.
    #[allow(dead_code, reason = "the checker uses it")]
    pub(crate) async fn await_agreement(&self) {
        eventually("the sentinels agree", FAILOVER, async || {
            let mut ports = Vec::new();
            for sentinel in &self.sentinels {
                let master = sentinel.master().await?;
                if master["flags"] != "master" {
                    return None;
                }
                ports.push(master["port"].clone());
            }
            ports.dedup();
            let is_one = ports.len() == 1;
            let is_steady = is_one && self.believes_to_be_primary(self.primary().await).await;
            is_steady.then_some(())
        })
        .await;
    }

    /// URL for clients.
    pub(crate) fn url(&self) -> String {
        let hosts: Vec<String> = self
            .sentinels
            .iter()
            .map(|sentinel| format!("127.0.0.1:{}", sentinel.port()))
            .collect();
        let hosts = hosts.join(",");
        match self.passwords {
            None if self.has_user => format!("redis-sentinel://{USER}@{hosts}/{SERVICE}"),
            None => format!("redis-sentinel://{hosts}/{SERVICE}"),
            Some(Passwords { server, sentinel }) => {
                format!("redis-sentinel://:{server}@{hosts}/{SERVICE}?sentinel_password={sentinel}")
            }
        }
    }

    /// Gives clients a user of their own on all servers.
    pub(crate) async fn add_user(&mut self) {
        let (name, password) = USER.split_once(':').unwrap();
        for index in 0..self.servers.len() {
            let mut connection = self.server_connection(index).await;
            let mut user = redis::cmd("ACL");
            user.arg("SETUSER").arg(name).arg("on").arg(format!(">{password}"));
            user.arg(&["~*", "&*", "+@all"]).exec_async(&mut connection).await.unwrap();
        }
        self.has_user = true;
    }

    /// Shuts the sentinels and the replicas out of the first server, which clients still reach by
    /// their user. The sentinels cannot demote it.
    pub(crate) async fn isolate_primary(&self) {
        let mut connection = self.server_connection(0).await;
        for words in [["ACL", "SETUSER", "default", "off"], ["CLIENT", "KILL", "USER", "default"]] {
            let mut command = redis::cmd(words[0]);
            command.arg(&words[1..]).exec_async(&mut connection).await.unwrap();
        }
        // The links of replicas do not count as connections of a user.
        let mut kill = redis::cmd("CLIENT");
        kill.arg("KILL").arg("TYPE").arg("replica").exec_async(&mut connection).await.unwrap();
    }

    /// A server of Larder on this service.
    pub(crate) fn larder(&self) -> Builder {
        Larder::redis(&self.url()).default_timeouts()
    }

    /// A direct connection to a server.
    pub(crate) async fn server_connection(&self, index: usize) -> MultiplexedConnection {
        let url = self.servers[index].url();
        let url = match self.passwords {
            None if self.has_user => url.replace("://", &format!("://{USER}@")),
            None => url,
            Some(Passwords { server, .. }) => url.replace("://", &format!("://:{server}@")),
        };
        let client = redis::Client::open(url).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// Waits until one of the replicas is the primary, and returns it with the time.
    pub(crate) async fn promoted(&self) -> (usize, Instant) {
        let mut connections = Vec::new();
        for index in 1..self.servers.len() {
            connections.push((index, self.server_connection(index).await));
        }
        eventually("a replica is promoted", FAILOVER, async || {
            for (index, connection) in &mut connections {
                // The sentinels end all connections to a server that they promote.
                let role = replication(connection).await;
                if role.is_empty() {
                    *connection = self.server_connection(*index).await;
                }
                if role.get("role").is_some_and(|role| role == "master") {
                    return Some((*index, Instant::now()));
                }
            }
            None
        })
        .await
    }

    /// Waits until the replicas of the first server have what it has now.
    pub(crate) async fn is_in_sync(&self) {
        let offset = |info: &HashMap<String, String>, name: &str| {
            info.get(name).and_then(|offset| offset.parse::<u64>().ok())
        };
        let mut primary = self.server_connection(0).await;
        let written = offset(&replication(&mut primary).await, "master_repl_offset").unwrap();
        for index in 1..self.servers.len() {
            let mut replica = self.server_connection(index).await;
            eventually("a replica is in sync", FAILOVER, async || {
                let read = offset(&replication(&mut replica).await, "slave_repl_offset")?;
                (read >= written).then_some(())
            })
            .await;
        }
    }

    /// Whether a server has an entry with this key.
    pub(crate) async fn has_entry(&self, index: usize, key: &str) -> bool {
        !self.names_of_entry(index, key).await.is_empty()
    }

    /// The entry with this key on the first server: its name in Redis and its bytes.
    pub(crate) async fn copy_entry(&self, key: &str) -> (String, Vec<u8>) {
        let name = self.names_of_entry(0, key).await.remove(0);
        let mut connection = self.server_connection(0).await;
        let dump = redis::cmd("DUMP").arg(&name).query_async(&mut connection).await.unwrap();
        (name, dump)
    }

    /// Puts the entry on the first server again.
    pub(crate) async fn restore_entry(&self, (name, dump): &(String, Vec<u8>)) {
        let mut restore = redis::cmd("RESTORE");
        restore.arg(name).arg(0).arg(dump).arg("REPLACE");
        restore.exec_async(&mut self.server_connection(0).await).await.unwrap();
    }

    async fn names_of_entry(&self, index: usize, key: &str) -> Vec<String> {
        let mut keys = redis::cmd("KEYS");
        keys.arg(format!("larder:{{ns:*}}:k:{key}"));
        keys.query_async(&mut self.server_connection(index).await).await.unwrap()
    }

    /// Makes the sentinels replace the primary, and waits until they name the other server.
    pub(crate) async fn fail_over_from(&self, primary: u16) {
        self.sentinels[0].fail_over().await;
        eventually("another primary is named", FAILOVER, async || {
            let mut agree = 0;
            for sentinel in &self.sentinels {
                let master = sentinel.master().await?;
                let is_steady = !master["flags"].contains("failover_in_progress");
                agree += usize::from(is_steady && master["port"] != primary.to_string());
            }
            (agree == self.sentinels.len()).then_some(())
        })
        .await;
    }

    /// Port of the primary that the first sentinel names.
    pub(crate) async fn primary_port(&self) -> u16 {
        let master =
            eventually("the sentinel answers", FAILOVER, async || self.sentinels[0].master().await);
        master.await["port"].parse().unwrap()
    }

    /// Whether a server believes that it is the primary.
    pub(crate) async fn believes_to_be_primary(&self, index: usize) -> bool {
        let info = replication(&mut self.server_connection(index).await).await;
        info.get("role").is_some_and(|role| role == "master")
    }
}

/// The section of INFO; empty if the connection has ended.
async fn replication(connection: &mut MultiplexedConnection) -> HashMap<String, String> {
    let info = redis::cmd("INFO").arg("replication").query_async::<String>(connection).await;
    let info = info.unwrap_or_default();
    let fields = info.lines().filter_map(|line| line.split_once(':'));
    fields.map(|(name, value)| (name.to_owned(), value.trim_end().to_owned())).collect()
}
