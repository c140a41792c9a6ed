//! Secrets of the configuration, whose values may come from a file or a variable.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use super::file::read_text;

/// Size limit of a file with a secret.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// A secret, as written in the configuration and as used.
///
/// `${env:NAME}` stands for the variable `NAME`, `${file:/path}` for the content of that file.
/// `Debug` and `Display` show a text with such a reference. They show `***` for any other text,
/// because it may be a secret itself.
#[derive(Clone)]
pub struct SecretTemplate {
    written: SecretString,
    value: SecretString,
}

/// Why a text is no secret. The message repeats no part of a value.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSecret {
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

enum Piece<'a> {
    Text(&'a str),
    Variable(&'a str),
    File(&'a Path),
}

impl SecretTemplate {
    /// Parses a text and fills in its references.
    ///
    /// # Errors
    /// The text has a malformed reference, a variable or file is missing, or the result is not a
    /// printable text.
    pub fn new(text: &str, env: &BTreeMap<String, String>) -> Result<Self, InvalidSecret> {
        Self::unresolved(text)?.resolved(env)
    }

    /// Parses a text; its references are filled in later.
    pub(super) fn unresolved(text: &str) -> Result<Self, InvalidSecret> {
        pieces(text)?;
        Ok(Self { written: text.into(), value: SecretString::default() })
    }

    pub(super) fn resolved(&self, env: &BTreeMap<String, String>) -> Result<Self, InvalidSecret> {
        Ok(Self { written: self.written.clone(), value: self.resolve(env)? })
    }

    /// Fills in the references: looks up variables in `env` and reads files.
    ///
    /// # Errors
    /// A variable or file is missing, or the result is not a printable text.
    pub fn resolve(&self, env: &BTreeMap<String, String>) -> Result<SecretString, InvalidSecret> {
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
            Err(InvalidSecret::Characters)
        }
    }

    /// The value that is used, as resolved when the configuration was read.
    pub fn value(&self) -> &SecretString {
        &self.value
    }
}

fn pieces(text: &str) -> Result<Vec<Piece<'_>>, InvalidSecret> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (reference, after) = after.split_once('}').ok_or(InvalidSecret::Unclosed)?;
        pieces.push(Piece::Text(before));
        pieces.push(match reference.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Piece::Variable(name),
            Some(("file", path)) if !path.is_empty() => Piece::File(Path::new(path)),
            Some(_) | None => return Err(InvalidSecret::UnknownReference),
        });
        rest = after;
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}

fn variable<'a>(name: &str, env: &'a BTreeMap<String, String>) -> Result<&'a str, InvalidSecret> {
    let value = env.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
    value.ok_or_else(|| InvalidSecret::NoVariable(name.to_owned()))
}

fn read(path: &Path) -> Result<String, InvalidSecret> {
    let text = read_text(path, MAX_FILE_BYTES).map_err(|cause| {
        if cause.kind() == io::ErrorKind::FileTooLarge {
            return InvalidSecret::TooLarge(path.to_owned());
        }
        InvalidSecret::Unreadable { path: path.to_owned(), cause }
    })?;
    if text.trim().is_empty() {
        return Err(InvalidSecret::EmptyFile(path.to_owned()));
    }
    Ok(text)
}

impl fmt::Display for SecretTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let written = self.written.expose_secret();
        f.write_str(if written.contains("${") { written } else { "***" })
    }
}

impl fmt::Debug for SecretTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretTemplate({self})")
    }
}

/// Compares the resolved values as well: a secret can change while its reference stays the same.
impl PartialEq for SecretTemplate {
    fn eq(&self, other: &Self) -> bool {
        self.written.expose_secret() == other.written.expose_secret()
            && self.value.expose_secret() == other.value.expose_secret()
    }
}

impl Eq for SecretTemplate {}
