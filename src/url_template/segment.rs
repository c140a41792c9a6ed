//! The parts of a template and their expansion.

use std::{collections::BTreeMap, fmt};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::{InvalidTemplate, invalid};
use crate::model::{EntryKey, Violation};

/// Everything but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A segment of the path, or a part of the query between two `&`.
pub(super) type Part = Vec<Piece>;

/// A literal or a placeholder.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// Text that is sent unchanged.
    Literal(String),
    /// `{namespace}`
    Namespace,
    /// `{key}`
    Key,
    /// `{params.<name>}`
    Param(String),
    /// `{params}`
    AllParams,
}

/// Parses one part of a template.
pub(super) fn pieces(text: &str) -> Result<Part, InvalidTemplate> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (literal, placeholder) = rest.split_at(at);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal.to_owned()));
        }
        let Some(inner) = placeholder.strip_prefix('{') else {
            return invalid("} without { (as part of the text, write %7D)");
        };
        let Some((name, after)) = inner.split_once('}').filter(|(name, _)| !name.contains('{'))
        else {
            return invalid(
                "{ without } (as part of the text, write %7B; names in { } have no / & ? and #)",
            );
        };
        pieces.push(placeholder_named(name)?);
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(rest.to_owned()));
    }
    Ok(pieces)
}

fn placeholder_named(name: &str) -> Result<Piece, InvalidTemplate> {
    match name {
        "namespace" => Ok(Piece::Namespace),
        "key" => Ok(Piece::Key),
        "params" => Ok(Piece::AllParams),
        _ => match name.strip_prefix("params.") {
            Some(param) if !param.is_empty() => Ok(Piece::Param(param.to_owned())),
            Some(_) | None => invalid(format!(
                "there is no placeholder {{{name}}}; \
                 there are {{namespace}}, {{key}}, {{params.<name>}} and {{params}}"
            )),
        },
    }
}

/// Whether a character needs no percent-encoding: `pchar` of RFC 3986, `%` and the separators.
pub(super) fn needs_no_encoding(character: char) -> bool {
    character.is_ascii_alphanumeric() || "-._~%!$&'()*+,;=:@/?".contains(character)
}

/// Whether two hexadecimal digits follow each `%` of a literal.
pub(super) fn has_whole_escapes(text: &str) -> bool {
    let is_hex = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_hexdigit());
    text.split('%').skip(1).all(|after| {
        let mut bytes = after.bytes();
        is_hex(bytes.next()) && is_hex(bytes.next())
    })
}

/// Whether a part of the query stands for all params.
pub(super) fn is_all_params(part: &Part) -> bool {
    *part == [Piece::AllParams]
}

/// Names of the parameters in a part of the query, as a server reads them. Some servers separate
/// parameters by `;` as well.
pub(super) fn names(text: &str) -> impl Iterator<Item = String> {
    text.split(';').map(|pair| {
        let name = pair.split('=').next().unwrap_or_default().replace('+', " ");
        percent_decode_str(&name).decode_utf8_lossy().into_owned()
    })
}

/// The names in a part of the query that are the same for all keys.
pub(super) fn fixed_names(part: &Part) -> Vec<String> {
    let Some(Piece::Literal(text)) = part.first() else { return Vec::new() };
    let mut names: Vec<_> = names(text).collect();
    // A placeholder before the = completes the name.
    let last = text.rsplit(';').next().unwrap_or_default();
    if part.len() > 1 && !last.contains('=') {
        names.pop();
    }
    names
}

/// Percent-encodes a value.
pub(super) fn encode(value: &str) -> impl fmt::Display {
    utf8_percent_encode(value, RESERVED)
}

/// Appends one path segment, expanded for a key.
pub(super) fn expand_segment(
    segment: &Part,
    key: &EntryKey,
    params: &BTreeMap<String, String>,
    out: &mut String,
) -> Result<(), Violation> {
    let start = out.len();
    let mut first = None;
    for piece in segment {
        let written = out.len();
        piece.expand(key, params, out)?;
        if out.len() == written {
            return Err(piece.violation("must not be empty: it is a segment of the origin's path"));
        }
        if !matches!(piece, Piece::Literal(_)) {
            first = first.or(Some(piece));
        }
    }
    if let Some(piece) = first
        && has_dot_segment(&out[start..])
    {
        return Err(piece.violation(
            "must not have . or .. as a segment: it becomes part of the origin's path",
        ));
    }
    Ok(())
}

/// Whether the client, a proxy or the server could treat a segment as dot segments.
///
/// The URL parser does so for `..` and `%2e%2e`. Some proxies decode `%2F` before they resolve dot
/// segments, and some servers cut a segment off at `;`.
fn has_dot_segment(segment: &str) -> bool {
    let decoded = percent_decode_str(segment).collect::<Vec<u8>>();
    decoded.split(|byte| matches!(byte, b'/' | b'\\')).any(|step| {
        let name = step.split(|byte| *byte == b';').next().unwrap_or_default();
        matches!(name, b"." | b"..")
    })
}

// === impl Piece ===

impl Piece {
    /// Appends the value of this piece for a key.
    pub(super) fn expand(
        &self,
        key: &EntryKey,
        params: &BTreeMap<String, String>,
        out: &mut String,
    ) -> Result<(), Violation> {
        let value = match self {
            // Literals are encoded already.
            Self::Literal(text) => {
                out.push_str(text);
                return Ok(());
            }
            Self::Namespace => key.namespace().as_str(),
            Self::Key => key.key(),
            Self::Param(name) => match params.get(name) {
                Some(value) => value,
                None => return Err(self.violation("must be set: the origin's URL is made of it")),
            },
            // Always alone in its part; `UrlTemplate::expand` handles it.
            Self::AllParams => return Ok(()),
        };
        out.extend(utf8_percent_encode(value, RESERVED));
        Ok(())
    }

    fn violation(&self, description: &'static str) -> Violation {
        match self {
            Self::Param(name) => {
                Violation::new("params", description).renamed(format!("params.{name}"))
            }
            Self::Namespace => Violation::new("namespace", description),
            Self::Literal(_) | Self::Key | Self::AllParams => Violation::new("key", description),
        }
    }
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(text) => f.write_str(text),
            Self::Namespace => f.write_str("{namespace}"),
            Self::Key => f.write_str("{key}"),
            Self::Param(name) => write!(f, "{{params.{name}}}"),
            Self::AllParams => f.write_str("{params}"),
        }
    }
}
