//! A Redis server for one test, never the developer's.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::Write as _,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use redis::aio::MultiplexedConnection;
use tempfile::TempDir;

use super::{
    proxy::{Proxy, Upstream},
    wait::eventually,
};

/// A server that has saved its writes loads them first.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Commands that servers and tests send in the background, excluded from counts.
const BACKGROUND: [&str; 13] = [
    "ping", "info", "hello", "client", "select", "config", "command", "time", "auth", "dbsize",
    "hgetall", "hset", "hsetnx",
];
/// File in the server's directory with the seconds by which its clock is wrong.
const CLOCK_FILE: &str = "clock";

/// User and password of the client that faults of a proxy in front of all servers concern.
pub(crate) const DISTURBED: &str = "disturbed";

/// One redis-server process, killed when dropped.
pub(crate) struct RedisServer {
    process: Option<Child>,
    endpoint: Endpoint,
    arguments: Vec<String>,
    directory: TempDir,
    has_settable_clock: bool,
}

enum Endpoint {
    // The default: no other process can take a socket between two starts.
    Socket(PathBuf),
    Port(u16),
}

// === impl RedisServer ===

impl RedisServer {
    /// Starts a server on a unix socket.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts a server on a unix socket, with further arguments.
    pub(crate) async fn start_with(arguments: &[&str]) -> Self {
        let mut server = Self::stopped_with(arguments);
        server.restart().await;
        server
    }

    /// Prepares a server on a unix socket without starting it.
    pub(crate) fn stopped() -> Self {
        Self::stopped_with(&[])
    }

    /// Starts a server on a port of the loopback interface.
    pub(crate) async fn start_tcp() -> Self {
        Self::start_tcp_with(&[]).await
    }

    /// Starts a server on a port of the loopback interface, with further arguments.
    pub(crate) async fn start_tcp_with(arguments: &[&str]) -> Self {
        // Another process may take the port before the server binds it.
        for _ in 0..10 {
            let mut server = Self::stopped_with(arguments);
            server.endpoint = Endpoint::Port(free_port());
            server.spawn();
            if server.wait_ready().await {
                return server;
            }
        }
        panic!("redis-server found no free port");
    }

    /// Starts a node of a cluster on two ports of the loopback interface, with further arguments.
    /// Returns its port for other nodes, too.
    pub(crate) async fn start_node(arguments: &[&str]) -> (Self, u16) {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap();
        for _ in 0..10 {
            let (clients, nodes) = (free(), free());
            let [port, bus] = [&clients, &nodes].map(|one| one.local_addr().unwrap().port());
            let bus_port = bus.to_string();
            let mut all = vec!["--cluster-enabled", "yes", "--cluster-port", &bus_port];
            all.extend(arguments);
            let mut server = Self::stopped_with(&all);
            server.endpoint = Endpoint::Port(port);
            drop((clients, nodes));
            server.spawn();
            if server.wait_ready().await {
                return (server, bus);
            }
        }
        panic!("redis-server found no free ports");
    }

    /// The port for clients.
    pub(crate) fn port(&self) -> u16 {
        match &self.endpoint {
            Endpoint::Socket(_) => 0,
            Endpoint::Port(port) => *port,
        }
    }

    /// Prepares a server on a unix socket, with further arguments, without starting it.
    pub(crate) fn stopped_with(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let endpoint = Endpoint::Socket(directory.path().join("redis.sock"));
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Self { process: None, endpoint, arguments, directory, has_settable_clock: false }
    }

    /// Starts a server whose wall clock can be set.
    pub(crate) async fn start_with_settable_clock() -> Self {
        let mut server = Self::stopped().with_settable_clock();
        server.restart().await;
        server
    }

    /// The same server, with a wall clock that can be set. Called before its first start.
    pub(crate) fn with_settable_clock(mut self) -> Self {
        self.has_settable_clock = true;
        self.set_clock(0);
        self
    }

    /// Sets the wall clock of the server to this many seconds after the true time.
    pub(crate) fn set_clock(&self, seconds: i64) {
        // Not truncated, because the server has mapped it.
        let path = self.directory.path().join(CLOCK_FILE);
        let mut file =
            OpenOptions::new().create(true).truncate(false).write(true).open(path).unwrap();
        file.write_all(&seconds.to_ne_bytes()).unwrap();
    }

    /// URL for clients.
    pub(crate) fn url(&self) -> String {
        match &self.endpoint {
            Endpoint::Socket(path) => format!("unix://{}", path.display()),
            Endpoint::Port(port) => format!("redis://127.0.0.1:{port}"),
        }
    }

    /// The directory with the data.
    #[allow(dead_code, reason = "the checker uses it")]
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The address for a proxy.
    pub(crate) fn upstream(&self) -> Upstream {
        match &self.endpoint {
            Endpoint::Socket(path) => Upstream::Socket(path.clone()),
            Endpoint::Port(port) => Upstream::Address(([127, 0, 0, 1], *port).into()),
        }
    }

    /// Kills the server, as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Restarts the server at the same address.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        self.spawn();
        assert!(self.wait_ready().await, "redis-server ended at its start");
    }

    /// Pauses the process without closing its sockets, as an overloaded machine would.
    pub(crate) fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Resumes a paused process.
    pub(crate) fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// A direct connection, for commands that Larder never sends.
    pub(crate) async fn connection(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.url()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// Whether the process was started and not killed.
    pub(crate) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Calls per command since the last [`Self::reset_counts`], without [`BACKGROUND`].
    pub(crate) async fn counts(&self) -> BTreeMap<String, u64> {
        let info: String = redis::cmd("INFO")
            .arg("commandstats")
            .query_async(&mut self.connection().await)
            .await
            .unwrap();
        info.lines().filter_map(parse_count).filter(|(name, _)| !is_background(name)).collect()
    }

    /// Resets the command counts.
    pub(crate) async fn reset_counts(&self) {
        redis::cmd("CONFIG")
            .arg("RESETSTAT")
            .exec_async(&mut self.connection().await)
            .await
            .unwrap();
    }

    fn spawn(&mut self) {
        let mut command = Command::new("redis-server");
        command.arg("--dir").arg(self.directory.path());
        match &self.endpoint {
            Endpoint::Socket(path) => command.args(["--port", "0", "--unixsocket"]).arg(path),
            Endpoint::Port(port) => {
                command.args(["--bind", "127.0.0.1", "--port"]).arg(port.to_string())
            }
        };
        command
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
            .args(&self.arguments);
        if self.has_settable_clock {
            command
                .env("LD_PRELOAD", build_settable_clock(self.directory.path()))
                .env("SETTABLE_CLOCK", self.directory.path().join(CLOCK_FILE));
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("cannot run redis-server ({error}): install it, or run `make test`, which does")
        });
        self.process = Some(child);
    }

    /// Waits until the server answers. Returns false if the process ended.
    async fn wait_ready(&mut self) -> bool {
        let client = redis::Client::open(self.url()).unwrap();
        let process = self.process.as_mut().unwrap();
        eventually("redis-server answers", START_LIMIT, async || {
            if process.try_wait().unwrap().is_some() {
                return Some(false);
            }
            let mut connection = client.get_multiplexed_async_connection().await.ok()?;
            // A server that is still loading its data answers with an error, and so does one that
            // asks for a password.
            let answer = redis::cmd("PING").query_async::<String>(&mut connection).await;
            let is_protected = |error: &redis::RedisError| error.code() == Some("NOAUTH");
            (answer.is_ok() || answer.is_err_and(|error| is_protected(&error))).then_some(true)
        })
        .await
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("the server runs");
        kill(Pid::from_raw(process.id().cast_signed()), signal).unwrap();
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A proxy for a server that announces the proxy's port by this option, and the server's arguments
/// for that. Its faults concern only the user [`DISTURBED`]. It leads to the server when it is
/// redirected there.
pub(crate) async fn announced_way(option: &str) -> (Proxy, Vec<String>) {
    let nowhere = Upstream::Address(([127, 0, 0, 1], 1).into());
    let proxy = Proxy::start_for(nowhere, DISTURBED).await;
    let (port, password) = (proxy.address().port().to_string(), format!(">{DISTURBED}"));
    let user = ["--user", DISTURBED, "on", &password, "~*", "&*", "+@all"];
    let arguments = [option, &port].into_iter().chain(user).map(str::to_owned).collect();
    (proxy, arguments)
}

/// A port that is free at the moment.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Reads a line such as `cmdstat_get:calls=12,usec=...`.
fn parse_count(line: &str) -> Option<(String, u64)> {
    let (name, stats) = line.strip_prefix("cmdstat_")?.split_once(':')?;
    let calls = stats.strip_prefix("calls=")?.split(',').next()?;
    Some((name.to_owned(), calls.parse().ok()?))
}

/// Compiles the library that gives a process another wall clock.
fn build_settable_clock(directory: &Path) -> PathBuf {
    let source = directory.join("settable_clock.c");
    fs::write(&source, include_str!("settable_clock.c")).unwrap();
    let library = directory.join("settable_clock.so");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source);
    assert!(compiler.status().expect("a C compiler, which Rust needs as well").success());
    library
}

fn is_background(name: &str) -> bool {
    let command = name.split('|').next().unwrap_or(name);
    BACKGROUND.contains(&command)
}
