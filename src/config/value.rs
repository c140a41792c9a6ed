//! The kinds of values: how each is read, which limits hold, how it is written.

mod duration;
mod header;
mod list;
mod number;
mod path;
mod size;
mod target;
mod text;

use config::ValueKind;

use super::error::redact;
use super::toml::quoted;

pub(super) use duration::text_of as duration_text;
pub(super) use duration::{DAY, HOUR, MICROSECOND, MILLISECOND, SECOND, duration};
pub(super) use header::header;
pub(super) use list::list;
pub(super) use number::{count, number, ratio};
pub(super) use path::optional_path;
pub(super) use size::{GIB, KIB, MIB, size, text_of as size_text};
pub(super) use target::{GrpcForm, UrlForm};
pub(super) use text::{address, boolean, choice, parse_boolean, store_url, text};

/// A kind of value.
pub(super) trait ValueType {
    type Value;

    /// Reads a value; the error says what was expected and what was found instead.
    fn parse(&self, raw: &ValueKind) -> Result<Self::Value, String>;

    /// Writes the value as TOML.
    fn render(&self, value: &Self::Value) -> String;
}

/// One of several ways to write a value, each under a key of its own.
pub(super) trait Form<V> {
    /// The key.
    fn name(&self) -> &'static str;

    /// As [`ValueType::parse`].
    fn parse(&self, raw: &ValueKind) -> Result<V, String>;

    /// Writes a value that has this form.
    fn render(&self, value: &V) -> Option<String>;
}

/// "expected ..., got ...", the form of every message about a value.
fn mismatch(expected: impl std::fmt::Display, raw: &ValueKind) -> String {
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

/// The text of a string value; nothing else is taken for one.
fn as_text(raw: &ValueKind) -> Option<&str> {
    if let ValueKind::String(text) = raw { Some(text.trim()) } else { None }
}

/// An integer, or the text of one: variables have only text.
fn as_integer(raw: &ValueKind) -> Option<u64> {
    if let ValueKind::I64(number) = raw {
        return u64::try_from(*number).ok();
    }
    as_text(raw)?.parse().ok()
}
