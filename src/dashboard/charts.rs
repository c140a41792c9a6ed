//! Charts as inline SVG. All looks come from classes, since the policy of the pages allows no other
//! style. Labels keep their size at any width: only the plot is stretched.

mod bars;
mod spark;
mod time_chart;

pub(super) use bars::{histogram, share_bar};
pub(super) use spark::spark;
pub(super) use time_chart::{Form, Line, TimeChart, time_chart};

/// Width of a plot in its own units.
const WIDTH: f64 = 1000.0;

/// The smallest of 1, 2, 4, 6 and 8 times a power of ten that is not below `largest`, and one
/// without a number. A quarter of each has two digits.
fn nice_maximum(largest: f64) -> f64 {
    if largest.is_nan() || largest <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(largest.log10().floor());
    let steps = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0].map(|step| step * power);
    steps.into_iter().find(|step| *step >= largest * 0.999).unwrap_or(10.0 * power)
}

/// A coordinate, to a tenth.
fn coordinate(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        let maxima = [0.0, 0.3, 1.0, 1.1, 2.1, 2.6, 7.0, 24_800.0].map(nice_maximum);
        assert_eq!(maxima[..5], [1.0, 0.4, 1.0, 2.0, 4.0]);
        assert_eq!(maxima[5..], [4.0, 8.0, 40_000.0]);
        // The ticks of an axis are its quarters, which numbers show with two digits.
        for largest in 1..2000 {
            let quarter = nice_maximum(f64::from(largest) / 10.0) / 4.0;
            let digits = quarter / 10_f64.powf(quarter.log10().floor() - 1.0);
            assert!((digits - digits.round()).abs() < 1e-6, "{largest}: {quarter}");
        }
        assert!((nice_maximum(f64::NAN) - 1.0).abs() < f64::EPSILON);
        assert_eq!([coordinate(1.0), coordinate(2.25)], ["1", "2.2"]);
    }
}
