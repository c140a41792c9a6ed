//! Texts and values of callers, as they can be shown. Their letters are escaped by the pages.

use std::fmt::Write as _;

pub(super) use crate::visible_text::visible;
use crate::visible_text::visible_lines;

/// Largest part of a value that is shown, in bytes.
pub(super) const MAX_VALUE_BYTES: usize = 4096;

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
        Some(text) => (visible_lines(text).into_owned(), is_whole),
        None => (hex(shown), is_whole),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_text_or_digits_and_are_cut() {
        assert_eq!(value("a\tb\r\n".as_bytes()), ("a\tb\\r\n".to_owned(), true));
        assert_eq!(value(&[0xff, 0, 1]), ("ff 00 01".to_owned(), true));
        let long = "é".repeat(MAX_VALUE_BYTES);
        let (shown, is_whole) = value(&long.as_bytes()[1..]);
        assert!(!is_whole && shown.starts_with("a9 "), "{}", &shown[..8]);
        let (shown, is_whole) = value(format!("x{long}").as_bytes());
        assert_eq!((shown.len(), is_whole), (MAX_VALUE_BYTES - 1, false));
        assert_eq!(value(b""), (String::new(), true));
    }
}
