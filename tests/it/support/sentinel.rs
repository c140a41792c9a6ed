//! A service: a primary and its replicas, with sentinels that watch over them.

use std::{
    collections::HashMap,
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use redis::aio::MultiplexedConnection;
use tempfile::TempDir;

use super::{
    redis::{RedisServer, free_port},
    server::{Builder, Larder},
    wait::eventually,
};

/// Deadline of all that sentinels do: a failover takes seconds on an idle machine.
pub(crate) const FAILOVER: Duration = Duration::from_secs(30);
/// Name of the service.
pub(crate) const SERVICE: &str = "main";
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
}

/// Passwords of the servers and of the sentinels.
#[derive(Clone, Copy)]
pub(crate) struct Passwords {
    pub(crate) server: &'static str,
    pub(crate) sentinel: &'static str,
}

/// One sentinel process, killed when dropped.
pub(crate) struct SentinelServer {
    process: Option<Child>,
    port: u16,
    configuration: PathBuf,
    password: Option<&'static str>,
    _directory: TempDir,
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
        let mut service = Self { servers, sentinels: Vec::new(), passwords, has_user: false };
        let primary = service.servers[0].port();
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
        service
    }

    /// URL for clients.
    pub(crate) fn url(&self) -> String {
        let hosts: Vec<String> =
            self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect();
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
        let master = eventually("the sentinel answers", FAILOVER, async || {
            self.sentinels[0].master().await
        });
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

// === impl SentinelServer ===

impl SentinelServer {
    async fn start(primary: u16, quorum: usize, passwords: Option<Passwords>) -> Self {
        let mut lines = vec![
            format!("sentinel monitor {SERVICE} 127.0.0.1 {primary} {quorum}"),
            format!("sentinel down-after-milliseconds {SERVICE} 1000"),
            format!("sentinel failover-timeout {SERVICE} 5000"),
            format!("sentinel parallel-syncs {SERVICE} 2"),
        ];
        if let Some(Passwords { server, sentinel }) = passwords {
            lines.push(format!("sentinel auth-pass {SERVICE} {server}"));
            lines.push(format!("requirepass {sentinel}"));
            lines.push(format!("sentinel sentinel-pass {sentinel}"));
        }
        let password = passwords.map(|passwords| passwords.sentinel);
        Self::start_by(&lines, password, |port| vec![format!("port {port}")]).await
    }

    /// Starts a sentinel with these lines of its configuration, and those for its port.
    pub(crate) async fn start_by(
        lines: &[String],
        password: Option<&'static str>,
        of_port: impl Fn(u16) -> Vec<String>,
    ) -> Self {
        // Another process may take the port before the sentinel binds it.
        for _ in 0..10 {
            let directory = tempfile::tempdir().unwrap();
            let port = free_port();
            let configuration = directory.path().join("sentinel.conf");
            let mut all =
                vec!["bind 127.0.0.1".to_owned(), format!("dir {}", directory.path().display())];
            all.extend(of_port(port));
            all.extend_from_slice(lines);
            fs::write(&configuration, all.join("\n") + "\n").unwrap();
            let mut sentinel =
                Self { process: None, port, configuration, password, _directory: directory };
            if sentinel.restart().await {
                return sentinel;
            }
        }
        panic!("no sentinel starts");
    }

    /// Starts the process. Returns false if it ended.
    pub(crate) async fn restart(&mut self) -> bool {
        let mut command = Command::new("redis-server");
        command.arg(&self.configuration).arg("--sentinel");
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = self.process.insert(quiet.spawn().unwrap());
        let port = self.port;
        eventually("a sentinel answers", FAILOVER, async || {
            if process.try_wait().unwrap().is_some() {
                return Some(false);
            }
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok().map(|_| true)
        })
        .await
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Kills the sentinel, as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    pub(crate) fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub(crate) fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Its answer about the service; none if it does not answer.
    pub(crate) async fn master(&self) -> Option<HashMap<String, String>> {
        let mut connection = self.connection().await?;
        let mut master = redis::cmd("SENTINEL");
        master.arg("MASTER").arg(SERVICE).query_async(&mut connection).await.ok()
    }

    /// Begins a failover.
    pub(crate) async fn fail_over(&self) {
        eventually("the failover begins", FAILOVER, async || {
            let mut connection = self.connection().await?;
            let mut failover = redis::cmd("SENTINEL");
            failover.arg("FAILOVER").arg(SERVICE).exec_async(&mut connection).await.ok()
        })
        .await;
    }

    /// Sends a command.
    pub(crate) async fn command(&self, words: &[&str]) {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.exec_async(&mut self.connection().await.unwrap()).await.unwrap();
    }

    async fn connection(&self) -> Option<MultiplexedConnection> {
        let password = self.password.map(|password| format!(":{password}@")).unwrap_or_default();
        let url = format!("redis://{password}127.0.0.1:{}", self.port);
        redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.ok()
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("the sentinel runs");
        kill(Pid::from_raw(process.id().cast_signed()), signal).unwrap();
    }
}

impl Drop for SentinelServer {
    fn drop(&mut self) {
        self.kill();
    }
}
