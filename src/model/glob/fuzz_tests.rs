//! Fuzz target of globs.

use super::*;
use crate::fuzzing::{Input, check};

/// A part of a glob, read without the code that is tested.
enum Part {
    Any,
    One,
    Class(bool, Vec<(char, char)>),
    Literal(char),
}

/// A glob on the first line matches a key on the second one as defined. Its prefix is
/// that of every key that matches, and the glob of a literal text matches only that.
#[test]
fn glob() {
    check("glob", |bytes| {
        let mut input = Input::new(bytes);
        let (text, key) = (input.text(), input.text());
        if let Ok(glob) = Glob::new(&text) {
            let parts = parts(&text.chars().collect::<Vec<_>>());
            let letters: Vec<char> = key.chars().take(200).collect();
            let key: String = letters.iter().collect();
            let is_match = glob.matches(&key);
            assert_eq!(is_match, matches(&parts, &letters), "{text:?} {key:?}");
            assert!(!is_match || key.starts_with(glob.prefix()));
            assert!(glob.memory() < 256 * 1024);
        }
        if let Ok(glob) = Glob::literal(&text) {
            assert!(glob.matches(&text));
            assert_eq!(glob.matches(&key), text == key);
            assert_eq!(glob.prefix(), text);
        }
    });
}

/// The parts of a valid glob.
fn parts(text: &[char]) -> Vec<Part> {
    let (mut parts, mut at) = (Vec::new(), 0);
    // A character that may be escaped, and where the next one is.
    let letter =
        |at: usize| if text[at] == '\\' { (text[at + 1], at + 2) } else { (text[at], at + 1) };
    while at < text.len() {
        match text[at] {
            '*' => parts.push(Part::Any),
            '?' => parts.push(Part::One),
            '[' => {
                let is_negated = matches!(text[at + 1], '^' | '!');
                let mut next = at + 1 + usize::from(is_negated);
                let mut ranges = Vec::new();
                while ranges.is_empty() || text[next] != ']' {
                    let (start, after) = letter(next);
                    next = after;
                    let is_range = text.get(next) == Some(&'-')
                        && text.get(next + 1).is_some_and(|end| *end != ']');
                    let mut end = start;
                    if is_range {
                        (end, next) = letter(next + 1);
                    }
                    ranges.push((start, end));
                }
                parts.push(Part::Class(is_negated, ranges));
                at = next;
            }
            _ => {
                let (literal, next) = letter(at);
                parts.push(Part::Literal(literal));
                at = next - 1;
            }
        }
        at += 1;
    }
    parts
}

/// By the table of all beginnings of the parts and of the key.
fn matches(parts: &[Part], key: &[char]) -> bool {
    let mut reached = vec![false; key.len() + 1];
    reached[0] = true;
    for part in parts {
        let mut next = vec![false; key.len() + 1];
        for at in 0..=key.len() {
            next[at] = match part {
                Part::Any => reached[..=at].contains(&true),
                Part::One => at > 0 && reached[at - 1],
                Part::Literal(literal) => at > 0 && reached[at - 1] && key[at - 1] == *literal,
                Part::Class(is_negated, ranges) => {
                    let is_member =
                        |letter| ranges.iter().any(|(start, end)| (start..=end).contains(&letter));
                    at > 0 && reached[at - 1] && is_member(&key[at - 1]) != *is_negated
                }
            };
        }
        reached = next;
    }
    reached[key.len()]
}
