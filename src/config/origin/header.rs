use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

/// Most bytes of a file with a secret: more than servers take as a header.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// The value of a header, as it is written and as it is sent.
///
/// In the text, `${env:NAME}` stands for the variable `NAME` and `${file:/path}` for what is in that file. `Debug` and
/// `Display` show a text with such a reference, and `***` instead of one without: that may be a secret itself.
#[derive(Clone)]
pub struct HeaderTemplate {
    written: SecretString,
    value: SecretString,
}

/// Why a text gives no value of a header. The message repeats no part of a value.
#[derive(Debug, thiserror::Error)]
pub enum InvalidHeader {
    /// A reference that does not end.
    #[error("expected a }} after each ${{")]
    Unclosed,
    /// A reference to something else.
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
        /// What the system says.
        cause: io::Error,
    },
    /// A file without anything in it.
    #[error("the file {} is empty", .0.display())]
    EmptyFile(PathBuf),
    /// A file that is too large for a secret.
    #[error("the file {} is larger than 64KiB", .0.display())]
    TooLarge(PathBuf),
    /// Control characters, line breaks, or characters beyond ASCII.
    #[error("expected a value of printable ASCII characters, got others in it")]
    Characters,
}

/// A piece of a template.
enum Piece<'a> {
    Text(&'a str),
    Variable(&'a str),
    File(&'a Path),
}

impl HeaderTemplate {
    /// Reads a text and fills in what it refers to.
    ///
    /// # Errors
    /// The text is no template, something it refers to is missing, or no header could hold the outcome.
    pub fn new(text: &str, env: &BTreeMap<String, String>) -> Result<Self, InvalidHeader> {
        Self::unresolved(text)?.resolved(env)
    }

    /// Reads a text; what it refers to is filled in later.
    pub(in crate::config) fn unresolved(text: &str) -> Result<Self, InvalidHeader> {
        pieces(text)?;
        Ok(Self { written: text.into(), value: SecretString::default() })
    }

    pub(super) fn resolved(&self, env: &BTreeMap<String, String>) -> Result<Self, InvalidHeader> {
        Ok(Self { written: self.written.clone(), value: self.resolve(env)? })
    }

    /// What the text stands for now: variables are looked up in `env`, files are read.
    ///
    /// # Errors
    /// Something that the text refers to is missing, or no header could hold the outcome.
    pub fn resolve(&self, env: &BTreeMap<String, String>) -> Result<SecretString, InvalidHeader> {
        let mut value = String::new();
        for piece in pieces(self.written.expose_secret())? {
            match piece {
                Piece::Text(text) => value.push_str(text),
                Piece::Variable(name) => value.push_str(variable(name, env)?),
                Piece::File(path) => value.push_str(read(path)?.trim_end_matches(['\r', '\n'])),
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

    /// What is sent: what the text stood for when the configuration was read.
    pub fn value(&self) -> &SecretString {
        &self.value
    }
}

fn pieces(text: &str) -> Result<Vec<Piece<'_>>, InvalidHeader> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (reference, after) = after.split_once('}').ok_or(InvalidHeader::Unclosed)?;
        pieces.push(Piece::Text(before));
        pieces.push(match reference.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Piece::Variable(name),
            Some(("file", path)) if !path.is_empty() => Piece::File(Path::new(path)),
            Some(_) | None => return Err(InvalidHeader::UnknownReference),
        });
        rest = after;
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}

fn variable<'a>(name: &str, env: &'a BTreeMap<String, String>) -> Result<&'a str, InvalidHeader> {
    let value = env.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
    value.ok_or_else(|| InvalidHeader::NoVariable(name.to_owned()))
}

fn read(path: &Path) -> Result<String, InvalidHeader> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text))
        .map_err(|cause| InvalidHeader::Unreadable { path: path.to_owned(), cause })?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(InvalidHeader::TooLarge(path.to_owned()));
    }
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

/// Two are the same if they are written alike and send the same: a secret may change behind its name.
impl PartialEq for HeaderTemplate {
    fn eq(&self, other: &Self) -> bool {
        self.written.expose_secret() == other.written.expose_secret()
            && self.value.expose_secret() == other.value.expose_secret()
    }
}

impl Eq for HeaderTemplate {}

/// What belongs to the connection, to the message or to Larder, and is therefore never up to the operator.
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

/// Whether a header of that name may be sent with each request, to an origin that speaks gRPC if `grpc`.
pub(super) fn check_name(name: &str, grpc: bool) -> Result<(), &'static str> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(token) {
        return Err("expected the name of a header, got characters that none has");
    }
    let name = name.to_ascii_lowercase();
    if RESERVED.contains(&name.as_str()) {
        return Err("expected another header, as Larder decides on this one");
    }
    if !grpc {
        return Ok(());
    }
    if name.starts_with("grpc-") || name == "content-type" {
        return Err("expected another header, as gRPC decides on this one");
    }
    if name.ends_with("-bin") {
        return Err("expected another header, as gRPC takes those that end with -bin for binary");
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if name.bytes().all(allowed) {
        Ok(())
    } else {
        Err("expected a name of a-z, 0-9, '-', '_' and '.', as in gRPC")
    }
}
