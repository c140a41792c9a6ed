//! The status of calls that a quota refuses.

use std::{collections::HashMap, time::Duration};

use tonic::{
    Code, Status,
    metadata::{MetadataMap, MetadataValue},
};
use tonic_types::{ErrorDetails, QuotaViolation, StatusExt as _};

use super::DOMAIN;
use crate::{model::millis_ceil, quota::QuotaExceeded};

/// Reason of [`quota_exceeded`].
pub(in crate::rpc) const QUOTA_EXCEEDED: &str = "QUOTA_EXCEEDED";

/// A quota is used up.
#[cold]
pub(in crate::rpc) fn quota_exceeded(exceeded: &QuotaExceeded) -> Status {
    let QuotaExceeded { subject, figure, limit, retry_after } = exceeded;
    let retry_after = retry_after.map(|after| Duration::from_millis(millis_ceil(after)));
    let message = exceeded.to_string();
    let info = [
        ("subject", subject.to_string()),
        ("figure", figure.name().to_owned()),
        ("limit", limit.to_string()),
    ];
    let info: HashMap<_, _> =
        info.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let mut details = ErrorDetails::with_error_info(QUOTA_EXCEEDED, DOMAIN, info);
    let description = format!("{} is {limit}", figure.name());
    details.set_quota_failure(vec![QuotaViolation::new(subject.to_string(), description)]);
    let mut metadata = MetadataMap::new();
    // For gRPC libraries a negative number means: do not retry.
    let pushback = retry_after
        .map_or(MetadataValue::from_static("-1"), |after| MetadataValue::from(millis_ceil(after)));
    metadata.insert("grpc-retry-pushback-ms", pushback);
    if retry_after.is_some() {
        details.set_retry_info(retry_after);
    }
    Status::with_error_details_and_metadata(Code::ResourceExhausted, message, details, metadata)
}
