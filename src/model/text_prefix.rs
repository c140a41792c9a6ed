//! The beginning of a text that has a limit in bytes.

/// The longest prefix of a text that has at most `max_bytes` and ends between characters.
pub fn text_prefix(text: &str, max_bytes: usize) -> &str {
    let mut end = max_bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(text_prefix("short", 100), "short");
        let long = "é".repeat(80);
        assert_eq!(text_prefix(&long, 100), "é".repeat(50));
        assert_eq!(text_prefix(&format!("x{long}"), 100).len(), 99);
        assert_eq!(text_prefix("é", 1), "");
    }
}
