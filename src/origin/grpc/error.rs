//! Evaluates failed calls: what they mean for the fetch, and for the health of the endpoint.

use std::{error::Error as StdError, time::Duration};

use prost::Message as _;
use tonic::{Code, ConnectError, Status, TimeoutExpired};
use tonic_types::RetryInfo;

use super::convert;
use crate::{
    origin::{Error, FailureKind, FetchResponse, MAX_RETRY_AFTER, Result},
    pb::{self, origin::v1::FetchError},
};

/// Longest part of an origin's message that is shown.
const MAX_MESSAGE_CHARS: usize = 200;
/// The library marks these errors only by their texts, which tests pin.
const TOO_LARGE: &str = "Error, decoded message length too large";
const NOT_A_MESSAGE: &str = "failed to decode Protobuf message";

/// Outcome of a call, as far as it concerns the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallOutcome {
    /// The origin answered, if only with an error.
    Answered,
    /// The connection could not be opened.
    NotConnected,
    /// The connection was closed before the call was sent, or the peer did not process it.
    Unprocessed,
    /// The connection broke. The call may have been processed.
    Broken,
    /// The deadline passed. The endpoint may be healthy.
    TimedOut,
}

impl CallOutcome {
    pub(super) fn from_status(status: &Status) -> Self {
        let mut cause = status.source();
        // A status that was received has no source.
        if cause.is_none() {
            return Self::Answered;
        }
        while let Some(error) = cause {
            if error.is::<ConnectError>() {
                return Self::NotConnected;
            }
            if error.is::<TimeoutExpired>() {
                return Self::TimedOut;
            }
            if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled)
                || error.downcast_ref::<h2::Error>().is_some_and(is_unprocessed)
            {
                return Self::Unprocessed;
            }
            cause = error.source();
        }
        Self::Broken
    }

    /// Whether a connection could not be opened or has ended.
    pub(super) fn is_connection_failure(self) -> bool {
        match self {
            Self::NotConnected | Self::Unprocessed | Self::Broken => true,
            Self::Answered | Self::TimedOut => false,
        }
    }
}

/// Whether the peer refused the stream, or excluded it in a graceful GOAWAY (RFC 9113, 6.8, 8.7).
fn is_unprocessed(error: &h2::Error) -> bool {
    error.is_remote()
        && (error.reason() == Some(h2::Reason::REFUSED_STREAM)
            || (error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR)))
}

/// Result of a fetch that ended with a status.
pub(super) fn from_status(status: &Status) -> Result<FetchResponse> {
    match CallOutcome::from_status(status) {
        CallOutcome::Answered => from_origin_status(status),
        CallOutcome::TimedOut => Err(timeout()),
        CallOutcome::NotConnected | CallOutcome::Unprocessed | CallOutcome::Broken => {
            Err(Error::new(FailureKind::Unreachable, shortened(&root_cause(status).to_string())))
        }
    }
}

/// Result of a request of a batch that failed.
pub(super) fn from_fetch_error(error: FetchError) -> Result<FetchResponse> {
    // OK is no error code in Fetch either.
    let code = if error.code == 0 { Code::Unknown } else { Code::from_i32(error.code) };
    from_code(code, &error.message, error.retry_after.and_then(pb::duration))
}

pub(super) fn timeout() -> Error {
    Error::new(FailureKind::Timeout, "no answer before the deadline")
}

fn from_origin_status(status: &Status) -> Result<FetchResponse> {
    if status.code() == Code::OutOfRange && status.message().starts_with(TOO_LARGE) {
        return Err(Error::new(
            FailureKind::TooLarge,
            "the message is larger than any value that may be stored",
        ));
    }
    if status.code() == Code::Internal && status.message().starts_with(NOT_A_MESSAGE) {
        return Err(convert::invalid("the answer is not of the expected message type"));
    }
    from_code(status.code(), status.message(), retry_after(status))
}

fn from_code(code: Code, message: &str, retry_after: Option<Duration>) -> Result<FetchResponse> {
    let kind = match code {
        Code::NotFound => return Ok(convert::not_found()),
        Code::Ok => FailureKind::Invalid,
        Code::DeadlineExceeded => FailureKind::Timeout,
        // Aborted: a conflict within the origin, which may not occur again.
        Code::Aborted
        | Code::Cancelled
        | Code::DataLoss
        | Code::Internal
        | Code::ResourceExhausted
        | Code::Unavailable
        | Code::Unknown => FailureKind::Failed,
        Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::InvalidArgument
        | Code::OutOfRange
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::Unimplemented => FailureKind::Refused,
    };
    let cause = if message.is_empty() {
        format!("{code:?}")
    } else {
        format!("{code:?}: {}", shortened(message))
    };
    Err(Error { kind, cause, retry_after: retry_after.map(|delay| delay.min(MAX_RETRY_AFTER)) })
}

/// Delay of a `RetryInfo`. The library's own accessor overflows for very negative numbers.
fn retry_after(status: &Status) -> Option<Duration> {
    let details = tonic_types::pb::Status::decode(status.details()).ok()?.details;
    let info = details.iter().find(|detail| detail.type_url == RetryInfo::TYPE_URL)?;
    pb::duration(tonic_types::pb::RetryInfo::decode(&*info.value).ok()?.retry_delay?)
}

/// The innermost source. The layers of the transport only wrap it.
fn root_cause(status: &Status) -> &(dyn StdError + 'static) {
    let mut cause: &(dyn StdError + 'static) = status;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}

fn shortened(message: &str) -> String {
    let printable = message.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    printable.take(MAX_MESSAGE_CHARS).collect()
}
