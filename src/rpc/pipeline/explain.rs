//! Details for the errors of tonic, which has none.

use http::{HeaderName, Response};
use tonic::{Code, Status, body::Body};

use crate::rpc::{protocol, status};

// A constant, because a name given as text is parsed for every request.
const GRPC_STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// The status code of a response without messages; `None` for other responses.
///
/// Adds details to the errors of tonic, such as an unknown method or a message over the limit.
pub(super) fn explain(response: &mut Response<Body>, max_message_bytes: usize) -> Option<Code> {
    let headers = response.headers();
    if !headers.contains_key(Status::GRPC_STATUS) {
        return None;
    }
    let status = Status::from_header_map(headers)?;
    if status.code() == Code::Ok || headers.contains_key(GRPC_STATUS_DETAILS) {
        return Some(status.code());
    }
    let status = status::with_error_info(&status, max_message_bytes);
    let code = status.code();
    let mut explained = status.into_http::<Body>();
    // Lists the supported compressions for a client with an unsupported one.
    if let Some(accepted) = response.headers().get(protocol::ACCEPT_ENCODING) {
        explained.headers_mut().insert(protocol::ACCEPT_ENCODING, accepted.clone());
    }
    *response = explained;
    Some(code)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::rpc::overload::Overload;

    #[test]
    fn errors_of_tonic_are_explained() {
        let mut response = Status::new(Code::Unimplemented, "").into_http::<Body>();
        let accepted = HeaderValue::from_static("identity");
        response.headers_mut().insert(protocol::ACCEPT_ENCODING, accepted.clone());
        assert_eq!(explain(&mut response, 1024), Some(Code::Unimplemented));
        assert!(response.headers().contains_key(GRPC_STATUS_DETAILS));
        assert_eq!(response.headers().get(protocol::ACCEPT_ENCODING), Some(&accepted));
    }

    #[test]
    fn errors_of_handlers_and_responses_with_messages_are_unchanged() {
        let mut response = status::overloaded_by(Overload::Requests, Some(1)).into_http::<Body>();
        let before = response.headers().clone();
        assert_eq!(explain(&mut response, 1024), Some(Code::ResourceExhausted));
        assert_eq!(*response.headers(), before);
        assert_eq!(explain(&mut Response::new(Body::empty()), 1024), None);
    }
}
