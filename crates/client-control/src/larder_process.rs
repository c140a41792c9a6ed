//! The server as a child process.

use std::{
    collections::BTreeMap,
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use nix::sys::signal::Signal;
use serde_json::Value as Json;
use tokio::{
    fs,
    process::{Child, Command},
    time::timeout,
};

use crate::{
    suspension::{send_signal, suspend},
    wait::until,
};

const START_LIMIT: Duration = Duration::from_secs(20);
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// Prefixes of variables of the caller that would change the server.
const CLEARED_PREFIXES: [&str; 4] = ["LARDER_", "REDIS_", "OTEL_", "RUST_LOG"];

/// How a server is started.
#[derive(Debug, Clone)]
pub(crate) struct LarderOptions {
    pub(crate) binary: PathBuf,
    pub(crate) config: PathBuf,
    pub(crate) store: String,
    pub(crate) environment: BTreeMap<String, String>,
}

/// A server. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct LarderProcess {
    options: LarderOptions,
    log: PathBuf,
    address: SocketAddr,
    /// None while it is stopped.
    process: Option<Child>,
}

// === impl LarderProcess ===

impl LarderProcess {
    /// Starts a server on a free port, with its log in `directory`.
    pub(crate) async fn start(options: LarderOptions, directory: &Path) -> Result<Self, String> {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let log = directory.join("larder.log");
        let mut larder = Self { options, log, address, process: None };
        larder.launch().await?;
        Ok(larder)
    }

    /// The address of its gRPC port.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts the process again on the same port.
    pub(crate) async fn launch(&mut self) -> Result<(), String> {
        if self.process.is_some() {
            return Err("the server runs already".to_owned());
        }
        let log = File::create(&self.log).map_err(|error| format!("log: {error}"))?;
        let mut command = Command::new(&self.options.binary);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if CLEARED_PREFIXES.iter().any(|prefix| text.starts_with(prefix)) {
                command.env_remove(&name);
            }
        }
        command
            .env("LARDER_LISTEN", self.address.to_string())
            .env("LARDER_ADMIN_LISTEN", "127.0.0.1:0")
            .env("LARDER_LOG__FORMAT", "json")
            .env("LARDER_CONFIG", &self.options.config)
            .env("LARDER_STORE", &self.options.store)
            .envs(&self.options.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true);
        let child = command
            .spawn()
            .map_err(|error| format!("{}: {error}", self.options.binary.display()))?;
        let process = self.process.insert(child);
        let log = &self.log;
        let served = until(START_LIMIT, async || {
            let text = fs::read_to_string(log).await.unwrap_or_default();
            let address = text.lines().find_map(serving_address);
            match process.try_wait() {
                Ok(None) => address.map(Ok),
                _ => Some(Err(format!("the server ended: {text}"))),
            }
        });
        match served.await.unwrap_or_else(|| Err("the server does not serve".to_owned())) {
            Ok(address) => {
                self.address = address;
                Ok(())
            }
            Err(error) => {
                self.process = None;
                Err(error)
            }
        }
    }

    /// Ends the process; kills it if it does not end in time.
    pub(crate) async fn stop(&mut self) -> Result<(), String> {
        // A suspended process takes the signal only when it continues.
        send_signal(self.process.as_ref(), Signal::SIGTERM)?;
        self.resume()?;
        let Some(mut process) = self.process.take() else { return Ok(()) };
        if timeout(STOP_LIMIT, process.wait()).await.is_err() {
            process.kill().await.map_err(|error| error.to_string())?;
        }
        Ok(())
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

/// The address in the log entry of the start; none for other entries.
fn serving_address(line: &str) -> Option<SocketAddr> {
    if !line.contains("\"serving\"") {
        return None;
    }
    let entry: Json = serde_json::from_str(line).ok()?;
    let listen = entry.get("listen").or_else(|| entry.get("fields")?.get("listen"))?;
    listen.as_str()?.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_in_the_entry_of_the_start() {
        let line = r#"{"level":"INFO","message":"serving","listen":"127.0.0.1:7"}"#;
        assert_eq!(serving_address(line), Some(SocketAddr::from(([127, 0, 0, 1], 7))));
        assert_eq!(serving_address(r#"{"message":"other","listen":"127.0.0.1:7"}"#), None);
    }
}
