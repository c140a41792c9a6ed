//! Settings of the store and its connections: `[store]`.

use std::path::PathBuf;
use std::time::Duration;

use super::store_file::url_file;
use super::store_url::{StoreUrl, store_url};
use super::value::{MIB, MILLISECOND, SECOND, count, duration, size, text};
use super::visitor::{ConfigVisitor, Section};

/// `[store]`: the store of the entries and the connections to it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreConfig {
    /// The store.
    pub url: StoreUrl,
    /// The file that the URL was read from; none if it is in the configuration itself.
    pub url_file: Option<PathBuf>,
    /// Prefix of every key in Redis.
    pub prefix: String,
    /// Time limit of one store operation.
    pub timeout: Duration,
    /// Time limit for opening a connection.
    pub connect_timeout: Duration,
    /// Number of connections to Redis, shared by all requests.
    pub connections: usize,
    /// Number of shards of a namespace. All replicas on one Redis and prefix must have the same.
    pub shards: u32,
    /// Consecutive failures after which the store counts as down.
    pub breaker_threshold: u32,
    /// Time between two probes of a store that is down.
    pub probe_interval: Duration,
    /// Memory of a replica for the bans of all namespaces in Redis, in bytes.
    pub max_ban_bytes: u64,
    /// Pause between two sweeps for banned entries.
    pub sweep_interval: Duration,
    /// Keys of Redis that a sweep visits per second; zero for no sweep.
    pub sweep_rate: u32,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            url: StoreUrl::Memory,
            url_file: None,
            prefix: "larder".to_owned(),
            timeout: Duration::from_millis(250),
            connect_timeout: Duration::from_secs(1),
            connections: 4,
            shards: 64,
            breaker_threshold: 5,
            probe_interval: Duration::from_millis(500),
            max_ban_bytes: 64 * MIB,
            sweep_interval: Duration::from_secs(60),
            sweep_rate: 5_000,
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
        visitor.key("prefix", &mut self.prefix, text(PREFIX, is_prefix));
        visitor.key("timeout", &mut self.timeout, duration(MILLISECOND, minute));
        visitor.key("connect_timeout", &mut self.connect_timeout, duration(MILLISECOND, minute));
        visitor.key("connections", &mut self.connections, count(1..=64));
        visitor.key("shards", &mut self.shards, count(1..=4096));
        visitor.key("breaker_threshold", &mut self.breaker_threshold, count(1..=10_000));
        let probe_interval = duration(10 * MILLISECOND, 30 * SECOND);
        visitor.key("probe_interval", &mut self.probe_interval, probe_interval);
        visitor.key("max_ban_bytes", &mut self.max_ban_bytes, size(MIB..=(1 << 40)));
        let sweep_interval = duration(10 * MILLISECOND, 24 * 60 * minute);
        visitor.key("sweep_interval", &mut self.sweep_interval, sweep_interval);
        visitor.key("sweep_rate", &mut self.sweep_rate, count(0..=1_000_000));
    }
}

const PREFIX: &str = "1 to 64 characters of A-Z, a-z, 0-9, '.', '_', ':' and '-'";

/// Braces are not allowed, because they would change the hash tag that selects a key's slot.
fn is_prefix(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._:-".contains(&b);
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}
