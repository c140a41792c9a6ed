//! Settings of Watch: `[watch]`.

use std::time::Duration;

use super::value::{GIB, MIB, MILLISECOND, SECOND, count, duration, size};
use super::visitor::{ConfigVisitor, Section};

/// `[watch]`: the streams of Watch, which deliver the changes of namespaces.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchConfig {
    /// Longest time from the acknowledgement of a change to its event on every stream, or to a
    /// reset. It should be several times the round trip to Redis.
    pub max_delay: Duration,
    /// Time between two heartbeats of a stream.
    pub heartbeat: Duration,
    /// Memory for the changes that streams have still to send, in bytes. The watched namespaces
    /// share it.
    pub buffer_bytes: usize,
    /// Most namespaces that are watched at a time.
    pub max_namespaces: usize,
}

impl Default for WatchConfig {
    fn default() -> Self {
        Self {
            max_delay: Duration::from_secs(1),
            heartbeat: Duration::from_secs(5),
            buffer_bytes: 64 * 1024 * 1024,
            max_namespaces: 256,
        }
    }
}

impl Section for WatchConfig {
    fn visit(&mut self, visitor: &mut impl ConfigVisitor) {
        let delay = duration(100 * MILLISECOND, 60 * SECOND);
        visitor.key("max_delay", &mut self.max_delay, delay);
        let heartbeat = duration(100 * MILLISECOND, 600 * SECOND);
        visitor.key("heartbeat", &mut self.heartbeat, heartbeat);
        visitor.key("buffer_bytes", &mut self.buffer_bytes, size(MIB..=1024 * GIB));
        visitor.key("max_namespaces", &mut self.max_namespaces, count(1..=10_000));
    }
}
