//! Reads durations.

use std::time::Duration;

use config::ValueKind;

use super::super::toml::quoted;
use super::{ValueType, as_text, mismatch, value_type};

pub(in crate::config) const MICROSECOND: Duration = Duration::from_micros(1);
pub(in crate::config) const MILLISECOND: Duration = Duration::from_millis(1);
pub(in crate::config) const SECOND: Duration = Duration::from_secs(1);
pub(in crate::config) const HOUR: Duration = Duration::from_secs(60 * 60);
pub(in crate::config) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A duration such as `250ms`, from `min` to `max`.
pub(in crate::config) fn duration(min: Duration, max: Duration) -> DurationType {
    DurationType { min, max, or_zero: false }
}

pub(in crate::config) struct DurationType {
    min: Duration,
    max: Duration,
    or_zero: bool,
}

impl DurationType {
    /// Also accepts `0s`, although it is below the minimum.
    pub(in crate::config) fn or_zero(self) -> Self {
        Self { or_zero: true, ..self }
    }

    /// Also accepts `0s`, which stands for `None`.
    pub(in crate::config) fn or_off(self) -> impl ValueType<Value = Option<Duration>> {
        let duration = self.or_zero();
        value_type(
            move |raw| duration.parse(raw).map(|value| Some(value).filter(|v| !v.is_zero())),
            |value: &Option<Duration>| quoted(&format_duration(value.unwrap_or_default())),
        )
    }
}

impl ValueType for DurationType {
    type Value = Duration;

    fn parse(&self, raw: &ValueKind) -> Result<Duration, String> {
        let value = as_text(raw)
            .and_then(|text| humantime::parse_duration(text).ok())
            .ok_or_else(|| mismatch("a duration such as 250ms, 30s or 7d", raw))?;
        let within = (self.min..=self.max).contains(&value);
        if within || (self.or_zero && value.is_zero()) {
            return Ok(value);
        }
        let zero = if self.or_zero { "0s or " } else { "" };
        let (min, max) = (format_duration(self.min), format_duration(self.max));
        Err(mismatch(format_args!("{zero}a duration from {min} to {max}"), raw))
    }

    fn render(&self, value: &Duration) -> String {
        quoted(&format_duration(*value))
    }
}

/// Formats a duration in the largest unit that divides it: `7d`, `90m`, `1500ms`.
pub(in crate::config) fn format_duration(duration: Duration) -> String {
    const UNITS: [(&str, u128); 7] = [
        ("d", 86_400_000_000_000),
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ];
    let nanos = duration.as_nanos();
    UNITS
        .iter()
        .find(|(_, unit)| nanos != 0 && nanos.is_multiple_of(*unit))
        .map_or_else(|| "0s".to_owned(), |(name, unit)| format!("{}{name}", nanos / unit))
}
