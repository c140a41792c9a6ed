//! Statuses of calls whose caller is not accepted.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{DOMAIN, STORE_RETRY, plain, retryable, violated};
use crate::{
    auth::{AuthError, MintError},
    model::{Verb, Violation},
};

/// Reason of [`permission_denied`].
pub(in crate::rpc) const PERMISSION_DENIED: &str = "PERMISSION_DENIED";

/// The credentials of a call are not accepted.
#[cold]
pub(in crate::rpc) fn unauthenticated(error: AuthError) -> Status {
    if error == AuthError::KeysUnavailable {
        return retryable(Code::Unavailable, error.reason(), error.to_string(), STORE_RETRY);
    }
    plain(Code::Unauthenticated, error.reason(), error.to_string())
}

/// The caller lacks a permission. The error is the same whether or not the namespace exists.
#[cold]
pub(in crate::rpc) fn permission_denied(
    principal: &str,
    verb: Verb,
    namespace: Option<&str>,
    index: Option<usize>,
) -> Status {
    let place = match namespace {
        Some(namespace) => format!(" in namespace {namespace}, or not all that the call needs"),
        None => String::new(),
    };
    let message = format!("principal {principal} has no permission to {verb}{place}");
    let mut metadata = HashMap::from([("verb".to_owned(), verb.name().to_owned())]);
    if let Some(namespace) = namespace {
        metadata.insert("namespace".to_owned(), namespace.to_owned());
    }
    if let Some(index) = index {
        metadata.insert("index".to_owned(), index.to_string());
    }
    let details = ErrorDetails::with_error_info(PERMISSION_DENIED, DOMAIN, metadata);
    Status::with_error_details(Code::PermissionDenied, message, details)
}

/// The server has no audit log.
pub(in crate::rpc) fn no_audit_log() -> Status {
    let message = "this server has no audit log: audit.to is not set".to_owned();
    plain(Code::FailedPrecondition, "NOT_CONFIGURED", message)
}

/// No token is made.
pub(in crate::rpc) fn not_minted(error: &MintError) -> Status {
    let message = error.to_string();
    match error {
        MintError::NotConfigured => plain(Code::FailedPrecondition, "NOT_CONFIGURED", message),
        MintError::TtlTooLong(max) => {
            let limit = usize::try_from(max.as_secs()).unwrap_or(usize::MAX);
            violated(
                Code::InvalidArgument,
                "INVALID_ARGUMENT",
                &Violation::over_limit("ttl", message.trim_start_matches("ttl ").to_owned(), limit),
            )
        }
        MintError::Scope => plain(Code::InvalidArgument, "INVALID_ARGUMENT", message),
        MintError::NotCovered => plain(Code::PermissionDenied, PERMISSION_DENIED, message),
        MintError::Failed => plain(Code::Internal, "INTERNAL", message),
    }
}
