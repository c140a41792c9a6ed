//! A redis-server as a child process.

use std::{path::Path, process::Stdio, time::Duration};

use nix::sys::signal::Signal;
use tokio::{
    net::UnixStream,
    process::{Child, Command},
};

use crate::{
    suspension::{send_signal, suspend},
    wait::until,
};

const START_LIMIT: Duration = Duration::from_secs(20);

/// A Redis without persistence on a socket in a directory. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct RedisProcess {
    directory: std::path::PathBuf,
    process: Option<Child>,
}

// === impl RedisProcess ===

impl RedisProcess {
    /// Starts it.
    pub(crate) async fn start(directory: &Path) -> Result<Self, String> {
        let mut redis = Self { directory: directory.to_owned(), process: None };
        redis.launch().await?;
        Ok(redis)
    }

    /// URL for the server.
    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.directory.join("redis.sock").display())
    }

    /// Starts it again, without its former entries.
    pub(crate) async fn launch(&mut self) -> Result<(), String> {
        let socket = self.directory.join("redis.sock");
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(&socket)
            .arg("--dir")
            .arg(&self.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("redis-server: {error}"))?;
        self.process = Some(child);
        until(START_LIMIT, async || UnixStream::connect(&socket).await.ok())
            .await
            .ok_or("redis-server does not answer")?;
        Ok(())
    }

    /// Kills it.
    pub(crate) async fn stop(&mut self) -> Result<(), String> {
        let mut process = self.process.take().ok_or("redis-server does not run")?;
        process.kill().await.map_err(|error| error.to_string())
    }

    /// Suspends the process.
    pub(crate) async fn pause(&self) -> Result<(), String> {
        suspend(self.process.as_ref()).await
    }

    /// Continues the process.
    pub(crate) fn resume(&self) -> Result<(), String> {
        send_signal(self.process.as_ref(), Signal::SIGCONT).map(drop)
    }
}
