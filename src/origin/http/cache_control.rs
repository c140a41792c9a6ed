//! The directives of `Cache-Control` (RFC 9111, 5.2). Malformed and contradictory directives are
//! read in the way that caches least.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use http::{HeaderMap, HeaderValue, header};

/// Largest time. Longer ones mean "forever" and are shortened to it.
pub(super) const MAX_TIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Directives by their names in lower case; arguments are unquoted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct CacheControl(BTreeMap<String, Option<String>>);

impl CacheControl {
    /// Parses all `Cache-Control` lines. Without any, `Pragma` of HTTP/1.0 counts.
    pub(super) fn from_headers(headers: &HeaderMap) -> Self {
        let mut directives = Self::default();
        for line in headers.get_all(header::CACHE_CONTROL) {
            for directive in split_at_commas(line.as_bytes()) {
                directives.add(&directive);
            }
        }
        let has_no_cache = |value: &HeaderValue| {
            value.as_bytes().to_ascii_lowercase().windows(8).any(|w| w == b"no-cache")
        };
        if !headers.contains_key(header::CACHE_CONTROL)
            && headers.get_all(header::PRAGMA).iter().any(has_no_cache)
        {
            directives.add("no-cache");
        }
        directives
    }

    fn add(&mut self, directive: &str) {
        let (name, argument) = match directive.split_once('=') {
            Some((name, argument)) => (name, Some(unquoted(argument.trim()).into_owned())),
            None => (directive, None),
        };
        let name = name.trim().to_ascii_lowercase();
        if name.is_empty() {
            return;
        }
        let present = self.0.entry(name).or_insert_with(|| argument.clone());
        // Contradictory times mean that the response is stale (RFC 9111, 4.2.1).
        if *present != argument {
            *present = Some("0".to_owned());
        }
    }

    /// Whether a directive is present, with any argument.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Time of a directive; zero if its argument is missing or malformed. None: it is not present.
    pub(super) fn time(&self, name: &str) -> Option<Duration> {
        self.0
            .get(name)
            .map(|argument| argument.as_deref().and_then(parse_seconds).unwrap_or_default())
    }

    /// Sets a directive with a time.
    pub(super) fn set(&mut self, name: &str, time: Duration) {
        self.0.insert(name.to_owned(), Some(time.as_secs().to_string()));
    }

    /// Removes a directive.
    pub(super) fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// The directives as one line for parsers without error handling: times are numbers, other
    /// arguments are left out, and so are names that are none. A line with such a name is not read
    /// at all, not even its `no-store`.
    pub(super) fn normalized(&self) -> String {
        let times = ["max-age", "s-maxage"];
        let directive =
            |name: &String| match self.time(name).filter(|_| times.contains(&name.as_str())) {
                Some(time) => format!("{name}={}", time.as_secs()),
                None => name.clone(),
            };
        let names = self.0.keys().filter(|name| is_token(name));
        names.map(directive).collect::<Vec<_>>().join(", ")
    }
}

/// Whether a text can name a directive (RFC 9110, 5.6.2).
fn is_token(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    text.bytes().all(is_allowed)
}

/// Parses a number of seconds (RFC 9111, 1.2.2). Larger numbers become [`MAX_TIME`].
pub(super) fn parse_seconds(text: &str) -> Option<Duration> {
    let text = text.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().map_or(MAX_TIME, Duration::from_secs).min(MAX_TIME))
}

/// Splits a line at the commas outside quoted strings.
fn split_at_commas(line: &[u8]) -> Vec<String> {
    let mut parts = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    // Known directives are ASCII. Others must not hide the directives next to them.
    for character in String::from_utf8_lossy(line).chars() {
        match character {
            ',' if !quoted => {
                parts.push(String::new());
                continue;
            }
            '"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = quoted && character == '\\' && !escaped;
        if let Some(part) = parts.last_mut() {
            part.push(character);
        }
    }
    parts
}

fn unquoted(argument: &str) -> Cow<'_, str> {
    match argument.strip_prefix('"').map(|rest| rest.strip_suffix('"').unwrap_or(rest)) {
        Some(inner) if inner.contains('\\') => inner.replace('\\', "").into(),
        Some(inner) => inner.into(),
        None => argument.into(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(lines: &[&[u8]]) -> CacheControl {
        let lines = lines
            .iter()
            .map(|line| (header::CACHE_CONTROL, HeaderValue::from_bytes(line).unwrap()));
        CacheControl::from_headers(&lines.collect())
    }

    #[test]
    fn directives_are_parsed_in_all_spellings() {
        for (line, normalized) in [
            ("max-age=60", "max-age=60"),
            ("Public, MAX-AGE = 60 ,,", "max-age=60, public"),
            ("max-age=\"60\"", "max-age=60"),
            ("max-age=\"6\\0\"", "max-age=60"),
            ("private=\"set-cookie, no-store\", max-age=5", "max-age=5, private"),
            ("private=\"a\\\", no-store\"", "private"),
            ("private=\"never closed, max-age=5", "private"),
            ("max-age", "max-age=0"),
            ("max-age=", "max-age=0"),
            ("max-age=-1", "max-age=0"),
            ("max-age=+1", "max-age=0"),
            ("max-age=1.5", "max-age=0"),
            ("max-age=99999999999999999999999", "max-age=31536000"),
            ("max-age=60, max-age=60", "max-age=60"),
            ("max-age=60, max-age=30", "max-age=0"),
            ("=5, =", ""),
        ] {
            assert_eq!(parse(&[line.as_bytes()]).normalized(), normalized, "{line}");
        }
    }

    #[test]
    fn lines_are_joined_and_bytes_outside_ascii_hide_nothing() {
        assert_eq!(
            parse(&[b"max-age=60", b"x=\"\xff\", no-store"]).normalized(),
            "max-age=60, no-store, x"
        );
        assert_eq!(parse(&[b"max-age=60", b"max-age=30"]).time("max-age"), Some(Duration::ZERO));
    }

    #[test]
    fn pragma_counts_only_without_cache_control() {
        let mut headers = HeaderMap::new();
        headers.insert(header::PRAGMA, HeaderValue::from_static("No-Cache"));
        assert!(CacheControl::from_headers(&headers).has("no-cache"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=1"));
        assert!(!CacheControl::from_headers(&headers).has("no-cache"));
    }
}
