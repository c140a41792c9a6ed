use config::{Value, ValueKind};

use super::super::toml::quoted;
use super::{ValueType, mismatch, value_type};

/// A list of texts for which `valid` holds; `expected` describes them. In a variable, they are
/// separated by commas.
pub(in crate::config) fn list(
    expected: &'static str,
    valid: fn(&str) -> bool,
) -> impl ValueType<Value = Vec<String>> {
    let mismatch = move |raw: &ValueKind| mismatch(format_args!("a list of {expected}"), raw);
    let item = move |raw: &ValueKind| {
        if let ValueKind::String(text) = raw
            && valid(text)
        {
            return Ok(text.clone());
        }
        Err(mismatch(raw) + " in it")
    };
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
        |items: &Vec<String>| {
            let items: Vec<_> = items.iter().map(|item| quoted(item)).collect();
            format!("[{}]", items.join(", "))
        },
    )
}
