use std::time::Duration;

use config::ValueKind;

use super::super::toml::quoted;
use super::{ValueType, as_text, mismatch};

pub(crate) const MICROSECOND: Duration = Duration::from_micros(1);
pub(crate) const MILLISECOND: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const HOUR: Duration = Duration::from_secs(60 * 60);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A duration such as `250ms`, from `min` to `max`.
pub(crate) fn duration(min: Duration, max: Duration) -> DurationType {
    DurationType { min, max, or_zero: false }
}

pub(crate) struct DurationType {
    min: Duration,
    max: Duration,
    or_zero: bool,
}

impl DurationType {
    /// Also accepts `0s`, although that is below the least.
    pub(crate) fn or_zero(self) -> Self {
        Self { or_zero: true, ..self }
    }

    /// Also accepts `0s`, which stands for none.
    pub(crate) fn or_off(self) -> OptionalDurationType {
        OptionalDurationType(self.or_zero())
    }
}

pub(crate) struct OptionalDurationType(DurationType);

impl ValueType for OptionalDurationType {
    type Value = Option<Duration>;

    fn parse(&self, raw: &ValueKind) -> Result<Option<Duration>, String> {
        self.0.parse(raw).map(|value| Some(value).filter(|value| !value.is_zero()))
    }

    fn render(&self, value: &Option<Duration>) -> String {
        self.0.render(&value.unwrap_or_default())
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
        let (min, max) = (text_of(self.min), text_of(self.max));
        Err(mismatch(format_args!("{zero}a duration from {min} to {max}"), raw))
    }

    fn render(&self, value: &Duration) -> String {
        quoted(&text_of(*value))
    }
}

/// Writes a duration in the largest unit that divides it: `7d`, `90m`, `1500ms`.
pub(crate) fn text_of(duration: Duration) -> String {
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
