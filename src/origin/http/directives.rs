//! The directives of `Cache-Control` (RFC 9111, 5.2), read the way that is safest for an answer that says odd things.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use http::{HeaderMap, HeaderValue, header};

/// Longest time that is told from forever.
pub(super) const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Names in lower case, with their arguments without quotes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct CacheControl(BTreeMap<String, Option<String>>);

impl CacheControl {
    /// Reads all `Cache-Control` lines of an answer; without any, what HTTP/1.0 had instead.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut directives = Self::default();
        for line in headers.get_all(header::CACHE_CONTROL) {
            for directive in split(line.as_bytes()) {
                directives.add(&directive);
            }
        }
        let uncached = |value: &HeaderValue| {
            value.as_bytes().to_ascii_lowercase().windows(8).any(|w| w == b"no-cache")
        };
        if !headers.contains_key(header::CACHE_CONTROL)
            && headers.get_all(header::PRAGMA).iter().any(uncached)
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
        let said = self.0.entry(name).or_insert_with(|| argument.clone());
        // Who says two things is taken to have said nothing that is still valid.
        if *said != argument {
            *said = Some("0".to_owned());
        }
    }

    /// Whether a directive is there, whatever its argument.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The time that a directive names. Zero if it is there but names none, or none that can be understood.
    pub(super) fn time(&self, name: &str) -> Option<Duration> {
        self.0.get(name).map(|argument| argument.as_deref().and_then(seconds).unwrap_or_default())
    }

    /// Sets a directive.
    pub(super) fn set(&mut self, name: &str, time: Duration) {
        self.0.insert(name.to_owned(), Some(time.as_secs().to_string()));
    }

    /// Takes a directive away.
    pub(super) fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// The directives as one line for readers that take it literally: times are numbers, other arguments are left out.
    pub(super) fn plain(&self) -> String {
        let times = ["max-age", "s-maxage"];
        let word = |name: &String| match self.time(name).filter(|_| times.contains(&name.as_str()))
        {
            Some(time) => format!("{name}={}", time.as_secs()),
            None => name.clone(),
        };
        self.0.keys().map(word).collect::<Vec<_>>().join(", ")
    }
}

/// A number of seconds, as HTTP writes it; [`LONGEST`] if it is longer, or too large for a number.
pub(super) fn seconds(text: &str) -> Option<Duration> {
    let text = text.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().map_or(LONGEST, Duration::from_secs).min(LONGEST))
}

/// Splits a line at the commas that are not in a quoted text.
fn split(line: &[u8]) -> Vec<String> {
    let mut parts = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    // Directives are ASCII: what is not cannot be one that is known, but must not hide its neighbours.
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

    fn read(lines: &[&[u8]]) -> CacheControl {
        let lines = lines
            .iter()
            .map(|line| (header::CACHE_CONTROL, HeaderValue::from_bytes(line).unwrap()));
        CacheControl::of(&lines.collect())
    }

    #[test]
    fn they_are_read_in_all_their_spellings() {
        for (line, plain) in [
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
            assert_eq!(read(&[line.as_bytes()]).plain(), plain, "{line}");
        }
    }

    #[test]
    fn lines_are_joined_and_foreign_bytes_hide_nothing() {
        assert_eq!(
            read(&[b"max-age=60", b"x=\"\xff\", no-store"]).plain(),
            "max-age=60, no-store, x"
        );
        assert_eq!(read(&[b"max-age=60", b"max-age=30"]).time("max-age"), Some(Duration::ZERO));
    }

    #[test]
    fn pragma_counts_where_nothing_newer_is_said() {
        let mut headers = HeaderMap::new();
        headers.insert(header::PRAGMA, HeaderValue::from_static("No-Cache"));
        assert!(CacheControl::of(&headers).has("no-cache"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=1"));
        assert!(!CacheControl::of(&headers).has("no-cache"));
    }
}
