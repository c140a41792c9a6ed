//! Numbers for people: three digits, and a named unit.

use std::time::{Duration, SystemTime};

use crate::{
    model::SaturatingFrom as _,
    units::{digits, scaled},
};

pub(super) use crate::units::count;

const KIB: f64 = 1024.0;

/// A rate, such as `8.4 k/s` or `0.3/s`.
pub(super) fn per_second(rate: f64) -> String {
    if rate < 10.0 { format!("{}/s", digits(rate)) } else { format!("{}/s", scaled(rate)) }
}

/// A share of one, such as `97.2 %`. A share that is not all is never shown as 100 %.
pub(super) fn percent(share: f64) -> String {
    let shown = share * 100.0;
    match shown {
        shown if shown > 99.9 && shown < 100.0 => format!("{:.2} %", shown.min(99.99)),
        shown if shown > 0.0 && shown < 0.1 => "<0.1 %".to_owned(),
        shown => format!("{shown:.1} %"),
    }
}

/// A difference of two shares, in points of a percent, with its sign.
pub(super) fn points(difference: f64) -> String {
    format!("{:+.1}", difference * 100.0)
}

/// A size, such as `96 MiB`.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut size, mut unit) = (bytes as f64 / KIB, 0);
    while size >= 1000.0 && unit + 1 < UNITS.len() {
        size /= KIB;
        unit += 1;
    }
    let decimals = usize::from(size < 9.95);
    format!("{size:.decimals$} {}", UNITS[unit])
}

/// A latency in milliseconds, without its unit.
pub(super) fn millis(time: Duration) -> String {
    digits(time.as_secs_f64() * 1e3)
}

/// A latency with its unit, such as `0.34 ms` or `4.8 s`.
pub(super) fn latency(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", millis(time))
    } else {
        format!("{} s", digits(time.as_secs_f64()))
    }
}

/// A length of time in its largest unit, such as `5 min`, and `2 h 30 min` where that is exact.
pub(super) fn span(time: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    if time < Duration::from_secs(1) {
        return format!("{} ms", time.as_millis());
    }
    let seconds = time.as_secs();
    for (index, (unit, name)) in UNITS.into_iter().enumerate() {
        if seconds >= unit {
            let (whole, rest) = (seconds / unit, seconds % unit);
            let below = UNITS.get(index + 1).filter(|(below, _)| rest >= *below && whole < 10);
            return match below {
                Some((below, below_name)) => {
                    format!("{whole} {name} {} {below_name}", rest / below)
                }
                None => format!("{whole} {name}"),
            };
        }
    }
    String::new()
}

/// A length of time, rounded down to its largest unit, such as `2 h`.
pub(super) fn rough_span(time: Duration) -> String {
    span(time).split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// The time of day in UTC, such as `22:05`, of milliseconds since the Unix epoch.
pub(super) fn clock(millis: u64) -> String {
    rfc3339(millis).get(11..16).unwrap_or_default().to_owned()
}

/// Day of the month and time of day in UTC, such as `11-30 22:05`.
pub(super) fn day_and_clock(millis: u64) -> String {
    let text = rfc3339(millis);
    text.get(5..16).unwrap_or_default().replace('T', " ")
}

/// Date and time in UTC, to the second.
pub(super) fn date_time(millis: u64) -> String {
    let text = rfc3339(millis);
    format!("{} UTC", text.get(..19).unwrap_or_default().replace('T', " "))
}

/// Milliseconds since the Unix epoch.
pub(super) fn now_millis() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::saturating_from(now.as_millis())
}

/// A time that no calendar of the crate has is shown as the epoch.
fn rfc3339(millis: u64) -> String {
    const LAST: u64 = 253_402_300_799_000;
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(millis.min(LAST));
    humantime::format_rfc3339_seconds(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rough_span_has_one_unit() {
        let rough = |seconds| rough_span(Duration::from_secs(seconds));
        assert_eq!([rough(9_000), rough(271), rough(7)], ["2 h", "4 min", "7 s"]);
        assert_eq!(rough_span(Duration::from_millis(12)), "12 ms");
    }

    #[test]
    fn rates_have_three_digits_and_a_unit() {
        let rates = [0.0, 0.004, 0.3, 7.0, 12.0, 21_200.0].map(per_second);
        assert_eq!(rates, ["0/s", "0.00/s", "0.30/s", "7.0/s", "12/s", "21.2 k/s"]);
    }

    #[test]
    fn shares_are_never_rounded_to_all_or_nothing() {
        let shares = [0.0, 0.0004, 0.924, 0.9999, 0.999_999, 1.0].map(percent);
        assert_eq!(shares, ["0.0 %", "<0.1 %", "92.4 %", "99.99 %", "99.99 %", "100.0 %"]);
        assert_eq!([0.011, -0.2].map(points), ["+1.1", "-20.0"]);
    }

    #[test]
    fn sizes_and_times_have_their_largest_unit() {
        let sizes = [0, 1023, 1024, 1 << 20, 96 << 20, u64::MAX].map(bytes);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.0 MiB", "96 MiB", "16384 PiB"]);
        let times = [0, 5, 60, 90, 3600, 9000, 86_400, 11 * 86_400 + 5].map(Duration::from_secs);
        let expected = ["0 ms", "5 s", "1 min", "1 min 30 s", "1 h", "2 h 30 min", "1 d", "11 d"];
        assert_eq!(times.map(span), expected);
        assert_eq!(millis(Duration::from_micros(340)), "0.34");
        assert_eq!(millis(Duration::from_micros(2_100)), "2.1");
        let latencies = [340, 2_100, 999_000, 4_848_000].map(Duration::from_micros).map(latency);
        assert_eq!(latencies, ["0.34 ms", "2.1 ms", "999 ms", "4.8 s"]);
    }

    #[test]
    fn times_are_in_utc() {
        assert_eq!(clock(1_700_000_000_000), "22:13");
        assert_eq!(day_and_clock(1_700_000_000_000), "11-14 22:13");
        assert_eq!(date_time(1_700_000_000_000), "2023-11-14 22:13:20 UTC");
        assert_eq!(date_time(u64::MAX), "9999-12-31 23:59:59 UTC");
    }
}
