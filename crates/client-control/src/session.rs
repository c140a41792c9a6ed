//! The servers of one runner, and its commands.

use std::time::Duration;

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::{
    command::{ControlCommand, ServerState, StartOptions, StoreKind},
    gateway::Gateway,
    larder_process::{LarderOptions, LarderProcess},
    proxy::FaultProxy,
    recorder::Recorder,
    redis_process::RedisProcess,
};

/// Servers of a runner; none before `start`.
#[derive(Debug, Default)]
pub(crate) struct Session {
    servers: Option<Servers>,
}

#[derive(Debug)]
struct Servers {
    // Before the directory, so that the processes end first.
    larder: LarderProcess,
    redis: Option<RedisProcess>,
    proxy: FaultProxy,
    gateway: Gateway,
    recorder: Recorder,
    _directory: TempDir,
}

/// A command that failed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct CommandError(String);

impl From<String> for CommandError {
    fn from(message: String) -> Self {
        Self(message)
    }
}

// === impl Session ===

impl Session {
    /// Runs a command, and returns its result.
    pub(crate) async fn run(&mut self, command: ControlCommand) -> Result<Json, CommandError> {
        if let ControlCommand::Start(options) = command {
            // The former servers end first.
            self.end().await;
            let servers = Servers::start(options).await?;
            let addresses = servers.addresses();
            self.servers = Some(servers);
            return Ok(addresses);
        }
        let servers = self.servers.as_mut().ok_or_else(|| "`start` comes first".to_owned())?;
        Ok(servers.run(command).await?)
    }

    /// Ends all servers.
    pub(crate) async fn end(&mut self) {
        if let Some(mut servers) = self.servers.take() {
            // It may have been stopped by a case.
            let _ = servers.larder.stop().await;
        }
    }
}

// === impl Servers ===

impl Servers {
    async fn start(options: StartOptions) -> Result<Self, String> {
        let directory = TempDir::with_prefix("larder-conformance.")
            .map_err(|error| format!("directory: {error}"))?;
        let redis = match options.store {
            StoreKind::Memory => None,
            StoreKind::Redis => Some(RedisProcess::start(directory.path()).await?),
        };
        let store = redis.as_ref().map_or_else(|| "memory".to_owned(), RedisProcess::url);
        let StartOptions { binary, config, environment, store: _ } = options;
        let options = LarderOptions { binary, config, store, environment };
        let larder = LarderProcess::start(options, directory.path()).await?;
        let recorder = Recorder::default();
        let proxy = FaultProxy::start(larder.address()).await?;
        let gateway = Gateway::start(larder.address(), recorder.clone()).await?;
        Ok(Self { larder, redis, proxy, gateway, recorder, _directory: directory })
    }

    fn addresses(&self) -> Json {
        json!({
            "server": self.larder.address().to_string(),
            "proxy": self.proxy.address().to_string(),
            "gateway": self.gateway.address().to_string(),
        })
    }

    async fn run(&mut self, command: ControlCommand) -> Result<Json, String> {
        match command {
            ControlCommand::Start(_) => return Err("the servers run already".to_owned()),
            ControlCommand::Server { state } => self.set_server(state).await?,
            ControlCommand::Store { state } => self.set_store(state).await?,
            ControlCommand::Fault { kind, delay } => {
                self.proxy.set(kind, Duration::from_millis(delay)).await?;
            }
            ControlCommand::Connections => {
                let (accepted, open) = self.proxy.connections();
                return Ok(json!({"accepted": accepted, "open": open}));
            }
            ControlCommand::Script { rules } => self.recorder.add_rules(&rules)?,
            ControlCommand::Calls { method } => return Ok(self.recorder.calls(method.as_deref())),
            ControlCommand::Clear => {
                self.recorder.clear();
                self.proxy.clear().await?;
                // gRPC libraries keep the budget of retries by address, also for later clients.
                self.gateway = Gateway::start(self.larder.address(), self.recorder.clone()).await?;
                return Ok(self.addresses());
            }
        }
        Ok(Json::Null)
    }

    async fn set_server(&mut self, state: ServerState) -> Result<(), String> {
        match state {
            ServerState::Stop => self.larder.stop().await,
            ServerState::Start => self.larder.launch().await,
            ServerState::Pause => self.larder.pause().await,
            ServerState::Resume => self.larder.resume(),
        }
    }

    async fn set_store(&mut self, state: ServerState) -> Result<(), String> {
        let redis = self.redis.as_mut().ok_or("the store is not Redis")?;
        match state {
            ServerState::Stop => redis.stop().await,
            ServerState::Start => redis.launch().await,
            ServerState::Pause => redis.pause().await,
            ServerState::Resume => redis.resume(),
        }
    }
}
