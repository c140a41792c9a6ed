//! The commands of a runner.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;

/// One line of the input.
#[derive(Debug, Deserialize)]
pub(crate) struct Envelope {
    /// Repeated in the answer.
    #[serde(default)]
    pub(crate) id: u64,
    #[serde(flatten)]
    pub(crate) command: ControlCommand,
}

/// A command. Times are milliseconds.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum ControlCommand {
    /// Starts a server, the proxy and the gateway; answers with their addresses.
    Start(StartOptions),
    /// Changes the state of the server.
    Server { state: ServerState },
    /// Changes the state of Redis, if the store is Redis.
    Store { state: ServerState },
    /// Sets the fault of the proxy.
    Fault {
        kind: FaultKind,
        #[serde(default)]
        delay: u64,
    },
    /// Answers with the numbers of connections that the proxy has accepted and that are open.
    Connections,
    /// Adds rules to the script of the gateway.
    Script { rules: Vec<RuleSpec> },
    /// Answers with the calls that the gateway has received.
    Calls {
        /// Only those of this method.
        #[serde(default)]
        method: Option<String>,
    },
    /// Forgets calls and script, resets the connections of the proxy, ends its fault, and moves the
    /// gateway to another port. Answers with the addresses.
    Clear,
}

/// The server to start.
#[derive(Debug, Deserialize)]
pub(crate) struct StartOptions {
    /// The program.
    pub(crate) binary: PathBuf,
    /// Its configuration.
    pub(crate) config: PathBuf,
    #[serde(default)]
    pub(crate) store: StoreKind,
    /// Variables of its environment.
    #[serde(default)]
    pub(crate) environment: BTreeMap<String, String>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StoreKind {
    #[default]
    Memory,
    /// A redis-server on a free port.
    Redis,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ServerState {
    /// Ends the process.
    Stop,
    /// Starts it again on the same port.
    Start,
    /// Suspends it: connections stay open, and nothing is answered.
    Pause,
    /// Continues it.
    Resume,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FaultKind {
    #[default]
    None,
    /// Delays each piece of data, in both directions.
    Latency,
    /// Resets the open connections; new ones work.
    Cut,
    /// Resets the open connections and refuses new ones.
    Refuse,
    /// Keeps connections open, and forwards nothing.
    BlackHole,
}

/// A rule of the script: how the next calls of a method are answered.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleSpec {
    /// Name of the method, or `*` for all.
    pub(crate) method: String,
    /// How many calls it answers; none: all.
    #[serde(default)]
    pub(crate) times: Option<u64>,
    /// How many calls pass before.
    #[serde(default)]
    pub(crate) skip: u64,
    /// Pause before the answer.
    #[serde(default)]
    pub(crate) delay: u64,
    /// Name of a status code. Without it and `reply`, the server answers.
    #[serde(default)]
    pub(crate) status: Option<String>,
    /// Message of the status.
    #[serde(default)]
    pub(crate) message: String,
    /// Reason of its `ErrorInfo`, with the domain `larder`.
    #[serde(default)]
    pub(crate) reason: Option<String>,
    /// Delay of its `RetryInfo`.
    #[serde(default)]
    pub(crate) retry_after: Option<u64>,
    /// Trailer `grpc-retry-pushback-ms`.
    #[serde(default)]
    pub(crate) pushback: Option<i64>,
    /// Response in the text format of protocol buffers, in place of that of the server.
    #[serde(default)]
    pub(crate) reply: Option<String>,
    /// Whether the server receives the call all the same, and its answer is lost.
    #[serde(default)]
    pub(crate) applied: bool,
}
