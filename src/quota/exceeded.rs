//! Why a quota refuses a call.

use std::{sync::Arc, time::Duration};

/// A figure of a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaFigure {
    /// Calls per second.
    RequestsPerSecond,
    /// Bytes per second.
    BytesPerSecond,
    /// Calls at the same time.
    InFlight,
    /// Calls that wait for a value at the same time.
    Waiting,
    /// Open streams.
    Streams,
    /// Leases at the same time.
    Leases,
    /// Bytes of one value.
    ValueBytes,
    /// Entries in the store.
    Keys,
    /// Bytes in the store.
    Bytes,
}

/// A call that a quota does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the quota of {subject} is used up: {} is {limit}", figure.name())]
pub struct QuotaExceeded {
    /// The holder of the quota, such as `principal checkout` or `namespace shop`.
    pub subject: Arc<str>,
    /// The figure.
    pub figure: QuotaFigure,
    /// Its limit.
    pub limit: u64,
    /// Time after which the call can be tried again; `None`: time does not help.
    pub retry_after: Option<Duration>,
}

impl QuotaFigure {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::RequestsPerSecond,
        Self::BytesPerSecond,
        Self::InFlight,
        Self::Waiting,
        Self::Streams,
        Self::Leases,
        Self::ValueBytes,
        Self::Keys,
        Self::Bytes,
    ];

    /// The key in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::RequestsPerSecond => "requests_per_second",
            Self::BytesPerSecond => "bytes_per_second",
            Self::InFlight => "in_flight",
            Self::Waiting => "waiting",
            Self::Streams => "streams",
            Self::Leases => "leases",
            Self::ValueBytes => "max_value_bytes",
            Self::Keys => "max_keys",
            Self::Bytes => "max_bytes",
        }
    }
}
