//! Checks that a request is a gRPC request, by the specification of gRPC over HTTP/2.
//!
//! A page in a browser can send a POST to another site, but not with the content type of gRPC
//! unless that site allows it. So the content type is checked, and not only for the sake of errors.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE},
};
use http_body_util::Full;
use tokio::time::Instant;
use tonic::{Code, Status, body::Body};

use super::{
    deadline,
    method::Method as RpcMethod,
    schema::{self, Schema},
    status,
};

/// Overhead per header by which HTTP/2 counts the size of a header list (RFC 9113, 6.5.2).
const HEADER_OVERHEAD: usize = 32;
const GRPC: &str = "application/grpc";
// Constants, because a name given as text is parsed for every request.
pub(super) const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
pub(super) const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
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

/// A valid request.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) deadline: Option<Instant>,
    pub(super) schema: Schema,
    /// Credentials.
    pub(super) authorization: Option<HeaderValue>,
    /// The headers that are read later. A queued call would hold the others until it is admitted,
    /// which costs 5 % of the CPU time per request under overload, and an incomplete one until its
    /// message has arrived.
    pub(super) headers: HeaderMap,
}

/// The headers that are read. All headers are visited once: each lookup would hash its name.
#[derive(Default)]
struct ReadHeaders<'a> {
    content_type: Option<&'a HeaderValue>,
    timeout: Option<&'a HeaderValue>,
    encoding: Option<&'a HeaderValue>,
    accepted: Option<&'a HeaderValue>,
    schema: Option<&'a HeaderValue>,
    authorization: Option<&'a HeaderValue>,
    /// Size of all headers.
    bytes: usize,
}

/// Checks a request for `method`. `max_header_bytes` limits its headers.
#[inline]
pub(super) fn check<B>(
    request: &Request<B>,
    method: RpcMethod,
    max_header_bytes: usize,
) -> Result<Checked, Refusal> {
    let headers = ReadHeaders::of(request.headers());
    if request.method() != Method::POST {
        return Err(Refusal::Http(StatusCode::METHOD_NOT_ALLOWED));
    }
    if !headers.content_type.is_some_and(is_grpc) {
        return Err(Refusal::Http(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    // All of it, as the transport has accepted it: the request may be kept while its message is
    // incomplete.
    let uri = request.uri();
    let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    let size = path + authority + headers.bytes;
    if size > max_header_bytes {
        return Err(Refusal::Grpc(Box::new(status::metadata_too_large(size, max_header_bytes))));
    }
    // At once, as the message of an unknown stream may never end.
    if method.is_unknown() {
        return Err(Refusal::Grpc(Box::new(status::no_such_method(request.uri().path()))));
    }
    let deadline =
        deadline::of_value(headers.timeout).map_err(|status| Refusal::Grpc(Box::new(status)))?;
    let schema = match headers.schema {
        None => Schema::default(),
        Some(value) => Schema::parse(value).map_err(|status| Refusal::Grpc(Box::new(status)))?,
    };
    let authorization = headers.authorization.cloned();
    Ok(Checked { deadline, schema, authorization, headers: headers.kept() })
}

impl<'a> ReadHeaders<'a> {
    /// Of headers with the same name, the first is read.
    #[inline]
    fn of(all: &'a HeaderMap) -> Self {
        let mut headers = Self::default();
        for (name, value) in all {
            let name = name.as_str();
            headers.bytes += name.len() + value.len() + HEADER_OVERHEAD;
            let read = match name {
                "content-type" => &mut headers.content_type,
                "grpc-timeout" => &mut headers.timeout,
                "grpc-encoding" => &mut headers.encoding,
                "grpc-accept-encoding" => &mut headers.accepted,
                schema::HEADER => &mut headers.schema,
                "authorization" => &mut headers.authorization,
                _ => continue,
            };
            read.get_or_insert(value);
        }
        headers
    }

    #[inline]
    fn kept(&self) -> HeaderMap {
        let mut kept = HeaderMap::new();
        // A client that compresses its request receives a compressed response. Many clients accept
        // compression without a need for it, and would only cost CPU time.
        let accepted = self.accepted.filter(|_| self.encoding.is_some());
        for (name, value) in [
            (deadline::HEADER, self.timeout),
            (ENCODING, self.encoding),
            (ACCEPT_ENCODING, accepted),
        ] {
            if let Some(value) = value {
                kept.insert(name, value.clone());
            }
        }
        kept
    }
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

    fn checked(request: &Request<()>) -> Result<Checked, Refusal> {
        check(request, RpcMethod::of(request.uri().path()), 1024)
    }

    fn refusal(request: http::request::Builder) -> Option<Refusal> {
        checked(&request.body(()).unwrap()).err()
    }

    #[test]
    fn all_of_the_request_head_counts() {
        let long = "x".repeat(1024);
        let is_refused = |uri: String| {
            let uri: http::Uri = uri.parse().unwrap();
            matches!(refusal(request(Some("application/grpc")).uri(uri)), Some(Refusal::Grpc(_)))
        };
        let path = "/larder.v1.CacheService/Get";
        assert!(!is_refused(format!("http://larder{path}")));
        assert!(is_refused(format!("http://larder{path}?{long}")));
        assert!(is_refused(format!("http://{long}{path}")));
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
    fn only_headers_that_are_read_later_are_kept() {
        let kept = |names: &[&str]| {
            let mut request = request(Some(GRPC)).header("grpc-timeout", "1S");
            for name in names {
                request = request.header(*name, "first").header(*name, "second");
            }
            let headers = checked(&request.body(()).unwrap()).unwrap().headers;
            let mut kept: Vec<_> =
                headers.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
            kept.sort_unstable();
            kept.join(", ")
        };
        assert_eq!(kept(&["user-agent", "x-other"]), "grpc-timeout: \"1S\"");
        assert_eq!(kept(&["grpc-accept-encoding"]), "grpc-timeout: \"1S\"");
        let both =
            "grpc-accept-encoding: \"first\", grpc-encoding: \"first\", grpc-timeout: \"1S\"";
        assert_eq!(kept(&["grpc-encoding", "grpc-accept-encoding"]), both);
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
    fn schema_version_is_checked() {
        let with = |value: &str| request(Some(GRPC)).header(schema::HEADER, value);
        let checked = checked(&with("2").body(()).unwrap()).unwrap();
        assert!(!checked.schema.is_none() && checked.headers.is_empty());
        assert_eq!(refusal(with("a/b")).unwrap().code(), Code::InvalidArgument);
    }

    #[test]
    fn malformed_timeout_is_an_invalid_argument() {
        let refused = refusal(request(Some(GRPC)).header("grpc-timeout", "abc"));
        assert_eq!(refused.unwrap().code(), Code::InvalidArgument);
    }
}
