//! Reads lists of texts.

use std::ops::RangeInclusive;

use config::{Value, ValueKind};

use super::super::toml::quoted;
use super::{ValueType, as_integer, mismatch, value_type};

/// A list of texts for which `valid` holds; `expected` describes them. In a variable, they are
/// separated by commas.
pub(in crate::config) fn list(
    expected: &'static str,
    valid: fn(&str) -> bool,
) -> impl ValueType<Value = Vec<String>> {
    let item = move |raw: &ValueKind| {
        if let ValueKind::String(text) = raw
            && valid(text)
        {
            return Some(text.clone());
        }
        None
    };
    list_of(expected, item, |item| quoted(item))
}

/// A list of integers in a range; `expected` describes them. In a variable, they are separated by
/// commas.
pub(in crate::config) fn counts(
    expected: &'static str,
    range: RangeInclusive<u16>,
) -> impl ValueType<Value = Vec<u16>> {
    let item = move |raw: &ValueKind| {
        u16::try_from(as_integer(raw)?).ok().filter(|number| range.contains(number))
    };
    list_of(expected, item, u16::to_string)
}

/// A list of 1 to `max` values of another type.
pub(in crate::config) fn list_of_type<T: ValueType>(item: T, max: usize) -> ListType<T> {
    ListType { item, min: 1, max }
}

pub(in crate::config) struct ListType<T> {
    item: T,
    min: usize,
    max: usize,
}

impl<T> ListType<T> {
    /// Also accepts an empty list, the default of keys without a value.
    pub(in crate::config) fn or_empty(self) -> Self {
        Self { min: 0, ..self }
    }
}

impl<T: ValueType> ValueType for ListType<T> {
    type Value = Vec<T::Value>;

    fn parse(&self, raw: &ValueKind) -> Result<Vec<T::Value>, String> {
        let ValueKind::Array(items) = raw else {
            let Self { min, max, .. } = self;
            return Err(mismatch(format_args!("a list of {min} to {max} items"), raw));
        };
        let Self { item, min, max } = self;
        if !(*min..=*max).contains(&items.len()) {
            return Err(format!("expected a list of {min} to {max} items, got {}", items.len()));
        }
        items.iter().map(|value| item.parse(&value.kind)).collect()
    }

    fn render(&self, items: &Vec<T::Value>) -> String {
        let items: Vec<_> = items.iter().map(|item| self.item.render(item)).collect();
        format!("[{}]", items.join(", "))
    }
}

/// A list whose items `item` parses and `render` renders.
fn list_of<T>(
    expected: &'static str,
    item: impl Fn(&ValueKind) -> Option<T>,
    render: impl Fn(&T) -> String,
) -> impl ValueType<Value = Vec<T>> {
    let mismatch = move |raw: &ValueKind| mismatch(format_args!("a list of {expected}"), raw);
    let item = move |raw: &ValueKind| item(raw).ok_or_else(|| mismatch(raw) + " in it");
    value_type(
        move |raw| {
            if let ValueKind::Array(items) = raw {
                return items.iter().map(|value: &Value| item(&value.kind)).collect();
            }
            if let ValueKind::String(text) = raw {
                let values = text.split(',').map(|item| ValueKind::String(item.trim().to_owned()));
                return values.map(|value| item(&value)).collect();
            }
            Err(mismatch(raw))
        },
        move |items: &Vec<T>| {
            let items: Vec<_> = items.iter().map(&render).collect();
            format!("[{}]", items.join(", "))
        },
    )
}
