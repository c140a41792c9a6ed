//! Origins: the systems of record from which the cache fetches values, one per namespace.
//!
//! An [`Origin`] translates a [`FetchRequest`] into its protocol, and the response into a
//! [`FetchResponse`]. It does not depend on leases, the store or waiting callers. The
//! [`client::OriginClient`] in front of it limits concurrency, retries and breaks the circuit.

pub mod client;
pub mod grpc;
pub mod http;
mod latency_estimator;
pub mod metrics;
pub mod registry;
mod unusable_tags;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use crate::model::{EntryKey, Kind, Tags, Violation};

pub use crate::model::Validators;

/// Longest `retry_after` that is accepted from an origin.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(5 * 60);
/// Begins the recorded cause of a back-off in which no stale value may be served. A prefix, because
/// stores shorten long causes. A replica of another release shows it as part of the cause.
const STALE_BARRED: &str = "no stale value: ";

/// Result of a fetch.
pub type Result<T> = std::result::Result<T, Error>;

/// A system of record.
#[async_trait]
pub trait Origin: Send + Sync {
    /// Fetches one value. Must be idempotent. The caller drops the future at the deadline.
    ///
    /// # Errors
    /// Anything but a value, its absence, or the confirmation that it has not changed.
    async fn fetch(&self, request: &FetchRequest) -> Result<FetchResponse>;

    /// Largest number of requests that [`Origin::fetch_batch`] takes; 1 if batches bring nothing.
    fn batch_limit(&self) -> usize {
        1
    }

    /// Fetches up to [`Origin::batch_limit`] values in one call. Results are in the order of the
    /// requests.
    async fn fetch_batch(&self, requests: &[FetchRequest]) -> Vec<Result<FetchResponse>> {
        futures_util::future::join_all(requests.iter().map(|request| self.fetch(request))).await
    }
}

/// A request for one value.
#[derive(Debug, Clone)]
pub struct FetchRequest {
    /// Key of the entry.
    pub key: EntryKey,
    /// Params of the key.
    pub params: Arc<BTreeMap<String, String>>,
    /// Validators of the cached value, which make the request conditional.
    pub validators: Validators,
    /// Time at which the fetch is abandoned.
    pub deadline: Instant,
}

/// Response of an origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchResponse {
    /// The value, its absence, or its confirmation.
    pub body: FetchBody,
    /// How the response may be cached.
    pub directives: CacheDirectives,
}

/// Body of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchBody {
    /// A value.
    Value {
        /// Kind of the value. JSON has been validated.
        kind: Kind,
        /// Bytes of the value.
        data: Bytes,
    },
    /// The value does not exist.
    NotFound,
    /// The cached value is still current. Only in response to a request with validators.
    NotModified,
}

/// How a response may be cached. Where the response has no rule, the namespace's rules apply.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheDirectives {
    /// The response may be passed to waiting callers, but not stored.
    pub no_store: bool,
    /// Time for which the response is fresh. Zero: each use needs revalidation.
    pub ttl: Option<Duration>,
    /// Time after the expiry for which it may be served while it is refreshed.
    pub stale_while_revalidate: Option<Duration>,
    /// Time after the expiry for which it may be served if the origin fails.
    pub stale_if_error: Option<Duration>,
    /// Tags of the entry. None in a [`FetchBody::NotModified`]: the tags do not change.
    pub tags: Option<Tags>,
    /// Validators with which the origin recognises this version of the value.
    pub validators: Validators,
}

/// Failure of a fetch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {cause}")]
pub struct Error {
    /// Kind of the failure.
    pub kind: OriginErrorKind,
    /// Short explanation. Text and no source error, whose own text could show URLs and credentials.
    pub cause: String,
    /// Time after which the origin accepts the next request, if the response has one.
    pub retry_after: Option<Duration>,
    /// Whether a stale value may stand in for the one that was not fetched (RFC 5861, section 4).
    pub allows_stale: bool,
}

/// Kinds of failed fetches.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OriginErrorKind {
    /// No connection, or one that broke before the response was complete.
    #[error("the origin cannot be reached")]
    Unreachable,
    /// No complete response before the deadline.
    #[error("the origin did not answer in time")]
    Timeout,
    /// The origin reports an outage, such as HTTP's 500 to 599 and 429.
    #[error("the origin failed")]
    Failed,
    /// The origin rejects the request, such as HTTP's other 4xx, or an unexpected redirect.
    #[error("the origin refused the request")]
    Refused,
    /// The response is malformed.
    #[error("the origin's answer cannot be used")]
    Invalid,
    /// The value exceeds the namespace's limit.
    #[error("the origin's answer is too large")]
    TooLarge,
    /// No request was sent, because the circuit breaker is open.
    #[error("the origin is not asked after repeated failures")]
    BreakerOpen,
    /// No request was sent, because the queue of fetches is full or too slow.
    #[error("too many fetches are waiting for the origin")]
    Overloaded,
    /// No request was sent, because a recent fetch of the key failed.
    #[error("the last fetch of this key failed")]
    BackedOff,
    /// No request was sent, because the origin cannot express the key.
    #[error("the origin has no URL for the key")]
    BadKey(Violation),
}

// === impl Error ===

impl Error {
    /// A failure with its cause, which must not contain secrets.
    pub fn new(kind: OriginErrorKind, cause: impl fmt::Display) -> Self {
        let allows_stale = kind.allows_stale();
        Self { kind, cause: cause.to_string(), retry_after: None, allows_stale }
    }

    /// The rejection by an open circuit breaker.
    pub fn breaker_open(retry_after: Duration) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(OriginErrorKind::BreakerOpen, "the breaker is open")
        }
    }

    /// The rejection of a fetch during the back-off that an earlier failure caused, by the cause
    /// that [`Error::back_off_cause`] recorded.
    pub fn backed_off(cause: String, remaining: Duration) -> Self {
        let (cause, allows_stale) = match cause.strip_prefix(STALE_BARRED) {
            Some(cause) => (cause.to_owned(), false),
            None => (cause, true),
        };
        let retry_after = Some(remaining.max(Duration::from_millis(1)));
        Self { kind: OriginErrorKind::BackedOff, cause, retry_after, allows_stale }
    }

    /// The text that is recorded with a back-off, for all replicas.
    pub fn back_off_cause(&self) -> String {
        if self.allows_stale { self.to_string() } else { format!("{STALE_BARRED}{self}") }
    }
}

// === impl OriginErrorKind ===

impl OriginErrorKind {
    /// Whether it shows an outage of the origin, rather than a problem of this one fetch.
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

    /// Whether a stale value may stand in for the fetched one, unless the protocol's status decides
    /// otherwise: only if no answer came, or one that reports a failure of the server.
    pub fn allows_stale(&self) -> bool {
        match self {
            Self::Unreachable
            | Self::Timeout
            | Self::Failed
            | Self::BreakerOpen
            | Self::Overloaded
            | Self::BackedOff => true,
            Self::Refused | Self::Invalid | Self::TooLarge | Self::BadKey(_) => false,
        }
    }

    /// Whether the origin gave a final answer that is no value, so that the stored value is
    /// outdated.
    pub fn is_final_answer(&self) -> bool {
        match self {
            Self::Refused | Self::Invalid | Self::TooLarge => true,
            Self::Unreachable
            | Self::Timeout
            | Self::Failed
            | Self::BreakerOpen
            | Self::Overloaded
            | Self::BackedOff
            | Self::BadKey(_) => false,
        }
    }

    /// Whether an immediate retry may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable | Self::Failed => true,
            // A fetch that timed out has no time left.
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

    /// Name in metrics, logs and ErrorInfo.
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::Namespace;

    #[test]
    fn kinds_have_names_and_show_whether_a_retry_helps() {
        let bad_key = OriginErrorKind::BadKey(Namespace::new("").unwrap_err());
        for (kind, name, is_outage, is_transient) in [
            (OriginErrorKind::Unreachable, "unreachable", true, true),
            (OriginErrorKind::Timeout, "timeout", true, false),
            (OriginErrorKind::Failed, "failed", true, true),
            (OriginErrorKind::Refused, "refused", false, false),
            (OriginErrorKind::Invalid, "invalid", false, false),
            (OriginErrorKind::TooLarge, "too_large", false, false),
            (OriginErrorKind::BreakerOpen, "breaker_open", false, false),
            (OriginErrorKind::Overloaded, "overloaded", false, false),
            (OriginErrorKind::BackedOff, "backed_off", false, false),
            (bad_key, "bad_key", false, false),
        ] {
            assert_eq!(
                (kind.name(), kind.is_outage(), kind.is_transient()),
                (name, is_outage, is_transient)
            );
        }
    }

    #[test]
    fn only_failures_of_the_server_allow_a_stale_value() {
        let bad_key = OriginErrorKind::BadKey(Namespace::new("").unwrap_err());
        for (kind, allows_stale, is_final_answer) in [
            (OriginErrorKind::Unreachable, true, false),
            (OriginErrorKind::Timeout, true, false),
            (OriginErrorKind::Failed, true, false),
            (OriginErrorKind::BreakerOpen, true, false),
            (OriginErrorKind::Overloaded, true, false),
            (OriginErrorKind::BackedOff, true, false),
            (OriginErrorKind::Refused, false, true),
            (OriginErrorKind::Invalid, false, true),
            (OriginErrorKind::TooLarge, false, true),
            (bad_key, false, false),
        ] {
            assert_eq!(
                (kind.allows_stale(), kind.is_final_answer()),
                (allows_stale, is_final_answer),
                "{kind:?}"
            );
            assert_eq!(Error::new(kind, "").allows_stale, allows_stale);
        }
    }

    #[test]
    fn a_back_off_keeps_cause_and_staleness_of_the_failure() {
        for (kind, recorded, allows_stale) in [
            (OriginErrorKind::Failed, "the origin failed: x", true),
            (OriginErrorKind::Refused, "no stale value: the origin refused the request: x", false),
        ] {
            let error = Error::new(kind, "x");
            assert_eq!(error.back_off_cause(), recorded);
            let backed_off = Error::backed_off(error.back_off_cause(), Duration::ZERO);
            assert_eq!(
                (backed_off.kind, backed_off.cause, backed_off.allows_stale),
                (OriginErrorKind::BackedOff, error.to_string(), allows_stale)
            );
            assert_eq!(backed_off.retry_after, Some(Duration::from_millis(1)));
        }
    }

    #[test]
    fn errors_show_kind_and_cause() {
        let error = Error::new(OriginErrorKind::Failed, "status 503");
        assert_eq!(error.to_string(), "the origin failed: status 503");
        assert_eq!(error.retry_after, None);
        let open = Error::breaker_open(Duration::from_secs(3));
        assert_eq!(
            (open.kind, open.cause.as_str()),
            (OriginErrorKind::BreakerOpen, "the breaker is open")
        );
        assert_eq!(open.retry_after, Some(Duration::from_secs(3)));
    }

    /// Answers with the key.
    struct Echo;

    #[async_trait]
    impl Origin for Echo {
        async fn fetch(&self, request: &FetchRequest) -> Result<FetchResponse> {
            let data = Bytes::from(request.key.key().to_owned());
            let body = FetchBody::Value { kind: Kind::Text, data };
            Ok(FetchResponse { body, directives: CacheDirectives::default() })
        }
    }

    #[tokio::test]
    async fn batches_are_single_fetches_by_default() {
        assert_eq!(Echo.batch_limit(), 1);
        let requests = ["a", "b"].map(|key| FetchRequest {
            key: EntryKey::new(Namespace::new("ns").unwrap(), key, [].into_iter()).unwrap(),
            params: Arc::default(),
            validators: Validators::default(),
            deadline: Instant::now(),
        });
        let bodies =
            Echo.fetch_batch(&requests).await.into_iter().map(|result| result.unwrap().body);
        let expected =
            ["a", "b"].map(|data| FetchBody::Value { kind: Kind::Text, data: data.into() });
        assert_eq!(bodies.collect::<Vec<_>>(), expected);
    }
}
