//! Settings of the store and its connections: `[store]`.

use std::path::PathBuf;
use std::time::Duration;

use super::diagnostics::Diagnostics;
use super::store_file::url_file;
use super::store_url::{StoreUrl, store_url};
use super::tls::pem;
use super::toml::quoted;
use super::value::{
    MIB, MILLISECOND, SECOND, ValueType, as_integer, as_text, count, duration, mismatch, size,
    text, value_type,
};
use super::visitor::{ConfigVisitor, Section};
use crate::tls::{ClientTlsOptions, PemSource};

/// `[store]`: the store of the entries and the connections to it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreConfig {
    /// The store of the entries. See docs/configuration.md#the-store.
    pub url: StoreUrl,
    /// A file with the URL, in place of `url`. See docs/configuration.md#the-store.
    pub url_file: Option<PathBuf>,
    /// The authorities of Redis' certificates. Empty: those of the system, or of `SSL_CERT_FILE`.
    /// It needs a URL with TLS, as the next two: see docs/security.md#tls-to-redis.
    pub tls_ca: Option<PemSource>,
    /// The certificate that Larder presents to Redis. It needs `tls_key`.
    pub tls_cert: Option<PemSource>,
    /// The key of that certificate.
    pub tls_key: Option<PemSource>,
    /// Prefix of every key in Redis.
    pub prefix: String,
    /// Time limit of one store operation.
    pub timeout: Duration,
    /// Time limit for opening a connection.
    pub connect_timeout: Duration,
    /// Number of connections to Redis, shared by all requests.
    pub connections: usize,
    /// Replicas of Redis that must have a Delete, an invalidation or a Set with a condition before
    /// it is acknowledged. `"all"`: those that are connected, and at least one. See
    /// docs/scale.md#what-a-failover-takes-back.
    pub wait_replicas: WaitReplicas,
    /// Time limit of the wait for replicas.
    pub wait_timeout: Duration,
    /// Deletes and invalidations that were acknowledged in this time before another primary of
    /// Redis answers are applied to it again, because it may lack them. Zero turns that off. See
    /// docs/scale.md#what-a-failover-takes-back.
    pub failover_window: Duration,
    /// Number of shards of a namespace. All replicas on one Redis and prefix must have the same:
    /// another one refuses to start. Change `prefix` with it. See
    /// docs/operations.md#faults-of-redis.
    pub shards: u32,
    /// Consecutive failures after which the store counts as down.
    pub breaker_threshold: u32,
    /// Time between two probes of a store that is down.
    pub probe_interval: Duration,
    /// Memory of a replica for the bans of all namespaces in Redis, in bytes. Beyond it, the bans
    /// of namespaces that were read longest ago are read again when they are needed.
    pub max_ban_bytes: u64,
    /// Pause between two sweeps of Redis for banned entries. See docs/invalidation.md#the-sweep.
    pub sweep_interval: Duration,
    /// Keys of Redis that a sweep visits per second. Zero: no sweep.
    pub sweep_rate: u32,
    /// Pause between two estimates of what namespaces with a quota hold in Redis. See
    /// docs/quotas.md.
    pub quota_interval: Duration,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            url: StoreUrl::Memory,
            url_file: None,
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
            prefix: "larder".to_owned(),
            timeout: Duration::from_millis(250),
            connect_timeout: Duration::from_secs(1),
            connections: 4,
            wait_replicas: WaitReplicas::AtLeast(0),
            wait_timeout: Duration::from_millis(500),
            failover_window: Duration::from_secs(10),
            shards: 64,
            breaker_threshold: 5,
            probe_interval: Duration::from_millis(500),
            max_ban_bytes: 64 * MIB,
            sweep_interval: Duration::from_secs(60),
            sweep_rate: 5_000,
            quota_interval: Duration::from_secs(10),
        }
    }
}

impl Section for StoreConfig {
    fn visit(&mut self, visitor: &mut impl ConfigVisitor) {
        let minute = 60 * SECOND;
        // Only one of the two is rendered. A section that is read has no file before.
        if self.url_file.is_none() {
            visitor.key("url", &mut self.url, store_url());
        }
        visitor.key("url_file", &mut self.url_file, url_file(self.url.to_string()));
        visitor.key("tls_ca", &mut self.tls_ca, pem());
        visitor.key("tls_cert", &mut self.tls_cert, pem());
        visitor.key("tls_key", &mut self.tls_key, pem());
        visitor.key("prefix", &mut self.prefix, text(PREFIX, is_prefix));
        visitor.key("timeout", &mut self.timeout, duration(MILLISECOND, minute));
        visitor.key("connect_timeout", &mut self.connect_timeout, duration(MILLISECOND, minute));
        visitor.key("connections", &mut self.connections, count(1..=64));
        visitor.key("wait_replicas", &mut self.wait_replicas, wait_replicas());
        visitor.key("wait_timeout", &mut self.wait_timeout, duration(MILLISECOND, 30 * SECOND));
        let failover_window = duration(SECOND, 600 * SECOND).or_zero();
        visitor.key("failover_window", &mut self.failover_window, failover_window);
        visitor.key("shards", &mut self.shards, count(1..=4096));
        visitor.key("breaker_threshold", &mut self.breaker_threshold, count(1..=10_000));
        let probe_interval = duration(10 * MILLISECOND, 30 * SECOND);
        visitor.key("probe_interval", &mut self.probe_interval, probe_interval);
        visitor.key("max_ban_bytes", &mut self.max_ban_bytes, size(MIB..=(1 << 40)));
        let sweep_interval = duration(10 * MILLISECOND, 24 * 60 * minute);
        visitor.key("sweep_interval", &mut self.sweep_interval, sweep_interval);
        visitor.key("sweep_rate", &mut self.sweep_rate, count(0..=1_000_000));
        let quota_interval = duration(100 * MILLISECOND, 60 * minute);
        visitor.key("quota_interval", &mut self.quota_interval, quota_interval);
    }
}

impl StoreConfig {
    /// TLS to Redis.
    pub fn tls(&self) -> ClientTlsOptions {
        ClientTlsOptions {
            names: ["store.tls_ca", "store.tls_cert", "store.tls_key"],
            ca: self.tls_ca.clone(),
            cert: self.tls_cert.clone(),
            key: self.tls_key.clone(),
        }
    }

    pub(super) fn check_tls(&self, diagnostics: &mut Diagnostics) {
        let tls = self.tls();
        let [ca, cert, key] = tls.names;
        match (&tls.cert, &tls.key) {
            (Some(_), None) => diagnostics.reject(cert, format!("needs {key}, which is not set")),
            (None, Some(_)) => diagnostics.reject(key, format!("needs {cert}, which is not set")),
            (Some(_), Some(_)) | (None, None) => {}
        }
        for (name, source) in [(ca, &tls.ca), (cert, &tls.cert)] {
            let is_redis = self.url != StoreUrl::Memory;
            if source.is_some() && is_redis && !self.url.has_verified_tls() {
                let message = "needs a store.url with TLS, such as rediss://, without #insecure";
                diagnostics.reject(name, message.to_owned());
            }
        }
    }
}

/// Replicas of Redis that must have a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitReplicas {
    /// A number of them; zero for none.
    AtLeast(u8),
    /// Those that are connected, and at least one.
    All,
}

fn wait_replicas() -> impl ValueType<Value = WaitReplicas> {
    value_type(
        |raw| {
            if as_text(raw).is_some_and(|text| text == "all") {
                return Ok(WaitReplicas::All);
            }
            let count = as_integer(raw).filter(|count| *count <= MAX_REPLICAS);
            let count = count.and_then(|count| u8::try_from(count).ok());
            let expected = format_args!("an integer from 0 to {MAX_REPLICAS}, or \"all\"");
            count.map(WaitReplicas::AtLeast).ok_or_else(|| mismatch(expected, raw))
        },
        |value| match value {
            WaitReplicas::AtLeast(count) => count.to_string(),
            WaitReplicas::All => quoted("all"),
        },
    )
}

const MAX_REPLICAS: u64 = 16;

const PREFIX: &str = "1 to 64 characters of A-Z, a-z, 0-9, '.', '_', ':' and '-'";

/// Braces are not allowed, because they would change the hash tag that selects a key's slot.
fn is_prefix(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._:-".contains(&b);
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}
