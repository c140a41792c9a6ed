//! The real server on a free port, with the embedded store.

use std::{collections::VecDeque, io, path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    process::{Child, Command},
    sync::mpsc,
};

/// Configuration that makes tests repeatable: TTLs are as they were given.
const CONFIG: &str = "[defaults]\nttl_jitter = 0.0\n";
const KEPT_LINES: usize = 100;
const START: Duration = Duration::from_secs(10);
/// Variables of the caller could point the server at a store that tests must not write to.
const CLEARED: [&str; 3] = ["LARDER_", "REDIS_", "OTEL_"];

/// The server does not start, or does not end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The binary cannot be run: `LARDER_BIN` names another.
    #[error("{binary}: {source} (LARDER_BIN names another binary)")]
    NotRun {
        /// The binary.
        binary: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It has ended, or does not serve in time.
    #[error("the server does not serve within {within:?}:\n{log}")]
    NotServing {
        /// Time for the start.
        within: Duration,
        /// The last lines of its log.
        log: String,
    },
    /// Its configuration cannot be written, or its end cannot be waited for.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Options of a server for tests.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The binary: `LARDER_BIN`, else `larder` on the path.
    pub binary: Option<PathBuf>,
    /// Configuration in TOML; TTLs are without jitter by default.
    pub config: String,
    /// Variables of the server, such as `LARDER_LOG__LEVEL`.
    pub environment: Vec<(String, String)>,
    /// The port; a free one by default.
    pub port: u16,
    /// Time for the start: 10 s.
    pub timeout: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            binary: None,
            config: CONFIG.to_owned(),
            environment: Vec::new(),
            port: 0,
            timeout: START,
        }
    }
}

/// A running server. It ends when it is dropped.
#[derive(Debug)]
pub struct LarderServer {
    child: Child,
    config: PathBuf,
    target: String,
    log: Arc<Mutex<VecDeque<String>>>,
}

impl LarderServer {
    /// Starts a server, and waits until it serves.
    ///
    /// # Errors
    ///
    /// It does not start; the error has its log.
    pub async fn start(options: ServerOptions) -> Result<Self, ServerError> {
        let named = std::env::var_os("LARDER_BIN").map(PathBuf::from);
        let binary = options.binary.or(named).unwrap_or_else(|| PathBuf::from("larder"));
        let config =
            std::env::temp_dir().join(format!("larder-test-{:x}.toml", rand::random::<u64>()));
        std::fs::write(&config, &options.config)?;
        let mut command = Command::new(&binary);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if CLEARED.iter().any(|prefix| text.starts_with(prefix)) {
                command.env_remove(&name);
            }
        }
        let spawned = command
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .env("LARDER_LISTEN", format!("127.0.0.1:{}", options.port))
            .env("LARDER_ADMIN_LISTEN", "127.0.0.1:0")
            .env("LARDER_LOG__FORMAT", "json")
            .envs(options.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(source) => {
                let _ = std::fs::remove_file(&config);
                return Err(ServerError::NotRun { binary, source });
            }
        };
        let log: Arc<Mutex<VecDeque<String>>> = Arc::default();
        let (sender, mut listens) = mpsc::unbounded_channel();
        if let Some(output) = child.stdout.take() {
            tokio::spawn(follow(output, Arc::clone(&log), sender.clone()));
        }
        if let Some(output) = child.stderr.take() {
            tokio::spawn(follow(output, Arc::clone(&log), sender));
        }
        let mut server = Self { child, config, target: String::new(), log };
        // Both outputs end with the server.
        match tokio::time::timeout(options.timeout, listens.recv()).await {
            Ok(Some(listen)) => server.target = listen,
            Ok(None) | Err(_) => {
                let log = server.log().join("\n");
                return Err(ServerError::NotServing { within: options.timeout, log });
            }
        }
        Ok(server)
    }

    /// `host:port`, for [`Client::builder`](crate::Client::builder).
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The process id, to pause the server with a signal; `None` after its end.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// The last lines of the log.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.log.lock().iter().cloned().collect()
    }

    /// Kills the server, and waits for its end. It can be repeated.
    ///
    /// # Errors
    ///
    /// Its end cannot be waited for.
    pub async fn stop(&mut self) -> Result<(), ServerError> {
        Ok(self.child.kill().await?)
    }
}

impl Drop for LarderServer {
    fn drop(&mut self) {
        // A file that stays is small.
        let _ = std::fs::remove_file(&self.config);
    }
}

async fn follow(
    output: impl AsyncRead + Unpin,
    log: Arc<Mutex<VecDeque<String>>>,
    listens: mpsc::UnboundedSender<String>,
) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let record: Option<serde_json::Value> =
            line.contains("serving").then(|| serde_json::from_str(&line).ok()).flatten();
        let listen = record.as_ref().and_then(|record| record.pointer("/fields/listen")?.as_str());
        if let Some(listen) = listen {
            // The start may be over.
            let _ = listens.send(listen.to_owned());
        }
        let mut log = log.lock();
        if log.len() == KEPT_LINES {
            log.pop_front();
        }
        log.push_back(line);
    }
}
