//! Globs: patterns of keys.

use std::{fmt, sync::Arc};

use regex::{Regex, RegexBuilder};

use super::Violation;

/// Maximum length of a glob, in bytes.
pub const MAX_GLOB_BYTES: usize = 1024;
/// Maximum number of wildcards and classes in a glob. Each of them costs memory and time.
pub const MAX_GLOB_WILDCARDS: usize = 32;

/// Memory for the compiled form of a glob, in bytes. Far more than the limits allow to need.
const MAX_COMPILED_BYTES: usize = 1024 * 1024;
/// Memory for what the matching of one glob remembers, in bytes. Without memory it is slower.
const MAX_MATCHER_CACHE_BYTES: usize = 16 * 1024;

/// A pattern that matches whole keys: `*` matches any characters, also none; `?` matches one
/// character; `[a-z]` matches one character of the class, and `[^a-z]` or `[!a-z]` one that is not
/// in it; `\` takes the special meaning from the next character. Matching takes time linear in the
/// length of the key (no backtracking). Cheap to clone.
#[derive(Clone)]
pub struct Glob(Arc<Inner>);

struct Inner {
    text: Box<str>,
    /// The characters before the first wildcard.
    prefix: Box<str>,
    rest: Rest,
}

/// The pattern after the prefix.
enum Rest {
    /// Nothing.
    End,
    /// One `*`.
    Any,
    /// Anything else, as an expression for what follows the prefix.
    Expression(Regex),
}

/// A part of a glob.
enum Token {
    Literal(char),
    /// `*`
    Any,
    /// `?`
    One,
    /// Ranges, ends included.
    Class {
        is_negated: bool,
        ranges: Vec<(char, char)>,
    },
}

// === impl Glob ===

impl Glob {
    /// Parses a glob.
    ///
    /// # Errors
    /// A violation of field `glob`: it is empty, exceeds a limit, or is malformed.
    pub fn new(text: &str) -> Result<Self, Violation> {
        if text.is_empty() {
            return Err(Violation::new("glob", "must be set"));
        }
        if text.len() > MAX_GLOB_BYTES {
            return Err(Violation::over_limit(
                "glob",
                format!("is {} bytes long, the limit is {MAX_GLOB_BYTES}", text.len()),
                MAX_GLOB_BYTES,
            ));
        }
        let mut tokens = parse(text)?;
        // Several `*` in a row are one.
        tokens.dedup_by(|next, before| matches!((next, before), (Token::Any, Token::Any)));
        let wildcards = tokens.iter().filter(|token| !matches!(token, Token::Literal(_))).count();
        if wildcards > MAX_GLOB_WILDCARDS {
            return Err(Violation::over_limit(
                "glob",
                format!("has {wildcards} wildcards, the limit is {MAX_GLOB_WILDCARDS}"),
                MAX_GLOB_WILDCARDS,
            ));
        }
        let literals = tokens.iter().map_while(|token| match token {
            Token::Literal(literal) => Some(*literal),
            Token::Any | Token::One | Token::Class { .. } => None,
        });
        let prefix: String = literals.collect();
        let rest = match &tokens[prefix.chars().count()..] {
            [] => Rest::End,
            [Token::Any] => Rest::Any,
            rest => Rest::Expression(compile(rest)?),
        };
        Ok(Self(Arc::new(Inner { text: text.into(), prefix: prefix.into(), rest })))
    }

    /// The glob that matches this text only.
    ///
    /// # Errors
    /// As [`Glob::new`].
    pub fn literal(text: &str) -> Result<Self, Violation> {
        Self::new(&escaped(text))
    }

    /// Returns the glob as it was written.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// The text with which every key that matches begins.
    pub fn prefix(&self) -> &str {
        &self.0.prefix
    }

    /// Estimated memory, in bytes.
    pub fn memory(&self) -> usize {
        // Measured: 12 to 45 KB. An expression has programs for both directions, and what matching
        // remembers.
        const EXPRESSION: usize = 8192 + MAX_MATCHER_CACHE_BYTES;
        const WILDCARD: usize = 1024;
        let wildcards = || self.0.text.matches(['*', '?', '[']).count();
        let rest = match &self.0.rest {
            Rest::End | Rest::Any => 0,
            Rest::Expression(_) => EXPRESSION + WILDCARD * wildcards() + 16 * self.0.text.len(),
        };
        size_of::<Inner>() + 2 * self.0.text.len() + rest
    }

    /// Whether the whole of `key` matches.
    pub fn matches(&self, key: &str) -> bool {
        let Some(rest) = key.strip_prefix(&*self.0.prefix) else { return false };
        match &self.0.rest {
            Rest::End => rest.is_empty(),
            Rest::Any => true,
            Rest::Expression(expression) => expression.is_match(rest),
        }
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl PartialEq for Glob {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Glob {}

/// Takes the special meaning from all characters of `text`, so that it matches only itself as a
/// part of a glob.
pub fn escaped(text: &str) -> String {
    let mut glob = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\') {
            glob.push('\\');
        }
        glob.push(character);
    }
    glob
}

fn parse(text: &str) -> Result<Vec<Token>, Violation> {
    let mut tokens = Vec::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        tokens.push(match character {
            '*' => Token::Any,
            '?' => Token::One,
            '[' => parse_class(&mut characters)?,
            '\\' => Token::Literal(after_backslash(&mut characters)?),
            literal => Token::Literal(literal),
        });
    }
    Ok(tokens)
}

/// Parses a class after its `[`. As in POSIX, a `]` that comes first is a member of the class.
fn parse_class(characters: &mut std::str::Chars<'_>) -> Result<Token, Violation> {
    let is_negated = characters.as_str().starts_with(['^', '!']);
    if is_negated {
        characters.next();
    }
    let mut ranges = Vec::new();
    loop {
        let start = match characters.next() {
            None => return Err(Violation::new("glob", "has a '[' without a ']'")),
            Some(']') if !ranges.is_empty() => return Ok(Token::Class { is_negated, ranges }),
            Some('\\') => after_backslash(characters)?,
            Some(character) => character,
        };
        let mut ahead = characters.clone();
        let end = match (ahead.next(), ahead.next()) {
            (Some('-'), Some(end)) if end != ']' => {
                *characters = ahead;
                if end == '\\' { after_backslash(characters)? } else { end }
            }
            _ => start,
        };
        if end < start {
            let fault = format!("has the range '{start}-{end}', which is the wrong way round");
            return Err(Violation::new("glob", fault));
        }
        ranges.push((start, end));
    }
}

fn after_backslash(characters: &mut std::str::Chars<'_>) -> Result<char, Violation> {
    characters.next().ok_or_else(|| Violation::new("glob", "ends with a single '\\'"))
}

fn compile(tokens: &[Token]) -> Result<Regex, Violation> {
    use fmt::Write as _;
    let mut expression = String::from("\\A(?s:");
    let literal = |expression: &mut String, character: char| {
        let mut buffer = [0; 4];
        expression.push_str(&regex::escape(character.encode_utf8(&mut buffer)));
    };
    for token in tokens {
        match token {
            Token::Literal(character) => literal(&mut expression, *character),
            Token::Any => expression.push_str(".*"),
            Token::One => expression.push('.'),
            Token::Class { is_negated, ranges } => {
                expression.push_str(if *is_negated { "[^" } else { "[" });
                for (start, end) in ranges {
                    // Writing to a string cannot fail.
                    let _ = write!(
                        expression,
                        "\\x{{{:x}}}-\\x{{{:x}}}",
                        u32::from(*start),
                        u32::from(*end)
                    );
                }
                expression.push(']');
            }
        }
    }
    expression.push_str(")\\z");
    RegexBuilder::new(&expression)
        .size_limit(MAX_COMPILED_BYTES)
        .dfa_size_limit(MAX_MATCHER_CACHE_BYTES)
        .build()
        .map_err(|_| Violation::new("glob", "is too complex"))
}

#[cfg(test)]
mod fuzz_tests;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::measured_memory::measured;

    fn matches(glob: &str, key: &str) -> bool {
        Glob::new(glob).unwrap().matches(key)
    }

    #[test]
    fn glob_matches_the_whole_key() {
        for (glob, matching, other) in [
            ("user:42:*", "user:42:", "user:421:a"),
            ("user:42:*", "user:42:a:b/c\n", "xuser:42:a"),
            ("*", "any/thing", ""),
            ("a*c", "abbc", "abcd"),
            ("a*c", "ac", "c"),
            ("a?c", "aéc", "ac"),
            ("a?c", "a\nc", "abbc"),
            ("[a-c]x", "bx", "dx"),
            ("[^a-c]x", "dx", "bx"),
            ("[!a-c]x", "éx", "ax"),
            ("[]x]", "]", "["),
            ("[a-]", "-", "b"),
            ("[\\]]", "]", "\\"),
            ("\\*", "*", "a"),
            ("\\[a]", "[a]", "a"),
            ("a.c", "a.c", "abc"),
            ("(a|b)*", "(a|b)c", "a"),
            ("a**c", "abc", "ab"),
            ("é*ü", "é-ü", "é-u"),
        ] {
            assert!(matches(glob, matching), "{glob} {matching}");
            assert!(other.is_empty() || !matches(glob, other), "{glob} {other}");
        }
    }

    #[test]
    fn malformed_globs_are_refused_with_the_fault() {
        let fault = |glob: &str| Glob::new(glob).unwrap_err().to_string();
        assert_eq!(fault(""), "glob must be set");
        assert_eq!(fault("a["), "glob has a '[' without a ']'");
        assert_eq!(fault("a[]"), "glob has a '[' without a ']'");
        assert_eq!(fault("a\\"), "glob ends with a single '\\'");
        assert_eq!(fault("[z-a]"), "glob has the range 'z-a', which is the wrong way round");
        let long = Glob::new(&"a".repeat(1025)).unwrap_err();
        assert_eq!(long.to_string(), "glob is 1025 bytes long, the limit is 1024");
        assert_eq!(long.limit(), Some(1024));
        let wild = Glob::new(&"a*".repeat(33)).unwrap_err();
        assert_eq!(wild.to_string(), "glob has 33 wildcards, the limit is 32");
    }

    #[test]
    fn memory_is_estimated_by_what_is_compiled() {
        let memory = |glob: &str| Glob::new(glob).unwrap().memory();
        assert!(memory("user:42:*") < 200 && memory("user:42") < 200);
        assert!((24_000..30_000).contains(&memory("user:?")), "{}", memory("user:?"));
        assert!(memory("a*b?c[d]") > memory("a*bcd") + 2_000);
        assert_eq!(memory(&format!("?{}", "a".repeat(100))), memory("?") + 1_800);
        for text in ["user:42", "user:42:*", "*", &"x".repeat(1000)] {
            let (glob, bytes) = measured(|| Glob::new(text).unwrap());
            let estimated = glob.memory() as u64;
            // With the counts of references; a text without wildcards is its own prefix.
            assert!((bytes - 16..=bytes + text.len() as u64).contains(&estimated), "{text}");
        }
    }

    #[test]
    fn the_most_complex_glob_within_the_limits_compiles() {
        for part in ["*a", "?", "[^\u{80}-\u{10000}b-\u{7ff}]"] {
            let glob = part.repeat(MAX_GLOB_WILDCARDS);
            Glob::new(&glob).unwrap().matches("");
        }
        let class: String = ('\u{100}'..).step_by(2).take(500).collect();
        Glob::new(&format!("[{class}]x")).unwrap();
    }

    /// Ends of `key` that are left when a part of the glob has been matched.
    fn simple_match(glob: &[char], key: &[char]) -> bool {
        match (glob, key) {
            ([], rest) => rest.is_empty(),
            (['*', glob @ ..], key) => {
                (0..=key.len()).any(|skipped| simple_match(glob, &key[skipped..]))
            }
            (['?', glob @ ..], [_, key @ ..]) => simple_match(glob, key),
            ([expected, glob @ ..], [found, key @ ..]) if expected == found => {
                simple_match(glob, key)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn stars_and_question_marks_match_as_defined(
            glob in "[ab*?]{1,8}",
            key in "[ab]{0,8}",
        ) {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(matches(&glob, &key), simple_match(&chars(&glob), &chars(&key)));
        }

        #[test]
        fn escaped_text_matches_only_itself(text in "\\PC{1,20}", other in "\\PC{1,20}") {
            let glob = Glob::literal(&text).unwrap();
            prop_assert!(glob.matches(&text));
            prop_assert_eq!(glob.matches(&other), text == other);
        }

        #[test]
        fn no_glob_panics(glob in "[a*?\\[\\]\\\\^!-]{0,12}", key in "\\PC{0,12}") {
            if let Ok(glob) = Glob::new(&glob) {
                glob.matches(&key);
            }
        }
    }
}
