//! Quotas of callers and of namespaces.

// Quotas of principals, by role.
mod callers;
// How much a namespace may hold.
mod held;
// Rates and concurrency of namespaces.
mod namespaces;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::support::status::expect_error;

/// Checks that a call is refused for this figure of the quota of `subject`.
fn expect_exceeded<T>(answer: Result<T, Status>, subject: &str, figure: &str) -> ErrorDetails {
    let details = expect_error(answer, Code::ResourceExhausted, "QUOTA_EXCEEDED");
    let violations = &details.quota_failure().expect("a QuotaFailure").violations;
    let subjects: Vec<_> = violations.iter().map(|violation| violation.subject.as_str()).collect();
    assert_eq!(subjects, [subject]);
    let metadata = &details.error_info().unwrap().metadata;
    assert_eq!(metadata.get("figure").map(String::as_str), Some(figure), "{details:?}");
    assert!(violations[0].description.contains(&metadata["limit"]), "{details:?}");
    details
}

/// Whether a call is refused for a quota.
fn is_exceeded<T>(answer: &Result<T, Status>) -> bool {
    answer.as_ref().is_err_and(|status| {
        let info = status.get_details_error_info();
        info.is_some_and(|info| info.reason == "QUOTA_EXCEEDED")
    })
}
