//! Integer conversion for values that fit in practice, such as a duration in milliseconds.

/// Conversion into an integer type that never fails.
pub trait SaturatingFrom: Sized {
    /// Converts `number`, or returns the largest value of the type if `number` does not fit.
    ///
    /// For numbers that cannot be negative: a negative number also becomes the largest value.
    fn saturating_from(number: impl TryInto<Self>) -> Self;
}

macro_rules! impl_saturating_from {
    ($($integer:ty),*) => {
        $(impl SaturatingFrom for $integer {
            fn saturating_from(number: impl TryInto<Self>) -> Self {
                number.try_into().unwrap_or(Self::MAX)
            }
        })*
    };
}

impl_saturating_from!(u16, u32, u64, usize, i64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_fit_are_unchanged() {
        assert_eq!(u16::saturating_from(65_535_u64), 65_535);
        assert_eq!(u64::saturating_from(7_u128), 7);
        assert_eq!(i64::saturating_from(0_u64), 0);
    }

    #[test]
    fn numbers_that_do_not_fit_become_the_largest_value() {
        assert_eq!(u16::saturating_from(65_536_u64), u16::MAX);
        assert_eq!(u32::saturating_from(u64::MAX), u32::MAX);
        assert_eq!(u64::saturating_from(u128::from(u64::MAX) + 1), u64::MAX);
        assert_eq!(usize::saturating_from(u128::MAX), usize::MAX);
        assert_eq!(i64::saturating_from(u64::MAX), i64::MAX);
    }
}
