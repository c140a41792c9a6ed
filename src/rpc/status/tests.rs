use super::*;
use crate::cache::StoreErrorKind;

#[test]
fn violation_names_field_and_limit() {
    let violation =
        Violation::over_limit("key", "is 9 bytes long, the limit is 8", 8).within("items[3].");
    let status = Status::from(violation);
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.message(), "items[3].key is 9 bytes long, the limit is 8");
    let info = status.get_details_error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("INVALID_ARGUMENT", "larder"));
    assert_eq!(info.metadata["field"], "items[3].key");
    assert_eq!(info.metadata["limit"], "8");
    assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "items[3].key");
}

#[test]
fn only_a_temporary_failure_of_an_origin_asks_for_a_retry() {
    let failed = |kind| {
        let namespace = Namespace::new("ns").unwrap();
        Status::from(cache::Error::Origin { namespace, error: OriginError::new(kind, "so it is") })
    };
    let refused = failed(OriginErrorKind::Refused);
    assert_eq!(refused.get_details_error_info().unwrap().reason, "ORIGIN_REFUSED");
    assert!(refused.get_details_retry_info().is_none());
    assert_eq!(refused.metadata().get("grpc-retry-pushback-ms").unwrap(), "-1");
    let unreachable = failed(OriginErrorKind::Unreachable);
    assert_eq!(unreachable.get_details_retry_info().unwrap().retry_delay, Some(ORIGIN_RETRY));
    assert_eq!(unreachable.metadata().get("grpc-retry-pushback-ms").unwrap(), "1000");
}

#[test]
fn unavailable_store_asks_for_a_retry() {
    let status = Status::from(store_error(StoreErrorKind::Timeout));
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(STORE_RETRY));
    assert_eq!(status.metadata().get("grpc-retry-pushback-ms").unwrap(), "500");
}

fn store_error(kind: StoreErrorKind) -> cache::Error {
    cache::Error::StoreUnavailable(kind.into())
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().unwrap().reason
}

#[test]
fn every_error_of_the_cache_has_a_code_and_a_reason() {
    let namespace = || Namespace::new("ns").unwrap();
    let violation = || Violation::new("field", "is wrong");
    let cases = [
        (cache::Error::Invalid(violation()), Code::InvalidArgument, "INVALID_ARGUMENT"),
        (cache::Error::ValueTooLarge(violation()), Code::ResourceExhausted, "VALUE_TOO_LARGE"),
        (cache::Error::UnknownNamespace(namespace()), Code::NotFound, "UNKNOWN_NAMESPACE"),
        (store_error(StoreErrorKind::Full), Code::ResourceExhausted, "STORE_FULL"),
        (store_error(StoreErrorKind::Late), Code::Unavailable, "STORE_UNAVAILABLE"),
        (store_error(StoreErrorKind::NotReplicated), Code::Unavailable, "NOT_REPLICATED"),
        (cache::Error::NoOrigin(namespace()), Code::FailedPrecondition, "NO_ORIGIN"),
        (cache::Error::NotAnInteger, Code::FailedPrecondition, "NOT_AN_INTEGER"),
        (cache::Error::Overflow, Code::FailedPrecondition, "OVERFLOW"),
        (cache::Error::NotJson, Code::FailedPrecondition, "NOT_JSON"),
        (
            cache::Error::PatchNotApplicable("no".to_owned()),
            Code::FailedPrecondition,
            "PATCH_NOT_APPLICABLE",
        ),
        (cache::Error::Contended { attempts: 3 }, Code::Aborted, "CONTENDED"),
        (cache::Error::ShuttingDown, Code::Unavailable, "SHUTTING_DOWN"),
    ];
    for (error, code, expected) in cases {
        let status = Status::from(error);
        assert_eq!((status.code(), reason(&status).as_str()), (code, expected));
        assert!(!status.message().is_empty());
    }
}

#[test]
fn key_that_the_origin_rejects_is_an_invalid_argument() {
    let kind = OriginErrorKind::BadKey(Violation::new("params.page", "must be set"));
    let namespace = Namespace::new("ns").unwrap();
    let error = OriginError::new(kind, "no page");
    let status = Status::from(cache::Error::Origin { namespace, error });
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.message(), "params.page must be set");
}

#[test]
fn oversized_batch_has_a_reason_of_its_own() {
    let large = batch_size(Violation::over_limit("keys", "has 3 elements", 2));
    assert_eq!((large.code(), reason(&large).as_str()), (Code::InvalidArgument, "BATCH_TOO_LARGE"));
    let empty = batch_size(Violation::new("keys", "must not be empty"));
    assert_eq!(reason(&empty), "INVALID_ARGUMENT");
}

#[test]
fn a_message_over_a_limit_of_its_own_method_names_that() {
    let words =
        "Error, decoded message length too large: found 5003 bytes, the limit is: 4096 bytes";
    let status = with_error_info(&Status::out_of_range(words), 4 << 20);
    let expected = "request is too large: it has 5003 bytes, the limit is 4096";
    assert_eq!(status.message(), expected);
}

#[test]
fn statuses_of_tonic_get_a_reason() {
    for (code, message, expected_code, expected) in [
        (Code::Unimplemented, "", Code::Unimplemented, "UNIMPLEMENTED"),
        (Code::Unimplemented, "encoding", Code::Unimplemented, "UNIMPLEMENTED"),
        (Code::Internal, "failed to decode x", Code::InvalidArgument, "INVALID_ARGUMENT"),
        (Code::Internal, "Missing request message.", Code::Unimplemented, "UNIMPLEMENTED"),
        (Code::OutOfRange, "too long", Code::ResourceExhausted, "MESSAGE_TOO_LARGE"),
        (Code::Cancelled, "gone", Code::Cancelled, "CANCELLED"),
        (Code::Internal, "broken", Code::Internal, "INTERNAL"),
    ] {
        let status = with_error_info(&Status::new(code, message), 4096);
        assert_eq!((status.code(), reason(&status).as_str()), (expected_code, expected));
        assert!(!status.message().is_empty());
    }
}
