//! Limits of one process: `[limits]`.

use std::time::Duration;

use super::value::{DAY, GIB, HOUR, KIB, MIB, MILLISECOND, count, duration, size};
use super::visitor::{ConfigVisitor, Section};

/// `[limits]`: upper limits of one process.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitsConfig {
    /// Largest message, in bytes.
    pub max_request_bytes: usize,
    /// Requests processed at the same time. Up to four times as many queue for up to 20 ms; further
    /// requests are rejected as overload. See docs/operations.md#overload.
    pub max_concurrent_requests: usize,
    /// Calls that wait for a value that another call computes or fetches, and background refreshes.
    /// If the namespace has an origin, the call that starts the fetch does not count:
    /// `origin.max_queue` limits those.
    pub max_waiting: usize,
    /// Keys per batch.
    pub max_batch_keys: usize,
    /// Open connections. Above that, a new one displaces a silent or idle one, or is refused: see
    /// docs/operations.md#connections.
    pub max_connections: usize,
    /// Concurrent requests per connection. At most half of them wait for values; further ones are
    /// answered as contended at once.
    pub max_streams_per_connection: u32,
    /// Open FetchStreams. At most a quarter of the streams of a connection are FetchStreams.
    pub max_fetch_streams: usize,
    /// Open streams of the health service (Watch) and of the reflection service. At most a quarter
    /// of the streams of a connection are of this kind.
    pub max_watches: usize,
    /// Open streams of Watch, which deliver the changes of namespaces. At most a quarter of the
    /// streams of a connection are of this kind.
    pub max_watch_streams: usize,
    /// Bytes of requests that are incomplete, and of responses that clients have not read. A
    /// connection may use as much as is free.
    pub max_buffered_bytes: usize,
    /// Time in which a request message must arrive.
    pub request_body_timeout: Duration,
    /// Deadline of GetOrFetch, Stats and streamed batches that have none. Zero: none.
    pub default_deadline: Duration,
    /// Time in which the client must read 16 KiB of a response, or its rest. Otherwise the response
    /// is reset, or its connection is closed.
    pub response_stall_timeout: Duration,
    /// Largest header list of a request, in bytes, with 32 bytes of overhead per header. A larger
    /// one is refused with `RESOURCE_EXHAUSTED`, and one of more than four times the size by
    /// HTTP/2.
    pub max_header_bytes: u32,
    /// Time without open calls after which a connection is closed gracefully. Pings do not count.
    /// Zero: never.
    pub max_connection_idle: Duration,
    /// Age at which a connection is closed gracefully, with a jitter of 10 %. Zero: never.
    pub max_connection_age: Duration,
    /// Time after that in which open calls may end; then the connection is closed.
    pub max_connection_age_grace: Duration,
    /// Time without incoming data after which a connection is probed with a ping.
    pub keepalive_interval: Duration,
    /// Time limit for the answer to that ping.
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
            max_streams_per_connection: 1024,
            max_fetch_streams: 4096,
            max_watches: 4096,
            max_watch_streams: 4096,
            max_buffered_bytes: 256 * 1024 * 1024,
            request_body_timeout: Duration::from_secs(10),
            default_deadline: Duration::from_secs(120),
            response_stall_timeout: Duration::from_secs(30),
            max_header_bytes: 16 * 1024,
            max_connection_idle: Duration::from_secs(15 * 60),
            max_connection_age: Duration::from_secs(5 * 60),
            max_connection_age_grace: Duration::from_secs(5 * 60),
            keepalive_interval: Duration::from_secs(60),
            keepalive_timeout: Duration::from_secs(20),
        }
    }
}

impl Section for LimitsConfig {
    fn visit(&mut self, visitor: &mut impl ConfigVisitor) {
        let million = 1_000_000;
        let min = 100 * MILLISECOND;
        visitor.key("max_request_bytes", &mut self.max_request_bytes, size(65 * KIB..=GIB));
        let max_requests = &mut self.max_concurrent_requests;
        visitor.key("max_concurrent_requests", max_requests, count(1..=million));
        visitor.key("max_waiting", &mut self.max_waiting, count(0..=million));
        visitor.key("max_batch_keys", &mut self.max_batch_keys, count(1..=10_000));
        visitor.key("max_connections", &mut self.max_connections, count(1..=million));
        let max_streams = &mut self.max_streams_per_connection;
        visitor.key("max_streams_per_connection", max_streams, count(1..=65_535));
        visitor.key("max_fetch_streams", &mut self.max_fetch_streams, count(0..=million));
        visitor.key("max_watches", &mut self.max_watches, count(1..=million));
        visitor.key("max_watch_streams", &mut self.max_watch_streams, count(0..=million));
        let max_buffered = &mut self.max_buffered_bytes;
        visitor.key("max_buffered_bytes", max_buffered, size(MIB..=1024 * GIB));
        let body_timeout = &mut self.request_body_timeout;
        visitor.key("request_body_timeout", body_timeout, duration(min, HOUR));
        let deadline = duration(min, DAY).or_zero();
        visitor.key("default_deadline", &mut self.default_deadline, deadline);
        let stall_timeout = &mut self.response_stall_timeout;
        visitor.key("response_stall_timeout", stall_timeout, duration(min, HOUR));
        visitor.key("max_header_bytes", &mut self.max_header_bytes, size(KIB..=MIB));
        let idle = duration(min, 365 * DAY).or_zero();
        visitor.key("max_connection_idle", &mut self.max_connection_idle, idle);
        let age = duration(min, 365 * DAY).or_zero();
        visitor.key("max_connection_age", &mut self.max_connection_age, age);
        let grace = &mut self.max_connection_age_grace;
        visitor.key("max_connection_age_grace", grace, duration(min, DAY));
        visitor.key("keepalive_interval", &mut self.keepalive_interval, duration(min, HOUR));
        visitor.key("keepalive_timeout", &mut self.keepalive_timeout, duration(min, HOUR));
    }
}
