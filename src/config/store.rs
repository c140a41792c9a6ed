use std::time::Duration;

use super::StoreUrl;
use super::value::{MIB, MILLISECOND, SECOND, count, duration, size, store_url, text};
use super::visitor::{ConfigVisitor, Section};

/// `[store]`: where entries are kept and how that store is reached.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreConfig {
    /// The store.
    pub url: StoreUrl,
    /// What every key in Redis starts with.
    pub prefix: String,
    /// How long one operation of the store may take.
    pub timeout: Duration,
    /// How long opening a connection may take.
    pub connect_timeout: Duration,
    /// Connections to Redis, shared by all requests.
    pub connections: usize,
    /// Parts a namespace is spread over, each on one slot of a cluster. Changing it empties the
    /// cache.
    pub shards: u32,
    /// Failures in a row after which the store counts as down.
    pub breaker_threshold: u32,
    /// Time between two probes of a store that is down.
    pub probe_interval: Duration,
}

/// `[memory]`: the embedded store.
#[derive(Clone, Debug, PartialEq)]
pub struct MemoryConfig {
    /// Most bytes of keys and values; beyond it the least useful entries go.
    pub max_bytes: u64,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            url: StoreUrl::Memory,
            prefix: "larder".to_owned(),
            timeout: Duration::from_millis(250),
            connect_timeout: Duration::from_secs(1),
            connections: 4,
            shards: 64,
            breaker_threshold: 5,
            probe_interval: Duration::from_millis(500),
        }
    }
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self { max_bytes: 256 * MIB }
    }
}

impl Section for StoreConfig {
    fn visit(&mut self, visitor: &mut impl ConfigVisitor) {
        let minute = 60 * SECOND;
        visitor.key("url", &mut self.url, store_url());
        visitor.key("prefix", &mut self.prefix, text(PREFIX, is_prefix));
        visitor.key("timeout", &mut self.timeout, duration(MILLISECOND, minute));
        visitor.key("connect_timeout", &mut self.connect_timeout, duration(MILLISECOND, minute));
        visitor.key("connections", &mut self.connections, count(1..=64));
        visitor.key("shards", &mut self.shards, count(1..=4096));
        visitor.key("breaker_threshold", &mut self.breaker_threshold, count(1..=10_000));
        let probe_interval = duration(10 * MILLISECOND, 30 * SECOND);
        visitor.key("probe_interval", &mut self.probe_interval, probe_interval);
    }
}

impl Section for MemoryConfig {
    fn visit(&mut self, visitor: &mut impl ConfigVisitor) {
        visitor.key("max_bytes", &mut self.max_bytes, size(MIB..=(1 << 50)));
    }
}

const PREFIX: &str = "1 to 64 characters of A-Z, a-z, 0-9, '.', '_', ':' and '-'";

/// Without braces above all: they would move the hash tag that decides on the slot of a key.
fn is_prefix(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._:-".contains(&b);
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}
