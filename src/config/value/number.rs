//! Reads integers.

use std::fmt;
use std::ops::{Range, RangeInclusive};

use config::ValueKind;

use super::{ValueType, as_integer, as_text, mismatch, value_type};

/// An integer.
pub(in crate::config) fn count<T>(range: RangeInclusive<u64>) -> impl ValueType<Value = T>
where
    T: TryFrom<u64> + TryInto<u64> + Copy,
{
    value_type(
        move |raw| {
            let (min, max) = (range.start(), range.end());
            as_integer(raw)
                .filter(|number| range.contains(number))
                .and_then(|number| T::try_from(number).ok())
                .ok_or_else(|| mismatch(format_args!("an integer from {min} to {max}"), raw))
        },
        |value: &T| (*value).try_into().unwrap_or(u64::MAX).to_string(),
    )
}

/// A number, with or without a fraction.
pub(in crate::config) fn number(range: RangeInclusive<f64>) -> impl ValueType<Value = f64> {
    let expected = format!("a number from {} to {}", range.start(), range.end());
    float(expected, move |number| range.contains(&number))
}

/// A number below the end of a range.
pub(in crate::config) fn number_below(range: Range<f64>) -> impl ValueType<Value = f64> {
    let expected = format!("a number from {} to below {}", range.start, range.end);
    float(expected, move |number| range.contains(&number))
}

fn float(expected: impl fmt::Display, valid: impl Fn(f64) -> bool) -> impl ValueType<Value = f64> {
    value_type(
        move |raw| {
            as_number(raw).filter(|number| valid(*number)).ok_or_else(|| mismatch(&expected, raw))
        },
        // `{:?}` keeps the decimal point, without which TOML would read an integer.
        |value: &f64| format!("{value:?}"),
    )
}

fn as_number(raw: &ValueKind) -> Option<f64> {
    if let ValueKind::Float(number) = raw {
        return Some(*number);
    }
    let whole = || u32::try_from(as_integer(raw)?).ok().map(f64::from);
    as_text(raw).and_then(|text| text.parse().ok()).or_else(whole)
}
