//! Values: from the command line, a file or standard input, and as JSON.

use std::{
    borrow::Cow,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use clap::ValueEnum;
use data_encoding::BASE64;
use serde::Serialize;
use serde_json::value::RawValue;

use super::failure::Error;
use crate::pb::v1::{Value, value};

/// Largest input, in bytes: the largest value that a server can be configured for.
const MAX_INPUT_BYTES: u64 = 512 * 1024 * 1024;

/// The kind of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ValueKind {
    /// UTF-8 text.
    Text,
    /// One JSON document.
    Json,
    /// Any bytes.
    Bytes,
}

/// Where a value comes from.
#[derive(Debug, clap::Args)]
pub(super) struct ValueSource {
    /// The value; `-` reads standard input
    // A group of both would come before the namespace in the usage.
    #[arg(
        allow_negative_numbers = true,
        required_unless_present = "file",
        conflicts_with = "file"
    )]
    value: Option<String>,
    /// Read the value from a file; `-` reads standard input
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
}

/// A value in JSON, with its kind: `{"text": ...}`, `{"json": ...}` or `{"base64": ...}`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ValueJson<'a> {
    Text(Cow<'a, str>),
    Json(Box<RawValue>),
    Base64(String),
}

// === impl ValueSource ===

impl ValueSource {
    /// Reads the value, unchanged.
    pub(super) fn read(&self, kind: ValueKind) -> Result<Value, Error> {
        let stdin = Path::new("-");
        let bytes = match (&self.value, &self.file) {
            (Some(value), _) if value != "-" => Bytes::from(value.clone()),
            (None, Some(path)) if path != stdin => {
                let failed = |source| Error::Input { path: path.clone(), source };
                read_all(File::open(path).map_err(failed)?, path, MAX_INPUT_BYTES)?
            }
            _ => read_all(io::stdin().lock(), Path::new("standard input"), MAX_INPUT_BYTES)?,
        };
        typed(bytes, kind)
    }
}

fn read_all(input: impl Read, path: &Path, limit: u64) -> Result<Bytes, Error> {
    let mut bytes = Vec::new();
    let read = input.take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|source| Error::Input { path: path.to_owned(), source })?;
    if bytes.len() as u64 > limit {
        let limit = bytesize::ByteSize(limit);
        return Err(Error::Usage(format!("{} is larger than {limit}", path.display())));
    }
    Ok(bytes.into())
}

fn typed(bytes: Bytes, kind: ValueKind) -> Result<Value, Error> {
    if kind != ValueKind::Bytes
        && let Err(error) = std::str::from_utf8(&bytes)
    {
        return Err(Error::Usage(format!(
            "the value is not UTF-8 at byte {}; --kind bytes stores any bytes",
            error.valid_up_to()
        )));
    }
    let kind = match kind {
        ValueKind::Text => value::Kind::Text(bytes),
        ValueKind::Json => value::Kind::Json(bytes),
        ValueKind::Bytes => value::Kind::Data(bytes),
    };
    Ok(Value { kind: Some(kind) })
}

/// The content of a value.
pub(super) fn content(value: &Value) -> &[u8] {
    match &value.kind {
        Some(value::Kind::Text(bytes) | value::Kind::Json(bytes) | value::Kind::Data(bytes)) => {
            bytes
        }
        None => &[],
    }
}

/// The kind of a value, in a table.
pub(super) fn kind_name(value: &Value) -> &'static str {
    match &value.kind {
        Some(value::Kind::Text(_)) => "text",
        Some(value::Kind::Json(_)) => "json",
        Some(value::Kind::Data(_)) => "bytes",
        None => "-",
    }
}

// === impl ValueJson ===

impl<'a> ValueJson<'a> {
    pub(super) fn new(value: &'a Value) -> Self {
        match &value.kind {
            Some(value::Kind::Text(bytes)) => Self::Text(String::from_utf8_lossy(bytes)),
            Some(value::Kind::Json(bytes)) => one_line(bytes),
            Some(value::Kind::Data(bytes)) => Self::Base64(BASE64.encode(bytes)),
            None => Self::Base64(String::new()),
        }
    }
}

/// A JSON document without line breaks. They are between its tokens only: its strings have none.
fn one_line(document: &[u8]) -> ValueJson<'static> {
    let text = String::from_utf8_lossy(document).replace(['\r', '\n'], " ");
    match RawValue::from_string(text) {
        Ok(document) => ValueJson::Json(document),
        // The server checks documents, so this one is from another program.
        Err(_) => ValueJson::Text(String::from_utf8_lossy(document).into_owned().into()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn as_json(kind: value::Kind) -> String {
        serde_json::to_string(&ValueJson::new(&Value { kind: Some(kind) })).unwrap()
    }

    #[test]
    fn json_distinguishes_the_kinds_and_keeps_documents_as_they_are() {
        assert_eq!(as_json(value::Kind::Text("{}\n".into())), r#"{"text":"{}\n"}"#);
        assert_eq!(as_json(value::Kind::Data("\0".into())), r#"{"base64":"AA=="}"#);
        let document = "{\"b\":1.50,\r\n\"a\":12345678901234567890123}";
        let expected = "{\"json\":{\"b\":1.50,  \"a\":12345678901234567890123}}";
        assert_eq!(as_json(value::Kind::Json(document.into())), expected);
        assert_eq!(as_json(value::Kind::Json("{".into())), r#"{"text":"{"}"#);
        let nested = "[".repeat(128) + &"]".repeat(128);
        assert_eq!(
            as_json(value::Kind::Json(nested.clone().into())),
            format!("{{\"json\":{nested}}}")
        );
    }

    #[test]
    fn only_bytes_need_not_be_utf_8() {
        let invalid = Bytes::from_static(b"ab\xff");
        for kind in [ValueKind::Text, ValueKind::Json] {
            let error = typed(invalid.clone(), kind).unwrap_err().to_string();
            assert!(error.contains("byte 2") && error.contains("--kind bytes"), "{error}");
        }
        let value = typed(invalid.clone(), ValueKind::Bytes).unwrap();
        assert_eq!(value.kind, Some(value::Kind::Data(invalid)));
    }

    #[test]
    fn input_is_read_unchanged_and_has_a_limit() {
        let path = Path::new("f");
        assert_eq!(read_all(&b"a\r\n\0"[..], path, 4).unwrap(), &b"a\r\n\0"[..]);
        let endless = read_all(io::repeat(0), path, 1024).unwrap_err().to_string();
        assert_eq!(endless, "f is larger than 1.0 KiB");
    }
}
