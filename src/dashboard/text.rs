//! Texts of callers, such as keys, as they can be shown. Their letters are escaped by the pages;
//! what has no letter, or would turn the text around it, is shown by its code.

use std::{borrow::Cow, fmt::Write as _};

/// Largest part of a value that is shown, in bytes.
pub(super) const MAX_VALUE_BYTES: usize = 4096;

/// A text with visible control characters.
pub(super) fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if is_hidden(letter) {
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(letter));
        } else {
            shown.push(letter);
        }
    }
    Cow::Owned(shown)
}

/// The begin of a value: as text if it is one, and as hexadecimal digits otherwise. Also whether
/// that is all of it.
pub(super) fn value(data: &[u8]) -> (String, bool) {
    let shown = &data[..data.len().min(MAX_VALUE_BYTES)];
    let is_whole = shown.len() == data.len();
    let text = match std::str::from_utf8(shown) {
        Ok(text) => Some(text),
        // The last character may be cut.
        Err(error) if !is_whole && error.error_len().is_none() => {
            std::str::from_utf8(&shown[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    };
    match text {
        Some(text) => (lines(text), is_whole),
        None => (hex(shown), is_whole),
    }
}

/// Line ends and tabs stay.
fn lines(text: &str) -> String {
    let lines = text.split_inclusive(['\n', '\t']).map(|line| {
        let (line, end) = match line.char_indices().next_back() {
            Some((at, '\n' | '\t')) => line.split_at(at),
            _ => (line, ""),
        };
        format!("{}{end}", visible(line))
    });
    lines.collect()
}

/// Sixteen bytes in each line.
fn hex(data: &[u8]) -> String {
    let mut shown = String::with_capacity(data.len() * 3);
    for (index, byte) in data.iter().enumerate() {
        if index > 0 {
            shown.push(if index % 16 == 0 { '\n' } else { ' ' });
        }
        let _ = write!(shown, "{byte:02x}");
    }
    shown
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
        assert_eq!(visible("user:4711 é"), "user:4711 é");
        assert_eq!(visible("a\0b\n\u{202e}c"), "a\\u{0}b\\u{a}\\u{202e}c");
        for hidden in "\u{ad}\u{61c}\u{180e}\u{2066}\u{feff}\u{fff9}\u{e0001}\u{e0041}".chars() {
            let expected = format!("a\\u{{{:x}}}b", u32::from(hidden));
            assert_eq!(visible(&format!("a{hidden}b")), expected);
        }
    }

    #[test]
    fn values_are_text_or_digits_and_are_cut() {
        assert_eq!(value("a\tb\r\n".as_bytes()), ("a\tb\\u{d}\n".to_owned(), true));
        assert_eq!(value(&[0xff, 0, 1]), ("ff 00 01".to_owned(), true));
        let long = "é".repeat(MAX_VALUE_BYTES);
        let (shown, is_whole) = value(&long.as_bytes()[1..]);
        assert!(!is_whole && shown.starts_with("a9 "), "{}", &shown[..8]);
        let (shown, is_whole) = value(format!("x{long}").as_bytes());
        assert_eq!((shown.len(), is_whole), (MAX_VALUE_BYTES - 1, false));
        assert_eq!(value(b""), (String::new(), true));
    }
}
