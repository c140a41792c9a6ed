//! Canonical JSON of arguments: RFC 8785, and objects with one tag for types that JSON lacks.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::BASE64;
use serde_json::Value;

use crate::EncodeError;

const TAGS: [&str; 7] = ["$bytes", "$datetime", "$date", "$time", "$uuid", "$decimal", "$set"];

/// The canonical form of an argument of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyForm {
    json: String,
    text: Text,
}

/// The text of a form in a template, if it is not its JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Text {
    None,
    Plain(String),
    Tagged(String),
}

/// How a template shows a form.
pub(super) enum Shown<'a> {
    Json(&'a str),
    Text(&'a str),
    /// The text of a type that JSON lacks.
    Tagged(&'a str),
}

/// JSON of a text, which is that of RFC 8785.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

impl KeyForm {
    pub(super) const fn json(json: String) -> Self {
        Self { json, text: Text::None }
    }

    fn tagged(tag: &str, text: String) -> Self {
        Self { json: format!("{{\"{tag}\":{}}}", quoted(&text)), text: Text::Tagged(text) }
    }

    pub(super) fn into_json(self) -> String {
        self.json
    }

    pub(super) fn shown(&self) -> Shown<'_> {
        match &self.text {
            Text::None => Shown::Json(&self.json),
            Text::Plain(text) => Shown::Text(text),
            Text::Tagged(text) => Shown::Tagged(text),
        }
    }

    /// A text.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self { json: quoted(text), text: Text::Plain(text.to_owned()) }
    }

    /// Bytes.
    #[must_use]
    pub fn bytes(bytes: &[u8]) -> Self {
        Self::json(format!("{{\"$bytes\":\"{}\"}}", BASE64.encode(bytes)))
    }

    /// A date and time with its offset: `2026-11-29T10:00:00+00:00`, with six digits after the
    /// point if there is a fraction of a second.
    #[must_use]
    pub fn date_time(text: impl Into<String>) -> Self {
        Self::tagged("$datetime", text.into())
    }

    /// A date: `2026-11-29`.
    #[must_use]
    pub fn date(text: impl Into<String>) -> Self {
        Self::tagged("$date", text.into())
    }

    /// A time: `10:00:00`.
    #[must_use]
    pub fn time(text: impl Into<String>) -> Self {
        Self::tagged("$time", text.into())
    }

    /// A UUID, in lower case with its dashes.
    #[must_use]
    pub fn uuid(text: impl Into<String>) -> Self {
        Self::tagged("$uuid", text.into().to_lowercase())
    }

    /// A decimal number: `1.10`.
    #[must_use]
    pub fn decimal(text: impl Into<String>) -> Self {
        Self::tagged("$decimal", text.into())
    }

    /// A list.
    #[must_use]
    pub fn list(members: impl IntoIterator<Item = Self>) -> Self {
        let members: Vec<_> = members.into_iter().map(Self::into_json).collect();
        Self::json(format!("[{}]", members.join(",")))
    }

    /// A set: its members have no order.
    #[must_use]
    pub fn set(members: impl IntoIterator<Item = Self>) -> Self {
        let members: BTreeSet<_> = members.into_iter().map(Self::into_json).collect();
        let members: Vec<_> = members.into_iter().collect();
        Self::json(format!("{{\"$set\":[{}]}}", members.join(",")))
    }

    /// A map with text keys, or the fields of a record.
    ///
    /// # Errors
    ///
    /// Its only name is the tag of another type.
    pub fn map<N: AsRef<str>>(
        members: impl IntoIterator<Item = (N, Self)>,
    ) -> Result<Self, EncodeError> {
        // A BTreeMap has the order of the UTF-8 of the names.
        let members: BTreeMap<_, _> = members
            .into_iter()
            .map(|(name, form)| (name.as_ref().to_owned(), form.into_json()))
            .collect();
        if let Some((name, _)) = members.iter().next().filter(|_| members.len() == 1)
            && TAGS.contains(&name.as_str())
        {
            // It would have the form of another type, hence the key of another call.
            let message = format!("a map with the only name {name} is reserved");
            return Err(EncodeError::new(message));
        }
        let members: Vec<_> =
            members.iter().map(|(name, json)| format!("{}:{json}", quoted(name))).collect();
        Ok(Self::json(format!("{{{}}}", members.join(","))))
    }
}

/// A number as RFC 8785 writes it, from its shortest digits such as `1.25e-7`.
pub(super) fn number(shortest: &str) -> String {
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((shortest, "0"));
    let (sign, mantissa) =
        mantissa.strip_prefix('-').map_or(("", mantissa), |digits| ("-", digits));
    let digits = mantissa.replace('.', "");
    let exponent: i32 = exponent.parse().unwrap_or_default();
    // The position of the point in the digits.
    let point = exponent + 1;
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or_default());
    let split = |at: i32| digits.split_at(usize::try_from(at).unwrap_or_default());
    let text = if !(-5..=21).contains(&point) {
        let (first, rest) = split(1);
        let rest = if rest.is_empty() { String::new() } else { format!(".{rest}") };
        let sign = if exponent < 0 { "" } else { "+" };
        format!("{first}{rest}e{sign}{exponent}")
    } else if point <= 0 {
        format!("0.{}{digits}", zeros(-point))
    } else if point >= count {
        format!("{digits}{}", zeros(point - count))
    } else {
        let (whole, fraction) = split(point);
        format!("{whole}.{fraction}")
    };
    format!("{sign}{text}")
}
