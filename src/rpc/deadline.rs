//! Deadlines as gRPC clients send them.

use std::time::Duration;

use http::{HeaderMap, HeaderName};
use tokio::time::Instant;

pub(super) const HEADER: HeaderName = HeaderName::from_static("grpc-timeout");
/// Longer ones are not worth a timer.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// When the call must be answered; none if the client did not say or said something that is not in the protocol.
pub(super) fn of(headers: &HeaderMap) -> Option<Instant> {
    let timeout = parse(headers.get(HEADER)?.to_str().ok()?)?;
    (timeout < LONGEST).then(|| Instant::now() + timeout)
}

/// At most eight digits and a unit, as in the gRPC protocol over HTTP/2.
fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_protocol() {
        let cases = [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("99999999m", Some(Duration::from_millis(99_999_999))),
            ("5u", Some(Duration::from_micros(5))),
            ("6n", Some(Duration::from_nanos(6))),
            ("", None),
            ("S", None),
            ("100000000S", None),
            ("1x", None),
            ("-1S", None),
            ("1é", None),
        ];
        for (text, timeout) in cases {
            assert_eq!(parse(text), timeout, "{text:?}");
        }
    }
}
