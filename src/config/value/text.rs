use std::net::SocketAddr;

use config::ValueKind;

use super::super::StoreUrl;
use super::super::toml::quoted;
use super::{ValueType, as_text, mismatch};

/// A text that `valid` accepts; `expected` describes those.
pub(crate) fn text(expected: &'static str, valid: fn(&str) -> bool) -> Text {
    Text { expected, valid }
}

pub(crate) struct Text {
    expected: &'static str,
    valid: fn(&str) -> bool,
}

impl ValueType for Text {
    type Value = String;

    fn parse(&self, raw: &ValueKind) -> Result<String, String> {
        as_text(raw)
            .filter(|text| (self.valid)(text))
            .map(str::to_owned)
            .ok_or_else(|| mismatch(self.expected, raw))
    }

    fn render(&self, value: &String) -> String {
        quoted(value)
    }
}

/// One of a few words.
pub(crate) fn choice<T: 'static>(words: &'static [(&'static str, T)]) -> Choice<T> {
    Choice { words }
}

pub(crate) struct Choice<T: 'static> {
    words: &'static [(&'static str, T)],
}

impl<T: Copy + PartialEq> ValueType for Choice<T> {
    type Value = T;

    fn parse(&self, raw: &ValueKind) -> Result<T, String> {
        let found = |text: &str| self.words.iter().find(|(word, _)| *word == text);
        as_text(raw).and_then(found).map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<_> = self.words.iter().map(|(word, _)| quoted(word)).collect();
            mismatch(words.join(" or "), raw)
        })
    }

    fn render(&self, value: &T) -> String {
        let word = self.words.iter().find(|(_, v)| v == value).map_or("", |(word, _)| *word);
        quoted(word)
    }
}

/// `true` or `false`; as text also `1`, `yes`, `on` and their opposites, in any case.
pub(crate) fn boolean() -> Boolean {
    Boolean
}

pub(crate) struct Boolean;

impl ValueType for Boolean {
    type Value = bool;

    fn parse(&self, raw: &ValueKind) -> Result<bool, String> {
        if let ValueKind::Boolean(value) = raw {
            return Ok(*value);
        }
        as_text(raw).and_then(parse_boolean).ok_or_else(|| mismatch("true or false", raw))
    }

    fn render(&self, value: &bool) -> String {
        value.to_string()
    }
}

pub(crate) fn parse_boolean(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// An IP address with a port.
pub(crate) fn address() -> Address {
    Address
}

pub(crate) struct Address;

impl ValueType for Address {
    type Value = SocketAddr;

    fn parse(&self, raw: &ValueKind) -> Result<SocketAddr, String> {
        let expected = "an IP address and port such as 127.0.0.1:50051 or [::]:50051";
        as_text(raw).and_then(|text| text.parse().ok()).ok_or_else(|| mismatch(expected, raw))
    }

    fn render(&self, value: &SocketAddr) -> String {
        quoted(&value.to_string())
    }
}

/// The address of a store. Its messages never repeat a password.
pub(crate) fn store_url() -> StoreUrlType {
    StoreUrlType
}

pub(crate) struct StoreUrlType;

impl ValueType for StoreUrlType {
    type Value = StoreUrl;

    fn parse(&self, raw: &ValueKind) -> Result<StoreUrl, String> {
        match as_text(raw) {
            Some(text) => text.parse().map_err(|e: super::super::InvalidStoreUrl| e.to_string()),
            None => Err(mismatch(StoreUrl::FORMS, raw)),
        }
    }

    fn render(&self, value: &StoreUrl) -> String {
        quoted(&value.to_string())
    }
}
