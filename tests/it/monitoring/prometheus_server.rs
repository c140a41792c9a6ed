//! A Prometheus for one test.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use url::form_urlencoded;

use crate::support::{redis::free_port, wait::eventually};

const START_LIMIT: Duration = Duration::from_secs(30);
/// Time limit of an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// A process, killed when dropped.
pub(crate) struct Prometheus {
    process: Child,
    port: u16,
    // Removed after the process has ended.
    _directory: TempDir,
}

// === impl Prometheus ===

impl Prometheus {
    /// Starts a server with the rules of `deploy/prometheus/rules` and these scrape configurations.
    pub(crate) async fn start(scrape_configs: &str) -> Self {
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join(super::rules::RULES);
        let configuration = format!(
            "global: {{ scrape_interval: 500ms, evaluation_interval: 500ms }}\n\
             rule_files: ['{}/*.yml']\nscrape_configs:\n{scrape_configs}",
            rules.display()
        );
        // Another process may take the port before it is bound.
        for _ in 0..5 {
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("prometheus.yml");
            fs::write(&file, &configuration).unwrap();
            let port = free_port();
            let process = spawn(&file, port);
            let mut server = Self { process, port, _directory: directory };
            if server.is_ready().await {
                return server;
            }
        }
        panic!("Prometheus found no free port, or its configuration is wrong");
    }

    async fn is_ready(&mut self) -> bool {
        eventually("Prometheus is ready", START_LIMIT, async || {
            if self.process.try_wait().unwrap().is_some() {
                return Some(false);
            }
            let answer = request(self.port, "/-/ready")?;
            answer.starts_with("HTTP/1.0 200").then_some(true)
        })
        .await
    }

    /// The `data` of an answer of the API.
    pub(crate) fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let query =
            form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let answer = request(self.port, &format!("/api/v1/{path}?{query}"));
        let answer = answer.ok_or("Prometheus does not answer")?;
        let body = answer.split_once("\r\n\r\n").ok_or("no HTTP answer")?.1;
        let mut body: Value = serde_json::from_str(body).map_err(|error| error.to_string())?;
        match body["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(body["data"].take()),
        }
    }

    /// The series that an expression had at any time since a moment in Unix seconds.
    pub(crate) fn range(
        &self,
        expression: &str,
        since: f64,
        now: f64,
    ) -> Result<Vec<Value>, String> {
        let (start, end) = (since.to_string(), now.to_string());
        let parameters = [("query", expression), ("start", &start), ("end", &end), ("step", "1")];
        let answer = self.ask("query_range", &parameters)?;
        answer["result"].as_array().cloned().ok_or_else(|| format!("no result: {answer}"))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(configuration: &Path, port: u16) -> Child {
    let data = configuration.with_file_name("data");
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", configuration.display()))
        .arg(format!("--storage.tsdb.path={}", data.display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--enable-feature=exemplar-storage")
        .arg("--log.level=error");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().expect("prometheus is installed: `make prometheus` does it")
}

/// An answer over HTTP/1.0; none without a connection.
fn request(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(ANSWER_LIMIT)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
