//! Evaluates failed calls: what they mean for the fetch, and for the health of the endpoint.

use std::{error::Error as StdError, time::Duration};

use prost::Message as _;
use tonic::{Code, ConnectError, Status, TimeoutExpired};
use tonic_types::RetryInfo;

use super::convert;
use crate::{
    origin::{Error, FetchResponse, MAX_RETRY_AFTER, OriginErrorKind, Result},
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
        CallOutcome::NotConnected | CallOutcome::Unprocessed | CallOutcome::Broken => Err(
            Error::new(OriginErrorKind::Unreachable, shortened(&root_cause(status).to_string())),
        ),
    }
}

/// Result of a request of a batch that failed.
pub(super) fn from_fetch_error(error: FetchError) -> Result<FetchResponse> {
    // OK is no error code in Fetch either.
    let code = if error.code == 0 { Code::Unknown } else { Code::from_i32(error.code) };
    from_code(code, &error.message, error.retry_after.and_then(pb::duration))
}

pub(super) fn timeout() -> Error {
    Error::new(OriginErrorKind::Timeout, "no answer before the deadline")
}

fn from_origin_status(status: &Status) -> Result<FetchResponse> {
    if status.code() == Code::OutOfRange && status.message().starts_with(TOO_LARGE) {
        return Err(Error::new(
            OriginErrorKind::TooLarge,
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
        Code::Ok => OriginErrorKind::Invalid,
        Code::DeadlineExceeded => OriginErrorKind::Timeout,
        // Aborted: a conflict within the origin, which may not occur again.
        Code::Aborted
        | Code::Cancelled
        | Code::DataLoss
        | Code::Internal
        | Code::ResourceExhausted
        | Code::Unavailable
        | Code::Unknown => OriginErrorKind::Failed,
        Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::InvalidArgument
        | Code::OutOfRange
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::Unimplemented => OriginErrorKind::Refused,
    };
    let cause = if message.is_empty() {
        format!("{code:?}")
    } else {
        format!("{code:?}: {}", shortened(message))
    };
    let retry_after = retry_after.map(|delay| delay.min(MAX_RETRY_AFTER));
    Err(Error { kind, cause, retry_after, allows_stale: allows_stale(code) })
}

/// Whether a stale value may stand in for the answer: the codes that `google.rpc.Code` maps to the
/// HTTP statuses 500, 503 and 504. An exception in a server becomes UNKNOWN.
fn allows_stale(code: Code) -> bool {
    match code {
        Code::DataLoss
        | Code::DeadlineExceeded
        | Code::Internal
        | Code::Unavailable
        | Code::Unknown => true,
        Code::Aborted
        | Code::AlreadyExists
        | Code::Cancelled
        | Code::FailedPrecondition
        | Code::InvalidArgument
        | Code::NotFound
        | Code::Ok
        | Code::OutOfRange
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::Unauthenticated
        | Code::Unimplemented => false,
    }
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;
    use crate::origin::FetchBody;

    /// A status as the library makes it of an error of its own.
    fn status_of(error: impl StdError + Send + Sync + 'static) -> Status {
        Status::from_error(Box::new(error))
    }

    fn h2_error(reason: h2::Reason) -> h2::Error {
        reason.into()
    }

    #[test]
    fn received_status_is_an_answer() {
        let outcome = CallOutcome::from_status(&Status::unavailable("down"));
        assert_eq!(outcome, CallOutcome::Answered);
        assert!(!outcome.is_connection_failure());
    }

    #[test]
    fn local_errors_are_distinguished() {
        let io = || std::io::Error::other("broken pipe");
        for (status, outcome, is_connection_failure) in [
            (status_of(ConnectError(Box::new(io()))), CallOutcome::NotConnected, true),
            (status_of(TimeoutExpired(())), CallOutcome::TimedOut, false),
            (status_of(io()), CallOutcome::Broken, true),
            // REFUSED_STREAM proves that the call was not processed only if the peer has sent it.
            (status_of(h2_error(h2::Reason::REFUSED_STREAM)), CallOutcome::Broken, true),
        ] {
            let actual = CallOutcome::from_status(&status);
            assert_eq!(actual, outcome, "{status:?}");
            assert_eq!(actual.is_connection_failure(), is_connection_failure, "{status:?}");
        }
        assert!(CallOutcome::Unprocessed.is_connection_failure());
    }

    type ServerConnection = h2::server::Connection<tokio::io::DuplexStream, Bytes>;

    /// The error of a call to a server that refuses it.
    async fn error_of_call(refuse: impl AsyncFnOnce(&mut ServerConnection)) -> h2::Error {
        let (client_io, server_io) = tokio::io::duplex(64 * 1024);
        let server = async {
            let mut connection = h2::server::handshake(server_io).await.unwrap();
            refuse(&mut connection).await;
            while connection.accept().await.is_some() {}
        };
        let client = async {
            let (mut sender, connection) = h2::client::handshake(client_io).await.unwrap();
            let request = http::Request::get("http://origin.test/").body(()).unwrap();
            let (response, _) = sender.send_request(request, true).unwrap();
            let connection = tokio::spawn(connection);
            let error = response.await.unwrap_err();
            connection.abort();
            error
        };
        tokio::join!(server, client).1
    }

    #[tokio::test]
    async fn resets_by_the_peer_show_whether_the_call_was_processed() {
        let reset = async |reason| {
            error_of_call(async |connection| {
                let (_, mut respond) = connection.accept().await.unwrap().unwrap();
                respond.send_reset(reason);
            })
            .await
        };
        let go_away = async |reason| {
            error_of_call(async |connection| connection.abrupt_shutdown(reason)).await
        };
        for (error, is_unprocessed) in [
            (reset(h2::Reason::REFUSED_STREAM).await, true),
            (reset(h2::Reason::NO_ERROR).await, false),
            (reset(h2::Reason::INTERNAL_ERROR).await, false),
            (go_away(h2::Reason::NO_ERROR).await, true),
            (go_away(h2::Reason::INTERNAL_ERROR).await, false),
        ] {
            assert_eq!(super::is_unprocessed(&error), is_unprocessed, "{error:?}");
            let text = format!("{error:?}");
            let outcome = CallOutcome::from_status(&status_of(error));
            assert_eq!(outcome == CallOutcome::Unprocessed, is_unprocessed, "{text}");
        }
    }

    #[test]
    fn local_errors_are_outages_with_their_innermost_cause() {
        let refused = status_of(ConnectError(Box::new(std::io::Error::other("refused"))));
        let expected = Error::new(OriginErrorKind::Unreachable, "refused");
        assert_eq!(from_status(&refused), Err(expected));
        let expired = status_of(TimeoutExpired(()));
        let expected = Error::new(OriginErrorKind::Timeout, "no answer before the deadline");
        assert_eq!(from_status(&expired), Err(expected));
    }

    #[test]
    fn not_found_is_an_absent_value() {
        let response = from_status(&Status::not_found("unknown key")).unwrap();
        assert_eq!(response.body, FetchBody::NotFound);
    }

    #[test]
    fn every_code_has_a_kind() {
        use OriginErrorKind::{Failed, Invalid, Refused, Timeout};
        let stale = [
            Code::DataLoss,
            Code::DeadlineExceeded,
            Code::Internal,
            Code::Unavailable,
            Code::Unknown,
        ];
        for (code, kind) in [
            (Code::Ok, Invalid),
            (Code::Cancelled, Failed),
            (Code::Unknown, Failed),
            (Code::InvalidArgument, Refused),
            (Code::DeadlineExceeded, Timeout),
            (Code::AlreadyExists, Refused),
            (Code::PermissionDenied, Refused),
            (Code::ResourceExhausted, Failed),
            (Code::FailedPrecondition, Refused),
            (Code::Aborted, Failed),
            (Code::OutOfRange, Refused),
            (Code::Unimplemented, Refused),
            (Code::Internal, Failed),
            (Code::Unavailable, Failed),
            (Code::DataLoss, Failed),
            (Code::Unauthenticated, Refused),
        ] {
            let error = from_status(&Status::new(code, "because")).unwrap_err();
            let allows_stale = stale.contains(&code);
            let cause = format_args!("{code:?}: because");
            assert_eq!(error, Error { allows_stale, ..Error::new(kind.clone(), cause) });
            let error = from_status(&Status::new(code, "")).unwrap_err();
            assert_eq!(error, Error { allows_stale, ..Error::new(kind, format_args!("{code:?}")) });
        }
    }

    #[test]
    fn errors_of_the_library_are_recognised_by_code_and_text() {
        for (code, message, kind) in [
            (Code::OutOfRange, format!("{TOO_LARGE}: found 9"), OriginErrorKind::TooLarge),
            (Code::OutOfRange, "page 9".to_owned(), OriginErrorKind::Refused),
            (Code::Internal, format!("{TOO_LARGE}: found 9"), OriginErrorKind::Failed),
            (Code::Internal, format!("{NOT_A_MESSAGE}: eof"), OriginErrorKind::Invalid),
            (Code::Unknown, format!("{NOT_A_MESSAGE}: eof"), OriginErrorKind::Failed),
        ] {
            let error = from_status(&Status::new(code, &message)).unwrap_err();
            assert_eq!(error.kind, kind, "{code:?} {message}");
        }
    }

    #[test]
    fn retry_after_is_bounded() {
        for (seconds, expected) in [(0, 0), (2, 2), (300, 300), (301, 300)] {
            let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(seconds)));
            let status = Status::with_error_details(Code::Unavailable, "later", details);
            let error = from_status(&status).unwrap_err();
            assert_eq!(error.retry_after, Some(Duration::from_secs(expected)));
        }
        let details = ErrorDetails::with_help_link("docs", "https://origin.test");
        let status = Status::with_error_details(Code::Unavailable, "later", details);
        assert_eq!(from_status(&status).unwrap_err().retry_after, None);
    }

    #[test]
    fn errors_of_a_batch_are_those_of_a_fetch() {
        let fetch_error = |code: i32, seconds: Option<i64>| FetchError {
            code,
            message: "because".to_owned(),
            retry_after: seconds.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
        };
        let failed = from_fetch_error(fetch_error(14, Some(7))).unwrap_err();
        assert_eq!(
            (&failed.kind, failed.cause.as_str()),
            (&OriginErrorKind::Failed, "Unavailable: because")
        );
        assert_eq!(failed.retry_after, Some(Duration::from_secs(7)));
        assert_eq!(from_fetch_error(fetch_error(5, None)).unwrap().body, FetchBody::NotFound);
        let unknown = from_fetch_error(fetch_error(0, None)).unwrap_err();
        assert_eq!(
            (unknown.kind, unknown.cause.as_str()),
            (OriginErrorKind::Failed, "Unknown: because")
        );
    }

    #[test]
    fn messages_are_printable_and_short() {
        let long = format!("a\nb\u{7f}{}", "\u{fc}".repeat(300));
        let error = from_status(&Status::unavailable(long)).unwrap_err();
        let expected = format!("Unavailable: a b {}", "\u{fc}".repeat(196));
        assert_eq!(error.cause, expected);
    }
}
