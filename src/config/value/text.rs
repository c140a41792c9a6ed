//! Reads texts.

use std::net::SocketAddr;
use std::path::PathBuf;

use config::ValueKind;

use super::super::redact::redact;
use super::super::toml::quoted;
use super::{ValueType, as_text, mismatch, value_type};

/// A text for which `valid` holds; `expected` describes it.
pub(in crate::config) fn text(
    expected: &'static str,
    valid: fn(&str) -> bool,
) -> impl ValueType<Value = String> {
    value_type(
        move |raw| {
            as_text(raw)
                .filter(|text| valid(text))
                .map(str::to_owned)
                .ok_or_else(|| mismatch(expected, raw))
        },
        |text: &String| quoted(text),
    )
}

/// As [`text`], with the spaces around it.
pub(in crate::config) fn exact_text(
    expected: &'static str,
    valid: fn(&str) -> bool,
) -> impl ValueType<Value = String> {
    value_type(
        move |raw| {
            if let ValueKind::String(text) = raw
                && valid(text)
            {
                return Ok(text.clone());
            }
            Err(mismatch(expected, raw))
        },
        |text: &String| quoted(text),
    )
}

/// As [`text`], for a URL, which is rendered without its secrets.
pub(in crate::config) fn url_text(
    expected: &'static str,
    valid: fn(&str) -> bool,
) -> impl ValueType<Value = String> {
    let text = text(expected, valid);
    value_type(move |raw| text.parse(raw), |url: &String| quoted(&redact(url)))
}

/// One of a few words, each with its value.
pub(in crate::config) fn choice<T: Copy + PartialEq>(
    words: &'static [(&'static str, T)],
) -> impl ValueType<Value = T> {
    value_type(
        move |raw| {
            let found = |text: &str| words.iter().find(|(word, _)| *word == text);
            as_text(raw).and_then(found).map(|(_, value)| *value).ok_or_else(|| {
                let words: Vec<_> = words.iter().map(|(word, _)| quoted(word)).collect();
                mismatch(words.join(" or "), raw)
            })
        },
        move |value: &T| {
            quoted(words.iter().find(|(_, other)| other == value).map_or("", |(word, _)| *word))
        },
    )
}

/// `true` or `false`; as text also `1`, `yes`, `on` and their opposites, in any case.
pub(in crate::config) fn boolean() -> impl ValueType<Value = bool> {
    value_type(
        |raw| {
            if let ValueKind::Boolean(value) = raw {
                return Ok(*value);
            }
            as_text(raw).and_then(parse_boolean).ok_or_else(|| mismatch("true or false", raw))
        },
        bool::to_string,
    )
}

pub(in crate::config) fn parse_boolean(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// An IP address with a port. Host names are not resolved, as one name can have many addresses.
pub(in crate::config) fn socket_address() -> impl ValueType<Value = SocketAddr> {
    let expected = "an IP address and port such as 127.0.0.1:50051 or [::]:50051";
    value_type(
        move |raw| {
            as_text(raw).and_then(|text| text.parse().ok()).ok_or_else(|| {
                let remedy = as_text(raw).map(address_remedy).unwrap_or_default();
                format!("{}{remedy}", mismatch(expected, raw))
            })
        },
        |address: &SocketAddr| quoted(&address.to_string()),
    )
}

/// How to write an address that other programs accept; empty if it cannot be guessed.
fn address_remedy(text: &str) -> String {
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    if port.parse::<u16>().is_err() {
        return String::new();
    }
    match host {
        "localhost" => format!("; write 127.0.0.1:{port}"),
        "" | "*" => {
            format!("; write [::]:{port} for all interfaces, 127.0.0.1:{port} for this host")
        }
        _ => "; write the IP address: names are not resolved".to_owned(),
    }
}

/// The path of a file.
pub(in crate::config) fn path() -> impl ValueType<Value = PathBuf> {
    value_type(
        |raw| match as_text(raw) {
            Some(text) if !text.is_empty() => Ok(PathBuf::from(text)),
            Some(_) | None => Err(mismatch("the path of a file", raw)),
        },
        // The path was read from text, so it can be written as text.
        |path: &PathBuf| quoted(&path.display().to_string()),
    )
}

/// The path of a file; an empty text stands for `None`.
pub(in crate::config) fn optional_path() -> impl ValueType<Value = Option<PathBuf>> {
    value_type(
        |raw| {
            let text = as_text(raw).ok_or_else(|| mismatch("the path of a file", raw))?;
            Ok(Some(text).filter(|text| !text.is_empty()).map(PathBuf::from))
        },
        // The path was read from text, so it can be written as text.
        |path: &Option<PathBuf>| {
            quoted(&path.as_ref().map_or_else(String::new, |path| path.display().to_string()))
        },
    )
}
