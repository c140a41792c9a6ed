//! The larder binary as a child process.

use std::{
    env,
    fs::{self, File},
    io::{BufRead as _, BufReader, Lines, Write as _},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio},
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{client::Cache, wait::eventually};

const START_LIMIT: Duration = Duration::from_secs(10);
/// Store timeouts with which a busy machine does not look like a store outage.
const LONG_TIMEOUTS: [(&str, &str); 2] =
    [("LARDER_STORE__TIMEOUT", "10s"), ("LARDER_STORE__CONNECT_TIMEOUT", "10s")];
/// Prefixes of variables in the developer's shell that would affect a server.
const CLEARED_PREFIXES: [&str; 4] = ["LARDER_", "REDIS_", "OTEL_", "RUST_LOG"];

/// Configuration of a server to start.
#[derive(Default)]
pub(crate) struct Builder {
    variables: Vec<(String, String)>,
    config: Option<String>,
    max_files: Option<u32>,
    ignores_file_size_signal: bool,
    has_default_timeouts: bool,
}

/// A running server, killed when dropped. If the test fails, the log is printed.
pub(crate) struct Larder {
    process: Child,
    log: Log,
    listen: SocketAddr,
    admin_listen: SocketAddr,
    directory: TempDir,
}

/// Response of an admin endpoint.
pub(crate) struct AdminAnswer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// The standard error of a server. It is a file, so that a line is visible as soon as the server
/// has written it.
struct Log(PathBuf);

// === impl Builder ===

impl Builder {
    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.variables.push((name.to_owned(), value.to_string()));
        self
    }

    /// Sets several environment variables.
    pub(crate) fn envs(self, variables: &[(&str, &str)]) -> Self {
        variables.iter().fold(self, |builder, (name, value)| builder.env(name, value))
    }

    /// Sets the config file.
    pub(crate) fn config(mut self, toml: &str) -> Self {
        self.config = Some(toml.to_owned());
        self
    }

    /// Uses the default store timeouts, for tests in which the store does not answer. Without it
    /// they are [`LONG_TIMEOUTS`].
    pub(crate) fn default_timeouts(mut self) -> Self {
        self.has_default_timeouts = true;
        self
    }

    /// Limits the number of open files.
    pub(crate) fn max_files(mut self, limit: u32) -> Self {
        self.max_files = Some(limit);
        self
    }

    /// A write beyond the limit on the size of files is an error, and does not end the process.
    pub(crate) fn ignores_file_size_signal(mut self) -> Self {
        self.ignores_file_size_signal = true;
        self
    }

    /// Starts the server and waits until it serves.
    pub(crate) async fn start(self) -> Larder {
        let directory = tempfile::tempdir().unwrap();
        let mut command = binary(&match (self.max_files, self.ignores_file_size_signal) {
            (Some(limit), _) => format!("ulimit -n {limit}"),
            (None, true) => "trap '' XFSZ".to_owned(),
            (None, false) => String::new(),
        });
        command.env("LARDER_LISTEN", "127.0.0.1:0").env("LARDER_ADMIN_LISTEN", "127.0.0.1:0");
        command.env("LARDER_LOG__FORMAT", "json");
        if let Some(toml) = &self.config {
            let path = config_path(&directory);
            write(&path, toml);
            command.env("LARDER_CONFIG", path);
        }
        if !self.has_default_timeouts {
            command.envs(LONG_TIMEOUTS);
        }
        command.envs(self.variables).stdin(Stdio::null());
        let log = Log(directory.path().join("stderr"));
        command.stderr(File::create(&log.0).unwrap());
        let mut process = command.spawn().unwrap();
        let Some((listen, admin_listen)) = log.wait_serving(&mut process).await else {
            let _ = process.kill();
            let _ = process.wait();
            panic!("the server did not start; its log:\n{}", log.text());
        };
        Larder { process, log, listen, admin_listen, directory }
    }
}

// === impl Larder ===

impl Larder {
    /// A server on the embedded store.
    pub(crate) fn memory() -> Builder {
        Builder::default().env("LARDER_STORE", "memory")
    }

    /// A server on a Redis.
    pub(crate) fn redis(url: &str) -> Builder {
        Builder::default().env("LARDER_STORE", url)
    }

    /// A client on a new connection.
    pub(crate) async fn client(&self) -> Cache {
        Cache::connect(self.listen).await
    }

    /// The gRPC address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listen
    }

    /// The address of the admin port.
    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.admin_listen
    }

    /// Requests an endpoint of the admin port.
    pub(crate) async fn admin(&self, path: &str) -> AdminAnswer {
        let mut stream = TcpStream::connect(self.admin_listen).await.unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
            self.admin_listen
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
        let status = head.split(' ').nth(1).expect("a status").parse().unwrap();
        AdminAnswer { status, body: body.to_owned() }
    }

    /// Process ID.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Sends a signal to the process.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid().cast_signed()), signal).unwrap();
    }

    /// Kills the process, as a crash would.
    pub(crate) fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Waits until the process exits.
    pub(crate) async fn wait_exit(&mut self, deadline: Duration) -> ExitStatus {
        eventually("the server exits", deadline, async || self.process.try_wait().unwrap()).await
    }

    /// How the process has exited, if it has.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().unwrap()
    }

    /// Rewrites the server's config file.
    pub(crate) fn rewrite_config(&self, toml: &str) {
        write(&config_path(&self.directory), toml);
    }

    /// The log so far.
    pub(crate) fn logs(&self) -> String {
        self.log.text()
    }
}

impl Drop for Larder {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("log of the server on {}:\n{}", self.listen, self.log.text());
        }
    }
}

// === impl Log ===

impl Log {
    /// Waits for the log line with the two addresses. Returns none on a timeout or if the process
    /// ends.
    async fn wait_serving(&self, process: &mut Child) -> Option<(SocketAddr, SocketAddr)> {
        let poll = eventually("the server serves", START_LIMIT * 2, async || {
            let ports = self.text().lines().find_map(serving_ports);
            let ended = ports.is_none() && process.try_wait().unwrap().is_some();
            if ended { Some(None) } else { ports.map(Some) }
        });
        tokio::time::timeout(START_LIMIT, poll).await.ok().flatten()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.0).unwrap()).into_owned()
    }
}

/// Runs the binary with these arguments until it exits.
pub(crate) fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    binary("")
        .args(arguments)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Runs the binary with these arguments and this standard input until it exits.
pub(crate) fn run_with_input(arguments: &[&str], input: &[u8]) -> Output {
    let mut command = binary("");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let mut stdin = process.stdin.take().unwrap();
    // A command that refuses its arguments does not read its input.
    let _ = stdin.write_all(input);
    drop(stdin);
    process.wait_with_output().unwrap()
}

/// Starts the binary with these arguments, and returns its process and the lines that it prints.
pub(crate) fn start(arguments: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut command = binary("");
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = command.spawn().unwrap();
    let stdout = process.stdout.take().unwrap();
    (process, BufReader::new(stdout).lines())
}

/// Runs the binary with a standard output that its reader has closed.
pub(crate) fn run_into_closed_pipe(arguments: &[&str]) -> Output {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    binary("").args(arguments).stdin(Stdio::null()).stdout(writer).output().unwrap()
}

/// A server on free ports that is started by its flags, and that is not waited for.
pub(crate) struct Serving(Child);

impl Serving {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = binary("");
        command.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        let quiet = command.args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
        Self(quiet.spawn().unwrap())
    }

    /// Ends the server, and waits for its end.
    pub(crate) fn terminate(&mut self) {
        kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM).unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The command that runs the binary, after a command of the shell if there is one.
fn binary(before: &str) -> Command {
    let binary = &crate::larder_binary();
    let mut command =
        Command::new(if before.is_empty() { binary.as_path() } else { "sh".as_ref() });
    if !before.is_empty() {
        command.args(["-c", &format!("{before} && exec \"$@\""), "sh"]).arg(binary);
    }
    for (name, _) in env::vars_os() {
        if CLEARED_PREFIXES.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command
}

fn serving_ports(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let fields = line.get("fields")?;
    if fields.get("message")? != "serving" {
        return None;
    }
    let port = |name: &str| fields.get(name)?.as_str()?.parse().ok();
    Some((port("listen")?, port("admin_listen")?))
}

fn config_path(directory: &TempDir) -> PathBuf {
    directory.path().join("larder.toml")
}

fn write(path: &PathBuf, text: &str) {
    File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
}
