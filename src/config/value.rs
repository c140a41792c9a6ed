//! The types of values: how each is parsed, its limits, and how it is rendered.

mod duration;
mod list;
mod number;
mod size;
mod text;

use std::fmt;
use std::marker::PhantomData;

use config::ValueKind;

use super::redact::redact;
use super::toml::quoted;

pub(super) use duration::{DAY, HOUR, MICROSECOND, MILLISECOND, SECOND, duration, format_duration};
pub(super) use list::{counts, list, list_of_type};
pub(super) use number::{count, number, number_below};
pub(super) use size::{GIB, KIB, MIB, format_size, size};
pub(super) use text::{
    boolean, choice, exact_text, optional_path, parse_boolean, path, socket_address, text, url_text,
};

/// The type of a value.
pub(super) trait ValueType {
    type Value;

    /// Parses a value. The error names the expected and the actual value.
    fn parse(&self, raw: &ValueKind) -> Result<Self::Value, String>;

    /// Renders the value as TOML.
    fn render(&self, value: &Self::Value) -> String;
}

/// A value type made of two functions, `parse` and `render`.
pub(super) fn value_type<T>(
    parse: impl Fn(&ValueKind) -> Result<T, String>,
    render: impl Fn(&T) -> String,
) -> impl ValueType<Value = T> {
    FnValueType { parse, render, value: PhantomData }
}

struct FnValueType<T, P, R> {
    parse: P,
    render: R,
    value: PhantomData<T>,
}

impl<T, P, R> ValueType for FnValueType<T, P, R>
where
    P: Fn(&ValueKind) -> Result<T, String>,
    R: Fn(&T) -> String,
{
    type Value = T;

    fn parse(&self, raw: &ValueKind) -> Result<T, String> {
        (self.parse)(raw)
    }

    fn render(&self, value: &T) -> String {
        (self.render)(value)
    }
}

/// "expected ..., got ...", the form of every message about a value.
pub(super) fn mismatch(expected: impl fmt::Display, raw: &ValueKind) -> String {
    let got = match raw {
        ValueKind::String(text) => quoted(&redact(text)),
        ValueKind::Table(_) => "a table".to_owned(),
        ValueKind::Array(_) => "a list".to_owned(),
        ValueKind::Nil => "nothing".to_owned(),
        number @ (ValueKind::Boolean(_)
        | ValueKind::I64(_)
        | ValueKind::I128(_)
        | ValueKind::U64(_)
        | ValueKind::U128(_)
        | ValueKind::Float(_)) => number.to_string(),
    };
    format!("expected {expected}, got {got}")
}

/// The trimmed text of a string value; no other value is text.
pub(super) fn as_text(raw: &ValueKind) -> Option<&str> {
    if let ValueKind::String(text) = raw { Some(text.trim()) } else { None }
}

/// An integer, or the text of one, because variables have only text.
pub(super) fn as_integer(raw: &ValueKind) -> Option<u64> {
    if let ValueKind::I64(number) = raw {
        return u64::try_from(*number).ok();
    }
    as_text(raw)?.parse().ok()
}
