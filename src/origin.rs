//! Where the cache fetches what it does not have: systems that the operator names, one per namespace.
//!
//! An origin translates an [`FetchRequest`] into its protocol and the answer into an [`FetchResponse`]. It knows nothing of leases, of the store
//! or of who waits; how often and how many at once it is asked is decided by the gate in front of it.

pub mod client;
pub mod grpc;
pub mod http;
mod latency_estimator;
pub mod metrics;
pub mod registry;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use crate::model::{EntryKey, Kind, Tags, Violation};

pub use crate::model::Validators;

/// Result of asking an origin.
pub type Result<T> = std::result::Result<T, Error>;

/// A system that has the values.
#[async_trait]
pub trait Origin: Send + Sync {
    /// Fetches one value. Asking twice must do no harm. The caller gives up at the order's deadline by dropping the future.
    ///
    /// # Errors
    /// Anything but a value, the word that there is none, or that it has not changed.
    async fn fetch(&self, order: &FetchRequest) -> Result<FetchResponse>;

    /// Most orders that [`Origin::fetch_batch`] takes at once; 1 if there is nothing to gain by it.
    fn batch_limit(&self) -> usize {
        1
    }

    /// Fetches up to [`Origin::batch_limit`] values in one request; the results come in the order of the orders.
    async fn fetch_batch(&self, orders: &[FetchRequest]) -> Vec<Result<FetchResponse>> {
        futures_util::future::join_all(orders.iter().map(|order| self.fetch(order))).await
    }
}

/// What is to be fetched.
#[derive(Debug, Clone)]
pub struct FetchRequest {
    /// The entry.
    pub key: EntryKey,
    /// The params of its key.
    pub params: Arc<BTreeMap<String, String>>,
    /// What the origin said of the value that is already there, so that it need not send it again.
    pub validators: Validators,
    /// When nobody waits for the answer any more.
    pub deadline: Instant,
}

/// What an origin answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchResponse {
    /// The value, or what there is to say instead.
    pub content: FetchBody,
    /// How it may be kept.
    pub terms: CacheDirectives,
}

/// The value, or what there is to say instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchBody {
    /// A value.
    Value {
        /// Its kind. JSON is valid JSON.
        kind: Kind,
        /// Its bytes.
        data: Bytes,
    },
    /// There is no value.
    NotFound,
    /// The value that the order's validators name is still good. Only if the order had validators.
    NotModified,
}

/// How an answer may be kept. What the origin leaves open is up to the namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheDirectives {
    /// The answer may be given to those who wait for it, and must not be stored.
    pub no_store: bool,
    /// How long it is fresh. Zero: it must be asked for again every time.
    pub ttl: Option<Duration>,
    /// How long after that it may be served while it is refreshed.
    pub stale_while_revalidate: Option<Duration>,
    /// How long after that it may be served because the origin fails.
    pub stale_if_error: Option<Duration>,
    /// Tags of the entry. None of a [`FetchBody::NotModified`]: as before.
    pub tags: Option<Tags>,
    /// By which the origin will recognise this value.
    pub validators: Validators,
}

/// Why an origin did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {cause}")]
pub struct Error {
    /// What kind of failure it is.
    pub kind: ErrorKind,
    /// What happened, for people: short, and without anything that is secret.
    pub cause: String,
    /// When the origin wants to be asked again, if it says so.
    pub retry_after: Option<Duration>,
}

/// Kinds of failures of an origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// No connection, or it broke before the answer was complete.
    #[error("the origin cannot be reached")]
    Unreachable,
    /// No complete answer in time.
    #[error("the origin did not answer in time")]
    Timeout,
    /// The origin says that it is in trouble, such as HTTP's 500 to 599 and 429.
    #[error("the origin failed")]
    Failed,
    /// The origin does not accept the request, such as HTTP's other 4xx, or an unexpected redirect.
    #[error("the origin refused the request")]
    Refused,
    /// The answer is not what it claims to be.
    #[error("the origin's answer cannot be used")]
    Invalid,
    /// The value is larger than the namespace allows.
    #[error("the origin's answer is too large")]
    TooLarge,
    /// The origin was not asked, because it failed before and has not been seen well since.
    #[error("the origin is being left alone after repeated failures")]
    BreakerOpen,
    /// The origin was not asked, because too many questions to it are waiting already.
    #[error("too many fetches are waiting for the origin")]
    Overloaded,
    /// The origin was not asked, because a fetch of this key failed a moment ago.
    #[error("the last fetch of this key failed")]
    BackedOff,
    /// The origin cannot be asked for such a key.
    #[error("{0}")]
    BadKey(Violation),
}

// === impl Error ===

impl Error {
    /// A failure with its cause.
    pub fn new(kind: ErrorKind, cause: impl fmt::Display) -> Self {
        Self { kind, cause: cause.to_string(), retry_after: None }
    }

    /// The origin is left alone for that long.
    pub fn left_alone(left: Duration) -> Self {
        Self { retry_after: Some(left), ..Self::new(ErrorKind::BreakerOpen, "the breaker is open") }
    }
}

// === impl ErrorKind ===

impl ErrorKind {
    /// Whether it says that the origin is in trouble, rather than this one fetch.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Unreachable | Self::Timeout | Self::Failed => true,
            Self::Refused
            | Self::Invalid
            | Self::TooLarge
            | Self::BreakerOpen
            | Self::Overloaded
            | Self::BackedOff
            | Self::BadKey(_) => false,
        }
    }

    /// Whether the same fetch may well succeed a moment later.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable | Self::Failed => true,
            // A fetch that timed out has used up its time.
            Self::Timeout
            | Self::Refused
            | Self::Invalid
            | Self::TooLarge
            | Self::BreakerOpen
            | Self::Overloaded
            | Self::BackedOff
            | Self::BadKey(_) => false,
        }
    }

    /// Name for metrics, logs and ErrorInfo.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Invalid => "invalid",
            Self::TooLarge => "too_large",
            Self::BreakerOpen => "breaker_open",
            Self::Overloaded => "overloaded",
            Self::BackedOff => "backed_off",
            Self::BadKey(_) => "bad_key",
        }
    }
}
