//! What a failed call says: of the origin, and of the address that it went to.

use std::{error::Error as StdError, time::Duration};

use prost::Message as _;
use tonic::{Code, ConnectError, Status, TimeoutExpired};
use tonic_types::RetryInfo;

use super::convert;
use crate::{
    origin::{Error, ErrorKind, FetchResponse, Result},
    pb::{self, origin::v1::FetchError},
};

/// The longest that an origin can ask to be left alone.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);
/// Of what an origin says of its failure.
const MAX_MESSAGE_CHARS: usize = 200;
/// The library has no other mark of these; tests hold it to them.
const TOO_LARGE: &str = "Error, decoded message length too large";
const NOT_A_MESSAGE: &str = "failed to decode Protobuf message";

/// What a failed call says of the address that it went to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallOutcome {
    /// The origin answered: the address is well.
    Answered,
    /// There is no connection, and nothing was sent.
    NotConnected,
    /// The connection ended before the call was sent, or the peer says that it did not look at it.
    NotTaken,
    /// The connection broke. The call may have been carried out.
    Broken,
    /// The time was over, which is nobody's fault for sure.
    TimedOut,
}

impl CallOutcome {
    pub(super) fn of(status: &Status) -> Self {
        let mut cause = status.source();
        // What was received has no cause here.
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
                || error.downcast_ref::<h2::Error>().is_some_and(was_not_looked_at)
            {
                return Self::NotTaken;
            }
            cause = error.source();
        }
        Self::Broken
    }

    /// Whether a connection did not come about or has ended.
    pub(super) fn is_of_connection(self) -> bool {
        match self {
            Self::NotConnected | Self::NotTaken | Self::Broken => true,
            Self::Answered | Self::TimedOut => false,
        }
    }
}

/// Streams that a peer refuses, and those after the last one that it names as it goes away (RFC 9113, 6.8 and 8.7).
fn was_not_looked_at(error: &h2::Error) -> bool {
    error.is_remote()
        && (error.reason() == Some(h2::Reason::REFUSED_STREAM)
            || (error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR)))
}

/// What a status says of the value.
pub(super) fn judge(status: &Status) -> Result<FetchResponse> {
    match CallOutcome::of(status) {
        CallOutcome::Answered => of_origin(status),
        CallOutcome::TimedOut => Err(timeout()),
        CallOutcome::NotConnected | CallOutcome::NotTaken | CallOutcome::Broken => {
            Err(Error::new(ErrorKind::Unreachable, shortened(&root_cause(status).to_string())))
        }
    }
}

/// What the failure of one request of a batch says of the value.
pub(super) fn of_one(error: FetchError) -> Result<FetchResponse> {
    // Fetch cannot fail with OK either.
    let code = if error.code == 0 { Code::Unknown } else { Code::from_i32(error.code) };
    of_code(code, &error.message, error.retry_after.and_then(pb::duration))
}

pub(super) fn timeout() -> Error {
    Error::new(ErrorKind::Timeout, "no answer before the deadline")
}

fn of_origin(status: &Status) -> Result<FetchResponse> {
    if status.code() == Code::OutOfRange && status.message().starts_with(TOO_LARGE) {
        return Err(Error::new(
            ErrorKind::TooLarge,
            "the message is larger than any value that may be stored",
        ));
    }
    if status.code() == Code::Internal && status.message().starts_with(NOT_A_MESSAGE) {
        return Err(convert::invalid("the answer is not of the expected message type"));
    }
    of_code(status.code(), status.message(), retry_after(status))
}

fn of_code(code: Code, message: &str, retry_after: Option<Duration>) -> Result<FetchResponse> {
    let kind = match code {
        Code::NotFound => return Ok(convert::not_found()),
        Code::Ok => ErrorKind::Invalid,
        Code::DeadlineExceeded => ErrorKind::Timeout,
        // Aborted: the origin lost a race of its own, and may win the next one.
        Code::Aborted
        | Code::Cancelled
        | Code::DataLoss
        | Code::Internal
        | Code::ResourceExhausted
        | Code::Unavailable
        | Code::Unknown => ErrorKind::Failed,
        Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::InvalidArgument
        | Code::OutOfRange
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::Unimplemented => ErrorKind::Refused,
    };
    let cause = if message.is_empty() {
        format!("{code:?}")
    } else {
        format!("{code:?}: {}", shortened(message))
    };
    Err(Error { kind, cause, retry_after: retry_after.map(|wait| wait.min(MAX_RETRY_AFTER)) })
}

/// The library's own accessor overflows for the most negative numbers.
fn retry_after(status: &Status) -> Option<Duration> {
    let details = tonic_types::pb::Status::decode(status.details()).ok()?.details;
    let info = details.iter().find(|detail| detail.type_url == RetryInfo::TYPE_URL)?;
    pb::duration(tonic_types::pb::RetryInfo::decode(&*info.value).ok()?.retry_delay?)
}

/// What the layers of a transport wrap around is what happened.
fn root_cause(status: &Status) -> &(dyn StdError + 'static) {
    let mut cause: &(dyn StdError + 'static) = status;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause
}

fn shortened(message: &str) -> String {
    let printable = message.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    printable.take(MAX_MESSAGE_CHARS).collect()
}
