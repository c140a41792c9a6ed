use std::marker::PhantomData;
use std::ops::RangeInclusive;

use config::ValueKind;

use super::{ValueType, as_integer, as_text, mismatch};

/// A whole number.
pub(crate) fn count<T>(range: RangeInclusive<u64>) -> Count<T> {
    Count { range, value: PhantomData }
}

pub(crate) struct Count<T> {
    range: RangeInclusive<u64>,
    value: PhantomData<T>,
}

impl<T> ValueType for Count<T>
where
    T: TryFrom<u64> + TryInto<u64> + Copy,
{
    type Value = T;

    fn parse(&self, raw: &ValueKind) -> Result<T, String> {
        let (min, max) = (self.range.start(), self.range.end());
        as_integer(raw)
            .filter(|number| self.range.contains(number))
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| mismatch(format_args!("an integer from {min} to {max}"), raw))
    }

    fn render(&self, value: &T) -> String {
        (*value).try_into().unwrap_or(u64::MAX).to_string()
    }
}

/// A part of one: from 0 up to 1, and 1 itself only if `inclusive`.
pub(crate) fn ratio(inclusive: bool) -> Ratio {
    Ratio { inclusive }
}

pub(crate) struct Ratio {
    inclusive: bool,
}

impl ValueType for Ratio {
    type Value = f64;

    fn parse(&self, raw: &ValueKind) -> Result<f64, String> {
        let expected =
            if self.inclusive { "a number from 0 to 1" } else { "a number from 0 to below 1" };
        as_number(raw)
            .filter(|n| (0.0..1.0).contains(n) || (self.inclusive && *n == 1.0))
            .ok_or_else(|| mismatch(expected, raw))
    }

    fn render(&self, value: &f64) -> String {
        render_number(*value)
    }
}

/// A number, with or without a fraction.
pub(crate) fn number(range: RangeInclusive<f64>) -> Number {
    Number { range }
}

pub(crate) struct Number {
    range: RangeInclusive<f64>,
}

impl ValueType for Number {
    type Value = f64;

    fn parse(&self, raw: &ValueKind) -> Result<f64, String> {
        let (min, max) = (self.range.start(), self.range.end());
        as_number(raw)
            .filter(|number| self.range.contains(number))
            .ok_or_else(|| mismatch(format_args!("a number from {min} to {max}"), raw))
    }

    fn render(&self, value: &f64) -> String {
        render_number(*value)
    }
}

fn as_number(raw: &ValueKind) -> Option<f64> {
    if let ValueKind::Float(number) = raw {
        return Some(*number);
    }
    let whole = || u32::try_from(as_integer(raw)?).ok().map(f64::from);
    as_text(raw).and_then(|text| text.parse().ok()).or_else(whole)
}

fn render_number(value: f64) -> String {
    // `{:?}` keeps the point, without which TOML would read an integer.
    format!("{value:?}")
}
