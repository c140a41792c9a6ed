use config::{Value, ValueKind};

use super::super::toml::quoted;
use super::{ValueType, mismatch};

/// A list of texts that `valid` accepts; `expected` describes those. A variable has them with commas between.
pub(crate) fn list(expected: &'static str, valid: fn(&str) -> bool) -> List {
    List { expected, valid }
}

pub(crate) struct List {
    expected: &'static str,
    valid: fn(&str) -> bool,
}

impl List {
    fn item(&self, raw: &ValueKind) -> Result<String, String> {
        if let ValueKind::String(text) = raw
            && (self.valid)(text)
        {
            return Ok(text.clone());
        }
        Err(mismatch(format_args!("a list of {}", self.expected), raw) + " in it")
    }
}

impl ValueType for List {
    type Value = Vec<String>;

    fn parse(&self, raw: &ValueKind) -> Result<Vec<String>, String> {
        if let ValueKind::Array(items) = raw {
            return items.iter().map(|item: &Value| self.item(&item.kind)).collect();
        }
        if let ValueKind::String(text) = raw {
            return text
                .split(',')
                .map(|item| self.item(&ValueKind::String(item.trim().to_owned())))
                .collect();
        }
        Err(mismatch(format_args!("a list of {}", self.expected), raw))
    }

    fn render(&self, value: &Vec<String>) -> String {
        let items: Vec<_> = value.iter().map(|item| quoted(item)).collect();
        format!("[{}]", items.join(", "))
    }
}
