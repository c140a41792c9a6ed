//! Explains failed requests. The texts contain no URL, no header and no part of a body, which may
//! hold secrets.

use std::{
    error::Error as StdError,
    io,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, StatusCode, header};

use super::{cache_control::parse_seconds, client::MAX_HEADER_LINES};
use crate::origin::{Error, MAX_RETRY_AFTER, OriginErrorKind};

/// The failure that a status other than success, absence or confirmation stands for.
pub(super) fn unexpected_status(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Error {
    let cause = format_args!("status {}", status.as_u16());
    match status.as_u16() {
        429 | 500..=599 => Error {
            retry_after: retry_after(headers, now),
            ..Error::new(OriginErrorKind::Failed, cause)
        },
        300..=499 => Error::new(OriginErrorKind::Refused, cause),
        _ => Error::new(OriginErrorKind::Invalid, cause),
    }
}

fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let delay = parse_seconds(text).or_else(|| {
        let date = httpdate::parse_http_date(text).ok()?;
        Some(date.duration_since(now).unwrap_or_default())
    })?;
    Some(delay.min(MAX_RETRY_AFTER))
}

/// The failure of a request without a response.
pub(super) fn no_response(error: &reqwest::Error) -> Error {
    if error.is_connect() && error.is_timeout() {
        return Error::new(
            OriginErrorKind::Unreachable,
            "no connection in time (origin.connect_timeout)",
        );
    }
    let has_source = |is_kind: fn(&hyper::Error) -> bool| {
        sources(error).filter_map(|source| source.downcast_ref::<hyper::Error>()).any(is_kind)
    };
    if has_source(hyper::Error::is_parse_too_large) {
        let cause = format_args!(
            "the response has too many headers, the limit is {MAX_HEADER_LINES} lines or 400 KiB"
        );
        return Error::new(OriginErrorKind::Invalid, cause);
    }
    if has_source(hyper::Error::is_parse) {
        return Error::new(OriginErrorKind::Invalid, "the response is not HTTP");
    }
    Error::new(
        OriginErrorKind::Unreachable,
        reason(error).unwrap_or_else(|| "the connection failed".to_owned()),
    )
}

/// The failure of a request whose response ended early.
pub(super) fn incomplete_response(error: &reqwest::Error) -> Error {
    let reason = reason(error).map(|reason| format!(": {reason}")).unwrap_or_default();
    Error::new(OriginErrorKind::Unreachable, format_args!("the response is incomplete{reason}"))
}

/// The reason given by TLS, the connection or the operating system.
fn reason(error: &reqwest::Error) -> Option<String> {
    if error.is_dns() {
        return Some("the host name cannot be resolved".to_owned());
    }
    sources(error).find_map(|source| {
        if let Some(tls) = source.downcast_ref::<rustls::Error>() {
            return Some(tls.to_string());
        }
        if let Some(http) = source.downcast_ref::<hyper::Error>() {
            return http.is_incomplete_message().then(|| "the connection was closed".to_owned());
        }
        let kind = source.downcast_ref::<io::Error>()?.kind();
        // Wrappers have these kinds as well, and the wrapped error comes next.
        (!matches!(kind, io::ErrorKind::Other | io::ErrorKind::InvalidData))
            .then(|| kind.to_string())
    })
}

/// The sources of an error, outermost first.
fn sources(error: &reqwest::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(error.source(), |source| {
        let source: &(dyn StdError + 'static) = *source;
        // `io::Error` skips the error that it wraps, and returns the source of that error instead.
        match source.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => source.source(),
        }
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn kind_follows_the_status() {
        for (status, kind) in [
            (199, OriginErrorKind::Invalid),
            (201, OriginErrorKind::Invalid),
            (206, OriginErrorKind::Invalid),
            (301, OriginErrorKind::Refused),
            (400, OriginErrorKind::Refused),
            (401, OriginErrorKind::Refused),
            (429, OriginErrorKind::Failed),
            (500, OriginErrorKind::Failed),
            (599, OriginErrorKind::Failed),
            (600, OriginErrorKind::Invalid),
        ] {
            let error = unexpected_status(
                StatusCode::from_u16(status).unwrap(),
                &HeaderMap::new(),
                SystemTime::UNIX_EPOCH,
            );
            assert_eq!((error.kind, error.cause), (kind, format!("status {status}")));
        }
    }

    #[test]
    fn retry_after_is_a_number_or_a_date_up_to_a_limit() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (text, seconds) in [
            ("7", Some(7)),
            (" 7 ", Some(7)),
            ("0", Some(0)),
            ("99999999999999999999", Some(300)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:49:27 GMT", Some(0)),
            ("Mon, 07 Nov 1994 08:49:27 GMT", Some(300)),
            ("soon", None),
            ("-1", None),
        ] {
            let headers =
                [(header::RETRY_AFTER, HeaderValue::from_static(text))].into_iter().collect();
            let retry_after = seconds.map(Duration::from_secs);
            assert_eq!(
                unexpected_status(StatusCode::SERVICE_UNAVAILABLE, &headers, now).retry_after,
                retry_after,
                "{text}"
            );
            assert_eq!(
                unexpected_status(StatusCode::BAD_REQUEST, &headers, now).retry_after,
                None,
                "{text}"
            );
        }
    }
}
