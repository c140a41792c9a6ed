//! One sentinel.

use std::{
    collections::HashMap,
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use redis::aio::MultiplexedConnection;
use tempfile::TempDir;

use super::{redis::free_port, wait::eventually};

/// Deadline of all that sentinels do: a failover takes seconds on an idle machine.
pub(crate) const FAILOVER: Duration = Duration::from_secs(30);
/// Name of the service.
pub(crate) const SERVICE: &str = "main";

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

// === impl SentinelServer ===

impl SentinelServer {
    /// Starts a sentinel that monitors the service.
    pub(crate) async fn start(primary: u16, quorum: usize, passwords: Option<Passwords>) -> Self {
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
