//! Checks that a request is a gRPC request, by the specification of gRPC over HTTP/2.
//!
//! A page in a browser can send a POST to another site, but not with the content type of gRPC
//! unless that site allows it. So the content type is checked, and not only for the sake of errors.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE},
};
use http_body_util::Full;
use tokio::time::Instant;
use tonic::{Code, Status, body::Body};

use super::{deadline, method::Method as RpcMethod, status};

/// Overhead per header by which HTTP/2 counts the size of a header list (RFC 9113, 6.5.2).
const HEADER_OVERHEAD: usize = 32;
const GRPC: &str = "application/grpc";
const EXPLANATION: &str =
    "this is a gRPC server: it expects POST with the content type application/grpc\n";

/// Why a request is refused before its method is looked up.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It is no gRPC request.
    Http(StatusCode),
    /// It is a gRPC request with wrong metadata.
    Grpc(Box<Status>),
}

/// The deadline of a valid request for `method`. `max_header_bytes` limits its headers.
#[inline]
pub(super) fn check<B>(
    request: &Request<B>,
    method: RpcMethod,
    max_header_bytes: usize,
) -> Result<Option<Instant>, Refusal> {
    let headers = request.headers();
    if request.method() != Method::POST {
        return Err(Refusal::Http(StatusCode::METHOD_NOT_ALLOWED));
    }
    if !headers.get(CONTENT_TYPE).is_some_and(is_grpc) {
        return Err(Refusal::Http(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    let size = header_bytes(request.uri().path(), headers);
    if size > max_header_bytes {
        return Err(Refusal::Grpc(Box::new(status::metadata_too_large(size, max_header_bytes))));
    }
    // At once, as the message of an unknown stream may never end.
    if method.is_unknown() {
        return Err(Refusal::Grpc(Box::new(status::no_such_method())));
    }
    deadline::of(headers).map_err(|status| Refusal::Grpc(Box::new(status)))
}

/// Whether messages are protobuf: `application/grpc` or `application/grpc+proto`, with or without
/// parameters.
fn is_grpc(value: &HeaderValue) -> bool {
    let value = value.as_bytes();
    let Some((begin, rest)) = value.split_at_checked(GRPC.len()) else { return false };
    if !begin.eq_ignore_ascii_case(GRPC.as_bytes()) {
        return false;
    }
    let rest = match rest.split_at_checked("+proto".len()) {
        Some((subtype, rest)) if subtype.eq_ignore_ascii_case(b"+proto") => rest,
        _ => rest,
    };
    matches!(rest.first(), None | Some(b';' | b' ' | b'\t'))
}

fn header_bytes(path: &str, headers: &HeaderMap) -> usize {
    let sizes =
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + HEADER_OVERHEAD);
    path.len() + sizes.sum::<usize>()
}

impl Refusal {
    /// The status code in metrics: for HTTP statuses, the one that gRPC clients derive.
    pub(super) fn code(&self) -> Code {
        match self {
            Self::Http(_) => Code::Unknown,
            Self::Grpc(status) => status.code(),
        }
    }

    #[cold]
    pub(super) fn into_response(self) -> Response<Body> {
        let status = match self {
            Self::Http(status) => status,
            Self::Grpc(status) => return status.into_http(),
        };
        let mut response = Response::new(Body::new(Full::<Bytes>::from(EXPLANATION)));
        *response.status_mut() = status;
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, text);
        if status == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        }
        response
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn request(content_type: Option<&str>) -> http::request::Builder {
        let request = Request::post("/larder.v1.CacheService/Get").header("te", "trailers");
        match content_type {
            Some(content_type) => request.header(CONTENT_TYPE, content_type),
            None => request,
        }
    }

    fn checked(request: &Request<()>) -> Result<Option<Instant>, Refusal> {
        check(request, RpcMethod::of(request.uri().path()), 1024)
    }

    fn refusal(request: http::request::Builder) -> Option<Refusal> {
        checked(&request.body(()).unwrap()).err()
    }

    #[test]
    fn content_types_of_grpc_with_protobuf_are_accepted() {
        for accepted in [
            "application/grpc",
            "application/grpc+proto",
            "Application/GRPC",
            "application/grpc;charset=utf-8",
            "application/grpc+proto ; x=y",
        ] {
            assert!(refusal(request(Some(accepted))).is_none(), "{accepted}");
        }
    }

    #[test]
    fn other_content_types_are_unsupported() {
        let others = [
            "text/html",
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/grpc-web",
            "application/grpc-web+proto",
            "application/grpc+json",
            "application/grpc+protobuf",
            "application/grp",
            "",
        ];
        for other in others.map(Some).into_iter().chain([None]) {
            let refused = refusal(request(other));
            let unsupported = Refusal::Http(StatusCode::UNSUPPORTED_MEDIA_TYPE);
            assert_eq!(format!("{refused:?}"), format!("{:?}", Some(unsupported)), "{other:?}");
        }
    }

    #[test]
    fn other_http_methods_are_not_allowed() {
        for method in ["GET", "PUT", "OPTIONS", "HEAD"] {
            let refused = refusal(request(Some(GRPC)).method(method)).unwrap();
            let response = refused.into_response();
            assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
            assert_eq!(response.headers()[ALLOW], "POST");
        }
    }

    #[test]
    fn unknown_methods_are_unimplemented() {
        let grpc = |path| Request::post(path).header(CONTENT_TYPE, GRPC);
        assert_eq!(refusal(grpc("/a.B/C")).unwrap().code(), Code::Unimplemented);
        assert!(refusal(grpc("/larder.v1.CacheService/Get")).is_none());
        // Not a gRPC request in the first place.
        assert!(matches!(refusal(Request::post("/a.B/C")), Some(Refusal::Http(_))));
    }

    #[test]
    fn te_is_not_needed() {
        let request = Request::post("/larder.v1.CacheService/Get");
        let request = request.header(CONTENT_TYPE, GRPC).body(()).unwrap();
        assert!(checked(&request).is_ok());
    }

    #[test]
    fn headers_over_the_limit_exhaust_a_resource() {
        let with = |size: usize| request(Some(GRPC)).header("x", "v".repeat(size));
        assert!(refusal(with(700)).is_none());
        let Some(Refusal::Grpc(status)) = refusal(with(1024)) else { panic!("accepted") };
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(status.message().contains("limits.max_header_bytes"), "{status:?}");
    }

    #[test]
    fn malformed_timeout_is_an_invalid_argument() {
        let refused = refusal(request(Some(GRPC)).header("grpc-timeout", "abc"));
        assert_eq!(refused.unwrap().code(), Code::InvalidArgument);
    }
}
