//! Figures in few columns.

use std::time::Duration;

const UNITS: [(f64, &str); 3] = [(1e9, " G"), (1e6, " M"), (1e3, " k")];
const BYTE_UNITS: [(f64, &str); 4] = [
    (1_099_511_627_776.0, " TiB"),
    (1_073_741_824.0, " GiB"),
    (1_048_576.0, " MiB"),
    (1024.0, " KiB"),
];
const TIME_UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
/// Blocks of a column of one line, the lowest first.
const BLOCKS: [char; 8] = [
    '\u{2581}', '\u{2582}', '\u{2583}', '\u{2584}', '\u{2585}', '\u{2586}', '\u{2587}', '\u{2588}',
];

/// A number of things, such as `412`, `8.4 k` and `182 k`.
pub(super) fn count(number: u64) -> String {
    if number < 1000 { number.to_string() } else { scaled(number as f64, &UNITS) }
}

/// A number per second, such as `0.4`, `75` and `8.4 k`.
pub(super) fn rate(per_second: f64) -> String {
    let per_second = per_second.max(0.0);
    if per_second < 0.05 {
        return "0".to_owned();
    }
    scaled(per_second, &UNITS)
}

/// A size, such as `412 B` and `96 MiB`.
pub(super) fn bytes(number: u64) -> String {
    if number < 1024 { format!("{number} B") } else { scaled(number as f64, &BYTE_UNITS) }
}

/// Two numbers of bytes in the unit of the second, such as `156/256 MiB`.
pub(super) fn bytes_of(used: u64, limit: u64) -> String {
    let shown = bytes(limit);
    let unit = BYTE_UNITS.iter().find(|(_, unit)| shown.ends_with(unit));
    let divisor = unit.map_or(1.0, |(divisor, _)| *divisor);
    format!("{}/{shown}", digits(used as f64 / divisor))
}

/// A share of 1 in percent, without the sign.
pub(super) fn share(share: f64) -> String {
    format!("{:.1}", share * 100.0)
}

/// A latency of some seconds in milliseconds, without the unit.
pub(super) fn millis(seconds: f64) -> String {
    let millis = seconds * 1e3;
    match millis {
        short if short < 0.995 => format!("{short:.2}"),
        short if short < 9.95 => format!("{short:.1}"),
        long => format!("{long:.0}"),
    }
}

/// A latency with its unit, such as `0.34 ms`, `210 ms` and `2.0 s`.
pub(super) fn latency(seconds: f64) -> String {
    if seconds < 0.9995 {
        format!("{} ms", millis(seconds))
    } else {
        format!("{} s", digits(seconds))
    }
}

/// A time in its largest unit, such as `40 s`, `5 m` and `1 d`. Less than a second is `0 s`.
pub(super) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (size, unit) =
        TIME_UNITS.into_iter().find(|(size, _)| seconds >= *size).unwrap_or((1, "s"));
    format!("{} {unit}", seconds / size)
}

/// A configured time without loss, such as `90 s`, `5 m` and `1 d`.
pub(super) fn setting(time: Duration) -> String {
    let seconds = time.as_secs();
    if time.subsec_nanos() > 0 {
        return humantime::format_duration(time).to_string();
    }
    let exact =
        TIME_UNITS.into_iter().find(|(size, _)| seconds.is_multiple_of(*size) && seconds >= *size);
    let (size, unit) = exact.unwrap_or((1, "s"));
    format!("{} {unit}", seconds / size)
}

/// A line of blocks for the last values, the newest at the right, scaled to the highest of them.
pub(super) fn sparkline(values: &[f64], columns: usize) -> String {
    let shown = &values[values.len().saturating_sub(columns)..];
    let highest = shown.iter().copied().fold(0.0, f64::max);
    let block = |value: &f64| {
        let level = if highest > 0.0 { value / highest * 7.0 } else { 0.0 };
        BLOCKS[(level.round() as usize).min(BLOCKS.len() - 1)]
    };
    shown.iter().map(block).collect()
}

/// Means of neighbouring values, so that there are no more than `columns`.
pub(super) fn resampled(values: &[f64], columns: usize) -> Vec<f64> {
    let width = values.len().div_ceil(columns.max(1)).max(1);
    // The newest values are complete groups.
    let (rest, whole) = values.split_at(values.len() % width);
    let mean = |group: &[f64]| group.iter().sum::<f64>() / group.len() as f64;
    let rest = rest.chunks(width).map(mean);
    rest.chain(whole.chunks(width).map(mean)).collect()
}

/// A bar that is filled by a share of 1.
pub(super) fn bar(share: f64, columns: usize) -> String {
    let filled = (share.clamp(0.0, 1.0) * columns as f64).round() as usize;
    "\u{2588}".repeat(filled) + &"\u{2591}".repeat(columns - filled.min(columns))
}

fn scaled(number: f64, units: &[(f64, &'static str)]) -> String {
    // 999.6 k are 1.0 M.
    let fits = |(divisor, _): &&(f64, &str)| number >= divisor * 0.9995;
    match units.iter().find(fits) {
        Some((divisor, unit)) => format!("{}{unit}", digits(number / divisor)),
        None => digits(number),
    }
}

/// A number with one decimal, if it is short.
fn digits(number: f64) -> String {
    if number < 9.95 { format!("{number:.1}") } else { format!("{number:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_rates_have_two_digits_or_more() {
        let counts = [0, 412, 999, 1000, 8449, 182_400, 999_700, 1_500_000, 7_000_000_000];
        let expected = ["0", "412", "999", "1.0 k", "8.4 k", "182 k", "1.0 M", "1.5 M", "7.0 G"];
        assert_eq!(counts.map(count), expected);
        let rates = [-1.0, 0.04, 0.4, 9.94, 75.2, 910.0, 999.7, 21_200.0];
        let expected = ["0", "0", "0.4", "9.9", "75", "910", "1.0 k", "21 k"];
        assert_eq!(rates.map(rate), expected);
    }

    #[test]
    fn bytes_are_binary_multiples() {
        let sizes = [0, 1023, 1024, 100_663_296, 1_288_490_189, 5_497_558_138_880];
        let expected = ["0 B", "1023 B", "1.0 KiB", "96 MiB", "1.2 GiB", "5.0 TiB"];
        assert_eq!(sizes.map(bytes), expected);
        assert_eq!(bytes_of(163_577_856, 268_435_456), "156/256 MiB");
        assert_eq!(bytes_of(1024, 1_073_741_824), "0.0/1.0 GiB");
    }

    #[test]
    fn latencies_have_the_precision_of_the_buckets() {
        let shown = [0.000_06, 0.000_34, 0.001_1, 0.009_96, 0.0424].map(millis);
        assert_eq!(shown, ["0.06", "0.34", "1.1", "10", "42"]);
        assert_eq!(
            [0.000_34, 0.21, 0.9996, 2.04, 31.0].map(latency),
            ["0.34 ms", "210 ms", "1.0 s", "2.0 s", "31 s"]
        );
    }

    #[test]
    fn times_are_short() {
        let times = [0, 40, 90, 3600, 7300, 86_400].map(Duration::from_secs);
        assert_eq!(times.map(span), ["0 s", "40 s", "1 m", "1 h", "2 h", "1 d"]);
        assert_eq!(times.map(setting), ["0 s", "40 s", "90 s", "1 h", "7300 s", "1 d"]);
        assert_eq!(setting(Duration::from_millis(1500)), "1s 500ms");
    }

    #[test]
    fn sparkline_has_the_newest_values_at_the_right() {
        assert_eq!(sparkline(&[9.0, 0.0, 1.0, 2.0], 3), "\u{2581}\u{2585}\u{2588}");
        assert_eq!(sparkline(&[0.0, 0.0], 9), "\u{2581}\u{2581}");
        assert_eq!(sparkline(&[], 3), "");
    }

    #[test]
    fn resampled_values_are_means_of_neighbours() {
        assert_eq!(resampled(&[9.0, 1.0, 3.0, 5.0, 7.0], 3), [9.0, 2.0, 6.0]);
        assert_eq!(resampled(&[1.0, 3.0], 3), [1.0, 3.0]);
        assert_eq!(resampled(&[], 3), [] as [f64; 0]);
    }

    #[test]
    fn bar_is_filled_by_its_share() {
        assert_eq!(bar(0.5, 4), "\u{2588}\u{2588}\u{2591}\u{2591}");
        assert_eq!(bar(1.5, 2), "\u{2588}\u{2588}");
        assert_eq!(bar(0.0, 2), "\u{2591}\u{2591}");
    }
}
