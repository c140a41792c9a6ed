//! Servers, faults and recorded calls for the conformance cases of the client libraries.
//!
//! A runner of the cases starts this program and writes one JSON object per line on its standard
//! input. Each is answered by one line on the standard output, in the same order. The end of the
//! input ends the program and all that it has started. `clients/conformance/README.md` lists the
//! commands.

mod command;
mod gateway;
mod larder_process;
mod messages;
mod proxy;
mod raw_codec;
mod recorder;
mod redis_process;
mod session;
mod suspension;
mod wait;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, stdin, stdout};

use self::{command::Envelope, session::Session};

#[tokio::main(worker_threads = 2)]
async fn main() -> std::io::Result<()> {
    let mut session = Session::default();
    let mut lines = BufReader::new(stdin()).lines();
    let mut output = stdout();
    while let Some(line) = lines.next_line().await? {
        if line.trim().is_empty() {
            continue;
        }
        let mut answer = answer_to(&mut session, &line).await.to_string();
        answer.push('\n');
        output.write_all(answer.as_bytes()).await?;
        output.flush().await?;
    }
    session.end().await;
    Ok(())
}

async fn answer_to(session: &mut Session, line: &str) -> Value {
    let Envelope { id, command } = match serde_json::from_str(line) {
        Ok(envelope) => envelope,
        Err(error) => return json!({"id": null, "error": format!("not a command: {error}")}),
    };
    match session.run(command).await {
        Ok(result) => json!({"id": id, "ok": result}),
        Err(error) => json!({"id": id, "error": error.to_string()}),
    }
}
