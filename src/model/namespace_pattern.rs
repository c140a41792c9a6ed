//! Patterns of namespaces, in the rules of roles.

use std::{fmt, str::FromStr};

use super::Namespace;

/// A namespace, or all namespaces that begin with a text: `shop`, `shop.*` or `*`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct NamespacePattern {
    text: Box<str>,
    is_prefix: bool,
}

/// The text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a namespace, or the begin of one with a '*' at its end")]
pub struct InvalidNamespacePattern;

impl NamespacePattern {
    /// The pattern of one namespace.
    pub fn exactly(namespace: &Namespace) -> Self {
        Self { text: namespace.as_str().into(), is_prefix: false }
    }

    /// Whether it stands for `namespace`.
    #[inline]
    pub fn matches(&self, namespace: &str) -> bool {
        if self.is_prefix { namespace.starts_with(&*self.text) } else { namespace == &*self.text }
    }

    /// Whether it stands for every namespace that `other` stands for.
    pub fn covers(&self, other: &Self) -> bool {
        if self.is_prefix { other.text.starts_with(&*self.text) } else { self == other }
    }

    /// Whether there may be a namespace that both stand for.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self.is_prefix, other.is_prefix) {
            (true, true) => self.covers(other) || other.covers(self),
            (_, false) => self.matches(&other.text),
            (false, true) => other.matches(&self.text),
        }
    }
}

impl FromStr for NamespacePattern {
    type Err = InvalidNamespacePattern;

    fn from_str(text: &str) -> Result<Self, InvalidNamespacePattern> {
        let (begin, is_prefix) = match text.strip_suffix('*') {
            Some(begin) => (begin, true),
            None => (text, false),
        };
        let is_all = is_prefix && begin.is_empty();
        if !is_all && Namespace::new(begin).is_err() {
            return Err(InvalidNamespacePattern);
        }
        Ok(Self { text: begin.into(), is_prefix })
    }
}

impl fmt::Display for NamespacePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.text, if self.is_prefix { "*" } else { "" })
    }
}

impl fmt::Debug for NamespacePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> NamespacePattern {
        text.parse().unwrap()
    }

    #[test]
    fn patterns_match_whole_names_or_begins() {
        let cases = [
            ("shop", "shop", true),
            ("shop", "shop-eu", false),
            ("shop", "sho", false),
            ("shop*", "shop", true),
            ("shop*", "shop-eu", true),
            ("shop.*", "shop", false),
            ("shop.*", "shop.prices", true),
            ("*", "anything", true),
        ];
        for (text, namespace, matches) in cases {
            assert_eq!(pattern(text).matches(namespace), matches, "{text} {namespace}");
        }
    }

    #[test]
    fn malformed_patterns_are_refused() {
        for text in ["", "Shop", "*shop", "a*b", "**", "a b", &"x".repeat(65)] {
            assert_eq!(text.parse::<NamespacePattern>(), Err(InvalidNamespacePattern), "{text}");
        }
    }

    #[test]
    fn a_pattern_covers_and_overlaps_others() {
        // The patterns, whether the first covers the second, and whether they overlap.
        let cases = [
            ("*", "shop", true, true),
            ("shop*", "shop.*", true, true),
            ("shop.*", "shop*", false, true),
            ("shop", "shop*", false, true),
            ("shop", "shop", true, true),
            ("shop*", "shop", true, true),
            ("shop.*", "shop", false, false),
            ("shop", "user", false, false),
            ("shop*", "user*", false, false),
        ];
        for (one, other, covers, overlaps) in cases {
            let (one, other) = (pattern(one), pattern(other));
            assert_eq!(one.covers(&other), covers, "{one} covers {other}");
            assert_eq!(one.overlaps(&other), overlaps, "{one} and {other}");
            assert_eq!(other.overlaps(&one), overlaps, "{other} and {one}");
        }
    }

    #[test]
    fn patterns_are_written_as_they_were_read() {
        for text in ["*", "shop", "shop.*"] {
            assert_eq!(pattern(text).to_string(), text);
        }
        let namespace = Namespace::new("shop").unwrap();
        assert_eq!(NamespacePattern::exactly(&namespace), pattern("shop"));
    }
}
