//! Checks of errors and their details.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// Checks the code and the reason of an error, and returns its details.
pub(crate) fn expect_error<T>(answer: Result<T, Status>, code: Code, reason: &str) -> ErrorDetails {
    let Err(status) = answer else { panic!("expected {code:?}, but the call succeeded") };
    assert_eq!(status.code(), code, "{status:?}");
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("no ErrorInfo: {status:?}"));
    assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason, "larder"), "{status:?}");
    details
}

/// Checks that BadRequest and ErrorInfo name exactly this field as violated.
pub(crate) fn expect_violation<T>(answer: Result<T, Status>, field: &str) -> ErrorDetails {
    let details = expect_error(answer, Code::InvalidArgument, "INVALID_ARGUMENT");
    assert_field(&details, field);
    details
}

/// Checks that a violation names its field, and the limit in the description and the metadata.
pub(crate) fn expect_over_limit<T>(
    answer: Result<T, Status>,
    code: Code,
    reason: &str,
    field: &str,
    limit: u64,
) {
    let details = expect_error(answer, code, reason);
    assert_field(&details, field);
    let violation = &details.bad_request().unwrap().field_violations[0];
    assert!(
        violation.description.contains(&limit.to_string()),
        "{violation:?} does not contain {limit}"
    );
    assert_eq!(
        details.error_info().unwrap().metadata.get("limit"),
        Some(&limit.to_string()),
        "{details:?}"
    );
}

/// Checks a retryable error: RetryInfo in the details and the pushback trailer must both be set.
pub(crate) fn expect_retry<T: std::fmt::Debug>(
    answer: Result<T, Status>,
    code: Code,
    reason: &str,
) {
    let status = answer.expect_err("the call must fail");
    let pushback = status.metadata().get("grpc-retry-pushback-ms").cloned();
    let details = expect_error::<T>(Err(status.clone()), code, reason);
    let delay = details.retry_info().and_then(|info| info.retry_delay);
    assert!(delay.is_some_and(|delay| delay > Duration::ZERO), "no RetryInfo: {status:?}");
    let pushback: Option<u64> = pushback.and_then(|value| value.to_str().ok()?.parse().ok());
    assert!(pushback.is_some_and(|millis| millis > 0), "no pushback trailer: {status:?}");
}

fn assert_field(details: &ErrorDetails, field: &str) {
    let violations = &details
        .bad_request()
        .unwrap_or_else(|| panic!("no BadRequest: {details:?}"))
        .field_violations;
    let fields: Vec<&str> = violations.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, [field], "{details:?}");
    assert!(!violations[0].description.is_empty(), "{details:?}");
    assert_eq!(
        details.error_info().unwrap().metadata.get("field").map(String::as_str),
        Some(field),
        "{details:?}"
    );
}

/// The reason in an error's ErrorInfo.
pub(crate) fn reason(status: &Status) -> String {
    status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo: {status:?}")).reason
}
