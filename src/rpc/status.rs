//! The one place that turns errors into gRPC statuses.
//!
//! Every status carries an ErrorInfo with a stable reason, so that programs need not parse
//! messages.

mod access;
mod quota;
mod store;

use std::{collections::HashMap, time::Duration};

use tonic::{
    Code, Status,
    metadata::{MetadataMap, MetadataValue},
};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::overload::Overload;
use crate::{
    cache::{self, OriginError, OriginErrorKind},
    model::{Namespace, Violation, millis_ceil},
    pb::{from_duration, v1 as pb},
};

pub(super) use access::{
    PERMISSION_DENIED, no_audit_log, not_minted, permission_denied, unauthenticated,
};
pub(super) use quota::{QUOTA_EXCEEDED, quota_exceeded};
pub(super) use store::check_durability;
use store::{store_failed, with_failed_targets};

const DOMAIN: &str = "larder";
/// Retry delay for an unreachable store, which is probed about twice a second.
const STORE_RETRY: Duration = Duration::from_millis(500);
/// Retry delay for a failed origin that named none: the default back-off after an error.
const ORIGIN_RETRY: Duration = Duration::from_secs(1);
/// Retry delay for a change that came too late each time.
const CONTENTION_RETRY: Duration = Duration::from_millis(250);
/// Retry delay for requests that were rejected as overload.
const OVERLOAD_RETRY: Duration = Duration::from_millis(100);

/// Characters of an unknown method's path that an error repeats.
const MAX_SHOWN_PATH: usize = 100;

impl From<cache::Error> for Status {
    fn from(error: cache::Error) -> Self {
        let message = error.to_string();
        match error {
            cache::Error::Invalid(violation) => invalid(&violation),
            cache::Error::ValueTooLarge(violation) => {
                violated(Code::ResourceExhausted, "VALUE_TOO_LARGE", &violation)
            }
            cache::Error::UnknownNamespace(namespace) => {
                of_namespace(Code::NotFound, "UNKNOWN_NAMESPACE", message, &namespace)
            }
            cache::Error::StoreUnavailable(error) => store_failed(error.kind, message),
            cache::Error::EventNotApplied { failed, error, .. } => {
                with_failed_targets(store_failed(error.kind, message), &failed)
            }
            cache::Error::NoOrigin(namespace) => {
                of_namespace(Code::FailedPrecondition, "NO_ORIGIN", message, &namespace)
            }
            cache::Error::Origin { namespace, error } => origin_failed(&namespace, error, message),
            cache::Error::PatchNotApplicable(_) => {
                plain(Code::FailedPrecondition, "PATCH_NOT_APPLICABLE", message)
            }
            cache::Error::Contended { .. } => {
                retryable(Code::Aborted, "CONTENDED", message, CONTENTION_RETRY)
            }
            cache::Error::NotJson => plain(Code::FailedPrecondition, "NOT_JSON", message),
            cache::Error::NotAnInteger => {
                plain(Code::FailedPrecondition, "NOT_AN_INTEGER", message)
            }
            cache::Error::Overflow => plain(Code::FailedPrecondition, "OVERFLOW", message),
            cache::Error::TooManyWatched(_) => {
                retryable(Code::ResourceExhausted, "OVERLOADED", message, OVERLOAD_RETRY)
            }
            cache::Error::QuotaExceeded(exceeded) => quota_exceeded(&exceeded),
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

/// The origin failed and there is no stale value.
fn origin_failed(namespace: &Namespace, error: OriginError, message: String) -> Status {
    let reason = origin_reason(&error.kind);
    let retry = origin_retry(&error);
    if let OriginErrorKind::BadKey(violation) = error.kind {
        return invalid(&violation);
    }
    let info = [("origin", namespace.to_string()), ("cause", error.cause)];
    let info = HashMap::from(info.map(|(name, value)| (name.to_owned(), value)));
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, info);
    let mut metadata = MetadataMap::new();
    // A RetryInfo without a delay would still ask clients to retry.
    if retry.is_some() {
        details.set_retry_info(retry);
    }
    // For gRPC libraries a negative number means: do not retry.
    let pushback = retry
        .map_or(MetadataValue::from_static("-1"), |after| MetadataValue::from(millis_ceil(after)));
    metadata.insert("grpc-retry-pushback-ms", pushback);
    Status::with_error_details_and_metadata(Code::Unavailable, message, details, metadata)
}

/// The error of one key of a batch.
pub(super) fn fetch_error(error: cache::Error) -> pb::FetchError {
    let (reason, retry_after) = match &error {
        cache::Error::Origin { error, .. } => (origin_reason(&error.kind), origin_retry(error)),
        cache::Error::QuotaExceeded(exceeded) => (QUOTA_EXCEEDED, exceeded.retry_after),
        cache::Error::Invalid(_)
        | cache::Error::ValueTooLarge(_)
        | cache::Error::UnknownNamespace(_)
        | cache::Error::StoreUnavailable(_)
        | cache::Error::EventNotApplied { .. }
        | cache::Error::NoOrigin(_)
        | cache::Error::NotJson
        | cache::Error::PatchNotApplicable(_)
        | cache::Error::Contended { .. }
        | cache::Error::NotAnInteger
        | cache::Error::Overflow
        | cache::Error::TooManyWatched(_)
        | cache::Error::ShuttingDown => ("INTERNAL", None),
    };
    let retry_after = retry_after.map(from_duration);
    pb::FetchError { reason: reason.to_owned(), message: error.to_string(), retry_after }
}

/// The reason in ErrorInfo.
fn origin_reason(kind: &OriginErrorKind) -> &'static str {
    use OriginErrorKind::{
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

/// The retry delay; `None` if a retry is pointless.
fn origin_retry(error: &OriginError) -> Option<Duration> {
    use OriginErrorKind::{
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

/// A batch with too many elements, or with none.
pub(super) fn batch_size(violation: Violation) -> Status {
    match violation.limit() {
        Some(_) => violated(Code::InvalidArgument, "BATCH_TOO_LARGE", &violation),
        None => violation.into(),
    }
}

/// The call is rejected because of the server's load, or of what its connection holds.
#[cold]
pub(super) fn overloaded_by(overload: Overload, limit: Option<usize>) -> Status {
    let (what, setting) = (overload.what(), overload.setting());
    let limit = limit.map(|limit| format!(", the limit is {limit}")).unwrap_or_default();
    let share = if overload.is_shared() { ", of which each connection has a share" } else { "" };
    let message = format!("too many {what}{limit} ({setting}){share}");
    retryable(Code::ResourceExhausted, "OVERLOADED", message, OVERLOAD_RETRY)
}

/// The message of a request did not arrive in time.
pub(super) fn late_body(timeout: Duration) -> Status {
    let message = format!(
        "the request message did not arrive within {} ms (limits.request_body_timeout)",
        timeout.as_millis()
    );
    plain(Code::DeadlineExceeded, "REQUEST_TIMEOUT", message)
}

/// The metadata of a request is over the limit.
#[cold]
pub(super) fn metadata_too_large(size: usize, limit: usize) -> Status {
    let description = format!(
        "has {size} bytes with 32 bytes of overhead per header, the limit is {limit} \
         (limits.max_header_bytes)"
    );
    let violation = Violation::over_limit("metadata", description, limit);
    violated(Code::ResourceExhausted, "METADATA_TOO_LARGE", &violation)
}

/// A Warm call has neither keys nor a list to take them from.
pub(super) fn no_warm_list(namespace: &Namespace) -> Status {
    let message = format!(
        "no keys are given, and namespace {namespace} has no warm list: set keys, or configure \
         namespaces.{namespace}.origin.warm"
    );
    plain(Code::FailedPrecondition, "NO_WARM_LIST", message)
}

/// The file of a warm list cannot be read.
pub(super) fn warm_list_unreadable(error: &std::io::Error) -> Status {
    plain(
        Code::FailedPrecondition,
        "WARM_LIST_UNREADABLE",
        format!("the warm list cannot be read: {error}"),
    )
}

/// The deadline of the call has passed.
pub(super) fn deadline_exceeded() -> Status {
    plain(
        Code::DeadlineExceeded,
        "DEADLINE_EXCEEDED",
        "the call's deadline has passed: its own, or limits.default_deadline if it has none"
            .to_owned(),
    )
}

/// The method or its service is unknown.
#[cold]
pub(super) fn no_such_method(path: &str) -> Status {
    // A path of a peer may have any length.
    let shown: String = path.chars().take(MAX_SHOWN_PATH).collect();
    let message = format!("the server has no method {shown}; reflection lists those it has");
    plain(Code::Unimplemented, "UNIMPLEMENTED", message)
}

/// A bug: the handler panicked.
pub(super) fn internal() -> Status {
    plain(
        Code::Internal,
        "INTERNAL",
        "the server failed to handle this call; its log has the cause".to_owned(),
    )
}

/// Adds details to a status of tonic, such as that of an unknown method. `max_message_bytes` is the
/// codec's limit.
pub(super) fn with_error_info(status: &Status, max_message_bytes: usize) -> Status {
    let reason = match status.code() {
        Code::Unimplemented if status.message().is_empty() => {
            let message = "the server has no such method".to_owned();
            return plain(Code::Unimplemented, "UNIMPLEMENTED", message);
        }
        Code::Unimplemented => "UNIMPLEMENTED",
        // The codec reports a malformed request as an internal error.
        Code::Internal if status.message().starts_with("failed to decode") => {
            return plain(
                Code::InvalidArgument,
                "INVALID_ARGUMENT",
                format!("request: {}", status.message()),
            );
        }
        // By the list of status codes of gRPC, as for a second message.
        Code::Internal if status.message() == "Missing request message." => {
            let message = "the request has no message".to_owned();
            return plain(Code::Unimplemented, "UNIMPLEMENTED", message);
        }
        // The codec reports a message over the limit.
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
    // The codec's words are ".. found: 5242898 bytes, the limit is: ..".
    let found = status.message().split_once("found ").map_or("", |(_, rest)| rest);
    let digits = found.find(|character: char| !character.is_ascii_digit()).unwrap_or(found.len());
    let size = match &found[..digits] {
        "" => format!("more than {limit}"),
        size => size.to_owned(),
    };
    // Health and reflection have shorter messages, and limits of their own.
    let own = status.message().split_once("limit is: ").map_or("", |(_, rest)| rest);
    let own: String = own.chars().take_while(char::is_ascii_digit).collect();
    let own = own.parse().ok().filter(|own| *own < limit);
    let setting = if own.is_some() { "" } else { " (limits.max_request_bytes)" };
    let limit = own.unwrap_or(limit);
    let description = format!("is too large: it has {size} bytes, the limit is {limit}{setting}");
    let violation = Violation::over_limit("request", description, limit);
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

/// An error whose metadata names the namespace.
fn of_namespace(code: Code, reason: &str, message: String, namespace: &Namespace) -> Status {
    let metadata = HashMap::from([("namespace".to_owned(), namespace.to_string())]);
    Status::with_error_details(
        code,
        message,
        ErrorDetails::with_error_info(reason, DOMAIN, metadata),
    )
}

fn plain(code: Code, reason: &str, message: String) -> Status {
    Status::with_error_details(
        code,
        message,
        ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new()),
    )
}

/// A status with a retry delay, both in the details and in the trailer, because gRPC libraries do
/// not read details.
fn retryable(code: Code, reason: &str, message: String, after: Duration) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    details.set_retry_info(Some(after));
    let mut metadata = MetadataMap::new();
    metadata.insert("grpc-retry-pushback-ms", MetadataValue::from(millis_ceil(after)));
    Status::with_error_details_and_metadata(code, message, details, metadata)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
