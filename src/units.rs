//! Counts for people: three digits, and a unit.

/// A count, such as `8.4 k` or `412`.
pub fn count(number: u64) -> String {
    scaled(number as f64)
}

/// A number with a unit from a thousand on.
pub fn scaled(number: f64) -> String {
    const UNITS: [(f64, &str); 4] = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    // A number that would be rounded to the next unit has that unit.
    match UNITS.into_iter().find(|(unit, _)| number >= unit * 0.9995) {
        Some((unit, name)) => format!("{} {name}", digits(number / unit)),
        None => format!("{number:.0}"),
    }
}

/// Two or three digits that count.
pub fn digits(number: f64) -> String {
    match number {
        number if number >= 99.95 => format!("{number:.0}"),
        number if number >= 9.995 => format!("{number:.1}").trim_end_matches(".0").to_owned(),
        number if number >= 0.995 => format!("{number:.1}"),
        0.0 => "0".to_owned(),
        number => format!("{number:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_three_digits_and_a_unit() {
        for (number, expected) in [
            (0, "0"),
            (999, "999"),
            (1000, "1.0 k"),
            (8_412, "8.4 k"),
            (64_000, "64 k"),
            (999_600, "1.0 M"),
            (1_180_000, "1.2 M"),
            (u64::MAX, "18446744 T"),
        ] {
            assert_eq!(count(number), expected);
        }
    }
}
