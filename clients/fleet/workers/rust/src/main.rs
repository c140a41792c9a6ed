//! The Rust worker of the polyglot test: clients/fleet/README.md has the protocol.

mod calls;
mod load;
mod rounds;

use std::{io::Write as _, time::Duration};

use larder_client::{Client, Namespace, NearCache, Preset};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, stdin};

use crate::{calls::Call, load::Load};

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

const NAMESPACE: &str = "polyglot";

/// A line of the input.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
enum Command {
    Connect { preset: String },
    Keys { calls: Vec<Call> },
    Write { calls: Vec<Call>, values: Vec<Value> },
    Read { calls: Vec<Call> },
    Stampede { key: String, callers: usize, seconds: f64, lead: bool },
    Change { kind: String, key: String, tag: String, value: Option<String> },
    Follow { key: String, old: String, new: Option<String>, gone: usize },
    Load { callers: usize, pause: f64 },
    Counts,
    End,
    Close,
}

/// The client of the process, and its handles.
struct Worker {
    client: Client,
    entries: Namespace<Value>,
    near: Namespace<String>,
    load: Option<Load>,
}

impl Worker {
    async fn connect(preset: &str) -> Result<Self, Failure> {
        let builder = Client::from_env().preset(preset.parse::<Preset>()?);
        let client = builder.connect_timeout(Duration::from_secs(20)).connect().await?;
        let entries = client.namespace(NAMESPACE);
        let near = client.namespace(NAMESPACE).near_cache(NearCache::default());
        Ok(Self { client, entries, near, load: None })
    }

    async fn run(&mut self, command: Command) -> Result<Value, Failure> {
        match command {
            Command::Connect { preset } => {
                self.client.close().await;
                *self = Self::connect(&preset).await?;
                Ok(json!("connected"))
            }
            Command::Keys { calls } => calls::keys(&calls),
            Command::Write { calls, values } => calls::write(&self.entries, &calls, &values).await,
            Command::Read { calls } => calls::read(&self.entries, &calls).await,
            Command::Stampede { key, callers, seconds, lead } => {
                rounds::stampede(&self.entries, &key, callers, seconds, lead).await
            }
            Command::Change { kind, key, tag, value } => {
                rounds::change(&self.near, &kind, &key, &tag, value).await
            }
            Command::Follow { key, old, new, gone } => {
                rounds::follow(&self.near, &key, &old, new.as_deref(), gone).await
            }
            Command::Load { callers, pause } => {
                self.load = Some(Load::begin(&self.client, callers, pause));
                Ok(json!("loading"))
            }
            Command::Counts => self.load.as_ref().ok_or("there is no load")?.facts(),
            Command::End => self.load.take().ok_or("there is no load")?.end().await,
            Command::Close => {
                self.client.close().await;
                Ok(json!("closed"))
            }
        }
    }
}

/// Writes one line.
fn answer(value: &Value) -> Result<(), Failure> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{value}")?;
    Ok(output.flush()?)
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut worker = Worker::connect("local").await?;
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let command = serde_json::from_str(&line)?;
        let is_last = matches!(command, Command::Close);
        answer(&worker.run(command).await?)?;
        if is_last {
            break;
        }
    }
    Ok(())
}
