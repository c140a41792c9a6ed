//! URL templates with placeholders for the parts of a key.

#[cfg(test)]
mod fuzz_tests;
mod segment;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt};

use url::{Position, Url};

use self::segment::{Part, Piece, encode, has_whole_escapes, needs_no_encoding, pieces};
use crate::model::{EntryKey, Violation};

/// Longest URL of a request. Servers and the HTTP client reject longer ones, each in another way.
const MAX_URL_BYTES: usize = 32 * 1024;

/// A template such as `https://users.internal/v1/{key}?lang={params.lang}` that expands to the URL
/// of each key.
///
/// The placeholders are `{namespace}`, `{key}` and `{params.<name>}`, in the path and in the query.
/// In the query, `{params}` stands for all params as `name=value` pairs. Values are
/// percent-encoded, so no key can change the scheme, the host, the port, the number of path
/// segments or the names in the query.
///
/// `Display` hides only the credentials before the host. A secret does not belong in the query.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct UrlTemplate {
    /// Everything before the path, credentials included.
    base: String,
    /// The segments of the path; a `/` precedes each.
    path: Vec<Part>,
    /// The parts of the query, separated by `&`; `None` if there is no query.
    query: Option<Vec<Part>>,
}

/// Why a text is not a valid template. The message continues a sentence about the URL and does not
/// repeat a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidTemplate(String);

impl UrlTemplate {
    /// Parses a template.
    ///
    /// # Errors
    /// The text is not an http or https URL, has an unknown or misplaced placeholder, or is not
    /// percent-encoded as it would be sent.
    pub fn parse(text: &str) -> Result<Self, InvalidTemplate> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return invalid("it must begin with http:// or https://");
        };
        if !matches!(scheme, "http" | "https") {
            return invalid("it must begin with http:// or https://");
        }
        // The URL parser silently drops some of these, even from the host.
        if rest.contains(|character: char| character.is_whitespace() || character.is_control()) {
            return invalid("it must not have spaces or control characters");
        }
        let authority_end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(authority_end);
        if authority.contains(['{', '}']) {
            return invalid("placeholders are only possible in the path and in the query");
        }
        let url = Url::parse(&format!("{scheme}://{authority}")).map_err(|error| {
            InvalidTemplate(format!("its host or port cannot be read: {error}"))
        })?;
        // The URL parser accepts hosts such as `a"b`, which the HTTP client refuses.
        if url.as_str().parse::<http::Uri>().is_err() {
            return invalid("its host has characters that no request can have");
        }
        if rest.contains('#') {
            return invalid("it must not have a fragment (#...): fragments are never sent");
        }
        let (path, query) =
            rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
        let path = path.strip_prefix('/').unwrap_or(path);
        let template = Self {
            base: url[..Position::BeforePath].to_owned(),
            path: path.split('/').map(pieces).collect::<Result<_, _>>()?,
            query: query
                .map(|query| query.split('&').map(pieces).collect::<Result<_, _>>())
                .transpose()?,
        };
        template.check()?;
        Ok(template)
    }

    /// Expands to the URL of one key. Params that the template does not name are left out.
    ///
    /// # Errors
    /// A violation of the field `key` or `params.<name>`: a param is missing, the URL is too long,
    /// or a path segment would be empty or a dot segment.
    pub fn expand(
        &self,
        key: &EntryKey,
        params: &BTreeMap<String, String>,
    ) -> Result<Url, Violation> {
        let mut text = self.base.clone();
        for segment in &self.path {
            text.push('/');
            segment::expand_segment(segment, key, params, &mut text)?;
        }
        let path_end = text.len();
        self.check_names(key, params)?;
        let mut separator = '?';
        for part in self.query.iter().flatten() {
            let start = text.len();
            text.push(separator);
            if *part == [Piece::AllParams] {
                let pairs = params
                    .iter()
                    .map(|(name, value)| format!("{}={}", encode(name), encode(value)));
                text.push_str(&pairs.collect::<Vec<_>>().join("&"));
            } else {
                for piece in part {
                    piece.expand(key, params, &mut text)?;
                }
            }
            if *part == [Piece::AllParams] && text.len() == start + 1 {
                text.truncate(start);
            } else {
                separator = '&';
            }
        }
        if text.len() > MAX_URL_BYTES {
            let description =
                format!("makes a URL of {} bytes, the limit is {MAX_URL_BYTES}", text.len());
            return Err(Violation::over_limit("key", description, MAX_URL_BYTES));
        }
        // The parsed URL must equal the text. The encoding ensures that; should it have a bug, no
        // request is better than one to another URL.
        Url::parse(&text)
            .ok()
            .filter(|url| url[..Position::AfterPath] == text[..path_end] && url.as_str() == text)
            .ok_or_else(|| Violation::new("key", "cannot be part of the origin's URL"))
    }

    fn check(&self) -> Result<(), InvalidTemplate> {
        let in_path = self.path.iter().flatten();
        if in_path.clone().any(|piece| *piece == Piece::AllParams) {
            return invalid(
                "{params} is only possible in the query; in the path, name one: {params.<name>}",
            );
        }
        let crowded = |part: &Part| part.len() > 1 && part.contains(&Piece::AllParams);
        if self.query.iter().flatten().any(crowded) {
            return invalid("{params} must stand alone between ? or & and the next & or the end");
        }
        self.check_all_params()?;
        for piece in in_path.chain(self.query.iter().flatten().flatten()) {
            let Piece::Literal(text) = piece else { continue };
            if let Some(odd) = text.chars().find(|character| !needs_no_encoding(*character)) {
                return invalid(format!("{odd:?} must be percent-encoded"));
            }
            // The value of a placeholder must not complete an escape that the template begins.
            if !has_whole_escapes(text) {
                return invalid("% must be followed by two hexadecimal digits");
            }
        }
        let text = self.text(&self.base, |_| "x".to_owned());
        if Url::parse(&text).is_ok_and(|url| url.as_str() == text) {
            return Ok(());
        }
        invalid("its path must not have segments . and .., and its query must be percent-encoded")
    }

    /// Refuses a template in which `{params}` always repeats a name.
    fn check_all_params(&self) -> Result<(), InvalidTemplate> {
        let parts = || self.query.iter().flatten();
        match parts().filter(|part| segment::is_all_params(part)).count() {
            0 => return Ok(()),
            1 => {}
            _ => return invalid("{params} is only possible once"),
        }
        for piece in self.path.iter().chain(parts()).flatten() {
            let Piece::Param(name) = piece else { continue };
            // The param must be set, and so {params} always contains it.
            if parts().any(|part| segment::fixed_names(part).contains(name)) {
                return invalid(format!(
                    "{{params}} would repeat the name {name}: the query has it and needs \
                     {{params.{name}}}"
                ));
            }
        }
        Ok(())
    }

    /// Refuses params by which `{params}` would repeat a name of the template: servers disagree
    /// about which of two values counts.
    fn check_names(
        &self,
        key: &EntryKey,
        params: &BTreeMap<String, String>,
    ) -> Result<(), Violation> {
        let parts = || self.query.iter().flatten();
        if params.is_empty() || !parts().any(segment::is_all_params) {
            return Ok(());
        }
        for part in parts().filter(|part| !segment::is_all_params(part)) {
            let mut text = String::new();
            for piece in part {
                piece.expand(key, params, &mut text)?;
            }
            if let Some(name) = segment::names(&text).find(|name| params.contains_key(name)) {
                let description = "must not be set: the origin's URL has a value for this name";
                let field = format!("params.{name}");
                return Err(Violation::new("params", description).renamed(field));
            }
        }
        Ok(())
    }

    /// Writes the template after a base, with placeholders as `placeholder` writes them.
    fn text(&self, base: &str, placeholder: impl Fn(&Piece) -> String) -> String {
        let write = |part: &Part| {
            let pieces = part.iter().map(|piece| match piece {
                Piece::Literal(text) => text.clone(),
                Piece::Namespace | Piece::Key | Piece::Param(_) | Piece::AllParams => {
                    placeholder(piece)
                }
            });
            pieces.collect::<String>()
        };
        let mut text = base.to_owned();
        for segment in &self.path {
            text.push('/');
            text.push_str(&write(segment));
        }
        if let Some(query) = &self.query {
            text.push('?');
            text.push_str(&query.iter().map(write).collect::<Vec<_>>().join("&"));
        }
        text
    }

    /// Whether the URL differs between the entries of a namespace.
    pub(super) fn depends_on_entry(&self) -> bool {
        let pieces = self.path.iter().chain(self.query.iter().flatten()).flatten();
        pieces.into_iter().any(|piece| match piece {
            Piece::Key | Piece::Param(_) | Piece::AllParams => true,
            Piece::Literal(_) | Piece::Namespace => false,
        })
    }

    /// Whether requests use TLS.
    pub(super) fn is_https(&self) -> bool {
        self.base.starts_with("https:")
    }

    /// Whether the URL contains a user or password.
    pub(super) fn has_credentials(&self) -> bool {
        self.base.contains('@')
    }
}

fn invalid<T>(problem: impl Into<String>) -> Result<T, InvalidTemplate> {
    Err(InvalidTemplate(problem.into()))
}

impl fmt::Display for UrlTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base = match (self.base.find("://"), self.base.rfind('@')) {
            (Some(start), Some(end)) => {
                let start = start + "://".len();
                // A user without a password may be a token.
                let secret =
                    self.base[start..end].find(':').map_or(start, |colon| start + colon + 1);
                format!("{}***{}", &self.base[..secret], &self.base[end..])
            }
            (None, _) | (_, None) => self.base.clone(),
        };
        f.write_str(&self.text(&base, ToString::to_string))
    }
}

impl fmt::Debug for UrlTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UrlTemplate({self})")
    }
}
