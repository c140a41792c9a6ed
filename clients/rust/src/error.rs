//! Errors of calls, and what went wrong in a call that goes on.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use prost::Message as _;
pub use tonic::Code;
use tonic::Status;

use crate::ttl::from_wire;

/// Class of an [`Error`], by its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument that the server or this library does not accept.
    InvalidArgument,
    /// A namespace that the operator has not named, with strict namespaces.
    NotFound,
    /// The call does not apply to the entry, or the client is closed.
    FailedPrecondition,
    /// No or wrong credentials.
    Unauthenticated,
    /// The credentials do not permit the call.
    PermissionDenied,
    /// A limit: the size of a value, a quota, or an overloaded server.
    ResourceExhausted,
    /// The server or its store cannot be reached.
    Unavailable,
    /// The answer took longer than the deadline of the call.
    DeadlineExceeded,
    /// Other writes came first again and again.
    Aborted,
    /// The server does not have the call.
    Unimplemented,
    /// Any other error.
    Other,
}

/// An error of a call. Programs match [`code`](Self::code) and [`reason`](Self::reason), not the
/// message.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", .0.message)]
pub struct Error(Arc<Facts>);

#[derive(Clone, Debug)]
struct Facts {
    code: Code,
    reason: String,
    message: String,
    retry_after: Option<Duration>,
    pushback: Option<Pushback>,
    metadata: BTreeMap<String, String>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// The server's wish for a retry, by `grpc-retry-pushback-ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushback {
    After(Duration),
    Never,
}

/// Reason of the errors of a client that is closed.
const CLIENT_CLOSED: &str = "CLIENT_CLOSED";
/// Reasons that are mistakes, whatever their code.
const MISTAKES: [&str; 3] = ["VALUE_TOO_LARGE", MESSAGE_TOO_LARGE, CLIENT_CLOSED];
const MESSAGE_TOO_LARGE: &str = "MESSAGE_TOO_LARGE";
/// Part of the message of the library of gRPC for a message over a limit of its own.
const TOO_LARGE: &str = "message length too large";

impl Error {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self(Arc::new(Facts {
            code,
            reason: String::new(),
            message: message.into(),
            retry_after: None,
            pushback: None,
            metadata: BTreeMap::new(),
            source: None,
        }))
    }

    /// A wrong argument.
    pub(crate) fn argument(name: &str, message: impl fmt::Display) -> Self {
        Self::new(Code::InvalidArgument, format!("{name}: {message}"))
    }

    pub(crate) fn closed() -> Self {
        Self::new(Code::FailedPrecondition, "the client is closed").with_reason(CLIENT_CLOSED)
    }

    pub(crate) fn with_reason(mut self, reason: impl Into<String>) -> Self {
        self.facts_mut().reason = reason.into();
        self
    }

    pub(crate) fn with_retry_after(mut self, retry_after: Option<Duration>) -> Self {
        self.facts_mut().retry_after = retry_after;
        self
    }

    pub(crate) fn with_source(mut self, source: Arc<dyn std::error::Error + Send + Sync>) -> Self {
        self.facts_mut().source = Some(source);
        self
    }

    fn facts_mut(&mut self) -> &mut Facts {
        Arc::make_mut(&mut self.0)
    }

    /// The code of gRPC, such as `Unavailable`.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The class of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self.0.code {
            Code::InvalidArgument | Code::OutOfRange => ErrorKind::InvalidArgument,
            Code::NotFound => ErrorKind::NotFound,
            Code::FailedPrecondition => ErrorKind::FailedPrecondition,
            Code::Unauthenticated => ErrorKind::Unauthenticated,
            Code::PermissionDenied => ErrorKind::PermissionDenied,
            Code::ResourceExhausted => ErrorKind::ResourceExhausted,
            Code::Unavailable => ErrorKind::Unavailable,
            Code::DeadlineExceeded => ErrorKind::DeadlineExceeded,
            Code::Aborted => ErrorKind::Aborted,
            Code::Unimplemented => ErrorKind::Unimplemented,
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::AlreadyExists
            | Code::Internal
            | Code::DataLoss => ErrorKind::Other,
        }
    }

    /// A stable reason, such as `VALUE_TOO_LARGE`; empty if there is none.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.0.reason
    }

    /// The message, for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// When a retry may succeed.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Metadata of the reason, such as the name of a limit.
    #[must_use]
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.0.metadata
    }

    pub(crate) fn pushback(&self) -> Option<Pushback> {
        self.0.pushback
    }

    /// Whether the cache is away, slow or full, rather than that the call is wrong.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        let is_outage = matches!(
            self.0.code,
            Code::Unavailable
                | Code::DeadlineExceeded
                | Code::ResourceExhausted
                | Code::Aborted
                | Code::Internal
                | Code::Unknown
                | Code::Cancelled
        );
        is_outage && !MISTAKES.contains(&self.reason())
    }

    /// Whether the client was closed before the call, or during it.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.reason() == CLIENT_CLOSED
    }

    /// The error that made this one, such as that of a provider of tokens.
    #[must_use]
    pub fn cause(&self) -> Option<&(dyn std::error::Error + Send + Sync + 'static)> {
        self.0.source.as_deref()
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let mut status = Self::new(error.code(), error.message());
        status.set_source(Arc::new(error));
        status
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        let own = std::error::Error::source(&status);
        if let Some(error) = own.and_then(|error| error.downcast_ref::<Self>()) {
            return error.clone();
        }
        let is_too_large = status.code() == Code::OutOfRange
            && status.details().is_empty()
            && status.message().contains(TOO_LARGE);
        let (code, reason) = if is_too_large {
            (Code::ResourceExhausted, MESSAGE_TOO_LARGE)
        } else {
            (status.code(), "")
        };
        let mut facts = Facts {
            code,
            reason: reason.to_owned(),
            message: status.message().to_owned(),
            retry_after: None,
            pushback: None,
            metadata: BTreeMap::new(),
            source: None,
        };
        if let Some(value) = status.metadata().get("grpc-retry-pushback-ms") {
            let milliseconds = value.to_str().ok().and_then(|text| text.parse().ok());
            facts.pushback = Some(milliseconds.map_or(Pushback::Never, |milliseconds| {
                Pushback::After(Duration::from_millis(milliseconds))
            }));
        }
        // Details that a proxy has damaged are left out: the status itself is still right.
        for detail in Details::decode(status.details()).unwrap_or_default().details {
            if detail.type_url.ends_with("/google.rpc.ErrorInfo") {
                let info = ErrorInfo::decode(&*detail.value).unwrap_or_default();
                facts.reason = info.reason;
                facts.metadata = info.metadata;
            } else if detail.type_url.ends_with("/google.rpc.RetryInfo") {
                let info = RetryInfo::decode(&*detail.value).unwrap_or_default();
                facts.retry_after = from_wire(info.retry_delay);
            }
        }
        Self(Arc::new(facts))
    }
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Details {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) details: Vec<prost_types::Any>,
}

/// `google.rpc.ErrorInfo`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ErrorInfo {
    #[prost(string, tag = "1")]
    pub(crate) reason: String,
    #[prost(string, tag = "2")]
    pub(crate) domain: String,
    #[prost(btree_map = "string, string", tag = "3")]
    pub(crate) metadata: BTreeMap<String, String>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    pub(crate) retry_delay: Option<prost_types::Duration>,
}

/// A value that cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("value{place}: {message}")]
pub struct EncodeError {
    /// The place in the value, such as `.photo[0]`; empty for the value itself.
    pub place: String,
    /// The error there.
    pub message: String,
}

impl EncodeError {
    /// An error of the value itself.
    pub fn new(message: impl Into<String>) -> Self {
        Self { place: String::new(), message: message.into() }
    }
}

/// A value from the cache that the codec cannot read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value cannot be decoded: {0}")]
pub struct DecodeError(pub String);

/// An error of a loader: anything that can be shown. It is shared by the calls that joined.
pub trait LoaderError: fmt::Display + fmt::Debug + Send + Sync + 'static {}
impl<E: fmt::Display + fmt::Debug + Send + Sync + 'static> LoaderError for E {}

/// Why there is no value or no fresh one, or why a value is not stored.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Failure {
    /// A call failed, and the program goes on without the cache.
    Call(Error),
    /// The value in the cache cannot be read.
    Undecodable(DecodeError),
    /// The computed value cannot be sent.
    NotEncodable(Box<EncodeError>),
    /// The loader failed, and a stale value is the answer.
    Loader(Arc<dyn LoaderError>),
    /// The server gave a cause.
    Server(String),
}

impl Failure {
    /// The error of the call, if it was one.
    #[must_use]
    pub const fn call(&self) -> Option<&Error> {
        match self {
            Self::Call(error) => Some(error),
            Self::Undecodable(_) | Self::NotEncodable(_) | Self::Loader(_) | Self::Server(_) => {
                None
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(error) => error.fmt(formatter),
            Self::Undecodable(error) => error.fmt(formatter),
            Self::NotEncodable(error) => error.fmt(formatter),
            Self::Loader(error) => error.fmt(formatter),
            Self::Server(cause) => cause.fmt(formatter),
        }
    }
}

/// The error of a call with a loader.
#[derive(Debug, thiserror::Error)]
pub enum FetchError<E> {
    /// The loader's own error. All calls that joined it share it.
    #[error("{0}")]
    Loader(Arc<E>),
    /// The call of the cache was wrong, or failed with [`OnError::Raise`](crate::OnError::Raise).
    #[error(transparent)]
    Cache(#[from] Error),
}

impl<E> Clone for FetchError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Loader(error) => Self::Loader(Arc::clone(error)),
            Self::Cache(error) => Self::Cache(error.clone()),
        }
    }
}

impl<E> FetchError<E> {
    /// The loader's own error.
    pub const fn loader(&self) -> Option<&Arc<E>> {
        match self {
            Self::Loader(error) => Some(error),
            Self::Cache(_) => None,
        }
    }
}
