//! Figures in tables.

/// In place of a figure that there is not.
pub(super) fn dash() -> String {
    "-".to_owned()
}

/// A share of 1 as a percentage.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_have_one_decimal() {
        assert_eq!([0.0, 0.1234, 1.0].map(percent), ["0.0 %", "12.3 %", "100.0 %"]);
    }
}
