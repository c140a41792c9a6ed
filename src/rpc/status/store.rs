//! Statuses of calls for which the store failed.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{DOMAIN, QUOTA_EXCEEDED, STORE_RETRY, plain, retryable};
use crate::cache::{Durability, StoreErrorKind};

/// The store failed.
pub(super) fn store_failed(kind: StoreErrorKind, message: String) -> Status {
    match kind {
        // A retry does not free memory.
        StoreErrorKind::KeyQuota | StoreErrorKind::ByteQuota => {
            plain(Code::ResourceExhausted, QUOTA_EXCEEDED, message)
        }
        StoreErrorKind::Full => plain(Code::ResourceExhausted, "STORE_FULL", message),
        StoreErrorKind::NotReplicated => {
            retryable(Code::Unavailable, "NOT_REPLICATED", message, STORE_RETRY)
        }
        StoreErrorKind::Unreachable
        | StoreErrorKind::Timeout
        | StoreErrorKind::PartUnavailable
        | StoreErrorKind::BreakerOpen
        | StoreErrorKind::Late
        | StoreErrorKind::Queued
        | StoreErrorKind::Quarantined
        | StoreErrorKind::Reapplying
        | StoreErrorKind::Refused => {
            retryable(Code::Unavailable, "STORE_UNAVAILABLE", message, STORE_RETRY)
        }
    }
}

/// Refuses to acknowledge an invalidation that is only queued, if the caller requires more.
pub(in crate::rpc) fn check_durability(
    required: Durability,
    durability: Durability,
) -> Result<(), Status> {
    if durability <= required {
        return Ok(());
    }
    let message = "not applied yet: the store is away, and the invalidation waits for it in the \
                   journal; APPLIED is required (required_durability)";
    Err(retryable(Code::Unavailable, "NOT_APPLIED", message.to_owned(), STORE_RETRY))
}

/// Adds the positions of the targets that are not invalidated.
pub(super) fn with_failed_targets(status: Status, failed: &[usize]) -> Status {
    let mut details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.clone()).unwrap_or_default();
    let failed = failed.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    let metadata = HashMap::from([("failed_targets".to_owned(), failed)]);
    details.set_error_info(reason, DOMAIN, metadata);
    let (code, message) = (status.code(), status.message().to_owned());
    Status::with_error_details_and_metadata(code, message, details, status.metadata().clone())
}
