use std::time::Duration;

use super::value::{DAY, GIB, HOUR, KIB, MIB, MILLISECOND, count, duration, size};
use super::visitor::{ConfigVisitor, Section};

/// `[limits]`: what one process accepts at most.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitsConfig {
    /// The largest message, in bytes.
    pub max_request_bytes: usize,
    /// Requests in work at once; up to four times as many stand in line for 20 ms, more are refused as overload.
    pub max_concurrent_requests: usize,
    /// Calls that wait at once for what somebody else computes or fetches, and refreshes in the background. Where the namespace
    /// has an origin, the call that has a key fetched does not count: the origin's `max_queue` bounds those.
    pub max_waiting: usize,
    /// Keys of one batch.
    pub max_batch_keys: usize,
    /// Connections at once.
    pub max_connections: usize,
    /// Requests at once on one connection.
    pub max_streams_per_connection: u32,
    /// The largest header block, in bytes.
    pub max_header_bytes: u32,
    /// Age at which a connection is asked to go, give or take a tenth; zero = never.
    pub max_connection_age: Duration,
    /// Silence after which a connection is probed.
    pub keepalive_interval: Duration,
    /// How long the answer to such a probe may take.
    pub keepalive_timeout: Duration,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            max_request_bytes: 4 * 1024 * 1024,
            max_concurrent_requests: 8192,
            max_waiting: 4096,
            max_batch_keys: 1000,
            max_connections: 16_384,
            max_streams_per_connection: 256,
            max_header_bytes: 16 * 1024,
            max_connection_age: Duration::from_secs(30 * 60),
            keepalive_interval: Duration::from_secs(60),
            keepalive_timeout: Duration::from_secs(20),
        }
    }
}

impl Section for LimitsConfig {
    fn visit(&mut self, visitor: &mut impl ConfigVisitor) {
        let many = 1_000_000;
        let moment = 100 * MILLISECOND;
        visitor.key("max_request_bytes", &mut self.max_request_bytes, size(65 * KIB..=GIB));
        visitor.key("max_concurrent_requests", &mut self.max_concurrent_requests, count(1..=many));
        visitor.key("max_waiting", &mut self.max_waiting, count(0..=many));
        visitor.key("max_batch_keys", &mut self.max_batch_keys, count(1..=10_000));
        visitor.key("max_connections", &mut self.max_connections, count(1..=many));
        let max_streams = &mut self.max_streams_per_connection;
        visitor.key("max_streams_per_connection", max_streams, count(1..=65_535));
        visitor.key("max_header_bytes", &mut self.max_header_bytes, size(KIB..=MIB));
        let age = duration(moment, 365 * DAY).or_zero();
        visitor.key("max_connection_age", &mut self.max_connection_age, age);
        visitor.key("keepalive_interval", &mut self.keepalive_interval, duration(moment, HOUR));
        visitor.key("keepalive_timeout", &mut self.keepalive_timeout, duration(moment, HOUR));
    }
}
