//! The servers of the test with a real Prometheus: three replicas on one Redis, and others with the
//! parts that these do not have.

use std::{fs, path::PathBuf};

use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{
    client::Cache,
    cluster::RedisCluster,
    origin::Origin,
    redis::RedisServer,
    sentinel::Service,
    server::{Larder, run},
};

/// Token of the scraper and of a session.
const ADMIN_TOKENS: [&str; 2] =
    ["test-token-of-the-scraper-0123456789abcdef", "test-token-of-a-session-0123456789abcdef"];
/// Where the configuration has them from.
const ADMIN_VARIABLES: [&str; 2] = ["${env:SCRAPER}", "${env:SESSION}"];
/// Token of the caller `shop`.
const CALLER_TOKEN: &str = "test-token-of-more-than-32-characters-shop";
/// The secret of a form of the login.
const FORM_SECRET: &str = "0123456789012345678901234567890123456789abc";
/// A public key of an issuer of tokens (RFC 8037, A.2).
const KEY_SET: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","alg":"EdDSA",
    "use":"sig","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

/// All servers. Those of Larder are declared before their stores, so that they are dropped first.
pub(crate) struct Scene {
    /// Three replicas on one Redis. The first has a journal, and the last waits for replicas of
    /// Redis, of which there are none.
    pub(crate) replicas: Vec<Larder>,
    /// A client of each replica.
    pub(crate) caches: Vec<Cache>,
    /// TLS, permissions, quotas, an audit log and a token of the admin port.
    pub(crate) guarded: Larder,
    /// The embedded store with the least memory.
    pub(crate) embedded: Larder,
    /// On a primary that a sentinel names, and on a Redis Cluster.
    others: [Larder; 2],
    pub(crate) redis: RedisServer,
    pub(crate) origin: Origin,
    _service: Service,
    _cluster: RedisCluster,
    files: TempDir,
}

// === impl Scene ===

impl Scene {
    pub(crate) async fn start() -> Self {
        let files = tempfile::tempdir().unwrap();
        let (redis, origin) = (RedisServer::start_tcp().await, Origin::start().await);
        let config = replica_config(&origin.url("/v/{key}"));
        let mut replicas = Vec::new();
        for number in 0..3 {
            let mut builder = Larder::redis(&redis.url()).default_timeouts().config(&config);
            builder = builder.env("LARDER_DEFAULTS__TTL_JITTER", 0);
            // Nothing receives the traces. Only calls whose caller has sampled them have one.
            builder = builder.env("LARDER_TELEMETRY__OTLP_ENDPOINT", "http://127.0.0.1:1");
            builder = builder.env("LARDER_TELEMETRY__SAMPLE_RATIO", 0);
            if number == 0 {
                builder =
                    builder.env("LARDER_JOURNAL__PATH", files.path().join("journal").display());
            }
            if number == 2 {
                builder = builder.env("LARDER_STORE__WAIT_REPLICAS", 1);
                builder = builder.env("LARDER_STORE__WAIT_TIMEOUT", "50ms");
            }
            replicas.push(builder.start().await);
        }
        let mut caches = Vec::new();
        for replica in &replicas {
            caches.push(replica.client().await);
        }
        let (service, cluster) =
            (Service::start_with(0, 1, None).await, RedisCluster::start().await);
        let on_sentinel = service.larder().start().await;
        let on_cluster = Larder::redis(&cluster.url()).start().await;
        let guarded = start_guarded(&files).await;
        let embedded = Larder::memory().env("LARDER_MEMORY__MAX_BYTES", "1MiB").start().await;
        Self {
            replicas,
            caches,
            guarded,
            embedded,
            others: [on_sentinel, on_cluster],
            redis,
            origin,
            _service: service,
            _cluster: cluster,
            files,
        }
    }

    /// Scrape configurations of all servers, with the label `job="larder"`.
    pub(crate) fn scrape_configs(&self) -> String {
        let open = self.replicas.iter().chain(&self.others).chain([&self.embedded]);
        let open: Vec<String> =
            open.map(|server| format!("'{}'", server.admin_address())).collect();
        format!(
            "  - job_name: larder\n    static_configs: [{{ targets: [{}] }}]\n\
             \x20 - job_name: guarded\n    authorization: {{ credentials: {} }}\n\
             \x20   static_configs: [{{ targets: ['{}'], labels: {{ job: larder }} }}]\n",
            open.join(", "),
            ADMIN_TOKENS[0],
            self.guarded.admin_address()
        )
    }

    /// A file that the servers use.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Runs a command of the command line at the guarded server. Returns whether it succeeded.
    pub(crate) fn command(&self, arguments: &[&str], token: &str) -> bool {
        let (address, ca) = (self.guarded.address().to_string(), self.file("ca.crt"));
        let ca = ca.display().to_string();
        let common = ["--address", &address, "--tls-ca", &ca, "--token", token];
        let arguments: Vec<&str> = arguments.iter().chain(&common).copied().collect();
        run(&arguments, &[]).status.success()
    }

    /// The token of the caller that the guarded server has.
    pub(crate) fn caller_token(&self) -> &'static str {
        CALLER_TOKEN
    }

    /// Logs in at the admin port, and ends the session by the removal of its token.
    pub(crate) async fn begin_and_end_session(&self) {
        let address = self.guarded.admin_address();
        let form = format!("csrf={FORM_SECRET}&token={}", ADMIN_TOKENS[1]);
        let request = format!(
            "POST /login HTTP/1.1\r\nhost: {address}\r\norigin: http://{address}\r\n\
             cookie: larder_login={FORM_SECRET}\r\nconnection: close\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
            form.len()
        );
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 303"), "{answer}");
        self.guarded.rewrite_config(&guarded_config(&self.files, &ADMIN_VARIABLES[..1]));
        self.guarded.signal(Signal::SIGHUP);
    }
}

/// Namespaces: `ns` with leases of callers, `near` with a near cache, `api` and `early` with an
/// origin, of which `early` is refreshed early; events.
fn replica_config(url: &str) -> String {
    format!(
        "[namespaces.ns]\nlease_ttl = '1s'\ninvalidation_window = '300ms'\n\
         [namespaces.near.near_cache]\nmax_bytes = '64KiB'\n\
         [namespaces.api]\n\
         [namespaces.api.origin]\nurl = '{url}'\nretries = 0\nearly_refresh = 0\n\
         error_backoff = '1ms'\nsoft_timeout = '300ms'\nbreaker_threshold = 3\n\
         [namespaces.early.origin]\nurl = '{url}'\nearly_refresh = 100\n\
         [[events.changed]]\nnamespace = 'ns'\npattern = '{{id}}:*'\n\
         [[event_sources]]\nredis_stream = 'events'\n"
    )
}

async fn start_guarded(files: &TempDir) -> Larder {
    let directory = files.path().display().to_string();
    let made = run(&["certs", "--out", &directory], &[]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    fs::write(files.path().join("keys.json"), KEY_SET).unwrap();
    let file = |name: &str| files.path().join(name).display().to_string();
    Larder::memory()
        .config(&guarded_config(files, &ADMIN_VARIABLES))
        .env("SCRAPER", ADMIN_TOKENS[0])
        .env("SESSION", ADMIN_TOKENS[1])
        .env("CALLER", CALLER_TOKEN)
        .env("LARDER_TLS__CERT", file("server.crt"))
        .env("LARDER_TLS__KEY", file("server.key"))
        .start()
        .await
}

fn guarded_config(files: &TempDir, admin_tokens: &[&str]) -> String {
    let path = files.path().display();
    format!(
        "[admin]\ntoken = {admin_tokens:?}\n\
         [audit]\nto = '{path}/audit.jsonl'\n\
         [auth.jwt.corp]\nissuer = 'https://idp.example'\naudience = 'larder'\n\
         keys = '{path}/keys.json'\nprincipal = 'sub'\nroles = 'roles'\n\
         [auth.principals.shop]\ntokens = ['${{env:CALLER}}']\nroles = ['shop']\n\
         [auth.roles.shop]\nquota = {{ requests_per_second = 2 }}\n\
         allow = [{{ verbs = ['*'], namespaces = ['shop'] }}]\n\
         [namespaces.shop.quota]\nmax_keys = 1\n"
    )
}
