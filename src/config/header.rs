//! Headers of requests to origins, whose values may come from a file or a variable.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use config::ValueKind;
use secrecy::{ExposeSecret, SecretString};

use super::file::read_text;
use super::toml::quoted;
use super::value::{ValueType, value_type};

/// Size limit of a file with a secret; servers accept no header of that size.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// The value of a header, as written in the configuration and as sent to the origin.
///
/// `${env:NAME}` stands for the variable `NAME`, `${file:/path}` for the content of that file.
/// `Debug` and `Display` show a text with such a reference. They show `***` for any other text,
/// because it may be a secret itself.
#[derive(Clone)]
pub struct HeaderTemplate {
    written: SecretString,
    value: SecretString,
}

/// Why a text is not a valid header value. The message repeats no part of a value.
#[derive(Debug, thiserror::Error)]
pub enum InvalidHeader {
    /// A reference without its closing brace.
    #[error("expected a }} after each ${{")]
    Unclosed,
    /// A reference that is neither `env` nor `file`.
    #[error("expected ${{env:NAME}} or ${{file:/path}}, got another ${{...}}")]
    UnknownReference,
    /// A variable that is not set. An empty one counts as unset.
    #[error("the variable {0} is not set, or empty")]
    NoVariable(String),
    /// A file that cannot be read.
    #[error("the file {} cannot be read: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        cause: io::Error,
    },
    /// A file without content.
    #[error("the file {} is empty", .0.display())]
    EmptyFile(PathBuf),
    /// A file that is too large for a secret.
    #[error("the file {} is larger than 64KiB", .0.display())]
    TooLarge(PathBuf),
    /// Control characters, line breaks, or characters beyond ASCII.
    #[error("expected printable ASCII characters only")]
    Characters,
}

enum HeaderPiece<'a> {
    Text(&'a str),
    Variable(&'a str),
    File(&'a Path),
}

impl HeaderTemplate {
    /// Parses a text and fills in its references.
    ///
    /// # Errors
    /// The text has a malformed reference, a variable or file is missing, or the result is not a
    /// valid header value.
    pub fn new(text: &str, env: &BTreeMap<String, String>) -> Result<Self, InvalidHeader> {
        Self::unresolved(text)?.resolved(env)
    }

    /// Parses a text; its references are filled in later.
    fn unresolved(text: &str) -> Result<Self, InvalidHeader> {
        pieces(text)?;
        Ok(Self { written: text.into(), value: SecretString::default() })
    }

    pub(super) fn resolved(&self, env: &BTreeMap<String, String>) -> Result<Self, InvalidHeader> {
        Ok(Self { written: self.written.clone(), value: self.resolve(env)? })
    }

    /// Fills in the references: looks up variables in `env` and reads files.
    ///
    /// # Errors
    /// A variable or file is missing, or the result is not a valid header value.
    pub fn resolve(&self, env: &BTreeMap<String, String>) -> Result<SecretString, InvalidHeader> {
        let mut value = String::new();
        for piece in pieces(self.written.expose_secret())? {
            match piece {
                HeaderPiece::Text(text) => value.push_str(text),
                HeaderPiece::Variable(name) => value.push_str(variable(name, env)?),
                HeaderPiece::File(path) => {
                    value.push_str(read(path)?.trim_end_matches(['\r', '\n']))
                }
            }
        }
        let value = SecretString::from(value);
        let printable = |b: u8| (b' '..=b'~').contains(&b);
        if value.expose_secret().bytes().all(printable) {
            Ok(value)
        } else {
            Err(InvalidHeader::Characters)
        }
    }

    /// The value that is sent, as resolved when the configuration was read.
    pub fn value(&self) -> &SecretString {
        &self.value
    }
}

/// The value of a header. Its messages never repeat it, because it may be a secret.
pub(super) fn header() -> impl ValueType<Value = HeaderTemplate> {
    value_type(
        |raw| {
            if let ValueKind::String(text) = raw {
                return HeaderTemplate::unresolved(text.trim()).map_err(|error| error.to_string());
            }
            Err("expected a text in quotes, got something else".to_owned())
        },
        |header: &HeaderTemplate| quoted(&header.to_string()),
    )
}

fn pieces(text: &str) -> Result<Vec<HeaderPiece<'_>>, InvalidHeader> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (reference, after) = after.split_once('}').ok_or(InvalidHeader::Unclosed)?;
        pieces.push(HeaderPiece::Text(before));
        pieces.push(match reference.split_once(':') {
            Some(("env", name)) if !name.is_empty() => HeaderPiece::Variable(name),
            Some(("file", path)) if !path.is_empty() => HeaderPiece::File(Path::new(path)),
            Some(_) | None => return Err(InvalidHeader::UnknownReference),
        });
        rest = after;
    }
    pieces.push(HeaderPiece::Text(rest));
    Ok(pieces)
}

fn variable<'a>(name: &str, env: &'a BTreeMap<String, String>) -> Result<&'a str, InvalidHeader> {
    let value = env.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
    value.ok_or_else(|| InvalidHeader::NoVariable(name.to_owned()))
}

fn read(path: &Path) -> Result<String, InvalidHeader> {
    let text = read_text(path, MAX_FILE_BYTES).map_err(|cause| {
        if cause.kind() == io::ErrorKind::FileTooLarge {
            return InvalidHeader::TooLarge(path.to_owned());
        }
        InvalidHeader::Unreadable { path: path.to_owned(), cause }
    })?;
    if text.trim().is_empty() {
        return Err(InvalidHeader::EmptyFile(path.to_owned()));
    }
    Ok(text)
}

impl fmt::Display for HeaderTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let written = self.written.expose_secret();
        f.write_str(if written.contains("${") { written } else { "***" })
    }
}

impl fmt::Debug for HeaderTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeaderTemplate({self})")
    }
}

/// Compares the resolved values as well: a secret can change while its reference stays the same.
impl PartialEq for HeaderTemplate {
    fn eq(&self, other: &Self) -> bool {
        self.written.expose_secret() == other.written.expose_secret()
            && self.value.expose_secret() == other.value.expose_secret()
    }
}

impl Eq for HeaderTemplate {}

/// Headers of the connection, of the message or of Larder, which operators cannot set.
const RESERVED: [&str; 18] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Checks that operators may set a header of this name. `grpc` applies the rules of gRPC metadata.
pub(super) fn check_name(name: &str, grpc: bool) -> Result<(), &'static str> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(token) {
        return Err("expected the name of a header, got characters that are not allowed in one");
    }
    let name = name.to_ascii_lowercase();
    if RESERVED.contains(&name.as_str()) {
        return Err("expected another header, as Larder controls this one");
    }
    if !grpc {
        return Ok(());
    }
    if name.starts_with("grpc-") || name == "content-type" {
        return Err("expected another header, as gRPC controls this one");
    }
    if name.ends_with("-bin") {
        return Err("expected another header, as gRPC treats names that end with -bin as binary");
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if name.bytes().all(allowed) {
        Ok(())
    } else {
        Err("expected a name of a-z, 0-9, '-', '_' and '.', as in gRPC")
    }
}
