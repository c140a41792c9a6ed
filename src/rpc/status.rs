//! The one place where errors become gRPC status. Every status has an ErrorInfo, so that programs need not read messages.

use std::{collections::HashMap, time::Duration};

use tonic::{
    Code, Status,
    metadata::{MetadataMap, MetadataValue},
};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{
    cache,
    model::{Namespace, Violation, millis_ceil},
    origin,
    pb::v1 as pb,
    store,
};

const DOMAIN: &str = "larder";
/// When it makes sense to ask a store again that was not there: its probe runs about twice a second.
const STORE_RETRY: Duration = Duration::from_millis(500);
/// When it makes sense to ask an origin again that failed and did not say: the default back-off after an error.
const ORIGIN_RETRY: Duration = Duration::from_secs(1);
/// When it makes sense to ask again after being turned away.
const OVERLOAD_RETRY: Duration = Duration::from_millis(100);

impl From<cache::Error> for Status {
    fn from(error: cache::Error) -> Self {
        let message = error.to_string();
        match error {
            cache::Error::Invalid(violation) => invalid(&violation),
            cache::Error::ValueTooLarge(violation) => {
                violated(Code::ResourceExhausted, "VALUE_TOO_LARGE", &violation)
            }
            cache::Error::UnknownNamespace(_) => {
                plain(Code::NotFound, "UNKNOWN_NAMESPACE", message)
            }
            cache::Error::StoreUnavailable(error) => match error.kind {
                // Repeating it does not make room.
                store::ErrorKind::Full => plain(Code::ResourceExhausted, "STORE_FULL", message),
                store::ErrorKind::Unreachable
                | store::ErrorKind::Timeout
                | store::ErrorKind::BreakerOpen
                | store::ErrorKind::Late
                | store::ErrorKind::Refused => {
                    retryable(Code::Unavailable, "STORE_UNAVAILABLE", message, STORE_RETRY)
                }
            },
            cache::Error::NoOrigin(_) => plain(Code::FailedPrecondition, "NO_ORIGIN", message),
            cache::Error::Origin { namespace, error } => origin_failed(&namespace, error, message),
            cache::Error::NotAnInteger => {
                plain(Code::FailedPrecondition, "NOT_AN_INTEGER", message)
            }
            cache::Error::Overflow => plain(Code::FailedPrecondition, "OVERFLOW", message),
            cache::Error::ShuttingDown => {
                retryable(Code::Unavailable, "SHUTTING_DOWN", message, OVERLOAD_RETRY)
            }
        }
    }
}

impl From<Violation> for Status {
    fn from(violation: Violation) -> Self {
        invalid(&violation)
    }
}

/// The origin did not answer, and there is nothing to answer instead.
fn origin_failed(namespace: &Namespace, error: origin::Error, message: String) -> Status {
    let reason = origin_reason(&error.kind);
    let retry = origin_retry(&error);
    if let origin::ErrorKind::BadKey(violation) = error.kind {
        return invalid(&violation);
    }
    let facts = [("origin", namespace.to_string()), ("cause", error.cause)];
    let facts = HashMap::from(facts.map(|(name, fact)| (name.to_owned(), fact)));
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, facts);
    let mut metadata = MetadataMap::new();
    // Without a time it would still tell programs to try again.
    if retry.is_some() {
        details.set_retry_info(retry);
    }
    // A negative number tells gRPC libraries not to try again.
    let pushback = retry
        .map_or(MetadataValue::from_static("-1"), |after| MetadataValue::from(millis_ceil(after)));
    metadata.insert("grpc-retry-pushback-ms", pushback);
    Status::with_error_details_and_metadata(Code::Unavailable, message, details, metadata)
}

/// The same for one key of a batch.
pub(super) fn fetch_error(error: cache::Error) -> pb::FetchError {
    let (reason, retry_after) = match &error {
        cache::Error::Origin { error, .. } => (origin_reason(&error.kind), origin_retry(error)),
        cache::Error::Invalid(_)
        | cache::Error::ValueTooLarge(_)
        | cache::Error::UnknownNamespace(_)
        | cache::Error::StoreUnavailable(_)
        | cache::Error::NoOrigin(_)
        | cache::Error::NotAnInteger
        | cache::Error::Overflow
        | cache::Error::ShuttingDown => ("INTERNAL", None),
    };
    let retry_after = retry_after.map(super::convert::duration);
    pb::FetchError { reason: reason.to_owned(), message: error.to_string(), retry_after }
}

/// Reason in ErrorInfo.
fn origin_reason(kind: &origin::ErrorKind) -> &'static str {
    use origin::ErrorKind::{
        BackedOff, BadKey, BreakerOpen, Failed, Invalid, Overloaded, Refused, Timeout, TooLarge,
        Unreachable,
    };
    match kind {
        Unreachable => "ORIGIN_UNREACHABLE",
        Timeout => "ORIGIN_TIMEOUT",
        Failed => "ORIGIN_FAILED",
        Refused => "ORIGIN_REFUSED",
        Invalid => "ORIGIN_INVALID",
        TooLarge => "ORIGIN_TOO_LARGE",
        BreakerOpen => "ORIGIN_BREAKER_OPEN",
        Overloaded => "ORIGIN_OVERLOADED",
        BackedOff => "ORIGIN_BACKED_OFF",
        BadKey(_) => "INVALID_ARGUMENT",
    }
}

/// When it makes sense to ask again; none if another answer is not to be expected.
fn origin_retry(error: &origin::Error) -> Option<Duration> {
    use origin::ErrorKind::{
        BackedOff, BadKey, BreakerOpen, Failed, Invalid, Overloaded, Refused, Timeout, TooLarge,
        Unreachable,
    };
    match error.kind {
        Unreachable | Timeout | Failed | BreakerOpen | Overloaded | BackedOff => {
            Some(error.retry_after.unwrap_or(ORIGIN_RETRY))
        }
        Refused | Invalid | TooLarge | BadKey(_) => None,
    }
}

/// A batch with too many parts, or with none.
pub(super) fn batch_size(violation: Violation) -> Status {
    match violation.limit() {
        Some(_) => violated(Code::InvalidArgument, "BATCH_TOO_LARGE", &violation),
        None => violation.into(),
    }
}

/// The server has as much to do as it allows itself.
pub(super) fn overloaded(limit: usize) -> Status {
    let message = format!("too many requests at once, the limit is {limit}");
    retryable(Code::ResourceExhausted, "OVERLOADED", message, OVERLOAD_RETRY)
}

/// The file with the keys of a warm list.
pub(super) fn warm_list_unreadable(error: &std::io::Error) -> Status {
    plain(
        Code::FailedPrecondition,
        "WARM_LIST_UNREADABLE",
        format!("the warm list cannot be read: {error}"),
    )
}

/// The caller's time is up.
pub(super) fn deadline_exceeded() -> Status {
    plain(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", "the call's deadline has passed".to_owned())
}

/// A bug.
pub(super) fn internal() -> Status {
    plain(
        Code::Internal,
        "INTERNAL",
        "the server failed to handle this call; its log says more".to_owned(),
    )
}

/// A status that was not made here, with the details that all have. `max_message_bytes` is the limit that the codec keeps.
pub(super) fn with_error_info(status: &Status, max_message_bytes: usize) -> Status {
    let reason = match status.code() {
        Code::Unimplemented if status.message().is_empty() => {
            return plain(
                Code::Unimplemented,
                "UNIMPLEMENTED",
                "the server has no such method".to_owned(),
            );
        }
        Code::Unimplemented => "UNIMPLEMENTED",
        // The codec calls what the caller sent an internal error.
        Code::Internal if status.message().starts_with("failed to decode") => {
            return plain(
                Code::InvalidArgument,
                "INVALID_ARGUMENT",
                format!("request: {}", status.message()),
            );
        }
        // The codec says so when a message is over the limit.
        Code::OutOfRange | Code::ResourceExhausted => {
            return message_too_large(status, max_message_bytes);
        }
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::Cancelled => "CANCELLED",
        Code::NotFound => "NOT_FOUND",
        Code::Ok
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => "INTERNAL",
    };
    plain(status.code(), reason, status.message().to_owned())
}

fn message_too_large(status: &Status, limit: usize) -> Status {
    let violation =
        Violation::over_limit("request", format!("is too large: {}", status.message()), limit);
    violated(Code::ResourceExhausted, "MESSAGE_TOO_LARGE", &violation)
}

fn invalid(violation: &Violation) -> Status {
    violated(Code::InvalidArgument, "INVALID_ARGUMENT", violation)
}

fn violated(code: Code, reason: &str, violation: &Violation) -> Status {
    let mut metadata = HashMap::from([("field".to_owned(), violation.field().to_owned())]);
    if let Some(limit) = violation.limit() {
        metadata.insert("limit".to_owned(), limit.to_string());
    }
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, metadata);
    details.add_bad_request_violation(violation.field(), violation.description());
    Status::with_error_details(code, violation.to_string(), details)
}

fn plain(code: Code, reason: &str, message: String) -> Status {
    Status::with_error_details(
        code,
        message,
        ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new()),
    )
}

/// Says when to try again, in the details for people and in the trailer for gRPC libraries, which do not read details.
fn retryable(code: Code, reason: &str, message: String, after: Duration) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    details.set_retry_info(Some(after));
    let mut metadata = MetadataMap::new();
    metadata.insert("grpc-retry-pushback-ms", MetadataValue::from(millis_ceil(after)));
    Status::with_error_details_and_metadata(code, message, details, metadata)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_names_field_and_limit() {
        let violation =
            Violation::over_limit("key", "is 9 bytes long, the limit is 8", 8).within("items[3].");
        let status = Status::from(violation);
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "items[3].key is 9 bytes long, the limit is 8");
        let info = status.get_details_error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("INVALID_ARGUMENT", "larder"));
        assert_eq!(info.metadata["field"], "items[3].key");
        assert_eq!(info.metadata["limit"], "8");
        assert_eq!(
            status.get_details_bad_request().unwrap().field_violations[0].field,
            "items[3].key"
        );
    }

    #[test]
    fn what_will_not_change_is_not_to_be_tried_again() {
        let failed = |kind| {
            let namespace = Namespace::new("ns").unwrap();
            Status::from(cache::Error::Origin {
                namespace,
                error: origin::Error::new(kind, "so it is"),
            })
        };
        let refused = failed(origin::ErrorKind::Refused);
        assert_eq!(refused.get_details_error_info().unwrap().reason, "ORIGIN_REFUSED");
        assert!(refused.get_details_retry_info().is_none());
        assert_eq!(refused.metadata().get("grpc-retry-pushback-ms").unwrap(), "-1");
        let unreachable = failed(origin::ErrorKind::Unreachable);
        assert_eq!(unreachable.get_details_retry_info().unwrap().retry_delay, Some(ORIGIN_RETRY));
        assert_eq!(unreachable.metadata().get("grpc-retry-pushback-ms").unwrap(), "1000");
    }

    #[test]
    fn an_unavailable_store_says_when_to_try_again() {
        let status =
            Status::from(cache::Error::from(store::Error::from(store::ErrorKind::Timeout)));
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(STORE_RETRY));
        assert_eq!(status.metadata().get("grpc-retry-pushback-ms").unwrap(), "500");
    }
}
