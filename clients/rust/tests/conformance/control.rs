//! The control program (crates/client-control): servers, faults and recorded calls.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::Mutex,
};

use crate::value::Value;

pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub fn conformance() -> PathBuf {
    repository().join("clients/conformance")
}

fn program(variable: &str, name: &str) -> PathBuf {
    match std::env::var_os(variable) {
        Some(path) => path.into(),
        None => repository().join("target/debug").join(name),
    }
}

/// The programs that are not built.
pub fn missing_programs() -> Vec<String> {
    [("LARDER_BIN", "larder"), ("LARDER_CLIENT_CONTROL", "client-control")]
        .into_iter()
        .map(|(variable, name)| (variable, program(variable, name)))
        .filter(|(_, path)| !path.is_file())
        .map(|(variable, path)| format!("{} ({variable})", path.display()))
        .collect()
}

struct Pipes {
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    addresses: Value,
    state: String,
}

/// A running control program, with one server.
pub struct Control {
    pipes: Mutex<Pipes>,
    child: Child,
}

impl Control {
    /// Starts the program and a server.
    pub async fn start() -> Self {
        let mut child = Command::new(program("LARDER_CLIENT_CONTROL", "client-control"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the control program starts");
        let input = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let state = "start".to_owned();
        let pipes = Mutex::new(Pipes { input, output, addresses: Value::Null, state });
        let control = Self { pipes, child };
        let store = std::env::var("LARDER_CONFORMANCE_STORE");
        let addresses = control
            .run(
                "start",
                json!({
                    "binary": program("LARDER_BIN", "larder"),
                    "config": conformance().join("larder.toml"),
                    "store": store.as_deref().unwrap_or("memory"),
                }),
            )
            .await;
        control.pipes.lock().await.addresses = addresses;
        control
    }

    /// Runs a command, and returns its result.
    pub async fn run(&self, command: &str, mut arguments: serde_json::Value) -> Value {
        arguments["do"] = command.into();
        let mut pipes = self.pipes.lock().await;
        let line = format!("{arguments}\n");
        pipes.input.write_all(line.as_bytes()).await.expect("the control program runs");
        let answer = pipes.output.next_line().await.expect("the control program answers");
        let answer = answer.expect("the control program has ended");
        let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
        assert!(answer.get("error").is_none(), "control program: {answer}");
        Value::from_json(answer["ok"].clone())
    }

    /// Forgets calls, script and faults. The gateway has another port afterwards.
    pub async fn clear(&self) {
        let addresses = self.run("clear", json!({})).await;
        self.pipes.lock().await.addresses = addresses;
    }

    pub async fn address(&self, name: &str) -> String {
        let pipes = self.pipes.lock().await;
        pipes.addresses.field(name).and_then(Value::as_text).unwrap_or_default().to_owned()
    }

    /// Stops, starts, pauses or resumes the server.
    pub async fn server(&self, state: &str) {
        self.run("server", json!({"state": state})).await;
        self.pipes.lock().await.state = state.to_owned();
    }

    /// The server runs again, whatever a case has done to it.
    pub async fn restore(&self) {
        let state = self.pipes.lock().await.state.clone();
        match state.as_str() {
            "pause" => self.server("resume").await,
            "stop" => self.server("start").await,
            _ => {}
        }
    }

    /// Ends the program, and with it the server.
    pub async fn close(self) {
        let Self { pipes, mut child } = self;
        drop(pipes);
        let _ = child.wait().await;
    }
}
