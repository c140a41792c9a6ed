//! The deadline of a call, from the `grpc-timeout` header.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;
use tonic::Status;

use super::status;
use crate::{config::LimitsConfig, model::Violation};

pub(super) const HEADER: HeaderName = HeaderName::from_static("grpc-timeout");
/// Characters of a malformed header that its error repeats.
const MAX_SHOWN: usize = 32;
/// Longer timeouts are not worth a timer and count as none.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// The deadline of a call; `None` if the header is absent.
///
/// # Errors
/// The header is malformed: the client's deadline is unknown. Or the timeout is zero, so that the
/// deadline has passed.
pub(super) fn of(headers: &HeaderMap) -> Result<Option<Instant>, Status> {
    of_value(headers.get(HEADER))
}

/// As [`of`], with the header looked up.
#[inline]
pub(super) fn of_value(header: Option<&HeaderValue>) -> Result<Option<Instant>, Status> {
    let Some(value) = header else { return Ok(None) };
    let timeout = value.to_str().ok().and_then(parse).ok_or_else(|| malformed(value))?;
    if timeout.is_zero() {
        return Err(status::deadline_exceeded());
    }
    Ok((timeout < MAX_TIMEOUT).then(|| Instant::now() + timeout))
}

#[cold]
fn malformed(value: &HeaderValue) -> Status {
    let shown = String::from_utf8_lossy(value.as_bytes());
    let shown: String = shown.chars().take(MAX_SHOWN).collect();
    Violation::new(
        "grpc-timeout",
        format!("is {shown:?}, expected 1 to 8 digits and one of the units H, M, S, m, u and n"),
    )
    .into()
}

/// The deadline of calls that have none and can take long.
#[derive(Debug, Clone, Copy)]
pub(super) struct DefaultDeadline(Option<Duration>);

impl DefaultDeadline {
    pub(super) fn new(limits: &LimitsConfig) -> Self {
        Self(Some(limits.default_deadline).filter(|timeout| !timeout.is_zero()))
    }

    /// The default for a call that begins now, if its headers have no timeout.
    pub(super) fn of(self, headers: &HeaderMap) -> Option<Instant> {
        let timeout = self.0.filter(|_| !headers.contains_key(HEADER))?;
        Some(Instant::now() + timeout)
    }
}

/// The output of `work`, or DEADLINE_EXCEEDED if the deadline passes first.
pub(super) async fn within<T>(
    deadline: Option<Instant>,
    work: impl Future<Output = T>,
) -> Result<T, Status> {
    match deadline {
        None => Ok(work.await),
        Some(deadline) => tokio::time::timeout_at(deadline, work)
            .await
            .map_err(|_elapsed| status::deadline_exceeded()),
    }
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
    use tonic::Code;

    use super::*;

    #[test]
    fn timeout_is_parsed_as_in_the_grpc_protocol() {
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

    #[tokio::test(start_paused = true)]
    async fn default_is_for_calls_without_a_timeout() {
        let limits =
            |default_deadline| LimitsConfig { default_deadline, ..LimitsConfig::default() };
        let minute = DefaultDeadline::new(&limits(Duration::from_secs(60)));
        let none = HeaderMap::new();
        assert_eq!(minute.of(&none), Some(Instant::now() + Duration::from_secs(60)));
        assert_eq!(DefaultDeadline::new(&limits(Duration::ZERO)).of(&none), None);
        let days = HeaderMap::from_iter([(HEADER, HeaderValue::from_static("99H"))]);
        assert_eq!(minute.of(&days), None);
    }

    #[tokio::test(start_paused = true)]
    async fn deadline_counts_from_the_request_and_is_none_if_too_far_away() {
        let of = |timeout: &'static str| {
            let headers = HeaderMap::from_iter([(HEADER, HeaderValue::from_static(timeout))]);
            let deadline = super::of(&headers).map_err(|status| status.code());
            deadline.map(|deadline| deadline.map(|deadline| deadline - Instant::now()))
        };
        assert_eq!(of("1500m"), Ok(Some(Duration::from_millis(1500))));
        assert_eq!(
            (of("0n"), of("1n")),
            (Err(Code::DeadlineExceeded), Ok(Some(Duration::from_nanos(1))))
        );
        assert_eq!((of("24H"), of("86399S")), (Ok(None), Ok(Some(Duration::from_secs(86_399)))));
        assert!(super::of(&HeaderMap::new()).is_ok_and(|deadline| deadline.is_none()));
    }

    #[test]
    fn malformed_timeout_is_a_violation_that_repeats_little_of_it() {
        let of = |timeout: &str| {
            let value = HeaderValue::from_str(timeout).map_err(|error| error.to_string())?;
            let deadline = super::of(&HeaderMap::from_iter([(HEADER, value)]));
            deadline.map_err(|status| status.message().to_owned())
        };
        let Err(message) = of("abc") else { panic!("accepted") };
        let expected = "grpc-timeout is \"abc\", expected 1 to 8 digits and one of the units H, M, \
            S, m, u and n";
        assert_eq!(message, expected);
        let Err(message) = of(&"9".repeat(1000)) else { panic!("accepted") };
        assert!(message.len() < 150, "{message}");
    }

    #[tokio::test(start_paused = true)]
    async fn work_past_its_deadline_is_cancelled() {
        let second = Duration::from_secs(1);
        let work = |time: Duration| async move {
            tokio::time::sleep(time).await;
            7
        };
        let begun = Instant::now();
        let deadline = Some(begun + 2 * second);
        assert!(within(deadline, work(second)).await.is_ok_and(|output| output == 7));
        assert!(within(None, work(second)).await.is_ok_and(|output| output == 7));
        let late = within(Some(Instant::now() + second), work(2 * second)).await;
        assert!(late.is_err_and(|status| status.code() == Code::DeadlineExceeded));
        assert_eq!(begun.elapsed(), 3 * second);
    }
}
