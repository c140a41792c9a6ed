//! Texts of others, such as keys and causes, as people can read them: what has no letter, or would
//! change the text around it or the terminal, is shown by its code.

use std::{borrow::Cow, fmt::Write as _};

/// A text with visible control characters, and those of the direction of text. Other letters stay.
pub fn visible(text: &str) -> Cow<'_, str> {
    replaced(text, is_hidden, |shown, letter| shown.extend(letter.escape_default()))
}

/// As [`visible`], but line ends and tabs stay.
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    let is_replaced = |letter| is_hidden(letter) && !matches!(letter, '\n' | '\t');
    replaced(text, is_replaced, |shown, letter| shown.extend(letter.escape_default()))
}

/// JSON in whose strings no such character is left. JSON has none outside of strings but white
/// space, which stays.
pub fn visible_json(json: &str) -> Cow<'_, str> {
    let is_replaced = |letter| is_hidden(letter) && !matches!(letter, '\n' | '\r' | '\t');
    replaced(json, is_replaced, |shown, letter| {
        for unit in letter.encode_utf16(&mut [0; 2]) {
            // Writing to a String does not fail.
            let _ = write!(shown, "\\u{unit:04x}");
        }
    })
}

fn replaced(
    text: &str,
    is_replaced: impl Fn(char) -> bool,
    write: impl Fn(&mut String, char),
) -> Cow<'_, str> {
    if !text.chars().any(&is_replaced) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if is_replaced(letter) { write(&mut shown, letter) } else { shown.push(letter) }
    }
    Cow::Owned(shown)
}

/// Control characters, and those that set the direction of the text, or have no width.
fn is_hidden(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(letter, '\u{2060}'..='\u{206f}' | '\u{feff}')
        || matches!(letter, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{fff9}'..='\u{fffb}')
        // Tags, which copy the letters of ASCII.
        || matches!(letter, '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_shown_by_its_code() {
        assert!(matches!(visible("user:4711 é"), Cow::Borrowed("user:4711 é")));
        assert_eq!(visible("a\0b\n\t\u{202e}c\u{1b}"), "a\\u{0}b\\n\\t\\u{202e}c\\u{1b}");
        for hidden in "\u{9b}\u{ad}\u{61c}\u{180e}\u{2066}\u{feff}\u{fff9}\u{e0001}".chars() {
            let expected = format!("a\\u{{{:x}}}b", u32::from(hidden));
            assert_eq!(visible(&format!("a{hidden}b")), expected);
            assert_eq!(visible_lines(&format!("a{hidden}b")), expected);
        }
        assert_eq!(visible(&visible("\u{1b}[31m")), "\\u{1b}[31m", "twice is as once");
    }

    #[test]
    fn lines_stay() {
        assert_eq!(visible_lines("a\tb\n\u{1b}c\r\n"), "a\tb\n\\u{1b}c\\r\n");
    }

    #[test]
    fn json_has_the_same_value() {
        let text = "a\u{9b}31m\u{202e}\u{e0041}é \"\\";
        let json = serde_json::json!({ "key": text }).to_string();
        assert!(json.contains('\u{9b}'));
        let shown = visible_json(&json);
        assert!(!shown.chars().any(is_hidden), "{shown}");
        let value: serde_json::Value = serde_json::from_str(&shown).unwrap_or_default();
        assert_eq!(value["key"], text);
    }
}
