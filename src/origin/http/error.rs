//! Why there is no answer, in words that may be shown: no URL, no header and nothing of a body is in them.

use std::{
    error::Error as StdError,
    io,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, StatusCode, header};

use super::directives::seconds;
use crate::origin::{Error, ErrorKind};

/// Longest time for which an origin is believed that it wants to be left alone.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(5 * 60);

/// A status that is no answer.
pub(super) fn bad_status(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Error {
    let cause = format_args!("status {}", status.as_u16());
    match status.as_u16() {
        429 | 500..=599 => {
            Error { retry_after: retry_after(headers, now), ..Error::new(ErrorKind::Failed, cause) }
        }
        300..=499 => Error::new(ErrorKind::Refused, cause),
        _ => Error::new(ErrorKind::Invalid, cause),
    }
}

fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = seconds(text).or_else(|| {
        let date = httpdate::parse_http_date(text).ok()?;
        Some(date.duration_since(now).unwrap_or_default())
    })?;
    Some(wait.min(MAX_RETRY_AFTER))
}

/// A request that got no answer.
pub(super) fn no_answer(error: &reqwest::Error) -> Error {
    if error.is_connect() && error.is_timeout() {
        return Error::new(ErrorKind::Unreachable, "no connection in time");
    }
    if causes(error)
        .filter_map(|cause| cause.downcast_ref::<hyper::Error>())
        .any(hyper::Error::is_parse)
    {
        return Error::new(ErrorKind::Invalid, "its answer cannot be read as HTTP");
    }
    Error::new(
        ErrorKind::Unreachable,
        reason(error).unwrap_or_else(|| "the connection failed".to_owned()),
    )
}

/// An answer that ended before it was complete.
pub(super) fn broken_off(error: &reqwest::Error) -> Error {
    let reason = reason(error).map(|reason| format!(": {reason}")).unwrap_or_default();
    Error::new(ErrorKind::Unreachable, format_args!("the answer broke off{reason}"))
}

/// What TLS, the operating system or the connection says about it.
fn reason(error: &reqwest::Error) -> Option<String> {
    if error.is_dns() {
        return Some("its name cannot be resolved".to_owned());
    }
    causes(error).find_map(|cause| {
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return Some(tls.to_string());
        }
        if let Some(http) = cause.downcast_ref::<hyper::Error>() {
            return http.is_incomplete_message().then(|| "the connection was closed".to_owned());
        }
        let kind = cause.downcast_ref::<io::Error>()?.kind();
        // Of these kinds are wrappers, too, and what they wrap comes next.
        (!matches!(kind, io::ErrorKind::Other | io::ErrorKind::InvalidData))
            .then(|| kind.to_string())
    })
}

/// An error's causes, from the outside in.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(error.source(), |cause| {
        let cause: &(dyn StdError + 'static) = *cause;
        // The system's errors keep what they wrap from the chain, and give away its source instead.
        match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => cause.source(),
        }
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_status_names_the_kind() {
        for (status, kind) in [
            (199, ErrorKind::Invalid),
            (201, ErrorKind::Invalid),
            (206, ErrorKind::Invalid),
            (301, ErrorKind::Refused),
            (400, ErrorKind::Refused),
            (401, ErrorKind::Refused),
            (429, ErrorKind::Failed),
            (500, ErrorKind::Failed),
            (599, ErrorKind::Failed),
            (600, ErrorKind::Invalid),
        ] {
            let error = bad_status(
                StatusCode::from_u16(status).unwrap(),
                &HeaderMap::new(),
                SystemTime::UNIX_EPOCH,
            );
            assert_eq!((error.kind, error.cause), (kind, format!("status {status}")));
        }
    }

    #[test]
    fn retry_after_is_a_number_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (text, wait) in [
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
            let wait = wait.map(Duration::from_secs);
            assert_eq!(
                bad_status(StatusCode::SERVICE_UNAVAILABLE, &headers, now).retry_after,
                wait,
                "{text}"
            );
            assert_eq!(
                bad_status(StatusCode::BAD_REQUEST, &headers, now).retry_after,
                None,
                "{text}"
            );
        }
    }
}
