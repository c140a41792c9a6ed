//! The audit log: its records, the file, the tail.

// Records of every kind.
mod records;
// Rotation, faults, a full queue, the end.
mod file;
// TailAudit and `larder audit`.
mod tail;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU16, Ordering::Relaxed},
};

use data_encoding::HEXLOWER;
use larder::pb::v1::{
    admin_service_client::AdminServiceClient, cache_service_client::CacheServiceClient,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tonic::{Request, metadata::MetadataValue, transport::Channel};

use crate::support::{
    redis::RedisServer,
    server::{Builder, Larder},
    wait::{SOON, eventually},
};

/// A server with an audit log.
struct Audited {
    // Declared before the store, so that the server is dropped first.
    larder: Larder,
    channel: Channel,
    path: PathBuf,
    _directory: TempDir,
    _redis: Option<RedisServer>,
}

impl Audited {
    /// A server on the embedded store, with further configuration.
    async fn memory(config: &str) -> Self {
        Self::start(Larder::memory(), config, None).await
    }

    /// A server on a new Redis server.
    async fn redis(config: &str) -> Self {
        let redis = RedisServer::start().await;
        let audited = Self::start(Larder::redis(&redis.url()), config, Some(redis)).await;
        eventually("the store answers", SOON, async || {
            let health = audited.larder.admin("/metrics").await.body;
            health.contains("larder_store_healthy 1").then_some(())
        })
        .await;
        audited
    }

    async fn start(builder: Builder, config: &str, redis: Option<RedisServer>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let config = format!("{config}\n[audit]\nto = \"{}\"\n", path.display());
        let builder = builder.env("MINT_KEY", token("mint-key")).config(&config);
        let larder = builder.start().await;
        let endpoint = Channel::from_shared(format!("http://{}", larder.address())).unwrap();
        let channel = endpoint.connect().await.unwrap();
        Self { larder, channel, path, _directory: directory, _redis: redis }
    }

    fn cache(&self) -> CacheServiceClient<Channel> {
        CacheServiceClient::new(self.channel.clone())
    }

    fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel.clone())
    }

    /// The records in the file.
    fn records(&self) -> Vec<Value> {
        records(&self.path)
    }

    /// Waits until a record fulfils a condition, and returns it.
    async fn record(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        eventually(what, SOON, async || self.records().into_iter().find(|record| is_it(record)))
            .await
    }

    /// Waits for the record of a call that is made for this, and returns all before it.
    async fn records_so_far(&self) -> Vec<Value> {
        static NUMBER: AtomicU16 = AtomicU16::new(0);
        let name = format!("marker-{}", NUMBER.fetch_add(1, Relaxed));
        let request = larder::pb::v1::InvalidateNamespaceRequest {
            namespace: name.clone(),
            ..Default::default()
        };
        self.cache().invalidate_namespace(with_token(request, "owner")).await.unwrap();
        let is_marker = |record: &Value| record["namespaces"][0] == name.as_str();
        self.record("the marker is recorded", is_marker).await;
        self.records().into_iter().take_while(|record| !is_marker(record)).collect()
    }
}

/// The records of a file; none if it does not exist.
fn records(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// A token of a principal.
fn token(principal: &str) -> String {
    format!("test-token-of-more-than-32-characters-{principal}")
}

fn digest(principal: &str) -> String {
    format!("sha256:{}", HEXLOWER.encode(&Sha256::digest(token(principal))))
}

fn with_token<T>(message: T, principal: &str) -> Request<T> {
    let mut request = Request::new(message);
    let value = MetadataValue::try_from(format!("Bearer {}", token(principal))).unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

/// A principal `owner` that may do everything, and a `reader` of the namespace `shop`.
fn callers() -> String {
    let principals = ["owner", "reader"].map(|name| {
        let digest = digest(name);
        format!("[auth.principals.{name}]\ntokens = [\"{digest}\"]\nroles = [\"{name}\"]\n")
    });
    format!(
        "[auth]\n[auth.minted]\nkeys = [\"${{env:MINT_KEY}}\"]\n{}\
         [auth.roles.owner]\nallow = [{{ verbs = [\"*\"], namespaces = [\"*\"] }}]\n\
         [auth.roles.reader]\n\
         allow = [{{ verbs = [\"read\", \"admin\"], namespaces = [\"shop\"] }}]\n",
        principals.concat()
    )
}
